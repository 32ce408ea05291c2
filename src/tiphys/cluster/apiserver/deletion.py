"""What a DELETE does: removes at once, marks and waits for finalizers, or waits for a pod's grace.

live ──delete, finalizers or grace──> terminating ──last finalizer gone / grace 0──> removed
  └───────────────delete, neither────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from tiphys.cluster.apiserver import metadata
from tiphys.cluster.apiserver.problems import conflict, invalid_options, invalid_value, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.machinery.errors import BadRequest
from tiphys.machinery.times import parse_time, to_time

_POLICIES: Final = ("Foreground", "Background", "Orphan")
# A policy → the finalizer that makes the garbage collector carry it out before the object goes.
_POLICY_FINALIZERS: Final = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True)
class DeleteOptions:
    grace_seconds: int | None = None
    policy: str | None = None
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False

    @classmethod
    def parse(cls, body: Mapping[str, Any] | None, query: Mapping[str, str]) -> DeleteOptions:
        """From the request's body, or where it has none from the query; raises Invalid."""
        given = body or {}
        if given.get("kind") not in (None, "DeleteOptions"):
            scheme = 'is registered for version "meta.k8s.io/v1" in scheme "pkg/runtime/scheme.go:111"'
            raise BadRequest(f'no kind "{given["kind"]}" {scheme}')
        policy = given.get("propagationPolicy") or query.get("propagationPolicy") or None
        if given.get("orphanDependents") is not None and policy is not None:
            text = "orphanDependents and deletionPropagation cannot be both set"
            raise invalid_options("DeleteOptions", [invalid_value("propagationPolicy", policy, text)])
        if given.get("orphanDependents") is not None:
            policy = "Orphan" if given["orphanDependents"] else "Background"
        if policy is not None and policy not in _POLICIES:
            raise invalid_options("DeleteOptions", [unsupported("propagationPolicy", policy, [*_POLICIES, "nil"])])
        grace = given.get("gracePeriodSeconds")
        if grace is None and query.get("gracePeriodSeconds"):
            grace = _integer(query["gracePeriodSeconds"])
        conditions = given.get("preconditions") or {}
        dry_run = bool(given.get("dryRun")) or bool(query.get("dryRun"))
        return cls(grace, policy, conditions.get("uid"), conditions.get("resourceVersion"), dry_run)


def check_preconditions(info: ResourceInfo, obj: Object, options: DeleteOptions) -> None:
    """Raises Conflict where the object is not the one that was meant."""
    meta = obj["metadata"]
    if options.uid is not None and options.uid != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {meta['uid']}"
        raise conflict(info, meta["name"], why)
    if options.version is not None and options.version != meta["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.version}, ResourceVersion in object meta:"
            f" {meta['resourceVersion']}"
        )
        raise conflict(info, meta["name"], why)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


@dataclass(frozen=True)
class Verdict:
    """``remove``: take it away now, its last state is ``obj``; ``end``: store ``obj``, then take it away; ``mark``:
    store ``obj``; ``keep``: nothing to do."""

    what: Literal["remove", "end", "mark", "keep"]
    obj: Object


def decide(info: ResourceInfo, obj: Object, options: DeleteOptions, now: datetime) -> Verdict:
    """What deleting ``obj`` now means. ``obj`` is not changed."""
    meta = dict(obj["metadata"])
    finalizers = _finalizers(meta.get("finalizers") or [], options.policy)
    grace = _grace_seconds(info, obj, options)
    terminating = meta.get("deletionTimestamp")
    if terminating:
        shorter = grace < int(meta.get("deletionGracePeriodSeconds") or 0)
        if not shorter and (grace > 0 or finalizers):
            return (
                Verdict("keep", obj) if finalizers == (meta.get("finalizers") or []) else _marked(obj, meta, finalizers)
            )
        asked_at = parse_time(terminating) - timedelta(seconds=int(meta.get("deletionGracePeriodSeconds") or 0))
        meta["deletionTimestamp"] = to_time(max(now, asked_at + timedelta(seconds=grace)) if grace else now)
    else:
        meta["deletionTimestamp"] = to_time(now + timedelta(seconds=grace))
        if meta.get("generation"):
            meta["generation"] += 1
    meta["deletionGracePeriodSeconds"] = grace
    marked = _marked(obj, meta, finalizers)
    if info.collection == "namespaces":
        return _namespace_verdict(marked.obj)
    if grace > 0 or finalizers:
        return marked
    # What goes at once was, to its readers, never terminating; only of pods they see that as a change of its own.
    return Verdict("end", marked.obj) if info.strategy.graceful_seconds else Verdict("remove", obj)


def is_finished(info: ResourceInfo, obj: Object) -> bool:
    """True for a terminating object that nothing holds back any more: an update made it so."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return info.collection != "namespaces" or not (obj.get("spec") or {}).get("finalizers")


def _namespace_verdict(namespace: Object) -> Verdict:
    """A namespace ends through its own finalizers in the spec, once its contents are gone."""
    if is_finished_namespace(namespace):
        return Verdict("remove", namespace)
    meta = {k: v for k, v in namespace["metadata"].items() if k != "deletionGracePeriodSeconds"}
    status = (namespace.get("status") or {}) | {"phase": "Terminating"}
    return Verdict("mark", namespace | {"metadata": meta, "status": status})


def is_finished_namespace(namespace: Object) -> bool:
    return not (namespace.get("spec") or {}).get("finalizers") and not namespace["metadata"].get("finalizers")


def _marked(obj: Object, meta: dict[str, Any], finalizers: list[str]) -> Verdict:
    meta["finalizers"] = finalizers
    return Verdict("mark", obj | {"metadata": metadata.ordered(meta)})


def _finalizers(present: list[str], policy: str | None) -> list[str]:
    """The finalizers with those of the propagation policies set as ``policy`` asks (None: as they are)."""
    if policy is None:
        return list(present)
    wanted = _POLICY_FINALIZERS.get(policy)
    kept = [name for name in present if name not in _POLICY_FINALIZERS.values() or name == wanted]
    return kept if wanted is None or wanted in kept else [*kept, wanted]


def _grace_seconds(info: ResourceInfo, obj: Object, options: DeleteOptions) -> int:
    seconds = info.strategy.graceful_seconds
    return seconds(obj, options.grace_seconds) if seconds else 0
