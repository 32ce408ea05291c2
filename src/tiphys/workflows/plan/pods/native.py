"""The pod of the embedded node: the user's containers as they are, the executor's knowledge in annotations.

The node's agent stages inputs and the script, captures outputs and reports a task result; what it must know is the
template as JSON, whether the result is wanted, and where artifacts go (see docs/decisions/0001-contracts.md). Artifacts
of plugins are staged by an init container that the agent carries out, behind the plugins' sidecars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan.canonical import dumps
from tiphys.workflows.plan.nodes import stamp
from tiphys.workflows.plan.pods import plugins, volumes

if TYPE_CHECKING:
    from tiphys.workflows.plan.pods.build import Draft

TEMPLATE = "workflows.argoproj.io/template"
CAPTURES = "workflows.argoproj.io/include-script-output"
ARCHIVE = "workflows.argoproj.io/archive-location"
DEADLINE = "workflows.argoproj.io/deadline"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
EXECUTOR_IMAGE = "tiphys/executor"


def executor_main(draft: Draft) -> dict[str, Any]:
    """The main container of a resource or data template: the agent carries it out itself."""
    action = ["resource", str(draft.template["resource"].get("action", ""))] if draft.kind == "Resource" else ["data"]
    return {"name": "main", "image": EXECUTOR_IMAGE, "command": ["tiphys-executor", *action]}


def add_containers(draft: Draft, mains: list[dict[str, Any]]) -> None:
    main = next((c for c in mains if c["name"] == "main"), None)
    sidecars = [volumes.user_container(c, main) for c in draft.template.get("sidecars") or ()]
    draft.spec["containers"] = [*mains, *sidecars]
    inits = [volumes.user_container(c, main) for c in draft.template.get("initContainers") or ()]
    inits = [*_plugins(draft), *inits]
    if inits:
        draft.spec["initContainers"] = inits
    draft.pod["metadata"]["annotations"][DEFAULT_CONTAINER] = "main" if main is not None else mains[-1]["name"]


def _plugins(draft: Draft) -> list[dict[str, Any]]:
    """The sidecars of the artifact plugins that the template needs, and what loads artifacts through them."""
    state, template = draft.state, draft.template
    loads = plugins.names(state, template, "inputs")
    saves = plugins.names(state, template, "outputs")
    sidecars = plugins.sidecars(state, [*loads, *saves, *plugins.source_names(template)])
    init = {"name": "init", "image": EXECUTOR_IMAGE, "command": ["tiphys-executor", "init"]}
    return [*sidecars, init] if loads else sidecars


def add_volumes(draft: Draft) -> None:
    """Nothing: inputs and outputs are staged by the agent."""


def set_environment(draft: Draft) -> None:
    annotations = draft.pod["metadata"]["annotations"]
    annotations[TEMPLATE] = dumps(simplified(draft.template))
    if draft.captures_result:
        annotations[CAPTURES] = "true"
    location = draft.template.get("archiveLocation")
    if location:
        annotations[ARCHIVE] = dumps(location)
    if draft.call.deadline is not None:
        annotations[DEADLINE] = stamp(draft.call.deadline) or ""


def finish(draft: Draft) -> list[dict[str, Any]]:
    """The objects that must exist first: none."""
    return []


def simplified(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template as executors see it: input parameters are substituted already and left out."""
    artifacts = (template.get("inputs") or {}).get("artifacts")
    return {**template, "inputs": {"artifacts": artifacts} if artifacts else {}}
