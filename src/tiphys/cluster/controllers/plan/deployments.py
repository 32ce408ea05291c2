"""The decisions about a Deployment: which ReplicaSet is the new one, how far each may be scaled now, what it says.

    observe ──► paused? ──► sizes only
            ──► somebody changed spec.replicas ──► share out (proportionally while a rollout is under way)
            ──► Recreate: old ones to 0 ──► wait for their pods ──► the new one up
            ──► RollingUpdate: new one up as far as maxSurge lets ──► old ones down as far as maxUnavailable lets

One look does one step; what it changes wakes the next. Source: pkg/controller/deployment (rolling.go, recreate.go,
sync.go, progress.go) and its util.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_of, controller_reference, reference_to
from tiphys.cluster.controllers.plan.statuses import without_condition, without_empty
from tiphys.machinery.actions import Action, Create, Delete, Emit, Patch
from tiphys.machinery.equality import same
from tiphys.machinery.hashes import pod_template_hash
from tiphys.machinery.resources import DEPLOYMENTS, REPLICA_SETS, key_of
from tiphys.machinery.shares import RollingBounds
from tiphys.machinery.times import parse_time, to_time

Object = Mapping[str, Any]

HASH_LABEL: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
REVISION_HISTORY: Final = "deployment.kubernetes.io/revision-history"
DESIRED: Final = "deployment.kubernetes.io/desired-replicas"
MAX: Final = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED: Final = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAX,
        "deprecated.deployment.rollback.revision",
    )
)
_HISTORY_LENGTH_MAX: Final = 2000
_NO_DEADLINE: Final = 2**31 - 1


@dataclass(frozen=True)
class Observed:
    """``pods`` are those of all ``replica_sets``; only Recreate needs them."""

    deployment: Object
    replica_sets: tuple[Object, ...]
    pods: tuple[Object, ...] = ()


@dataclass(frozen=True)
class Step:
    """``actions`` on ReplicaSets in stages, then the ``status`` with ``annotations``; ``wake_at``: look again."""

    actions: tuple[Sequence[Action], ...] = ()
    status: Mapping[str, Any] | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    wake_at: datetime | None = None


class Rollout:
    """The facts of one look, as questions."""

    def __init__(self, seen: Observed, now: datetime) -> None:
        self.deployment = seen.deployment
        self.spec = seen.deployment["spec"]
        self.meta = seen.deployment["metadata"]
        self.now = now
        self.pods = seen.pods
        self.all = sorted(seen.replica_sets, key=_by_age)
        self.new = self._find_new()
        self.old = [each for each in self.all if each is not self.new]

    @property
    def replicas(self) -> int:
        found = self.spec.get("replicas")
        return 1 if found is None else int(found)

    @property
    def is_rolling(self) -> bool:
        return bool((self.spec.get("strategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")

    @property
    def bounds(self) -> RollingBounds:
        if not self.is_rolling:
            return RollingBounds(0, 0, self.replicas)
        rolling = (self.spec.get("strategy") or {}).get("rollingUpdate") or {}
        return RollingBounds.of(rolling.get("maxSurge"), rolling.get("maxUnavailable"), self.replicas)

    @property
    def deadline_seconds(self) -> int | None:
        seconds = self.spec.get("progressDeadlineSeconds")
        return None if seconds is None or seconds == _NO_DEADLINE else int(seconds)

    @property
    def is_scaling(self) -> bool:
        """Somebody changed the number of replicas since the sets were scaled."""
        for each in self.all:
            desired = _number(each, DESIRED)
            if size(each) > 0 and desired is not None and desired != self.replicas:
                return True
        return False

    def _find_new(self) -> Object | None:
        template = self.spec.get("template") or {}
        return next((each for each in self.all if _same_template(each["spec"].get("template") or {}, template)), None)


def plan(seen: Observed, now: datetime) -> Step:
    """The next step of a Deployment's life."""
    rollout = Rollout(seen, now)
    if rollout.meta.get("deletionTimestamp"):
        return _just_status(rollout)
    pausing = _pausing(rollout)
    if pausing is not None:
        return pausing
    if rollout.spec.get("paused") or rollout.is_scaling:
        return _sync(rollout)
    return _roll(rollout) if rollout.is_rolling else _recreate(rollout)


# Pausing and scaling


