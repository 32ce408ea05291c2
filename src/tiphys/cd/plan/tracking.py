"""Which application an object belongs to: a tracking id in an annotation, the instance label, or both.

    tracking id = application ":" group "/" kind ":" namespace "/" name        core group empty

An application outside the control plane's namespace is called ``namespace_name``. An id that names another object than
the one it stands on (somebody copied the object) makes that one no member of the application. Source: argo-cd
util/argo/resource_tracking.go; judged by golden/cd tracking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tiphys.cd.plan.objects import (
    Object,
    annotations_of,
    at,
    gvk_of,
    is_crd,
    labels_of,
    metadata_of,
    name_of,
    namespace_of,
    with_metadata,
    with_value,
    without,
)
from tiphys.lang.gofmt import sprint

TRACKING_ID: Final = "argocd.argoproj.io/tracking-id"
INSTALLATION_ID: Final = "argocd.argoproj.io/installation-id"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
# The label of the first releases, which also went into pod templates.
_LEGACY_LABEL: Final = "applications.argoproj.io/app-name"
_LABEL_LENGTH_MAX: Final = 63
_WORKLOADS: Final = frozenset(
    (group, kind)
    for group in ("apps", "extensions")
    for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
) | {("batch", "Job")}

# Here the server takes an absent selector from the template, and would take our label too.
_SELECTOR_DEFAULTED: Final = frozenset(("apps/v1beta1", "extensions/v1beta1"))

LABEL: Final = "label"
ANNOTATION: Final = "annotation"
BOTH: Final = "annotation+label"


class TrackingError(ValueError):
    """A tracking id that is none, or an object that cannot carry tracking."""


class TrackingId(NamedTuple):
    application: str
    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.application}:{self.group}/{self.kind}:{self.namespace}/{self.name}"


def parse(value: str) -> TrackingId:
    """Raises TrackingError. The name may contain colons, as those of roles do."""
    parts = value.split(":", 2)
    if len(parts) == 3:
        group, place = parts[1].split("/"), parts[2].split("/")
        if len(group) == 2 and len(place) == 2:
            return TrackingId(parts[0], group[0], group[1], place[0], place[1])
    raise TrackingError(
        "wrong resource tracking format, should be <application-name>:<group>/<kind>:<namespace>/<name>"
    )


def id_for(obj: Object, application: str, namespace: str) -> TrackingId:
    """The id that the object should carry; ``namespace`` is the destination's, for objects that name none."""
    gvk = gvk_of(obj)
    return TrackingId(application, gvk.group, gvk.kind, namespace_of(obj) or namespace, name_of(obj))


def id_of(obj: Object, installation: str = "") -> TrackingId | None:
    """The tracking id in the annotation; None where there is none, or it is of another installation."""
    annotations = annotations_of(obj)
    if installation and annotations.get(INSTALLATION_ID) != installation:
        return None
    try:
        return parse(annotations.get(TRACKING_ID, ""))
    except TrackingError:
        return None


def application_of(obj: Object, method: str = ANNOTATION, label: str = INSTANCE_LABEL, installation: str = "") -> str:
    """The name of the application that the object belongs to, "" for none."""
    if method == LABEL:
        return labels_of(obj).get(label, "")
    found = id_of(obj, installation)
    return found.application if found is not None else ""


def tracked(
    obj: Object, application: str, namespace: str, method: str = ANNOTATION, label: str = INSTANCE_LABEL,
    installation: str = "",
) -> Object:  # fmt: skip
    """The object marked as the application's. Raises TrackingError."""
    if method == LABEL:
        # The label is the name here: cut off it would name another application.
        return _with_label(obj, label, application)
    marked = _with_annotations(obj, application, namespace, installation)
    if method != BOTH:
        return marked
    try:
        short = truncated(application)
    except TrackingError as err:
        raise TrackingError(f"failed to set app instance label: {err}") from err
    return _with_label(marked, label, short)


def untracked(obj: Object, method: str = ANNOTATION) -> Object:
    """The object without its marks."""
    if method != LABEL:
        obj = _without_mark(_without_mark(obj, "annotations", TRACKING_ID), "annotations", INSTALLATION_ID)
    if method in (LABEL, BOTH):
        obj = _without_mark(obj, "labels", INSTANCE_LABEL)
    return obj


def truncated(value: str) -> str:
    """The value cut to the length of a label. Raises TrackingError where nothing is left that may end one."""
    if len(value.encode()) <= _LABEL_LENGTH_MAX:
        return value
    cut = value.encode()[:_LABEL_LENGTH_MAX]
    while not cut[-1:].isalnum():
        if len(cut) <= 1:
            raise TrackingError("unable to truncate label to not end with a special character")
        cut = cut[:-1]
    return cut.decode()


def normalized(target: Object | None, live: Object | None, method: str, label: str = INSTANCE_LABEL) -> Object | None:
    """``live`` without the differences that only the change from label to annotation tracking makes.

    The annotation is filled in only where there is none at all: one of another application is a real difference.
    """
    if method in ("", LABEL) or live is None or target is None or not labels_of(live).get(label) or is_crd(live):
        return live
    if not annotations_of(live).get(TRACKING_ID):
        live = with_value(live, annotations_of(target).get(TRACKING_ID, ""), "metadata", "annotations", TRACKING_ID)
    return live if labels_of(target).get(label) else _without_mark(live, "labels", label)


def _without_mark(obj: Object, field: str, name: str) -> Object:
    left = without(obj, "metadata", field, name)
    # Not an empty map where the mark was the only entry: that would be a difference of its own.
    return without(left, "metadata", field) if left is not obj and not metadata_of(left)[field] else left


def _with_annotations(obj: Object, application: str, namespace: str, installation: str) -> Object:
    annotations = _strings(obj, "annotations", "failed to get annotations from target object")
    annotations.pop(INSTALLATION_ID, None)
    if installation:
        annotations[INSTALLATION_ID] = installation
    annotations[TRACKING_ID] = str(id_for(obj, application, namespace))
    return with_metadata(obj, annotations=annotations)


def _with_label(obj: Object, label: str, value: str) -> Object:
    labels = _strings(obj, "labels", "failed to set app instance label: failed to get labels from target object")
    marked: Object = with_metadata(obj, labels={**labels, label: value})
    gvk = gvk_of(obj)
    if label != _LEGACY_LABEL or (gvk.group, gvk.kind) not in _WORKLOADS:
        return marked
    template = at(obj, "spec", "template", "metadata", "labels")
    marked = with_value(marked, value, "spec", "template", "metadata", "labels", label)
    if gvk.api_version in _SELECTOR_DEFAULTED and gvk.group != "batch" and not at(obj, "spec", "selector"):
        marked = with_value(marked, dict(template or {}), "spec", "selector", "matchLabels")
    return marked


def _strings(obj: Object, field: str, doing: str) -> dict[str, str]:
    held = metadata_of(obj).get(field)
    if held is None:
        return {}
    where = f"{doing} {gvk_of(obj)} {namespace_of(obj)}/{name_of(obj)}: .metadata.{field} accessor error:"
    if not isinstance(held, Mapping):
        raise TrackingError(
            f"{where} {_shown(held)} is of the type {_go_type(held)}, expected map[string]interface{{}}"
        )
    for key, value in held.items():
        if not isinstance(value, str):
            wrong = f"{_shown(value)} is of the type {_go_type(value)}, expected string"
            raise TrackingError(f'{where} contains non-string value in the map under key "{key}": {wrong}')
    return dict(held)


def _shown(value: Any) -> str:
    return "<nil>" if value is None else sprint(value)


def _go_type(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "float64"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"
