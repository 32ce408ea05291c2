"""The decisions about a Job: which pods to make or end, how its ended ones count, and when it is over.

    pods end ──► counted as "uncounted" (by uid) ──► their finalizer goes ──► counted for good
    over     ──► SuccessCriteriaMet | FailureTarget ──► nothing runs, all is counted ──► Complete | Failed

A pod carries a finalizer until it is counted, so that none is lost or counted twice. Source: pkg/controller/job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan import indexes
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.cluster.controllers.plan.pod_failures import judge
from tiphys.cluster.controllers.plan.statuses import without_empty
from tiphys.machinery.actions import Action, Create, Delete, Patch, PatchType
from tiphys.machinery.resources import JOBS, PODS, key_of
from tiphys.machinery.times import parse_time, to_time

Object = Mapping[str, Any]

FINALIZER: Final = "batch.kubernetes.io/job-tracking"
INDEX: Final = "batch.kubernetes.io/job-completion-index"
FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
IGNORED: Final = "batch.kubernetes.io/job-index-ignored-failure-count"
_SHOWN: Final = frozenset(("terminating", "ready", "uncountedTerminatedPods"))
_BURST_MAX: Final = 500
_BACKOFF_FIRST: Final = timedelta(seconds=10)
_BACKOFF_MAX: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Observed:
    job: Object
    pods: tuple[Object, ...]


@dataclass
class Step:
    """First ``interim`` status and the pods' ``finalizers``, then ``pods`` are made or ended, then ``status``.

    ``news`` are events: type, reason, message.
    """

    status: dict[str, Any]
    interim: dict[str, Any] | None = None
    finalizers: list[Action] = field(default_factory=list)
    pods: list[Sequence[Action]] = field(default_factory=list)
    news: list[tuple[str, str, str]] = field(default_factory=list)
    wake_at: datetime | None = None


def is_finished(job: Object) -> bool:
    return any(_holds(job, kind) for kind in ("Complete", "Failed"))


def _holds(job: Object, kind: str) -> bool:
    found = podfacts.condition(job, kind)
    return found is not None and found["status"] == "True"


class Facts:
    """What one look at a job and its pods says."""

    def __init__(self, seen: Observed, now: datetime) -> None:
        self.job, self.spec, self.meta = seen.job, seen.job["spec"], seen.job["metadata"]
        self.status: Mapping[str, Any] = seen.job.get("status") or {}
        self.now = now
        self.pods = seen.pods
        self.is_indexed = self.spec.get("completionMode") == "Indexed"
        self.completions: int | None = self.spec.get("completions")
        self.suspended = bool(self.spec.get("suspend"))
        self.replaces_failed_only = self.spec.get("podReplacementPolicy") == "Failed"
        self.active = [pod for pod in seen.pods if podfacts.is_active(pod)]
        self.terminating = [pod for pod in seen.pods if podfacts.is_terminating(pod)]
        uncounted = self.status.get("uncountedTerminatedPods") or {}
        self.uncounted_succeeded = list(uncounted.get("succeeded") or ())
        self.uncounted_failed = list(uncounted.get("failed") or ())
        policy = self.spec.get("podFailurePolicy")
        self.verdicts = {pod["metadata"]["uid"]: judge(policy, pod) for pod in self.failed_pods}
        known = {*self.uncounted_succeeded, *self.uncounted_failed}
        fresh = [pod for pod in seen.pods if has_finalizer(pod) and pod["metadata"]["uid"] not in known]
        self.done_before = self._done_before()
        self.new_succeeded = self._countable([pod for pod in fresh if podfacts.phase(pod) == "Succeeded"])
        self.new_failed = [pod for pod in fresh if self.has_failed(pod) and not self.is_ignored(pod)]
        self.ignored = [pod for pod in fresh if self.has_failed(pod) and self.is_ignored(pod)]
        self.succeeded = (
            int(self.status.get("succeeded") or 0) + len(self.uncounted_succeeded) + len(self.new_succeeded)
        )
        self.failed = int(self.status.get("failed") or 0) + len(self.uncounted_failed) + len(self.new_failed)
        self.done = self.done_before | {index_of(pod) for pod in self._succeeded_pods()} - {-1}
        if self.is_indexed:
            self.succeeded = len(self.done)
        self.failed_indexes = self._failed_indexes()

    @property
    def failed_pods(self) -> list[Object]:
        return [pod for pod in self.pods if podfacts.phase(pod) == "Failed"]

    def has_failed(self, pod: Object) -> bool:
        """Ended badly; a pod that is being deleted counts at once, unless only failed ones are replaced."""
        if podfacts.phase(pod) == "Failed":
            return True
        waits = self.replaces_failed_only or bool(self.spec.get("podFailurePolicy"))
        return bool(pod["metadata"].get("deletionTimestamp")) and not waits and podfacts.phase(pod) != "Succeeded"

    def is_ignored(self, pod: Object) -> bool:
        verdict = self.verdicts.get(pod["metadata"]["uid"])
        return verdict is not None and verdict.action == "Ignore"

    def _succeeded_pods(self) -> list[Object]:
        return [pod for pod in self.pods if podfacts.phase(pod) == "Succeeded"]

    def _done_before(self) -> set[int]:
        return indexes.parse(self.status.get("completedIndexes") or "", self.completions or 0)

    def _countable(self, pods: list[Object]) -> list[Object]:
        """Of an indexed job each index counts once."""
        if not self.is_indexed:
            return pods
        seen = set(self.done_before)
        found = []
        for pod in pods:
            index = index_of(pod)
            if 0 <= index < (self.completions or 0) and index not in seen:
                seen.add(index)
                found.append(pod)
        return found

    def _failed_indexes(self) -> set[int]:
        limit = self.spec.get("backoffLimitPerIndex")
        if limit is None:
            return set()
        found = indexes.parse(self.status.get("failedIndexes") or "", self.completions or 0)
        for pod in self.failed_pods:
            verdict = self.verdicts[pod["metadata"]["uid"]]
            fails = verdict is not None and verdict.action == "FailIndex"
            if fails or (not self.is_ignored(pod) and _count(pod, FAILURES) >= limit):
                found.add(index_of(pod))
        return found - self.done - {-1}


def plan(seen: Observed, now: datetime) -> Step:
    """What is to be done for a job that is not finished."""
    facts = Facts(seen, now)
    step = Step(status=dict(facts.status))
    _start(facts, step)
    over = _verdict(facts)
    active = len(facts.active)
    ending: list[Object] = []
    if over is not None:
        ending = facts.active
        step.pods = [[_delete(pod, "the job is over") for pod in ending]] if ending else []
        active = 0
        if over[0] == "FailureTarget" and not facts.replaces_failed_only and not facts.spec.get("podFailurePolicy"):
            facts.new_failed += [pod for pod in ending if has_finalizer(pod)]
    elif not facts.meta.get("deletionTimestamp"):
        active = _manage(facts, step)
        if _is_complete(facts, active):
            over = ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
            active = 0
        else:
            _suspension(facts, step)
    _count_up(facts, step, over, active, ending)
    return step


# When it is over


def _verdict(facts: Facts) -> tuple[str, str, str] | None:
    """The condition that ends the job (type, reason, message), from its pods; None: it goes on."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        held = podfacts.condition(facts.job, kind)
        if held is not None and held["status"] == "True":
            return kind, held.get("reason", ""), held.get("message", "")
    failing = next((v for v in facts.verdicts.values() if v is not None and v.action == "FailJob"), None)
    if failing is not None:
        return "FailureTarget", "PodFailurePolicy", failing.message
    limit = facts.spec.get("backoffLimit")
    if (limit is not None and facts.failed > limit) or _restarts_exceed(facts, limit):
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline = _deadline(facts)
    if deadline is not None and deadline <= facts.now:
        return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    return _indexes_verdict(facts)


