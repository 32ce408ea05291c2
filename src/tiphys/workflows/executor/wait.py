"""The wait container of the in-pod executor: waits for the main containers, then collects and reports.

    announce the task result ─► wait for exit codes (deadline: signal them) ─► collect ─► report ─► label it complete

Containers and this one talk through files below /var/run/argo/ctr/<name>: ``exitcode`` is written when a container has
ended, a number in ``signal`` is sent to its command. Source: argoexec wait (executor.go, postmain.go, taskresult.go).
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tiphys.workflows.executor import inputs, outputs, progress
from tiphys.workflows.executor.artifacts import ArtifactDrivers
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.template import PROGRESS_FILE, VAR_RUN_ARGO, any_string, main_containers
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
LABEL_WORKFLOW = "workflows.argoproj.io/workflow"
LABEL_COMPLETED = "workflows.argoproj.io/report-outputs-completed"
LABEL_INSTANCE = "workflows.argoproj.io/controller-instanceid"
STATUS = f"{VAR_RUN_ARGO}/status"
DEADLINE_MESSAGE = "Step exceeded its deadline"
TERM, KILL = 15, 9
DEFAULT_GRACE_SECONDS = 30.0


class ApiRefusal(Exception):
    """What the API answered instead; ``reason`` is a Status reason. Transient ones may be asked again."""

    def __init__(self, reason: str, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient


class TaskResults(Protocol):
    """WorkflowTaskResults of the pod's namespace. Both raise ``ApiRefusal``."""

    def create(self, obj: Object) -> None: ...

    def patch(self, name: str, patch: Object) -> None: ...


class Waiting(Protocol):
    """How time passes. ``until`` is True once the claim holds, False when the time is over or the process was asked to
    end; meanwhile it calls ``tick`` now and then. ``pause`` lies between two tries of one call."""

    def until(
        self, claim: Callable[[], bool], seconds: float | None, tick: Callable[[], None] | None = None
    ) -> bool: ...

    def pause(self, attempt: int) -> None: ...


@dataclass(frozen=True)
class Step:
    """Which step this pod carries out."""

    node_id: str
    workflow: str
    workflow_uid: str
    template: Object
    include_result: bool = False
    instance_id: str = ""
    deadline_in: float | None = None
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    plugins: Sequence[str] = ()
    keep_local: bool = True
    reports_progress: bool = True


@dataclass
class Wait:
    """One run. ``place`` finds the executor's paths; ``errors`` are in the order in which they came up."""

    step: Step
    place: Callable[[str], Place]
    drivers: ArtifactDrivers
    results: TaskResults
    waiting: Waiting
    errors: list[str] = field(default_factory=list)
    message: str = ""
    unprepared: bool = False
    _created: bool = False
    _progress: str = ""

    def run(self) -> int:
        """The exit code. ``message`` is what belongs into the termination message."""
        try:
            self._try(lambda: self._upsert({}))
            self._await_containers()
            found = outputs.collect(
                self.step.template,
                outputs.SharedVolume(self.place),
                self.drivers,
                self.place("/tmp/argo/outputs"),
                include_result=self.step.include_result,
                inputs_only=self.unprepared,
            )
            self.errors += found.errors
            self._remove_saved()
            self._try(lambda: self._upsert({"outputs": _typed(found.outputs)}))
        finally:
            self._try(self._finalize)
            self._kill(self.step.plugins)
        self.message = self.errors[0] if self.errors else self.message
        return 64 if self.errors else 0

    def prepare(self) -> None:
        """What the init container does, in pods without one (``argoexec supervisor``).

        The main container's helper waits for the status file. A failure is this run's first error; the containers'
        logs are collected all the same.
        """
        status = self.place(STATUS).real
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text("RUNNING\n")
        try:
            inputs.write_staged_file(self.step.template, self.place)
            inputs.load_artifacts(self.step.template, self.place, self.drivers)
        except ExecutorError as err:
            self.unprepared = True
            self.errors.append(f"failed to load non-plugin input artifacts: {err}")
            status.write_text(f"FAILED\n{self.errors[0]}")
        else:
            status.write_text("READY\n")

    def _await_containers(self) -> None:
        names = main_containers(self.step.template)
        for name in names:
            self._directory(name).mkdir(mode=0o777, parents=True, exist_ok=True)
        tick = self._report_progress if self.step.reports_progress else None
        if self.waiting.until(lambda: self._all_ended(names), self.step.deadline_in, tick):
            return
        if self.step.deadline_in is not None:
            self.message = DEADLINE_MESSAGE
            self._kill(names)

    def _report_progress(self) -> None:
        """What the step has written since; a failure to report it is no reason for anything."""
        said = progress.read(self.place(PROGRESS_FILE).real)
        if said and said != self._progress:
            self._progress = said
            with contextlib.suppress(ApiRefusal):
                self._upsert({"progress": said})

    def _all_ended(self, names: Sequence[str]) -> bool:
        return all((self._directory(name) / "exitcode").exists() for name in names)

    def _kill(self, names: Sequence[str]) -> None:
        """SIGTERM, and after the grace period SIGKILL, by the files that the containers' helpers watch."""
        if not names:
            return
        for number, seconds in ((TERM, self.step.grace_seconds), (KILL, 10.0)):
            for name in names:
                self._directory(name).mkdir(mode=0o777, parents=True, exist_ok=True)
                (self._directory(name) / "signal").write_text(str(number))
            if self.waiting.until(lambda: self._all_ended(names), seconds):
                return

    def _directory(self, name: str) -> Any:
        return self.place(f"{VAR_RUN_ARGO}/ctr/{name}").real

    def _remove_saved(self) -> None:
        """To save room, where the operator wants it (REMOVE_LOCAL_ART_PATH)."""
        if self.step.keep_local:
            return
        for kind in ("artifacts", "logs"):
            directory = self.place(f"/tmp/argo/outputs/{kind}").real
            for entry in list(directory.iterdir()) if directory.is_dir() else []:
                if entry.is_file():
                    entry.unlink()

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ApiRefusal as err:
            self.errors.append(str(err))

    def _upsert(self, result: Object) -> None:
        """Creates the task result, or patches the one that is there."""
        self._patiently(lambda: self._patch_or_create(result) if self._created else self._create_or_patch(result))

    def _patiently(self, call: Callable[[], None]) -> None:
        """Calls again and again while the failure may pass."""
        attempt = 0
        while True:
            try:
                return call()
            except ApiRefusal as err:
                if not err.transient:
                    raise
            attempt += 1
            self.waiting.pause(attempt)

    def _create_or_patch(self, result: Object) -> None:
        try:
            self._create(result)
        except ApiRefusal as err:
            if err.reason != "AlreadyExists":
                raise
            self._created = True
            self.results.patch(self.step.node_id, {"metadata": {}, **result})

    def _patch_or_create(self, result: Object) -> None:
        try:
            self.results.patch(self.step.node_id, {"metadata": {}, **result})
        except ApiRefusal as err:
            if err.reason != "NotFound":
                raise
            self._create(result)

    def _create(self, result: Object) -> None:
        step = self.step
        labels = {LABEL_WORKFLOW: step.workflow, LABEL_COMPLETED: "false"}
        if step.instance_id:
            labels[LABEL_INSTANCE] = step.instance_id
        api_version = "argoproj.io/v1alpha1"
        owner = {"apiVersion": api_version, "kind": "Workflow", "name": step.workflow, "uid": step.workflow_uid}
        meta = {"name": step.node_id, "labels": labels, "ownerReferences": [owner]}
        self.results.create({"apiVersion": api_version, "kind": "WorkflowTaskResult", "metadata": meta, **result})
        self._created = True

    def _finalize(self) -> None:
        done = {"metadata": {"labels": {LABEL_COMPLETED: "true"}}}
        self._patiently(lambda: self.results.patch(self.step.node_id, done))


