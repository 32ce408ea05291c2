"""Golden rows of the executor's wait container: what is collected, what is reported to the API, how it fails.

Recognised by ``in.cmd`` with ``out.api``. The API is played from the row's scripted answers; the containers' files and
actions (a file written once something is waited for) are played as the row says, time being the loop's own.

Left out: ``template`` of supervisor rows (the original's typed copy for its other processes, see executor_init);
``gracePeriod`` where it was not recorded. ``artifactRequests`` list no headers of the transport itself (Host,
User-Agent, Connection, Accept-Encoding), as recorded; of S3 only the objects are recorded, so only they are compared.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.conformance.formats.executor_init import template_error
from tests.conformance.formats.executor_world import DIR, Served, World, archive_of, serving, shown
from tests.conformance.golden import Format, Row, Sample
from tiphys.workflows.drivers.artifacts.registry import Drivers
from tiphys.workflows.executor.wait import STATUS, ApiRefusal, Step, Wait, grace_seconds, read_template, seconds_until

PROGRESS_TICKS = ("ARGO_PROGRESS_FILE_TICK_DURATION", "ARGO_PROGRESS_PATCH_TICK_DURATION")
NO_DEADLINE = "0001-01-01T00:00:00Z"
GRACE = "ARGO_TERMINATION_GRACE_PERIOD_SECONDS"
_TRANSIENT = ("ServiceUnavailable", "TooManyRequests", "ServerTimeout", "Timeout")
_TRANSPORT_HEADERS = ("Host", "User-Agent", "Connection", "Accept-Encoding", "Content-Length")


def recognises(sample: Sample) -> bool:
    head = sample.head
    given, out = head.get("in"), head.get("out")
    return (
        isinstance(given, dict) and isinstance(out, dict) and "cmd" in given and "api" in out and "exitcodes" in given
    )


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected = {key: value for key, value in row["out"].items() if key != "template"}
        got = run(row["in"])
        if "gracePeriod" not in expected:
            got.pop("gracePeriod", None)
        yield Row(row["name"], got == expected, expected, got)


@dataclass
class PlayedApi:
    """WorkflowTaskResults with scripted refusals."""

    script: list[dict[str, Any]]
    calls: list[dict[str, Any]] = field(default_factory=list)

    def create(self, obj: Mapping[str, Any]) -> None:
        self._call("POST", "workflowtaskresults", "application/json", obj)

    def patch(self, name: str, patch: Mapping[str, Any]) -> None:
        self._call("PATCH", f"workflowtaskresults/{name}", "application/merge-patch+json", patch)

    def _call(self, method: str, path: str, kind: str, body: Mapping[str, Any]) -> None:
        self.calls.append({"body": body, "contentType": kind, "method": method, "path": path})
        for step in self.script:
            if step["method"] == method and step["path"].endswith(path) and step.get("times", 1) != 0:
                if "times" in step:
                    step["times"] -= 1
                if step["status"] >= 300:
                    said = step["body"]
                    raise ApiRefusal(said["reason"], said["message"], transient=said["reason"] in _TRANSIENT)


@dataclass
class PlayedTime:
    """Waiting that plays the row's actions instead of letting time pass."""

    world: World
    actions: list[dict[str, Any]]

    def until(self, claim: Callable[[], bool], seconds: float | None, tick: Callable[[], None] | None = None) -> bool:
        left = float("inf") if seconds is None else seconds
        while not claim():
            if left <= 0 or not self.actions:
                return False
            action = self.actions[0]
            if "waitFor" in action and not self.world.place(action["waitFor"]).real.exists():
                return False
            rest = action.get("sleep", 0.0)
            if rest > left:
                self.actions[0] = {**action, "sleep": rest - left}
                return False
            left -= rest
            if rest and tick is not None:
                tick()
            self.actions.pop(0)
            if "signal" in action:
                return False
            if "write" in action:
                place = self.world.place(action["write"]).real
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(action["text"])
        return True

    def pause(self, attempt: int) -> None:
        return


