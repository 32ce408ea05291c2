"""Decisions on applications: the health of one, and whether one is synced by itself.

Left out of auto-sync rows: nothing. The recordings' moments are relative to now, so any now will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.formats._calls import Answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan.app_health import application_health
from tiphys.cd.plan.autosync import auto_sync
from tiphys.cd.plan.health import Health, resource_health
from tiphys.cd.plan.health.custom import CustomHealth
from tiphys.cd.plan.objects import Object
from tiphys.cd.plan.settings import SelfHeal

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ask_health(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    overrides = {key: {"health.lua": script} for key, script in (given.get("healthLua") or {}).items()}
    custom = CustomHealth(overrides, NOW)
    pairs = [(each.get("target"), each.get("live")) for each in given["resources"]]
    app = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
           "metadata": {"name": "app", "namespace": "argocd"}}  # fmt: skip

    def check(obj: Object) -> Health | None:
        return resource_health(obj, custom)

    found = application_health(pairs, check, app)
    inline = given["persistResourceHealth"]
    out = {
        "health": found.status,
        "message": found.message,
        "resourceHealth": [_shown(each) if inline else None for each in found.by_resource],
        "resourceHealthSource": "" if inline else "appTree",
    }
    return {"out": out | ({"healthError": found.error} if found.error else {})}


def _shown(health: Health | None) -> Any:
    if health is None:
        return None
    return {name: value for name, value in (("status", health.status), ("message", health.message)) if value}


def ask_auto_sync(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    app = given["app"]
    if "finishedAgoSeconds" in given:
        state = app["status"]["operationState"]
        finished = (NOW - timedelta(seconds=given["finishedAgoSeconds"])).isoformat()
        app = {**app, "status": {**app["status"], "operationState": {**state, "finishedAt": finished}}}
    found = auto_sync(
        app,
        given["syncStatus"],
        given["resources"],
        NOW,
        SelfHeal(timeout_seconds=given.get("selfHealTimeoutSeconds", 0)),
        revisions_may_differ=given.get("revisionsMayHaveChanges", True),
    )
    condition = None if found.condition is None else {"type": found.condition.type, "message": found.condition.message}
    operation = found.operation
    if operation is None and "operation" in app:  # one that runs stays, as Go writes it
        operation = {"initiatedBy": {}, "retry": {}, **app["operation"]}
    return {"out": {"condition": condition, "operation": operation}}


FORMATS = (
    Format(
        "cd application health",
        lambda s: all_rows(s.rows, lambda given: {"resources", "persistResourceHealth"} <= given.keys()),
        judge_named(ask_health),
    ),
    Format(
        "cd auto-sync",
        lambda s: all_rows(s.rows, lambda given: {"app", "syncStatus", "resources"} <= given.keys()),
        judge_named(ask_auto_sync),
    ),
)
