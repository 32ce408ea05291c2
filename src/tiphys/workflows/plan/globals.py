"""The variables of the whole workflow: ``workflow.*``.

They are set when the spec is known; only outputs with a global name, the status and what metadata adds change later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tiphys.lang import gojson
from tiphys.workflows.plan.arguments import config_map_value
from tiphys.workflows.plan.canonical import any_string, dumps
from tiphys.workflows.plan.nodes import moment, stamp
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

SCHEDULED_TIME = "workflows.argoproj.io/scheduled-time"
_STRFTIME = "BbmAadHIMSYypZzL"


def set_globals(state: State) -> None:
    """Sets every variable that the spec and metadata define. Raises `Problem` for a parameter without value."""
    spec = state.spec
    values: dict[str, Any] = {
        "workflow.name": state.name,
        "workflow.namespace": state.namespace,
        "workflow.mainEntrypoint": spec.get("entrypoint", ""),
        "workflow.serviceAccountName": spec.get("serviceAccountName", ""),
        "workflow.uid": state.uid,
    }
    values.update(_creation(moment(state.workflow["metadata"].get("creationTimestamp"))))
    if SCHEDULED_TIME in state.annotations:
        values["workflow.scheduledTime"] = state.annotations[SCHEDULED_TIME]
    if spec.get("priority") is not None:
        values["workflow.priority"] = str(spec["priority"])
    parameters = (spec.get("arguments") or {}).get("parameters")
    values["workflow.parameters"] = values["workflow.parameters.json"] = dumps(parameters)
    for param in parameters or ():
        values[f"workflow.parameters.{param['name']}"] = _parameter(state, param)
    for param in (state.status.get("outputs") or {}).get("parameters") or ():
        if any(param.get(key) is not None for key in ("value", "default", "valueFrom")):
            value = param.get("value", param.get("default", ""))
            values[f"workflow.outputs.parameters.{param['name']}"] = any_string(value)
    values.update(_metadata(state))
    for name, value in values.items():
        state.set_global(name, value)


def set_runtime(state: State) -> None:
    """The status as it was when the decision began, and how long the workflow has been running."""
    state.set_global("workflow.status", state.phase)
    state.globals["workflow.duration"] = f"{duration_seconds(state):f}"


def duration_seconds(state: State) -> float:
    started, finished = moment(state.status.get("startedAt")), moment(state.status.get("finishedAt"))
    if started is None:
        return 0.0
    return ((finished or state.now) - started).total_seconds()


def _parameter(state: State, param: Mapping[str, Any]) -> str:
    name, value_from = param.get("name", ""), param.get("valueFrom") or {}
    if param.get("value") is not None:
        return any_string(param["value"])
    ref = value_from.get("configMapKeyRef")
    if ref is None:
        raise Problem(f"either value or valueFrom must be specified in order to set global parameter {name}")
    try:
        return config_map_value(state, ref.get("name", ""), ref.get("key", ""))
    except Problem as err:
        if value_from.get("default") is None:
            raise Problem(
                f"failed to set global parameter {name} from configmap with name {ref.get('name', '')} "
                f"and key {ref.get('key', '')}: {err}"
            ) from err
        return any_string(value_from["default"])


def _metadata(state: State) -> dict[str, Any]:
    added = state.spec.get("workflowMetadata") or {}
    later = added.get("labelsFrom") or {}
    values: dict[str, Any] = {}
    for name in ("workflow.annotations", "workflow.annotations.json"):
        values[name] = gojson.dumps(state.annotations or None)
    for name in ("workflow.labels", "workflow.labels.json"):
        values[name] = gojson.dumps(state.labels or None)
    for key, value in {**state.annotations, **(added.get("annotations") or {})}.items():
        values[f"workflow.annotations.{key}"] = value
    for key, value in {**state.labels, **(added.get("labels") or {})}.items():
        if key not in later:
            values[f"workflow.labels.{key}"] = value
    return values


def _creation(created: datetime | None) -> dict[str, str]:
    if created is None:
        created = datetime(1, 1, 1, tzinfo=None)  # noqa: DTZ001  # Go's zero time
    text = stamp(created) or ""
    values = {"workflow.creationTimestamp": text, "workflow.creationTimestamp.RFC3339": text}
    epoch = int((created.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001
    values["workflow.creationTimestamp.s"] = str(epoch)
    for character in _STRFTIME:
        values[f"workflow.creationTimestamp.{character}"] = _strftime(created, character)
    return values


def _strftime(when: datetime, character: str) -> str:
    if character == "Z":
        return "UTC"
    if character == "z":
        return "+0000"
    if character == "L":
        return f".{when.microsecond // 1000:03}"
    if character == "Y":
        return f"{when.year:04}"
    return when.strftime(f"%{character}")
