"""What the embedded API server calls its resources, for whoever is given names by users (``pods``, ``cm``, ``Job``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.machinery.resources import Resource


@dataclass(frozen=True)
class RegistryNames:
    """A ``workflows.executor.kubectl.names.ResourceNames``."""

    registry: Registry

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        info = self.registry.by_kind(group, version, kind)
        return None if info is None else info.resource

    def by_name(self, name: str) -> Resource | None:
        """The first match in the order of discovery, plural and singular names before short ones."""
        first, _, rest = name.lower().partition(".")
        infos = [i for i in self.registry if not i.is_virtual and _is_in(i.resource, rest)]
        return next((i.resource for names in (_full, _short) for i in infos if first in names(i)), None)


def _full(info: ResourceInfo) -> Iterable[str]:
    return info.resource.plural, info.singular, info.kind.lower()


def _short(info: ResourceInfo) -> Iterable[str]:
    return info.short_names


def _is_in(resource: Resource, rest: str) -> bool:
    """``rest`` is "", a group, or a version and a group."""
    return rest in ("", resource.group, f"{resource.version}.{resource.group}".rstrip("."))
