"""The pod of a node, and the objects that must exist before it.

Two shapes, chosen by ``settings.executor``: `native` (the agent of the embedded node does what the executor does) and
`inpod` (the original's pod: init, wait and the emissary around the user's command). What both share is here, in the
order in which later parts see earlier ones:

    containers ── deadline ── metadata, scheduling ── volumes ── shape ── variables ── podSpecPatch ── finish
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan.assess import is_valid_progress
from tiphys.workflows.plan.canonical import any_string, dumps, has_tags
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.pods import inpod, manifest, metadata, native, patching, plugins, volumes
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.templates import type_of
from tiphys.workflows.plan.text import Layers, replace

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import Call, State
    from tiphys.workflows.plan.templates import Template

SCRIPT_PATH = "/argo/staging/script"
_DEBUG = ("ARGO_DEBUG_PAUSE_BEFORE", "ARGO_DEBUG_PAUSE_AFTER")


@dataclass(frozen=True)
class Built:
    """``progress`` is what an annotation of the pod says to begin with."""

    pod: dict[str, Any]
    config_maps: tuple[dict[str, Any], ...] = ()
    progress: str = ""


@dataclass(eq=False)
class Draft:
    """A pod while it is being built."""

    state: State
    call: Call
    node: Node
    template: Template
    captures_result: bool
    pod: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.pod["spec"]
        return spec

    @property
    def kind(self) -> str:
        return type_of(self.template)


def workload(state: State, call: Call, node: Node, template: Template, *, captures_result: bool) -> Built | None:
    """The pod that carries out a template; None when the workflow's deadline leaves it no time. Raises `Problem`."""
    draft = Draft(state, call, node, template, captures_result)
    shape = inpod if state.settings.executor == "in-pod" else native
    mains = [_with_defaults(state, container) for container in _main_containers(draft, shape)]
    seconds, has_time = _active_deadline(draft, mains)
    if not has_time:
        return None
    draft.pod = metadata.skeleton(draft, seconds)
    draft.template = manifest.owned(state, metadata.with_archive_location(state, template))
    draft.template = plugins.with_timeouts(state, draft.template)
    plugins.check(state, draft.template)
    metadata.set_service_account(draft)
    shape.add_containers(draft, mains)
    metadata.schedule(draft)
    metadata.add_metadata(draft)
    metadata.set_resources(draft)
    volumes.add_references(draft)
    shape.add_volumes(draft)
    shape.set_environment(draft)
    _substitute(draft)
    patching.apply_patches(draft)
    config_maps = shape.finish(draft)
    _limit_by_timeout(draft)
    metadata.avoid_failed_hosts(draft)
    progress = draft.pod["metadata"]["annotations"].get("workflows.argoproj.io/progress", "")
    return Built(draft.pod, tuple(config_maps), progress if is_valid_progress(progress) else "")


def _main_containers(draft: Draft, shape: Any) -> list[dict[str, Any]]:
    template = draft.template
    match draft.kind:
        case "Container":
            return [{**template["container"], "name": "main"}]
        case "ContainerSet":
            shared = template["containerSet"].get("volumeMounts") or []
            return [_member(container, shared) for container in template["containerSet"].get("containers") or ()]
        case "Script":
            container = {key: value for key, value in template["script"].items() if key != "source"}
            if template["script"].get("source"):
                container["args"] = [*(container.get("args") or ()), SCRIPT_PATH]
            return [{**container, "name": "main"}]
        case _:
            made: dict[str, Any] = shape.executor_main(draft)
            return [made]


def _member(container: Mapping[str, Any], shared: list[Any]) -> dict[str, Any]:
    made = {key: value for key, value in container.items() if key != "dependencies"}
    if shared:
        made["volumeMounts"] = [*(made.get("volumeMounts") or ()), *shared]
    return made


def _with_defaults(state: State, container: dict[str, Any]) -> dict[str, Any]:
    defaults = state.settings.main_container
    return patching.merge_container(defaults, container) if defaults else container


def _active_deadline(draft: Draft, mains: list[dict[str, Any]]) -> tuple[int | None, bool]:
    """``activeDeadlineSeconds`` of the pod, and whether there is any time left."""
    state, own = draft.state, draft.template.get("activeDeadlineSeconds")
    try:
        seconds = None if own is None else int(str(own))
    except ValueError as err:
        raise Problem(f"value '{own}' cannot be resolved to an int") from err
    deadline = state.deadline
    if deadline is not None and not draft.call.on_exit:
        left = int((deadline - state.now).total_seconds())
        if left <= 0:
            return None, False
        seconds = left if seconds is None else min(seconds, left)
    if any(env.get("name") in _DEBUG for container in mains for env in container.get("env") or ()):
        seconds = None
    return seconds, True


def _substitute(draft: Draft) -> None:
    """A last substitution: settings and volumes may refer to variables of the workflow and the pod."""
    if not has_tags(draft.pod):
        return
    own = {"pod.name": draft.pod["metadata"]["name"]}
    for param in (draft.template.get("inputs") or {}).get("parameters") or ():
        own[f"inputs.parameters.{param['name']}"] = any_string(param.get("value") or "")
    draft.pod = orjson.loads(replace(dumps(draft.pod), Layers(own, draft.state.globals)))


def _limit_by_timeout(draft: Draft) -> None:
    """``timeout`` of the template counts from the node's start, and so bounds the pod."""
    if not draft.template.get("timeout"):
        return
    deadlines = executor.template_deadlines(draft.node, {"timeout": draft.template["timeout"]})
    if not deadlines:
        return
    left = int((deadlines[0] - draft.state.now) / timedelta(seconds=1))
    current = draft.spec.get("activeDeadlineSeconds")
    if current is None or -left < current:
        if left <= 1:
            raise Problem(f"{draft.node.name} exceeded its deadline")
        draft.spec["activeDeadlineSeconds"] = left
