"""The decisions about a StatefulSet: pods with names that stay, made and ended in order, with a claim for each volume.

    OrderedReady: 0 ─ready─► 1 ─ready─► 2 …           down and updates: the highest first, one at a time
    Parallel:     all at once; updates as above

One look does what can be done now; what it waits for wakes the next. Source: pkg/controller/statefulset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.cluster.controllers.plan.revisions import HASH_LABEL, template_of
from tiphys.cluster.controllers.plan.statuses import without_empty
from tiphys.machinery.actions import Action, Create, Delete, Emit, Patch
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS, ObjectKey, key_of
from tiphys.machinery.shares import scaled

Object = Mapping[str, Any]

NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
_SHOWN: Final = frozenset(("replicas", "availableReplicas", "collisionCount"))
_NAME: Final = re.compile(r"(.*)-([0-9]+)")


@dataclass(frozen=True)
class Observed:
    """``current`` and ``update`` are revisions; ``claims`` those that exist, by name."""

    stateful_set: Object
    pods: tuple[Object, ...]
    current: Object
    update: Object
    claims: Mapping[str, Object]


@dataclass
class Step:
    status: dict[str, Any]
    actions: list[Sequence[Action]] = field(default_factory=list)
    wake_at: datetime | None = None


def parent_and_ordinal(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else ("", -1)


class _Facts:
    def __init__(self, seen: Observed, now: datetime) -> None:
        self.seen, self.now = seen, now
        self.set = seen.stateful_set
        self.spec, self.meta = self.set["spec"], self.set["metadata"]
        self.first = int((self.spec.get("ordinals") or {}).get("start") or 0)
        replicas = self.spec.get("replicas")
        self.replicas = 1 if replicas is None else int(replicas)
        self.min_ready = int(self.spec.get("minReadySeconds") or 0)
        self.in_order = self.spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        mine = {parent_and_ordinal(pod["metadata"]["name"])[1]: pod for pod in seen.pods}
        wanted = range(self.first, self.first + self.replicas)
        self.places: dict[int, Object | None] = {number: mine.get(number) for number in wanted}
        self.condemned = [mine[number] for number in sorted(mine, reverse=True) if number not in wanted]
        self.current_name = seen.current["metadata"]["name"]
        self.update_name = seen.update["metadata"]["name"]

    @property
    def partition(self) -> int:
        rolling = (self.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        return int(rolling.get("partition") or 0)

    @property
    def strategy(self) -> str:
        return str((self.spec.get("updateStrategy") or {}).get("type", "RollingUpdate"))

    @property
    def unavailable_max(self) -> int:
        rolling = (self.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        given = rolling.get("maxUnavailable")
        return 1 if given is None else max(1, scaled(given, self.replicas, up=True))

    def is_healthy(self, pod: Object) -> bool:
        return podfacts.phase(pod) == "Running" and podfacts.is_ready(pod) and _stays(pod)

    def is_available(self, pod: Object) -> bool:
        return self.is_healthy(pod) and podfacts.is_available(pod, self.min_ready, self.now)

    def revision_for(self, ordinal: int) -> Object:
        """New pods below the partition (or, without one, among those not updated yet) are of the current revision."""
        if self.strategy != "RollingUpdate":
            return self.seen.current
        rolling = (self.spec.get("updateStrategy") or {}).get("rollingUpdate")
        kept = (
            self.partition if rolling is not None else int((self.set.get("status") or {}).get("currentReplicas") or 0)
        )
        return self.seen.current if ordinal < self.first + kept else self.seen.update


def plan(seen: Observed, about: Mapping[str, Any], now: datetime) -> Step:
    """``about`` is the reference for events."""
    facts = _Facts(seen, now)
    step = Step(status=_status(facts))
    if facts.meta.get("deletionTimestamp"):
        return step
    step.actions = _retained(facts)
    if facts.min_ready:
        step.wake_at = podfacts.next_available(seen.pods, facts.min_ready, now)
    if _keep_places(facts, step, about) and _scale_down(facts, step, about) and facts.strategy == "RollingUpdate":
        _update(facts, step, about)
    return step


def _stays(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp")


# Up


def _keep_places(facts: _Facts, step: Step, about: Mapping[str, Any]) -> bool:
    """Fills the places from the first on; False: wait here."""
    free: list[Sequence[Action]] = []
    for ordinal, pod in facts.places.items():
        if pod is not None and podfacts.is_terminated(pod) and _stays(pod):
            text = f"StatefulSet {key_of(facts.set)} is recreating failed Pod {pod['metadata']['name']}"
            kind = "Warning" if podfacts.phase(pod) == "Failed" else "Normal"
            note = Emit(about, kind, f"Recreating{'Failed' if kind == 'Warning' else 'Terminated'}Pod", text)
            step.actions.append([note, *_delete(facts, pod, about)])
        elif pod is None:
            made = _make(facts, ordinal, about)
            if facts.in_order:
                step.actions += made
                return False
            free.append([action for stage in made for action in stage])
            step.actions += made
            continue
        elif _lacks_claims(facts, pod, ordinal):
            step.actions.append(_claims(facts, ordinal, about))
        if facts.in_order and pod is not None and not facts.is_available(pod):
            return False
    return not free


def _make(facts: _Facts, ordinal: int, about: Mapping[str, Any]) -> list[Sequence[Action]]:
    """The claims, then the pod."""
    name = f"{facts.meta['name']}-{ordinal}"
    pod = _pod(facts, ordinal)
    text = f"Create Pod {name} in StatefulSet {facts.meta['name']} successful"
    created = Create(PODS, pod, why=f"place {ordinal} is free")
    return [_claims(facts, ordinal, about), [created], [Emit(about, "Normal", "SuccessfulCreate", text)]]


def _lacks_claims(facts: _Facts, pod: Object, ordinal: int) -> bool:
    names = [f"{each['metadata']['name']}-{pod['metadata']['name']}" for each in _claim_templates(facts)]
    return podfacts.phase(pod) == "Pending" and any(name not in facts.seen.claims for name in names) and ordinal >= 0


def _claim_templates(facts: _Facts) -> Sequence[Object]:
    found: Sequence[Object] = facts.spec.get("volumeClaimTemplates") or ()
    return found


def _claims(facts: _Facts, ordinal: int, about: Mapping[str, Any]) -> list[Action]:
    actions: list[Action] = []
    pod_name = f"{facts.meta['name']}-{ordinal}"
    for template in _claim_templates(facts):
        name = f"{template['metadata']['name']}-{pod_name}"
        if name in facts.seen.claims:
            continue
        meta = template["metadata"]
        labels = {**(meta.get("labels") or {}), **((facts.spec.get("selector") or {}).get("matchLabels") or {})}
        made: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": PERSISTENT_VOLUME_CLAIMS.kind,
            "metadata": {"name": name, "namespace": facts.meta["namespace"], "labels": labels},
            "spec": template.get("spec") or {},
        }
        if meta.get("annotations"):
            made["metadata"]["annotations"] = dict(meta["annotations"])
        if _policy(facts, "whenDeleted") == "Delete":
            made["metadata"]["ownerReferences"] = [controller_reference(facts.set, STATEFUL_SETS)]
        actions.append(Create(PERSISTENT_VOLUME_CLAIMS, made, why=f"for {pod_name}"))
        text = f"Create Claim {name} Pod {pod_name} in StatefulSet {facts.meta['name']} success"
        actions.append(Emit(about, "Normal", "SuccessfulCreate", text))
    return actions


def _pod(facts: _Facts, ordinal: int) -> Object:
    revision = facts.revision_for(ordinal)
    name = f"{facts.meta['name']}-{ordinal}"
    owner = controller_reference(facts.set, STATEFUL_SETS)
    pod = podfacts.from_template(template_of(revision), facts.meta["namespace"], name, owner, PODS)
    meta, spec = pod["metadata"], pod["spec"]
    meta["generateName"] = f"{facts.meta['name']}-"
    meta["labels"] = {
        **(meta.get("labels") or {}),
        NAME_LABEL: name,
        INDEX_LABEL: str(ordinal),
        HASH_LABEL: revision["metadata"]["name"],
    }
    spec["hostname"] = name
    if facts.spec.get("serviceName"):
        spec["subdomain"] = facts.spec["serviceName"]
    claimed = {each["metadata"]["name"] for each in _claim_templates(facts)}
    if claimed:
        ours = [
            {"name": each, "persistentVolumeClaim": {"claimName": f"{each}-{name}"}}
            for each in (template["metadata"]["name"] for template in _claim_templates(facts))
        ]
        spec["volumes"] = [*ours, *(volume for volume in spec.get("volumes") or () if volume["name"] not in claimed)]
    return pod


# Down and updates


def _scale_down(facts: _Facts, step: Step, about: Mapping[str, Any]) -> bool:
    """Ends what is too many, the highest first; False: wait for it."""
    for pod in facts.condemned:
        if not _stays(pod):
            if facts.in_order:
                return False
            continue
        others = [each for each in facts.places.values() if each is not None]
        if facts.in_order and any(not facts.is_available(each) for each in others) and facts.is_available(pod):
            return False  # an unhealthy one is waited for before a healthy one goes
        step.actions.append(_delete(facts, pod, about))
        if facts.in_order:
            return False
    return not facts.condemned


def _update(facts: _Facts, step: Step, about: Mapping[str, Any]) -> None:
    """Ends pods of the old revision, from the highest place down to the partition."""
    gone = sum(pod is None or not facts.is_available(pod) for pod in facts.places.values())
    room = facts.unavailable_max - gone
    lowest = facts.first + facts.partition
    for ordinal in sorted(facts.places, reverse=True):
        pod = facts.places[ordinal]
        if ordinal < lowest or pod is None:
            break
        is_old = (pod["metadata"].get("labels") or {}).get(HASH_LABEL) != facts.update_name
        if is_old and _stays(pod):
            if facts.is_available(pod) and room <= 0:
                return
            room -= int(facts.is_available(pod))
            step.actions.append(_delete(facts, pod, about))
            if facts.unavailable_max == 1:
                return
        elif not facts.is_available(pod) and facts.unavailable_max == 1:
            return  # what was replaced last comes up first


def _delete(facts: _Facts, pod: Object, about: Mapping[str, Any]) -> list[Action]:
    name = pod["metadata"]["name"]
    text = f"Delete Pod {name} in StatefulSet {facts.meta['name']} successful"
    note = Emit(about, "Normal", "SuccessfulDelete", text)
    return [Delete(PODS, key_of(pod), pod["metadata"]["uid"], why=text), note]


# Claims


def _policy(facts: _Facts, when: str) -> str:
    return str((facts.spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(when, "Retain"))


def _retained(facts: _Facts) -> list[Sequence[Action]]:
    """Owners of the claims, as the retention policy has it: the set's, a condemned pod's, or none."""
    patches: list[Action] = []
    uid = facts.meta["uid"]
    condemned = {pod["metadata"]["name"]: pod for pod in facts.condemned}
    for pod in facts.seen.pods:
        name = pod["metadata"]["name"]
        for template in _claim_templates(facts):
            claim = facts.seen.claims.get(f"{template['metadata']['name']}-{name}")
            if claim is None:
                continue
            wanted: list[dict[str, Any]] = []
            if _policy(facts, "whenScaled") == "Delete" and name in condemned:
                # The pod alone: with the set as an owner beside it the claim would outlive the pod.
                reference = controller_reference(pod, PODS)
                wanted.append({key: reference[key] for key in ("apiVersion", "kind", "name", "uid")})
            elif _policy(facts, "whenDeleted") == "Delete":
                wanted.append(controller_reference(facts.set, STATEFUL_SETS))
            patches += _owned_by(claim, wanted, {uid, pod["metadata"]["uid"]})
    return [patches] if patches else []


def _owned_by(claim: Object, wanted: Sequence[Mapping[str, Any]], ours: set[str]) -> list[Patch]:
    held = claim["metadata"].get("ownerReferences") or []
    others = [each for each in held if each["uid"] not in ours]
    if {each["uid"] for each in held} == {each["uid"] for each in (*others, *wanted)}:
        return []
    patch = {"metadata": {"uid": claim["metadata"]["uid"], "ownerReferences": [*others, *wanted] or None}}
    return [Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), patch, why="the retention policy")]


def claim_keys(stateful_set: Object, pods: Sequence[Object]) -> list[ObjectKey]:
    """The claims that a set's pods have, and that its places will want."""
    meta, spec = stateful_set["metadata"], stateful_set["spec"]
    first = int((spec.get("ordinals") or {}).get("start") or 0)
    replicas = 1 if spec.get("replicas") is None else int(spec["replicas"])
    names = {f"{meta['name']}-{number}" for number in range(first, first + replicas)}
    names |= {pod["metadata"]["name"] for pod in pods}
    return [
        ObjectKey(meta["namespace"], f"{template['metadata']['name']}-{name}")
        for template in spec.get("volumeClaimTemplates") or ()
        for name in sorted(names)
    ]


# Status


def _status(facts: _Facts) -> dict[str, Any]:
    pods = [pod for pod in facts.seen.pods if not podfacts.is_terminated(pod)]
    held = facts.set.get("status") or {}

    def of(revision: str) -> int:
        return sum((pod["metadata"].get("labels") or {}).get(HASH_LABEL) == revision and _stays(pod) for pod in pods)

    found = {
        "observedGeneration": facts.meta.get("generation"),
        "replicas": len(pods),
        "readyReplicas": sum(podfacts.phase(pod) == "Running" and podfacts.is_ready(pod) for pod in pods),
        "availableReplicas": sum(facts.is_available(pod) for pod in pods),
        "currentReplicas": of(facts.current_name),
        "updatedReplicas": of(facts.update_name),
        "currentRevision": facts.current_name,
        "updateRevision": facts.update_name,
        "collisionCount": int(held.get("collisionCount") or 0),
    }
    done = found["updatedReplicas"] == found["replicas"] == found["readyReplicas"] and len(pods) == facts.replicas
    if facts.strategy == "RollingUpdate" and done:
        found["currentReplicas"], found["currentRevision"] = found["updatedReplicas"], facts.update_name
    return without_empty(found, _SHOWN)