def run(given: dict[str, Any]) -> dict[str, Any]:
    http = Served(scripts=dict(given.get("script") or {}))
    s3 = Served(s3=True)
    with tempfile.TemporaryDirectory() as root, serving(http) as art, serving(s3) as store:
        world = World(Path(root), {"$DIR": DIR, "$ART": f"http://{art}", "$S3": store})
        given = world.fill_in(given)
        out = _run(world, given)
        staging = world.tree("/tmp/argo", directories=False)
        if staging:
            out["staging"] = staging
        uploads = [{"data": _uploaded(u["body"]), "path": u["path"]} for u in (*http.uploads, *s3.uploads)]
        if uploads:
            out["uploads"] = uploads
        if http.requests:
            out["artifactRequests"] = [_request(request) for request in http.requests]
        signals = {
            path: entry["content"]
            for path, entry in world.tree("/var/run/argo/ctr").items()
            if path.endswith("/signal") and entry["type"] == "file"
        }
        if signals:
            out["signals"] = signals
        result: dict[str, Any] = world.take_out(out)
        return result


def _run(world: World, given: dict[str, Any]) -> dict[str, Any]:
    environment = {key: value for key, value in (given.get("env") or {}).items() if value is not None}
    missing = {key for key, value in (given.get("env") or {}).items() if value is None}
    if given["template"] is not None:
        text = given["template"] if isinstance(given["template"], str) else json.dumps(given["template"])
        world.make({"path": "/var/run/argo/template", "text": text})
    for file in given.get("files") or ():
        world.make(file)
    for name, code in (given.get("exitcodes") or {}).items():
        world.make({"path": f"/var/run/argo/ctr/{name}/exitcode", "text": code})
    if "ARGO_POD_NAME" in missing:
        return {"api": [], "exit": 1, "terminationMessage": None}
    try:
        template = read_template(world.place, environment)
    except (OSError, ValueError):
        return {"api": [], **template_error(world)}
    try:
        deadline = "" if "ARGO_DEADLINE" in missing else environment.get("ARGO_DEADLINE", NO_DEADLINE)
        deadline_in = seconds_until(deadline, datetime.now(UTC))
    except ValueError as err:
        return {"api": [], "exit": 2, "error": f"panic: {err}", "terminationMessage": str(err)}
    api = PlayedApi(json.loads(json.dumps(given.get("api") or [])))
    step = Step(
        node_id="wf-1",
        workflow="wf",
        workflow_uid="wf-uid",
        template=template,
        include_result=environment.get("ARGO_INCLUDE_SCRIPT_OUTPUT") == "true",
        deadline_in=deadline_in,
        grace_seconds=grace_seconds(environment.get(GRACE, "")),
        plugins=[name for name in environment.get("ARGO_ARTIFACT_PLUGIN_NAMES", "").split(",") if name],
        reports_progress=not {environment.get(name) for name in PROGRESS_TICKS} & {"0", "0s"},
        keep_local=environment.get("REMOVE_LOCAL_ART_PATH") != "true",
    )
    wait = Wait(step, world.place, Drivers(world.secret), api, PlayedTime(world, list(given.get("actions") or ())))
    if given["cmd"] == "supervisor":
        wait.prepare()
    out: dict[str, Any] = {"exit": wait.run(), "api": api.calls, "terminationMessage": wait.message or None}
    if wait.errors:
        out["error"] = wait.errors[0]
    if given["cmd"] == "supervisor":
        out["inputs"] = world.tree("/argo/inputs/artifacts")
        out["stagingDir"] = world.tree("/argo/staging")
        out["status"] = world.place(STATUS).real.read_text()
    if GRACE in environment and wait.step.deadline_in is not None and "main" not in (given.get("exitcodes") or {}):
        out["gracePeriod"] = f"{wait.step.grace_seconds:g}s"
    return {**out, "api": _shortened(out["api"])}


def _shortened(value: Any) -> Any:
    """Long texts as the recordings show them."""
    if isinstance(value, str):
        return shown(value.encode())
    if isinstance(value, list):
        return [_shortened(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _shortened(entry) for key, entry in value.items()}
    return value


def _uploaded(body: bytes) -> dict[str, Any]:
    archive = archive_of(body)
    return archive if archive is not None else {"content": shown(body), "format": "raw"}


def _request(request: Mapping[str, Any]) -> dict[str, Any]:
    headers = {name: value for name, value in request["headers"].items() if name not in _TRANSPORT_HEADERS}
    entry: dict[str, Any] = {"headers": headers, "method": request["method"], "path": request["path"]}
    if headers.get("Transfer-Encoding") == "chunked":
        entry["chunked"] = True
    return entry


FORMATS = [Format("executor-wait", recognises, judge)]
