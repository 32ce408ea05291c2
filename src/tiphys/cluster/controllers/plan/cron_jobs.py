"""The decisions about a CronJob: when the next job is due, which one is made now, which old ones go.

Source: pkg/controller/cronjob (cronjob_controllerv2.go, utils.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan.jobs import is_finished
from tiphys.cluster.controllers.plan.owners import controller_reference, reference_to
from tiphys.lang import cron
from tiphys.machinery.actions import Action, Create, Delete, Emit
from tiphys.machinery.resources import CRON_JOBS, JOBS, key_of
from tiphys.machinery.times import parse_time, to_time

Object = Mapping[str, Any]

SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_EXTRA: Final = timedelta(milliseconds=100)
_MISSED_MAX: Final = 100


@dataclass(frozen=True)
class Observed:
    cron_job: Object
    jobs: tuple[Object, ...]


@dataclass
class Step:
    status: dict[str, Any]
    actions: list[Sequence[Action]] = field(default_factory=list)
    wake_at: datetime | None = None
    starts: Create | None = None
    """The job to make, for the moment ``due``."""
    due: datetime | None = None


def plan(seen: Observed, now: datetime) -> Step:
    cron_job, spec = seen.cron_job, seen.cron_job["spec"]
    about = reference_to(cron_job, CRON_JOBS)
    status = dict(cron_job.get("status") or {})
    notes = _take_note(seen, status, about)
    step = Step(status=status)
    step.actions = [notes, _too_old(seen)]
    if cron_job["metadata"].get("deletionTimestamp") or spec.get("suspend"):
        return step
    try:
        schedule = cron.parse(cron.with_zone(spec["schedule"], spec.get("timeZone") or ""))
    except cron.CronError as err:
        text = f'unparseable schedule "{spec["schedule"]}": {err}'
        step.actions.append([Emit(about, "Warning", "UnparseableSchedule", text)])
        return step
    _start_due(seen, step, schedule, about, now)
    return step


def _start_due(seen: Observed, step: Step, schedule: cron.Schedule, about: Mapping[str, Any], now: datetime) -> None:
    spec = seen.cron_job["spec"]
    due, missed = _last_due(seen.cron_job, schedule, now)
    following = schedule.next(now)
    step.wake_at = following + _EXTRA if following is not None else None
    if missed > _MISSED_MAX:
        hint = "Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        text = f"too many missed start times: {missed}. {hint}"
        step.actions.append([Emit(about, "Warning", "TooManyMissedTimes", text)])
    if due is None:
        return
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None and due + timedelta(seconds=int(deadline)) < now:
        text = f"Missed scheduled time to start a job: {due.strftime('%a, %d %b %Y %H:%M:%S +0000')}"
        step.actions.append([Emit(about, "Warning", "MissSchedule", text)])
        return
    active = list(step.status.get("active") or ())
    if any(each["name"] == _name(seen.cron_job, due) for each in active):
        return
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        step.actions.append([Emit(about, "Normal", "JobAlreadyActive", text)])
        return
    if policy == "Replace":
        running = {each["uid"] for each in active}
        for job in seen.jobs:
            if job["metadata"]["uid"] in running:
                text = f"Deleted job {job['metadata']['name']}"
                step.actions.append([_delete(job), Emit(about, "Normal", "SuccessfulDelete", text)])
        step.status["active"] = []
    step.starts, step.due = Create(JOBS, _job(seen.cron_job, due), why=f"due at {to_time(due)}"), due


def _last_due(cron_job: Object, schedule: cron.Schedule, now: datetime) -> tuple[datetime | None, int]:
    """The most recent moment that was due and not started, and how many there were (counted to a bound)."""
    began = (cron_job.get("status") or {}).get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"]
    earliest = parse_time(began)
    deadline = cron_job["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        earliest = max(earliest, now - timedelta(seconds=int(deadline)))
    last, count = None, 0
    moment = schedule.next(earliest)
    while moment is not None and moment <= now:
        last, count = moment, count + 1
        if count > _MISSED_MAX:
            # A schedule far behind is not walked minute by minute.
            later = schedule.next(now - (now - moment) / 2)
            moment = later if later is not None and later > moment and later <= now else schedule.next(moment)
        else:
            moment = schedule.next(moment)
    return last, count


def _name(cron_job: Object, due: datetime) -> str:
    return f"{cron_job['metadata']['name']}-{int(due.timestamp()) // 60}"


def _job(cron_job: Object, due: datetime) -> dict[str, Any]:
    template = cron_job["spec"].get("jobTemplate") or {}
    given = template.get("metadata") or {}
    zone = cron_job["spec"].get("timeZone")
    stamp = due.isoformat() if zone else to_time(due)
    meta: dict[str, Any] = {
        "name": _name(cron_job, due),
        "namespace": cron_job["metadata"]["namespace"],
        "annotations": {**(given.get("annotations") or {}), SCHEDULED: stamp},
        "ownerReferences": [controller_reference(cron_job, CRON_JOBS)],
    }
    if given.get("labels"):
        meta["labels"] = dict(given["labels"])
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": meta, "spec": template.get("spec") or {}}


def started(step: Step, job: Object) -> dict[str, Any]:
    """The status after ``step.starts`` made this job."""
    assert step.due is not None
    reference = _reference(job)
    active = [each for each in step.status.get("active") or () if each["uid"] != reference["uid"]]
    return step.status | {"active": [*active, reference], "lastScheduleTime": to_time(step.due)}


def _reference(job: Object) -> dict[str, Any]:
    meta = job["metadata"]
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
    }


def _take_note(seen: Observed, status: dict[str, Any], about: Mapping[str, Any]) -> list[Action]:
    """Brings ``status.active`` up to date with the jobs there are."""
    notes: list[Action] = []
    jobs = {job["metadata"]["uid"]: job for job in seen.jobs}
    kept = []
    for each in status.get("active") or ():
        job = jobs.get(each["uid"])
        if job is None:
            notes.append(Emit(about, "Normal", "MissingJob", f"Active job went missing: {each['name']}"))
        elif is_finished(job):
            verdict = next(c for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed"))
            text = f"Saw completed job: {each['name']}, condition: {verdict['type']}"
            notes.append(Emit(about, "Normal", "SawCompletedJob", text))
        else:
            kept.append(each)
    for job in seen.jobs:
        ended = (job.get("status") or {}).get("completionTime")
        if ended and is_finished(job) and ended > status.get("lastSuccessfulTime", ""):
            status["lastSuccessfulTime"] = ended
    status["active"] = kept
    return notes


def _too_old(seen: Observed) -> list[Action]:
    """Finished jobs beyond the history limits, the oldest first."""
    spec = seen.cron_job["spec"]
    actions: list[Action] = []
    for name, wanted in (("successfulJobsHistoryLimit", "Complete"), ("failedJobsHistoryLimit", "Failed")):
        limit = spec.get(name)
        if limit is None:
            continue
        done = [job for job in seen.jobs if _ended_as(job, wanted)]
        done.sort(key=lambda job: ((job["status"] or {}).get("startTime") or "", job["metadata"]["name"]))
        actions += [_delete(job) for job in done[: max(0, len(done) - int(limit))]]
    return actions


def _ended_as(job: Object, wanted: str) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each["type"] == wanted and each["status"] == "True" for each in conditions)


def _delete(job: Object) -> Delete:
    return Delete(JOBS, key_of(job), job["metadata"]["uid"], propagation="Background", why="beyond the history limit")
