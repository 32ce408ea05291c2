"""An Application's spec as CD reads it: sources, normal form, names, options, retries.

A hydrator stands above ``sources``, those above ``source``. With ``sources`` revisions are lists everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cd.plan.objects import ResourceKey
from tiphys.lang import durations

Spec = Mapping[str, Any]
Source = Mapping[str, Any]

DEFAULT_PROJECT: Final = "default"
_RETRY_SECONDS: Final = 5.0
_RETRY_SECONDS_MAX: Final = 180.0
_RETRY_FACTOR: Final = 2
# Fields whose presence alone, with an empty value, says nothing; an empty ``valuesObject`` does.
_TOOLS: Final = ("kustomize", "helm")
_TOOL_EXTRAS: Final = {
    "kustomize": frozenset(("forceCommonLabels", "forceCommonAnnotations", "commonAnnotationsEnvsubst",
                            "labelWithoutSelector", "labelIncludeTemplates")),
    "helm": frozenset(("valuesObject",)),
}  # fmt: skip


class RetryError(ValueError):
    """A back-off that cannot be read."""


def has_multiple_sources(spec: Spec) -> bool:
    return spec.get("sourceHydrator") is None and bool(spec.get("sources"))


def sources_of(spec: Spec) -> list[Source]:
    """What is rendered: the hydrated source, all of several, or the one."""
    hydrator = spec.get("sourceHydrator")
    if hydrator is not None:
        return [sync_source(hydrator)]
    if spec.get("sources"):
        return list(spec["sources"])
    return [spec["source"]] if spec.get("source") else []


def sync_source(hydrator: Mapping[str, Any]) -> Source:
    """The branch and path that a hydrator fills, as a source."""
    dry, sync = hydrator.get("drySource") or {}, hydrator.get("syncSource") or {}
    return {
        "repoURL": sync.get("repoURL") or dry.get("repoURL", ""),
        "path": sync.get("path", ""),
        "targetRevision": sync.get("targetBranch", ""),
    }


def normalized(spec: Spec) -> Spec:
    """The spec without tool blocks and policies that say nothing, and with a project."""
    result = {**spec, "project": spec.get("project") or DEFAULT_PROJECT}
    if not _says_something(result.get("syncPolicy")):
        result.pop("syncPolicy", None)
    if spec.get("sources"):
        result["sources"] = [normalized_source(source) for source in spec["sources"]]
    elif spec.get("source") is not None:
        result["source"] = normalized_source(spec["source"])
    return result


def normalized_source(source: Source) -> Source:
    result = dict(source)
    for tool in _TOOLS:
        block = source.get(tool)
        if block is not None and not _tool_says_something(tool, block):
            del result[tool]
    directory = source.get("directory")
    if directory is not None and not _directory_says_something(directory):
        kept = {name: directory[name] for name in ("exclude", "include") if directory.get(name)}
        result.pop("directory")
        result |= {"directory": kept} if kept else {}
    return result


def _says_something(policy: Mapping[str, Any] | None) -> bool:
    if not policy:
        return False
    pointers = ("automated", "retry", "managedNamespaceMetadata")
    return any(policy.get(name) is not None for name in pointers) or bool(policy.get("syncOptions"))


def _tool_says_something(tool: str, block: Mapping[str, Any]) -> bool:
    if tool == "helm" and block.get("valuesObject") is not None:
        return True
    return any(value for name, value in block.items() if name not in _TOOL_EXTRAS[tool])


def _directory_says_something(directory: Mapping[str, Any]) -> bool:
    jsonnet = directory.get("jsonnet") or {}
    asked = directory.get("recurse") or directory.get("disableExtensionFilter")
    return bool(asked) or any(jsonnet.get(name) for name in ("extVars", "tlas", "libs"))


# Names


def parse_qualified(name: str, default_namespace: str) -> tuple[str, str]:
    """``[namespace/]name`` as name and namespace."""
    return _parted(name, "/", default_namespace)


def parse_instance(name: str, default_namespace: str) -> tuple[str, str]:
    """``[namespace_]name``, as in tracking ids, as name and namespace."""
    return _parted(name, "_", default_namespace)


def instance_name(name: str, namespace: str, control_namespace: str) -> str:
    """What tracking calls an application."""
    return name if namespace in ("", control_namespace) else f"{namespace}_{name}"


def _parted(name: str, delimiter: str, default_namespace: str) -> tuple[str, str]:
    namespace, found, rest = name.partition(delimiter)
    return (rest, namespace) if found else (name, default_namespace)


# Syncs


def selects(resources: Sequence[Mapping[str, Any]], key: ResourceKey) -> bool:
    """Whether an operation's list of resources names an object; ``*`` stands for anything, an empty list for all."""
    return not resources or any(_selects(each, key) for each in resources)


