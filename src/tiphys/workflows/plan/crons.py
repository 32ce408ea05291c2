"""What follows for a CronWorkflow from the time and its workflows: which to submit, to end and to delete.

    due       a schedule's moment since we began to watch (``armed_at``): submitted, unless suspended, stopped, or the
              ``when`` or the concurrency policy says no
    missed    a moment before that and after the last one submitted: only within ``startingDeadlineSeconds``, and only
              if the schedule is still the one that was used last
    children  its unfinished workflows are ``status.active``; finished ones are counted, and deleted beyond the limits

A child's name ends in the scheduled moment, so that submitting twice makes one. Source: upstream's workflow/cron.
Different on purpose: what is active is what exists and has not finished, not a list that is written by hand; and
``cronworkflow.annotations`` are the annotations (upstream gives the labels).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tiphys.lang import cron as schedules
from tiphys.lang import tags
from tiphys.lang.gotime import from_datetime
from tiphys.machinery.actions import Action, Create, Delete, Patch, Plan
from tiphys.machinery.resources import CRON_WORKFLOWS, WORKFLOWS, key_of
from tiphys.machinery.times import parse_time, to_time
from tiphys.workflows.plan import chance, submit, text
from tiphys.workflows.plan.nodes import COMPLETED
from tiphys.workflows.plan.problems import Problem

Object = Mapping[str, Any]

COMPLETED_LABEL = "cronworkflows.argoproj.io/completed"
LAST_SCHEDULE = "cronworkflows.argoproj.io/last-used-schedule"
PROPAGATED_LABELS = tuple(
    f"workflows.argoproj.io/{name}" for name in ("creator", "creator-email", "creator-preferred-username")
)
KEPT_SUCCESSFUL, KEPT_FAILED = 3, 1


@dataclass(frozen=True, slots=True)
class Observed:
    """``children`` are the workflows that it controls; moments before ``armed_at`` count as missed, not as due."""

    cron: Object
    children: tuple[Object, ...]
    armed_at: datetime

    @property
    def spec(self) -> Object:
        spec: Object = self.cron["spec"]
        return spec

    @property
    def status(self) -> Object:
        return self.cron.get("status") or {}

    @property
    def schedule_texts(self) -> list[str]:
        return [
            schedules.with_zone(str(one), self.spec.get("timezone") or "") for one in self.spec.get("schedules") or ()
        ]

    @property
    def unfinished(self) -> list[Object]:
        return [child for child in self.children if not _is_finished(child)]


def plan(seen: Observed, now: datetime) -> Plan:
    """``now`` is UTC."""
    with chance.deciding(str(seen.cron["metadata"].get("uid", "")), now):
        return _plan(seen, now)


def _plan(seen: Observed, now: datetime) -> Plan:
    status, conditions = _counted(seen), _Conditions(seen.status.get("conditions") or ())
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    submitted: list[Action] = []
    wake_at: datetime | None = None
    try:
        parsed = [schedules.parse(one) for one in seen.schedule_texts]
        conditions.remove("SpecError")
    except schedules.CronError as err:
        parsed = []
        conditions.put("SpecError", str(err))
    try:
        if _stops(seen, status):
            status["phase"] = "Stopped"
            labels[COMPLETED_LABEL] = "true"
    except Problem as err:
        conditions.put(
            "SpecError", f"failed to check CronWorkflow '{seen.cron['metadata']['name']}' stopping condition: {err}"
        )
    if parsed and status.get("phase") != "Stopped":
        wake_at = min((at for one in parsed if (at := one.next(now)) is not None), default=None)
        moment = _moment(seen, parsed, now)
        if moment is not None:
            annotations[LAST_SCHEDULE] = ",".join(seen.schedule_texts)
            submitted = _submission(seen, moment, status, conditions)
    status["conditions"] = conditions.rows or None
    writes = [*_patch(seen, status, labels, annotations), *_surplus(seen)]
    stages = tuple(stage for stage in (tuple(submitted), tuple(writes)) if stage)
    return Plan(stages, wake_at)


def _moment(seen: Observed, parsed: Iterable[schedules.Schedule], now: datetime) -> datetime | None:
    """The latest moment that is due, or that was missed and may still be made up for."""
    due = [at for one in parsed if (at := _latest(one, seen.armed_at, now)) is not None]
    if due:
        return max(due)
    last, allowed = seen.status.get("lastScheduledTime"), seen.spec.get("startingDeadlineSeconds")
    used = (seen.cron["metadata"].get("annotations") or {}).get(LAST_SCHEDULE)
    if last is None or allowed is None or used != ",".join(seen.schedule_texts):
        return None
    earliest = max(parse_time(last), now - timedelta(seconds=int(allowed)))
    missed = [at for one in parsed if (at := _latest(one, earliest, now)) is not None]
    return max(missed, default=None)


def _latest(schedule: schedules.Schedule, after: datetime, until: datetime) -> datetime | None:
    """The last moment in (after, until]; one that lies long back is looked for in growing steps from the end."""
    step = timedelta(minutes=2)
    while True:
        start = max(after, until - step)
        found = schedule.next(start)
        if found is not None and found <= until:
            break
        if start == after:
            return None
        step *= 4
    while (following := schedule.next(found)) is not None and following <= until:
        found = following
    return found


def _submission(seen: Observed, moment: datetime, status: dict[str, Any], conditions: _Conditions) -> list[Action]:
    """The child of a moment, and the end of those that it replaces; nothing where a policy says no."""
    if seen.spec.get("suspend"):
        return []
    policy = seen.spec.get("concurrencyPolicy") or "Allow"
    try:
        if not _when_allows(seen):
            return []
        if policy not in ("Allow", "Forbid", "Replace"):
            raise Problem(f"invalid ConcurrencyPolicy: {policy}")
    except Problem as err:
        conditions.put("SubmissionError", f"run policy error: {err}")
        status["failed"] = int(status.get("failed") or 0) + 1
        return []
    if policy == "Forbid" and seen.unfinished:
        return []
    replaced: list[Action] = []
    if policy == "Replace":
        end = {"spec": {"shutdown": "Terminate"}}
        replaced = [Patch(WORKFLOWS, key_of(child), end, why="a newer run replaces it") for child in seen.unfinished]
    status["phase"] = "Active"
    status["lastScheduledTime"] = to_time(moment)
    conditions.remove("SubmissionError")
    return [*replaced, Create(WORKFLOWS, child_of(seen.cron, moment), why="its time has come")]


def child_of(cron: Object, moment: datetime) -> dict[str, Any]:
    """The workflow of a scheduled moment."""
    made = submit.from_object({**cron, "kind": "CronWorkflow"}, moment)
    given = cron["metadata"].get("labels") or {}
    meta = dict(made["metadata"])
    del meta["generateName"]
    meta["name"] = f"{cron['metadata']['name']}-{int(moment.timestamp())}"
    meta["namespace"] = cron["metadata"]["namespace"]
    meta["labels"] = {name: given[name] for name in PROPAGATED_LABELS if name in given} | meta["labels"]
    return {**made, "metadata": meta}


# -- status ------------------------------------------------------------------------------------------------------------


class _Conditions:
    def __init__(self, rows: Iterable[Object]) -> None:
        self.rows = [dict(row) for row in rows]

    def put(self, kind: str, message: str) -> None:
        self.remove(kind)
        self.rows.append({"type": kind, "status": "True", "message": message})

    def remove(self, kind: str) -> None:
        self.rows = [row for row in self.rows if row.get("type") != kind]


def _counted(seen: Observed) -> dict[str, Any]:
    """The status with the active list as it is, and with those counted that finished since it was written."""
    status = {key: value for key, value in seen.status.items() if key != "conditions"}
    before = {ref.get("uid") for ref in status.get("active") or ()}
    status["active"] = [_reference(child) for child in seen.unfinished] or None
    for child in seen.children:
        if child["metadata"]["uid"] in before and _is_finished(child):
            counter = "succeeded" if child["status"]["phase"] == "Succeeded" else "failed"
            status[counter] = int(status.get(counter) or 0) + 1
    return status


def _reference(workflow: Object) -> dict[str, Any]:
    meta = workflow["metadata"]
    return {
        "apiVersion": WORKFLOWS.api_version,
        "kind": WORKFLOWS.kind,
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
    }


def _patch(seen: Observed, status: dict[str, Any], labels: Object, annotations: Object) -> list[Action]:
    differing = {key: value for key, value in status.items() if seen.status.get(key) != value}
    meta = seen.cron["metadata"]
    metadata = {
        part: dict(new)
        for part, new in (("labels", labels), ("annotations", annotations))
        if any((meta.get(part) or {}).get(key) != value for key, value in new.items())
    }
    patch: dict[str, Any] = {}
    if differing:
        patch["status"] = differing
    if metadata:
        patch["metadata"] = metadata
    return [Patch(CRON_WORKFLOWS, key_of(seen.cron), patch)] if patch else []


def _surplus(seen: Observed) -> list[Action]:
    finished = sorted(filter(_is_finished, seen.children), key=_finished_at, reverse=True)
    limits = (
        ([c for c in finished if c["status"]["phase"] == "Succeeded"], "successfulJobsHistoryLimit", KEPT_SUCCESSFUL),
        ([c for c in finished if c["status"]["phase"] != "Succeeded"], "failedJobsHistoryLimit", KEPT_FAILED),
    )
    surplus: list[Action] = []
    for newest_first, setting, otherwise in limits:
        wanted = seen.spec.get(setting)
        keep = int(wanted) if wanted is not None and int(wanted) >= 0 else otherwise
        surplus += [
            Delete(WORKFLOWS, key_of(child), child["metadata"]["uid"], propagation="Background", why=setting)
            for child in newest_first[keep:]
        ]
    return surplus


def _is_finished(workflow: Object) -> bool:
    return (workflow.get("status") or {}).get("phase") in COMPLETED


def _finished_at(workflow: Object) -> str:
    return str(workflow["status"].get("finishedAt") or "")


# -- conditions that users write ---------------------------------------------------------------------------------------


def _variables(seen: Observed, status: Object) -> dict[str, Any]:
    meta = seen.cron["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    last = status.get("lastScheduledTime")
    return {
        "cronworkflow.name": meta["name"],
        "cronworkflow.namespace": meta["namespace"],
        "cronworkflow.labels": labels,
        "cronworkflow.labels.json": json.dumps(labels, separators=(",", ":"), sort_keys=True),
        "cronworkflow.annotations": annotations,
        "cronworkflow.annotations.json": json.dumps(annotations, separators=(",", ":"), sort_keys=True),
        "cronworkflow.failed": int(status.get("failed") or 0),
        "cronworkflow.succeeded": int(status.get("succeeded") or 0),
        "cronworkflow.lastScheduledTime": from_datetime(parse_time(last)) if last else None,
    }


def _when_allows(seen: Observed) -> bool:
    when = str(seen.spec.get("when") or "")
    if not when:
        return True
    return text.should_execute(_filled_in(when, _variables(seen, seen.status)))


def _filled_in(when: str, variables: Object) -> str:
    try:
        return tags.replace_raw(when, variables, allow_unresolved=False, sources=chance.sources())
    except tags.TagError as err:
        raise Problem(str(err)) from err


def _stops(seen: Observed, status: Object) -> bool:
    expression = str((seen.spec.get("stopStrategy") or {}).get("expression") or "")
    return text.evaluate_bool(expression, _variables(seen, status)) if expression else False