def _pausing(rollout: Rollout) -> Step | None:
    """Pausing and resuming is said in the Progressing condition before anything else happens."""
    if rollout.deadline_seconds is None:
        return None
    paused = bool(rollout.spec.get("paused"))
    held = podfacts.condition(rollout.deployment, "Progressing")
    if held is not None and held.get("reason") == "ProgressDeadlineExceeded":
        return None
    said = held is not None and held.get("reason") == "DeploymentPaused"
    if paused == said:
        return None
    word = "paused" if paused else "resumed"
    noted = _condition("Progressing", "Unknown", f"Deployment{word.title()}", f"Deployment is {word}", rollout.now)
    status = dict(rollout.deployment.get("status") or {})
    status["conditions"] = set_condition(status.get("conditions") or [], noted)
    return Step(status=status)


def _sync(rollout: Rollout) -> Step:
    """Paused, or scaled: no rollout, only sizes."""
    known = _existing(rollout)
    if known.actions:
        return known
    actions: list[Sequence[Action]] = [_share_out(rollout)]
    if rollout.spec.get("paused") and not any(actions):
        actions.append(_cleanup(rollout))
    return Step(tuple(actions), _status(rollout), known.annotations)


def _just_status(rollout: Rollout) -> Step:
    return Step(status=_status(rollout))


def _share_out(rollout: Rollout) -> list[Action]:
    """Scales the sets to ``replicas``: one of them where one is enough, else in proportion to what they have."""
    active = [each for each in rollout.all if size(each) > 0]
    latest = _active_or_latest(rollout, active)
    if latest is not None:
        return [] if size(latest) == rollout.replicas else _scale(rollout, latest, rollout.replicas)
    if _is_saturated(rollout):
        return [action for each in rollout.old if size(each) > 0 for action in _scale(rollout, each, 0)]
    if not rollout.is_rolling:
        return []
    return _in_proportion(rollout, active)


def _active_or_latest(rollout: Rollout, active: Sequence[Object]) -> Object | None:
    if not rollout.all or len(active) > 1:
        return None
    if active:
        return active[0]
    return rollout.new if rollout.new is not None else rollout.old[-1]


def _is_saturated(rollout: Rollout) -> bool:
    new = rollout.new
    if new is None or _number(new, DESIRED) != rollout.replicas or size(new) != rollout.replicas:
        return False
    return _count(new, "availableReplicas") == rollout.replicas


def _in_proportion(rollout: Rollout, active: Sequence[Object]) -> list[Action]:
    total = sum(map(size, active))
    allowed = rollout.replicas + rollout.bounds.surge if rollout.replicas else 0
    to_add = allowed - total
    # The big ones first; of equals the newer when growing, the older when shrinking.
    by_age = sorted(active, key=_by_age, reverse=to_add > 0)
    ordered = sorted(by_age, key=lambda each: -size(each))
    sizes, added = [], 0
    for each in ordered:
        share = _share(rollout, each, to_add, added) if to_add else 0
        sizes.append(size(each) + share)
        added += share
    if sizes and to_add:
        sizes[0] = max(0, sizes[0] + to_add - added)
    scaled = zip(ordered, sizes, strict=True)
    return [action for each, new_size in scaled for action in _scale(rollout, each, new_size)]


def _share(rollout: Rollout, replica_set: Object, to_add: int, added: int) -> int:
    if size(replica_set) == 0 or to_add == added:
        return 0
    allowed = to_add - added
    fraction = _fraction(rollout, replica_set)
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fraction(rollout: Rollout, replica_set: Object) -> int:
    if rollout.replicas == 0:
        return -size(replica_set)
    most_now = rollout.replicas + rollout.bounds.surge
    most_before = _number(replica_set, MAX) or _count(rollout.deployment, "replicas")
    if not most_before:
        return 0
    # Rounded half away from zero.
    return (2 * size(replica_set) * most_now + most_before) // (2 * most_before) - size(replica_set)


# Rolling


def _roll(rollout: Rollout) -> Step:
    known = _existing(rollout) if rollout.new is not None else _create_new(rollout)
    if known.actions or rollout.new is None:
        return known
    new = rollout.new
    if size(new) != rollout.replicas:
        to = rollout.replicas if size(new) > rollout.replicas else _new_size(rollout, size(new))
        if to != size(new):
            return _with_status(rollout, known, _scale(rollout, new, to))
    down = _old_down(rollout)
    if down:
        return _with_status(rollout, known, down)
    return _with_status(rollout, known, _cleanup(rollout) if _is_complete(rollout) else [])