def _selects(entry: Mapping[str, Any], key: ResourceKey) -> bool:
    return (
        entry.get("group", "") in ("*", key.group)
        and entry.get("kind", "") in ("*", key.kind)
        and entry.get("name", "") in ("*", key.name)
        and entry.get("namespace", "") in ("*", "", key.namespace)
    )


@dataclass(frozen=True)
class SyncOptions:
    """The list ``syncOptions``, of an application or of one operation: ``Name=value`` items, literally."""

    items: tuple[str, ...] = ()

    @classmethod
    def of(cls, items: Sequence[str] | None) -> SyncOptions:
        return cls(tuple(items or ()))

    def has(self, option: str) -> bool:
        return option in self.items

    def value(self, name: str) -> str | None:
        """The value of the first ``name=…``."""
        prefix = name + "="
        return next((item[len(prefix) :] for item in self.items if item.startswith(prefix)), None)


def next_retry(retry: Mapping[str, Any], last: datetime, count: int) -> datetime:
    """When an operation that failed ``count`` times before is tried again. Raises RetryError."""
    backoff = retry.get("backoff") or {}
    seconds = _seconds(backoff["duration"]) if backoff.get("duration") else _RETRY_SECONDS
    limit = _seconds(backoff["maxDuration"]) if backoff.get("maxDuration") else _RETRY_SECONDS_MAX
    factor = backoff["factor"] if backoff.get("factor") is not None else _RETRY_FACTOR
    try:
        wait = seconds * float(factor) ** count
    except OverflowError:
        wait = float("inf")
    if limit > 0:
        wait = min(limit, wait)
    # Go's durations end at 292 years, and a conversion of more than that at the other end.
    return last + (timedelta(seconds=wait) if abs(wait) < _GO_SECONDS_MAX else timedelta(seconds=-_GO_SECONDS_MAX))


_GO_SECONDS_MAX: Final = (1 << 63) / 1e9


def _seconds(text: str) -> float:
    if text.lstrip("+-").isdigit() and text.isascii() and len(text.lstrip("+-")) >= len(text) - 1:
        return float(int(text))
    try:
        return durations.parse(text) / 1e9
    except durations.DurationError as err:
        raise RetryError(f"unable to parse {text} as a duration") from err


# Differences between two specs, by the names of Go's fields


def different_paths(one: Any, other: Any) -> list[str]:
    """The names on the ways to all differences, in the words of the Go types, sorted."""
    return sorted(step for path in _differences(one, other, ()) for step in path)


def _differences(one: Any, other: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys((*one, *other)):
            yield from _differences(one.get(name), other.get(name), (*path, _go_name(name)))
    elif isinstance(one, list) and isinstance(other, list):
        for index in range(max(len(one), len(other))):
            left, right = (side[index] if index < len(side) else None for side in (one, other))
            yield from _differences(left, right, (*path, str(index)))
    elif one != other:
        yield path


def _go_name(name: str) -> str:
    return {"tlas": "TLAs", "apiVersions": "APIVersions"}.get(name, name[:1].upper() + name[1:])
