"""Reading typed fields out of plain objects that were checked to fit their type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tiphys.api import kube_messages
from tiphys.cd.plan.health.verdict import HealthError
from tiphys.cd.plan.objects import Gvk, Object, gvk_of
from tiphys.cd.plan.typed import misfit

_SHORT_KINDS: Final = {"HorizontalPodAutoscaler": "HPA"}


def typed(obj: Object, kind: str, *api_versions: str) -> Gvk:
    """Checks that the object has one of these versions and fits its Go type. Raises HealthError."""
    gvk = gvk_of(obj)
    shown = _SHORT_KINDS.get(kind, kind)
    if gvk.api_version not in api_versions:
        raise HealthError(f"unsupported {shown} GVK: {gvk}")
    # A version that the table does not have (an APIService of v1beta1) has the fields of the first.
    found = kube_messages.message_of(gvk.api_version, kind) or kube_messages.message_of(api_versions[0], kind)
    why = misfit(obj, found.name) if found is not None else None
    if why is not None:
        raise HealthError(f"failed to convert unstructured {shown} to typed: {why}")
    return gvk


def section(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested object; empty where there is none."""
    held = obj.get(name)
    return held if isinstance(held, Mapping) else {}


def text(obj: Mapping[str, Any], name: str) -> str:
    held = obj.get(name)
    return held if isinstance(held, str) else ""


def number(obj: Mapping[str, Any], name: str) -> int:
    return optional_number(obj, name) or 0


def optional_number(obj: Mapping[str, Any], name: str) -> int | None:
    held = obj.get(name)
    return int(held) if isinstance(held, int | float) else None


def objects(obj: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """The objects of a list; empty where there is none."""
    held = obj.get(name)
    return [each for each in held if isinstance(each, Mapping)] if isinstance(held, list) else ()


def conditions(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return objects(status, "conditions")


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The first condition of this type."""
    return next((each for each in conditions(status) if each.get("type") == kind), None)