def _new_size(rollout: Rollout, present: int) -> int:
    """How far the new set may grow at once."""
    if not rollout.is_rolling:
        return rollout.replicas
    room = rollout.replicas + rollout.bounds.surge - sum(map(size, rollout.all))
    if room <= 0:
        return present
    return present + min(room, rollout.replicas - present)


def _old_down(rollout: Rollout) -> list[Action]:
    active = [each for each in rollout.old if size(each) > 0]
    assert rollout.new is not None
    if not active:
        return []
    least = rollout.bounds.available_min
    unavailable = size(rollout.new) - _count(rollout.new, "availableReplicas")
    most = sum(map(size, rollout.all)) - least - unavailable
    if most <= 0:
        return []
    sizes = {each["metadata"]["uid"]: size(each) for each in active}
    actions = _drop_unhealthy(rollout, active, sizes, most)
    available = sum(_count(each, "availableReplicas") for each in rollout.all)
    spare = available - least
    for each in active:
        held = sizes[each["metadata"]["uid"]]
        fewer = min(held, spare)
        if fewer > 0:
            actions += _scale(rollout, each, held - fewer, before=held)
            spare -= fewer
    return actions


def _drop_unhealthy(rollout: Rollout, active: Sequence[Object], sizes: dict[str, int], most: int) -> list[Action]:
    """Replicas of old sets that are not available are missed by nobody."""
    actions: list[Action] = []
    for each in active:
        if most <= 0:
            break
        fewer = min(most, size(each) - _count(each, "availableReplicas"))
        if fewer <= 0:
            continue
        sizes[each["metadata"]["uid"]] = size(each) - fewer
        most -= fewer
        actions += _scale(rollout, each, size(each) - fewer)
    return actions


# Recreate


def _recreate(rollout: Rollout) -> Step:
    known = _existing(rollout)
    if known.actions:
        return known
    down = [action for each in rollout.old if size(each) > 0 for action in _scale(rollout, each, 0)]
    if down:
        return _with_status(rollout, known, down)
    if _old_pods_remain(rollout):
        return _with_status(rollout, known, [])
    if rollout.new is None:
        return _create_new(rollout)
    if size(rollout.new) != rollout.replicas:
        return _with_status(rollout, known, _scale(rollout, rollout.new, rollout.replicas))
    return _with_status(rollout, known, _cleanup(rollout) if _is_complete(rollout) else [])


def _old_pods_remain(rollout: Rollout) -> bool:
    mine = rollout.new["metadata"]["uid"] if rollout.new is not None else None
    for pod in rollout.pods:
        owner = controller_of(pod)
        if owner is not None and owner["uid"] != mine and not podfacts.is_terminated(pod):
            return True
    return False


# ReplicaSets: made, kept up to date, scaled, cleaned up


def _existing(rollout: Rollout) -> Step:
    """What the new set must be brought up to first: annotations, minReadySeconds, the Deployment's own revision."""
    new = rollout.new
    if new is None:
        return Step()
    annotations = _copied(rollout, new, _next_revision(rollout))
    patch: dict[str, Any] = {}
    if annotations != (new["metadata"].get("annotations") or {}):
        patch["metadata"] = {"annotations": annotations, "uid": new["metadata"]["uid"]}
    if int(new["spec"].get("minReadySeconds") or 0) != int(rollout.spec.get("minReadySeconds") or 0):
        patch["spec"] = {"minReadySeconds": rollout.spec.get("minReadySeconds") or None}
    if patch:
        return Step(((Patch(REPLICA_SETS, key_of(new), patch, why="its Deployment changed"),),))
    revision = annotations[REVISION]
    mine = {} if _annotation(rollout.deployment, REVISION) == revision else {REVISION: revision}
    if rollout.deadline_seconds is not None and podfacts.condition(rollout.deployment, "Progressing") is None:
        text = f'Found new replica set "{new["metadata"]["name"]}"'
        noted = _condition("Progressing", "True", "FoundNewReplicaSet", text, rollout.now)
        status = dict(rollout.deployment.get("status") or {})
        status["conditions"] = set_condition(status.get("conditions") or [], noted)
        return Step(status=status, annotations=mine)
    return Step(annotations=mine)