def _typed(found: Object) -> dict[str, Any]:
    """As typed clients write it: parameters' values and defaults as text, nothing empty."""
    made = {name: value for name, value in found.items() if value or name == "result"}
    if "parameters" in made:
        made["parameters"] = [_typed_parameter(parameter) for parameter in made["parameters"]]
    if "artifacts" in made:
        made["artifacts"] = [_typed_artifact(artifact) for artifact in made["artifacts"]]
    return made


def _typed_artifact(artifact: Object) -> Object:
    """The kinds of HTTP authentication are values, not pointers, in the original's types: they are always written."""
    auth = (artifact.get("http") or {}).get("auth")
    if auth is None:
        return artifact
    whole = {"clientCert": {}, "oauth2": {}, "basicAuth": {}, **auth}
    return {**artifact, "http": {**artifact["http"], "auth": whole}}


def _typed_parameter(parameter: Object) -> dict[str, Any]:
    made = dict(parameter)
    for name in ("value", "default"):
        if made.get(name) is not None:
            made[name] = any_string(made[name])
    source = made.get("valueFrom")
    if source and source.get("default") is not None:
        made["valueFrom"] = {**source, "default": any_string(source["default"])}
    return made


def seconds_until(deadline: str, now: datetime) -> float | None:
    """``ARGO_DEADLINE`` from now on; None for Go's zero time. Raises ValueError with the original's words."""
    try:
        moment = datetime.fromisoformat(deadline)
    except ValueError:
        layout = "2006-01-02T15:04:05Z07:00"
        raise ValueError(f'parsing time "{deadline}" as "{layout}": cannot parse "{deadline}" as "2006"') from None
    return None if moment.year == 1 else (moment - now).total_seconds()


def grace_seconds(text: str) -> float:
    """``ARGO_TERMINATION_GRACE_PERIOD_SECONDS``: a positive whole number, else 30; beyond 63 bits none at all."""
    if not re.fullmatch(r"[+-]?[0-9]+", text) or int(text) <= 0:
        return DEFAULT_GRACE_SECONDS
    return float(text) if int(text) < 1 << 63 else -1.0


def read_template(place: Callable[[str], Place], environment: Mapping[str, str]) -> Object:
    """The template that the init container left, else the one in ``ARGO_TEMPLATE``. Raises OSError, ValueError."""
    file = place(f"{VAR_RUN_ARGO}/template")
    try:
        text = file.real.read_text(encoding="utf-8")
    except FileNotFoundError:
        if "ARGO_TEMPLATE" not in environment:
            raise
        text = environment["ARGO_TEMPLATE"]
    try:
        template: Object = json.loads(text)
    except json.JSONDecodeError as err:
        raise ValueError(_go_json_error(err)) from err
    return template


_GO_JSON_ERRORS = {
    "Expecting property name": "looking for beginning of object key string",
    "Expecting value": "looking for beginning of value",
    "Expecting ':'": "after object key",
    "Expecting ','": "after object key:value pair",
    "Extra data": "after top-level value",
}


def _go_json_error(err: json.JSONDecodeError) -> str:
    """The fault in Go's words (encoding/json)."""
    if err.pos >= len(err.doc.rstrip()):
        return "unexpected end of JSON input"
    where = next((words for start, words in _GO_JSON_ERRORS.items() if err.msg.startswith(start)), "in literal")
    return f"invalid character {err.doc[err.pos]!r} {where}"