def _indexes_verdict(facts: Facts) -> tuple[str, str, str] | None:
    if facts.spec.get("backoffLimitPerIndex") is not None:
        most = facts.spec.get("maxFailedIndexes")
        if most is not None and len(facts.failed_indexes) > most:
            text = "Job has exceeded the specified maximal number of failed indexes"
            return "FailureTarget", "MaxFailedIndexesExceeded", text
        if facts.failed_indexes and len(facts.done) + len(facts.failed_indexes) >= (facts.completions or 0):
            return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    rules = (facts.spec.get("successPolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        if _satisfies(facts, rule):
            return "SuccessCriteriaMet", "SuccessPolicy", f"Matched rules at index {number}"
    return None


def _satisfies(facts: Facts, rule: Mapping[str, Any]) -> bool:
    count, named = rule.get("succeededCount"), rule.get("succeededIndexes")
    if named is None:
        return count is not None and len(facts.done) >= count
    wanted = indexes.parse(named, facts.completions or 0)
    matched = len(wanted & facts.done)
    return matched >= count if count is not None else matched == len(wanted)


def _restarts_exceed(facts: Facts, limit: int | None) -> bool:
    template = (facts.spec.get("template") or {}).get("spec") or {}
    if limit is None or template.get("restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in facts.pods:
        if podfacts.phase(pod) in ("Running", "Pending"):
            status = pod.get("status") or {}
            rows = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
            restarts += sum(int(row.get("restartCount") or 0) for row in rows)
    return restarts > 0 if limit == 0 else restarts >= limit


def _deadline(facts: Facts) -> datetime | None:
    seconds, began = facts.spec.get("activeDeadlineSeconds"), facts.status.get("startTime")
    if seconds is None or began is None or facts.suspended:
        return None
    return parse_time(began) + timedelta(seconds=int(seconds))


def _is_complete(facts: Facts, active: int) -> bool:
    if facts.suspended and not facts.succeeded:
        return False
    if facts.completions is None:
        return facts.succeeded > 0 and active == 0
    return facts.succeeded >= facts.completions


# Pods


def _manage(facts: Facts, step: Step) -> int:
    """Makes or ends pods; how many are active then."""
    active = len(facts.active)
    if facts.suspended:
        step.pods = _ended_early(facts.active, "the job is suspended")
        return 0
    parallel = int(facts.spec.get("parallelism", 1))
    if facts.completions is None:
        wanted = active if facts.succeeded else parallel
    else:
        wanted = min(parallel, max(0, facts.completions - facts.succeeded - len(facts.failed_indexes)))
    if active > wanted:
        chosen = podfacts.victims(facts.active, active - wanted, facts.now, lambda _: 0)
        step.pods = _ended_early(chosen, "more pods than parallelism")
        return wanted
    more = wanted - active - (len(facts.terminating) if facts.replaces_failed_only else 0)
    if more <= 0:
        return active
    if facts.spec.get("backoffLimitPerIndex") is None:
        ready_at = _backoff(facts.pods)
        if ready_at is not None and ready_at > facts.now:
            step.wake_at = ready_at
            return active
    creates = _new_pods(facts, step, min(more, _BURST_MAX))
    step.pods = podfacts.slow_start(creates)
    return active + len(creates)


def _ended_early(pods: Sequence[Object], why: str) -> list[Sequence[Action]]:
    """Pods that are not to count: their finalizer goes first."""
    if not pods:
        return []
    return [[_release(pod) for pod in pods if has_finalizer(pod)], [_delete(pod, why) for pod in pods]]


def _backoff(pods: Sequence[Object]) -> datetime | None:
    """When a pod may follow failed ones: 10 s after the first in a row, then twice as long each."""
    succeeded = max((_ended_at(pod) for pod in pods if podfacts.phase(pod) == "Succeeded"), default=None)
    # Ignored failures do not count, but they are waited for as well.
    failed = [pod for pod in pods if podfacts.phase(pod) == "Failed"]
    failures = [at for at in map(_ended_at, failed) if succeeded is None or at > succeeded]
    if not failures:
        return None
    last: datetime = max(failures)
    return last + min(_BACKOFF_MAX, _BACKOFF_FIRST * 2.0 ** min(len(failures) - 1, 20))


def _ended_at(pod: Object) -> datetime:
    ends = []
    for row in (pod.get("status") or {}).get("containerStatuses") or ():
        finished = ((row.get("state") or {}).get("terminated") or {}).get("finishedAt")
        if finished:
            ends.append(parse_time(finished))
    ready = podfacts.condition(pod, "Ready")
    if not ends and ready is not None and ready.get("lastTransitionTime"):
        ends.append(parse_time(ready["lastTransitionTime"]))
    meta = pod["metadata"]
    return max(ends, default=parse_time(meta.get("deletionTimestamp") or meta["creationTimestamp"]))


def _new_pods(facts: Facts, step: Step, count: int) -> list[Create]:
    if not facts.is_indexed:
        return [Create(PODS, _pod(facts, None), why="the job is not done")] * count
    busy = {index_of(pod) for pod in facts.active} | facts.done | facts.failed_indexes
    if facts.replaces_failed_only:
        busy |= {index_of(pod) for pod in facts.terminating}
    found: list[Create] = []
    for index in range(facts.completions or 0):
        if len(found) == count:
            break
        if index in busy:
            continue
        mine = [pod for pod in facts.pods if index_of(pod) == index]
        if facts.spec.get("backoffLimitPerIndex") is not None:
            ready_at = _backoff(mine)
            if ready_at is not None and ready_at > facts.now:
                step.wake_at = min(ready_at, step.wake_at or ready_at)
                continue
        found.append(Create(PODS, _pod(facts, index, mine), why=f"index {index} is not done"))
    return found


def _pod(facts: Facts, index: int | None, before: Sequence[Object] = ()) -> Object:
    meta = facts.meta
    template = facts.spec.get("template") or {}
    owner = controller_reference(facts.job, JOBS)
    prefix = podfacts.prefix(meta["name"] if index is None else f"{meta['name']}-{index}")
    pod = podfacts.from_template(template, meta["namespace"], prefix, owner, PODS)
    pod["metadata"]["finalizers"] = [*(pod["metadata"].get("finalizers") or ()), FINALIZER]
    if index is not None:
        _with_index(facts, pod, index, before)
    return pod


def _with_index(facts: Facts, pod: dict[str, Any], index: int, before: Sequence[Object]) -> None:
    meta, spec = pod["metadata"], pod["spec"]
    annotations = {**(meta.get("annotations") or {}), INDEX: str(index)}
    if facts.spec.get("backoffLimitPerIndex") is not None:
        failed = [each for each in before if podfacts.phase(each) == "Failed"]
        last = max(failed, key=_ended_at, default=None)
        ignored = last is not None and facts.is_ignored(last)
        annotations[FAILURES] = str(_count(last, FAILURES) + (0 if ignored else 1) if last is not None else 0)
        if last is not None and (ignored or _count(last, IGNORED)):
            annotations[IGNORED] = str(_count(last, IGNORED) + int(ignored))
    meta["annotations"] = annotations
    meta["labels"] = {**(meta.get("labels") or {}), INDEX: str(index)}
    spec.setdefault("hostname", f"{facts.meta['name']}-{index}")
    variable = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
    }
    for kind in ("containers", "initContainers"):
        if spec.get(kind):
            spec[kind] = [
                {**each, "env": [*(e for e in each.get("env") or () if e["name"] != variable["name"]), variable]}
                for each in spec[kind]
            ]


# Counting and saying


def _start(facts: Facts, step: Step) -> None:
    if not facts.suspended and not facts.status.get("startTime"):
        step.status["startTime"] = to_time(facts.now)
        seconds = facts.spec.get("activeDeadlineSeconds")
        if seconds is not None:
            step.wake_at = facts.now + timedelta(seconds=int(seconds))
    elif (at := _deadline(facts)) is not None:
        step.wake_at = at


def _suspension(facts: Facts, step: Step) -> None:
    held = podfacts.condition(facts.job, "Suspended")
    conditions = list(step.status.get("conditions") or ())
    if facts.suspended and (held is None or held["status"] != "True"):
        said = _condition("Suspended", "JobSuspended", "Job suspended", facts.now)
        step.status["conditions"] = _with(conditions, said)
        step.news.append(("Normal", "Suspended", "Job suspended"))
    elif not facts.suspended and held is not None and held["status"] == "True":
        said = _condition("Suspended", "JobResumed", "Job resumed", facts.now) | {"status": "False"}
        step.status["conditions"] = _with(conditions, said)
        step.status["startTime"] = to_time(facts.now)
        step.news.append(("Normal", "Resumed", "Job resumed"))


def _count_up(
    facts: Facts, step: Step, over: tuple[str, str, str] | None, active: int, ending: Sequence[Object]
) -> None:
    ending_uids = {pod["metadata"]["uid"] for pod in ending}
    ready = sum(podfacts.is_ready(pod) for pod in facts.active) if over is None and not facts.suspended else 0
    status = step.status | {"active": active, "terminating": len(facts.terminating), "ready": ready}
    if facts.is_indexed:
        status["completedIndexes"] = indexes.text(facts.done)
        if facts.spec.get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = indexes.text(facts.failed_indexes)
    if over is not None:
        kind, reason, message = over
        if not _holds(facts.job, kind):
            said = _condition(kind, reason, message, facts.now)
            status["conditions"] = _with(list(status.get("conditions") or ()), said)
    succeeded = [*facts.uncounted_succeeded, *(pod["metadata"]["uid"] for pod in facts.new_succeeded)]
    failed = [*facts.uncounted_failed, *(pod["metadata"]["uid"] for pod in facts.new_failed)]
    held = [pod for pod in facts.pods if has_finalizer(pod)]
    leaving = [pod for pod in held if _is_over(facts, pod) or pod["metadata"]["uid"] in ending_uids]
    if succeeded or failed:
        uncounted = {"succeeded": succeeded, "failed": failed}
        step.interim = _shown(status | {"uncountedTerminatedPods": {k: v for k, v in uncounted.items() if v}})
    step.finalizers = [_release(pod) for pod in leaving]
    status["uncountedTerminatedPods"] = {}
    status["succeeded"] = (
        len(facts.done) if facts.is_indexed else int(facts.status.get("succeeded") or 0) + len(succeeded)
    )
    status["failed"] = int(facts.status.get("failed") or 0) + len(failed)
    still = [pod for pod in facts.terminating if not has_finalizer(pod) or pod not in leaving]
    if over is not None and not (still and facts.replaces_failed_only):
        _finish(facts, step, status, over)
    step.status = _shown(status)


def _is_over(facts: Facts, pod: Object) -> bool:
    return podfacts.is_terminated(pod) or facts.has_failed(pod)


def _finish(facts: Facts, step: Step, status: dict[str, Any], over: tuple[str, str, str]) -> None:
    kind, reason, message = over
    final = "Complete" if kind == "SuccessCriteriaMet" else "Failed"
    status["conditions"] = _with(list(status["conditions"]), _condition(final, reason, message, facts.now))
    if final == "Complete":
        status["completionTime"] = to_time(facts.now)
        step.news.append(("Normal", "Completed", "Job completed"))
    else:
        step.news.append(("Warning", reason, message))
    step.wake_at = None


def _shown(status: Mapping[str, Any]) -> dict[str, Any]:
    return without_empty(status, _SHOWN)


def _with(conditions: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(each for each in conditions if each["type"] != new["type"]), new]


def _condition(kind: str, reason: str, message: str, now: datetime) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "lastProbeTime": to_time(now),
        "lastTransitionTime": to_time(now),
        "reason": reason,
        "message": message,
    }


def finished_at(job: Object) -> datetime | None:
    """When a finished job finished."""
    for each in (job.get("status") or {}).get("conditions") or ():
        if each["type"] in ("Complete", "Failed") and each["status"] == "True":
            return parse_time(each["lastTransitionTime"])
    return None


# Facts of one pod


def has_finalizer(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def index_of(pod: Object) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdecimal() else -1


def _count(pod: Object, annotation: str) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(annotation, "")
    return int(text) if text.isdecimal() else 0


def _release(pod: Object) -> Patch:
    patch = {"metadata": {"uid": pod["metadata"]["uid"], "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    return Patch(PODS, key_of(pod), patch, PatchType.STRATEGIC, why="it is counted")


def _delete(pod: Object, why: str) -> Delete:
    return Delete(PODS, key_of(pod), pod["metadata"]["uid"], why=why)


def released(pod: Object) -> Patch:
    """Takes the finalizer off a pod whose job is gone."""
    return _release(pod)