def _next_revision(rollout: Rollout) -> int:
    return max((revision_of(each) for each in rollout.old), default=0) + 1


def _copied(rollout: Rollout, replica_set: Object | None, revision: int) -> dict[str, str]:
    """The annotations of the new set: the Deployment's, and the count of revisions with its history."""
    held: dict[str, str] = dict(replica_set["metadata"].get("annotations") or {}) if replica_set is not None else {}
    given = rollout.meta.get("annotations") or {}
    held.update({key: value for key, value in given.items() if key not in _NOT_COPIED})
    before = held.get(REVISION)
    if revision > (int(before) if before and before.isdecimal() else 0):
        held[REVISION] = str(revision)
        if before:
            history = [*filter(None, held.get(REVISION_HISTORY, "").split(",")), before]
            while len(",".join(history)) > _HISTORY_LENGTH_MAX:
                del history[0]
            held[REVISION_HISTORY] = ",".join(history)
    return held


def _create_new(rollout: Rollout) -> Step:
    """Makes the set of the present template, as big as it may be at once."""
    name = rollout.meta["name"]
    template = rollout.spec.get("template") or {}
    digest = pod_template_hash(template, (rollout.deployment.get("status") or {}).get("collisionCount"))
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
    selector = dict(rollout.spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    to = _new_size(rollout, 0)
    annotations = _copied(rollout, None, _next_revision(rollout)) | _sizes(rollout)
    spec: dict[str, Any] = {
        "replicas": to,
        "selector": selector,
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if rollout.spec.get("minReadySeconds"):
        spec["minReadySeconds"] = rollout.spec["minReadySeconds"]
    made = {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{name}-{digest}",
            "namespace": rollout.meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [controller_reference(rollout.deployment, DEPLOYMENTS)],
        },
        "spec": spec,
    }
    status = _status(rollout)
    if rollout.deadline_seconds is not None:
        text = f'Created new replica set "{name}-{digest}"'
        noted = _condition("Progressing", "True", "NewReplicaSetCreated", text, rollout.now)
        # The original says this before it counts: the conditions come in this order.
        held = (rollout.deployment.get("status") or {}).get("conditions") or []
        available = next(each for each in status["conditions"] if each["type"] == "Available")
        status["conditions"] = set_condition(set_condition(held, noted), available)
    stages: list[Sequence[Action]] = [[Create(REPLICA_SETS, made, why="no ReplicaSet has this template")]]
    if to > 0:
        stages.append([_scaled_event(rollout, f"{name}-{digest}", 0, to)])
    return Step(tuple(stages), status, {REVISION: annotations[REVISION]})


def _scale(rollout: Rollout, replica_set: Object, to: int, before: int | None = None) -> list[Action]:
    """Sets a set's size, and with it what it was sized for; nothing where both are so already."""
    present = size(replica_set) if before is None else before
    meta = replica_set["metadata"]
    annotations = _sizes(rollout)
    if present == to and annotations.items() <= (meta.get("annotations") or {}).items():
        return []
    patch = {"metadata": {"uid": meta["uid"], "annotations": annotations}, "spec": {"replicas": to}}
    actions: list[Action] = [Patch(REPLICA_SETS, key_of(replica_set), patch, why=f"from {present} to {to} replicas")]
    if present != to:
        actions.append(_scaled_event(rollout, meta["name"], present, to))
    return actions


def _sizes(rollout: Rollout) -> dict[str, str]:
    return {DESIRED: str(rollout.replicas), MAX: str(rollout.replicas + rollout.bounds.surge)}


def _scaled_event(rollout: Rollout, name: str, before: int, after: int) -> Emit:
    way = "up" if after > before else "down"
    text = f"Scaled {way} replica set {name} from {before} to {after}"
    return Emit(reference_to(rollout.deployment, DEPLOYMENTS), "Normal", "ScalingReplicaSet", text)


def _cleanup(rollout: Rollout) -> list[Action]:
    """Deletes the oldest sets beyond the history limit."""
    limit = rollout.spec.get("revisionHistoryLimit")
    if limit is None or limit == _NO_DEADLINE:
        return []
    cleanable = [each for each in rollout.old if not each["metadata"].get("deletionTimestamp")]
    surplus = len(cleanable) - int(limit)
    if surplus <= 0:
        return []
    oldest = sorted(cleanable, key=lambda each: (revision_of(each), *_by_age(each)))[:surplus]
    return [
        Delete(REPLICA_SETS, key_of(each), each["metadata"]["uid"], why="beyond revisionHistoryLimit")
        for each in oldest
        if not _count(each, "replicas") and not size(each) and not _is_behind(each)
    ]


def _is_behind(obj: Object) -> bool:
    return int(obj["metadata"].get("generation") or 0) > _count(obj, "observedGeneration")


# Status


def _with_status(rollout: Rollout, known: Step, actions: Sequence[Action]) -> Step:
    """``actions``, and the status with its word on progress; where a deadline runs, when to look again."""
    if known.status is not None:
        return replace(known, actions=(*known.actions, actions))
    status = _progressed(rollout, _status(rollout))
    return Step((actions,), status, known.annotations, _stuck_at(rollout, status))


def _status(rollout: Rollout) -> dict[str, Any]:
    """The counts, and Available."""
    held = rollout.deployment.get("status") or {}
    sets = rollout.all
    available = sum(_count(each, "availableReplicas") for each in sets)
    total = sum(map(size, sets))
    found = {
        "observedGeneration": rollout.meta.get("generation", 0),
        "replicas": sum(_count(each, "replicas") for each in sets),
        "updatedReplicas": _count(rollout.new, "replicas") if rollout.new is not None else 0,
        "readyReplicas": sum(_count(each, "readyReplicas") for each in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total - available),
        "terminatingReplicas": sum(_count(each, "terminatingReplicas") for each in sets),
        "collisionCount": held.get("collisionCount"),
        "conditions": list(held.get("conditions") or ()),
    }
    enough = available >= rollout.bounds.available_min
    word, verb = ("Available", "has") if enough else ("Unavailable", "does not have")
    noted = _condition(
        "Available",
        "True" if enough else "False",
        f"MinimumReplicas{word}",
        f"Deployment {verb} minimum availability.",
        rollout.now,
    )
    found["conditions"] = set_condition(found["conditions"], noted)
    return without_empty(found, frozenset(("terminatingReplicas",)))


def _progressed(rollout: Rollout, status: dict[str, Any]) -> dict[str, Any]:
    """``status`` with Progressing and ReplicaFailure."""
    conditions = list(status.get("conditions") or ())
    held = podfacts.condition(rollout.deployment, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    finished = settled and held is not None and held.get("reason") == "NewReplicaSetAvailable"
    if rollout.deadline_seconds is None:
        conditions = without_condition(conditions, "Progressing")
    elif not finished:
        conditions = _word_on_progress(rollout, status, conditions, held)
    conditions = without_condition(conditions, "ReplicaFailure") + _failures(rollout)
    return status | {"conditions": conditions}


def _word_on_progress(
    rollout: Rollout, status: Mapping[str, Any], conditions: list[dict[str, Any]], held: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    new = rollout.new
    who = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else f'Deployment "{rollout.meta["name"]}"'
    if _is_complete(rollout, status):
        text = f"{who} has successfully progressed."
        return set_condition(conditions, _condition("Progressing", "True", "NewReplicaSetAvailable", text, rollout.now))
    if _has_progressed(rollout.deployment.get("status") or {}, status):
        text = f"{who} is progressing."
        noted = _condition("Progressing", "True", "ReplicaSetUpdated", text, rollout.now)
        if held is not None and held["status"] == "True":
            noted["lastTransitionTime"] = held["lastTransitionTime"]
        # Taken away first: what counts is when progress was last seen.
        return set_condition(without_condition(conditions, "Progressing"), noted)
    if _timed_out(rollout, held):
        text = f"{who} has timed out progressing."
        return set_condition(
            conditions, _condition("Progressing", "False", "ProgressDeadlineExceeded", text, rollout.now)
        )
    return conditions


def _is_complete(rollout: Rollout, status: Mapping[str, Any] | None = None) -> bool:
    found = status if status is not None else rollout.deployment.get("status") or {}
    counts = (found.get("updatedReplicas", 0), found.get("replicas", 0), found.get("availableReplicas", 0))
    observed = int(found.get("observedGeneration") or 0) >= int(rollout.meta.get("generation") or 0)
    return all(count == rollout.replicas for count in counts) and observed


def _has_progressed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    def old(status: Mapping[str, Any]) -> int:
        return int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return any(after.get(name, 0) > before.get(name, 0) for name in grown) or old(after) < old(before)


def _timed_out(rollout: Rollout, held: Mapping[str, Any] | None) -> bool:
    if held is None or held.get("reason") == "NewReplicaSetAvailable":
        return False
    if held.get("reason") == "ProgressDeadlineExceeded":
        return True
    return _deadline(rollout, held) < rollout.now


def _deadline(rollout: Rollout, held: Mapping[str, Any]) -> datetime:
    return parse_time(held["lastUpdateTime"]) + timedelta(seconds=rollout.deadline_seconds or 0)


def _stuck_at(rollout: Rollout, status: Mapping[str, Any]) -> datetime | None:
    """When a rollout that does not go on is given up."""
    held = next((c for c in status.get("conditions") or () if c["type"] == "Progressing"), None)
    if held is None or rollout.deadline_seconds is None or _is_complete(rollout, status):
        return None
    if held.get("reason") in ("ProgressDeadlineExceeded", "DeploymentPaused"):
        return None
    return _deadline(rollout, held) + timedelta(seconds=1)


def _failures(rollout: Rollout) -> list[dict[str, Any]]:
    """The new set's failure to make pods, else those of the old ones: one is told."""
    sets: Iterable[Object] = [*([rollout.new] if rollout.new is not None else []), *rollout.old]
    held = podfacts.condition(rollout.deployment, "ReplicaFailure")
    for each in sets:
        failure = podfacts.condition(each, "ReplicaFailure")
        if failure is not None and failure["status"] == "True":
            if held is not None and held.get("reason") == failure.get("reason"):
                return [dict(held)]
            noted = _condition(
                "ReplicaFailure", failure["status"], failure.get("reason", ""), failure.get("message", ""), rollout.now
            )
            return [noted | {"lastTransitionTime": failure.get("lastTransitionTime")}]
    return []


def failed_creation(deployment: Object, why: str, now: datetime) -> dict[str, Any]:
    """The status of a Deployment whose new ReplicaSet was refused."""
    status = dict(deployment.get("status") or {})
    if deployment["spec"].get("progressDeadlineSeconds") is not None:
        noted = _condition("Progressing", "False", "ReplicaSetCreateError", why, now)
        status["conditions"] = set_condition(status.get("conditions") or [], noted)
    return status


def set_condition(conditions: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions with ``new`` in its place (at the end), unless the same is said already."""
    held = next((each for each in conditions if each["type"] == new["type"]), None)
    if held is not None and held["status"] == new["status"] and held.get("reason") == new["reason"]:
        return [dict(each) for each in conditions]
    added = dict(new)
    if held is not None and held["status"] == new["status"]:
        added["lastTransitionTime"] = held["lastTransitionTime"]
    return [*(dict(each) for each in conditions if each["type"] != new["type"]), added]


def _condition(kind: str, status: str, reason: str, message: str, now: datetime) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": to_time(now),
        "lastTransitionTime": to_time(now),
        "reason": reason,
        "message": message,
    }


# Facts of one object


def size(replica_set: Object) -> int:
    found = replica_set["spec"].get("replicas")
    return 1 if found is None else int(found)


def revision_of(obj: Object) -> int:
    text = _annotation(obj, REVISION) or ""
    return int(text) if text.isdecimal() else 0


def _annotation(obj: Object, name: str) -> str | None:
    return (obj["metadata"].get("annotations") or {}).get(name)


def _number(obj: Object, name: str) -> int | None:
    text = _annotation(obj, name) or ""
    return int(text) if text.isdecimal() else None


def _count(obj: Object, name: str) -> int:
    return int((obj.get("status") or {}).get(name) or 0)


def _by_age(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["name"]


def _same_template(one: Object, other: Object) -> bool:
    return same(_without_hash(one), _without_hash(other))


def _without_hash(template: Object) -> Object:
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH_LABEL}
    kept = {key: value for key, value in meta.items() if key not in ("labels", "creationTimestamp") and value}
    return {**template, "metadata": kept | {"labels": labels}}
