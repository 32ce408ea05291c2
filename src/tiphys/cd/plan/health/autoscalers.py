"""The health of a HorizontalPodAutoscaler: by its conditions, which v1 hides in an annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tiphys.cd.plan.health.reading import conditions, section, text, typed
from tiphys.cd.plan.health.verdict import Health, HealthError
from tiphys.cd.plan.objects import Object, annotations_of
from tiphys.lang import gojson_read

_CONDITIONS: Final = "autoscaling.alpha.kubernetes.io/conditions"
_WAITING: Final = Health("Progressing", "Waiting to Autoscale")
_DEGRADED: Final = frozenset({
    ("AbleToScale", "FailedGetScale"),
    ("AbleToScale", "FailedUpdateScale"),
    ("ScalingActive", "FailedGetResourceMetric"),
    ("ScalingActive", "FailedGetObjectMetric"),
    ("ScalingActive", "FailedGetPodsMetric"),
    ("ScalingActive", "FailedGetExternalMetric"),
    ("ScalingActive", "FailedComputeMetricsReplicas"),
    ("ScalingActive", "InvalidSelector"),
})  # fmt: skip


def autoscaler_health(obj: Object) -> Health:
    gvk = typed(obj, "HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1")
    if gvk.version == "v2":
        return _judge(conditions(section(obj, "status")))
    annotation = annotations_of(obj).get(_CONDITIONS)
    return _WAITING if annotation is None else _judge(_annotated(annotation))


def _judge(found: Sequence[Mapping[str, Any]]) -> Health:
    """The first condition that says Degraded, else the first that says Healthy."""
    for each in found:
        if (text(each, "type"), text(each, "reason")) in _DEGRADED:
            return Health("Degraded", text(each, "message"))
    for each in found:
        if text(each, "type") in ("AbleToScale", "ScalingLimited") and each.get("status") == "True":
            return Health("Healthy", text(each, "message"))
    return _WAITING


def _annotated(annotation: str) -> Sequence[Mapping[str, Any]]:
    """The conditions in the annotation, keys in lower case: Go reads them whatever their case."""
    try:
        found = gojson_read.loads(annotation)
    except gojson_read.JsonSyntaxError as err:
        raise HealthError(f"failed to convert conditions annotation to typed: {err}") from err
    if found is None:
        return ()
    if not isinstance(found, list):
        raise HealthError(_mismatch(found, "[]health.hpaCondition"))
    for each in found:
        if each is not None and not isinstance(each, Mapping):
            raise HealthError(_mismatch(each, "health.hpaCondition"))
    return [{name.lower(): value for name, value in (each or {}).items()} for each in found]


def _mismatch(value: Any, go_type: str) -> str:
    word = "object" if isinstance(value, Mapping) else _WORDS.get(type(value), "number")
    reason = f"json: cannot unmarshal {word} into Go value of type {go_type}"
    return f"failed to convert conditions annotation to typed: {reason}"


_WORDS: Final = {str: "string", bool: "bool", list: "array"}
