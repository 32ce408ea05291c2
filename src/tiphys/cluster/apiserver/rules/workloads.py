"""What makes pods of a template: Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers.

All have a selector, a template that fits it, and most a way to update.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.metadata import annotation_complaints_at
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.claims import claim_spec
from tiphys.cluster.apiserver.rules.pods import annotation_rules, template_complaints
from tiphys.cluster.apiserver.rules.shares import at_most_all, share, size
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    immutable,
    in_form_if_given,
    is_empty,
    labels,
    not_negative,
    selector,
    selects,
)
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

_STATEFUL_CHANGES: Final = (
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
)
_OTHER_FIELDS: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def deployment(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "spec", "replicas")
    yield from _selector(spec, "deployment")
    yield from _template(spec, "ReplicaSet")
    yield from _deployment_strategy(spec.get("strategy") or {}, "spec.strategy")
    yield from not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        yield invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    yield from _same_selector(spec, old)


def replica_set(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "spec", "replicas", "minReadySeconds")
    # The original says "deployment" here too.
    yield from _selector(spec, "deployment")
    yield from _template(spec, "ReplicaSet")
    yield from _same_selector(spec, old)


def daemon_set(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    wanted, template = spec.get("selector"), spec.get("template") or {}
    yield from _same_selector(spec, old)
    yield from selector(wanted, "spec.selector")
    held = (template.get("metadata") or {}).get("labels")
    if _is_valid(wanted) and (wanted is None or not selects(wanted, held or {})):
        yield _mismatch("spec.template", held)
    if wanted is not None and is_empty(wanted):
        yield invalid_value("spec.selector", wanted, "empty selector is invalid for daemonset")
    yield from template_complaints(template, "spec.template")
    yield from _endless(template, "DaemonSet")
    yield from not_negative(spec, "spec", "minReadySeconds")
    yield from _daemon_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    yield from not_negative(spec, "spec", "revisionHistoryLimit")


def stateful_set(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    policy = spec.get("podManagementPolicy") or ""
    if not policy:
        yield required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        yield invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _stateful_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    yield from _retention(spec.get("persistentVolumeClaimRetentionPolicy"), "spec.persistentVolumeClaimRetentionPolicy")
    for number, claim in enumerate(spec.get("volumeClaimTemplates") or () if old is None else ()):
        yield from claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{number}].spec")
    yield from not_negative(spec, "spec", "replicas", "minReadySeconds")
    yield from not_negative(spec.get("ordinals") or {}, "spec.ordinals", "start")
    if old is None:
        yield from in_form_if_given(spec, "spec", "serviceName", name_rules.dns1123_label)
    yield from _selector(spec, "statefulset")
    yield from _stateful_template(spec)
    if old is not None:
        before = old.get("spec") or {}
        changed = {key: value for key, value in spec.items() if key not in _STATEFUL_CHANGES}
        if not same(changed, {key: value for key, value in before.items() if key not in _STATEFUL_CHANGES}):
            yield forbidden_value("spec", _OTHER_FIELDS)


def replication_controller(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec = obj.get("spec") or {}
    wanted, template = spec.get("selector") or {}, spec.get("template")
    yield from not_negative(spec, "spec", "minReadySeconds")
    if not wanted:
        yield required("spec.selector")
    if spec.get("replicas") is None:
        yield required("spec.replicas")
    yield from not_negative(spec, "spec", "replicas")
    if template is None:
        yield required("spec.template")
        return
    held = (template.get("metadata") or {}).get("labels")
    if wanted and not selects({"matchLabels": wanted}, held or {}):
        yield _mismatch("spec.template", held)
    yield from template_complaints(template, "spec.template")
    yield from _endless(template, "ReplicationController")


def pod_template(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    yield from template_complaints(obj.get("template") or {}, "template")


def controller_revision(obj: Object, old: Object | None) -> Iterator[Complaint]:
    revision, data = obj.get("revision") or 0, obj.get("data")
    if revision < 0:
        yield invalid_value("revision", revision, "must be greater than or equal to 0")
    if old is not None:
        yield from immutable("data", data, old.get("data"))
    elif data is None:
        yield required("data", "data is mandatory")
    elif not isinstance(data, dict):
        yield required("data", "data must be a valid JSON object")


# Selectors and templates


def _selector(spec: Fields, kind: str) -> Iterator[Complaint]:
    wanted = spec.get("selector")
    if wanted is None:
        yield required("spec.selector")
        return
    yield from selector(wanted, "spec.selector")
    if is_empty(wanted):
        yield invalid_value("spec.selector", wanted, f"empty selector is invalid for {kind}")


def _is_valid(wanted: Fields | None) -> bool:
    return not list(selector(wanted, ""))


def _mismatch(at: str, held: Any) -> Complaint:
    return invalid_value(f"{at}.metadata.labels", held, "`selector` does not match template `labels`")


def _template(spec: Fields, kind: str) -> Iterator[Complaint]:
    wanted, template = spec.get("selector"), spec.get("template") or {}
    if not _is_valid(wanted):
        yield invalid_value("spec.selector", wanted, "invalid label selector")
        return
    held = (template.get("metadata") or {}).get("labels")
    if wanted is None or (not is_empty(wanted) and not selects(wanted, held or {})):
        yield _mismatch("spec.template", held)
    yield from template_complaints(template, "spec.template")
    yield from _endless(template, kind)


def _endless(template: Fields, kind: str) -> Iterator[Complaint]:
    """Pods that are kept running."""
    inner = template.get("spec") or {}
    if inner.get("restartPolicy") != "Always":
        yield unsupported("spec.template.spec.restartPolicy", inner.get("restartPolicy") or "", ["Always"])
    if inner.get("activeDeadlineSeconds") is not None:
        text = f"activeDeadlineSeconds in {kind} is not Supported"
        yield forbidden_value("spec.template.spec.activeDeadlineSeconds", text)


def _same_selector(spec: Fields, old: Object | None) -> Iterator[Complaint]:
    if old is not None:
        yield from immutable("spec.selector", spec.get("selector"), (old.get("spec") or {}).get("selector"))


def _stateful_template(spec: Fields) -> Iterator[Complaint]:
    """The template is judged with the volumes that the claims will make, without the name that pods get anyway."""
    wanted, template = spec.get("selector"), spec.get("template") or {}
    inner, meta = template.get("spec") or {}, template.get("metadata") or {}
    if not _is_valid(wanted):
        yield invalid_value("spec.selector", wanted, "")
    else:
        held = meta.get("labels")
        if wanted is None or (not is_empty(wanted) and not selects(wanted, held or {})):
            yield _mismatch("spec.template", held)
        judged = {key: value for key, value in inner.items() if key not in ("hostname", "subdomain")}
        claims = [(claim.get("metadata") or {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()]
        if claims:
            judged["volumes"] = _with_claims(claims, inner.get("volumes") or ())
        yield from template_complaints({**template, "spec": judged}, "spec.template")
        annotations = meta.get("annotations") or {}
        yield from labels(meta, "spec.template", "labels")
        yield from annotation_complaints_at(annotations, "spec.template.annotations")
        yield from annotation_rules(annotations, judged, "spec.template.annotations", "spec.template.spec")
    yield from _endless(template, "StatefulSet")


def _with_claims(claims: Sequence[str], volumes: Sequence[Fields]) -> list[Fields]:
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claims)]
    return [*made, *(volume for volume in volumes if (volume.get("name") or "") not in claims)]


def _retention(policy: Fields | None, at: str) -> Iterator[Complaint]:
    for field in ("whenDeleted", "whenScaled") if policy is not None else ():
        value = (policy or {}).get(field) or ""
        if value not in ("Retain", "Delete"):
            yield unsupported(f"{at}.{field}", value, ("Retain", "Delete"))


# Ways to update


def _deployment_strategy(strategy: Fields, at: str) -> Iterator[Complaint]:
    rolling, kind = strategy.get("rollingUpdate"), strategy.get("type") or ""
    if kind == "Recreate":
        if rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            yield forbidden_value(f"{at}.rollingUpdate", text)
    elif kind != "RollingUpdate":
        told = internal_names.shown("apps.DeploymentStrategy", strategy)
        yield unsupported(at, told, ("Recreate", "RollingUpdate"))
    elif rolling is None:
        yield required(f"{at}.rollingUpdate", "this should be defaulted and never be nil")
    else:
        gone, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
        at = f"{at}.rollingUpdate"
        yield from share(gone, f"{at}.maxUnavailable")
        yield from share(surge, f"{at}.maxSurge")
        if not size(gone) and not size(surge):
            yield invalid_value(f"{at}.maxUnavailable", gone, "may not be 0 when `maxSurge` is 0")
        yield from at_most_all(gone, f"{at}.maxUnavailable")


def _daemon_strategy(strategy: Fields, at: str) -> Iterator[Complaint]:
    rolling, kind = strategy.get("rollingUpdate"), strategy.get("type") or ""
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        told = internal_names.shown("apps.DaemonSetUpdateStrategy", strategy)
        yield unsupported(at, told, ("RollingUpdate", "OnDelete"))
        return
    if rolling is None:
        yield required(f"{at}.rollingUpdate")
        return
    at, gone, surge = f"{at}.rollingUpdate", rolling.get("maxUnavailable"), rolling.get("maxSurge")
    yield from share(gone, f"{at}.maxUnavailable")
    yield from share(surge, f"{at}.maxSurge")
    yield from at_most_all(gone, f"{at}.maxUnavailable")
    yield from at_most_all(surge, f"{at}.maxSurge")
    if size(gone) and size(surge):
        yield invalid_value(f"{at}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif not size(gone) and not size(surge):
        yield required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def _stateful_strategy(strategy: Fields, at: str) -> Iterator[Complaint]:
    rolling, kind = strategy.get("rollingUpdate"), strategy.get("type") or ""
    if not kind:
        yield required(at)
    elif kind == "OnDelete":
        if rolling is not None:
            told = internal_names.shown("apps.RollingUpdateStatefulSetStrategy", rolling)
            yield invalid_value(f"{at}.rollingUpdate", told, "only allowed for updateStrategy 'RollingUpdate'")
    elif kind != "RollingUpdate":
        told = internal_names.shown("apps.StatefulSetUpdateStrategy", strategy)
        yield invalid_value(at, told, "must be 'RollingUpdate' or 'OnDelete'")
    elif rolling is not None:
        at, gone = f"{at}.rollingUpdate", rolling.get("maxUnavailable")
        yield from not_negative(rolling, at, "partition")
        if gone is not None:
            yield from share(gone, f"{at}.maxUnavailable")
            if not size(gone):
                yield invalid_value(f"{at}.maxUnavailable", gone, "cannot be 0")
            yield from at_most_all(gone, f"{at}.maxUnavailable")
