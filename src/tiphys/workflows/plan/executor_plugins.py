"""Executor plugins: the sidecars of the agent that carry out plugin templates.

A workflow brings its own (``spec.executorPlugins``), else those count that config maps of its namespace and of the
controller's describe (label ``…/configmap-type: ExecutorPlugin``, name ``<plugin>-executor-plugin``).
Source: workflow/controller/agent.go, workflow/util/plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.observe import Object
from tiphys.workflows.plan import merging
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

_SUFFIX = "-executor-plugin"


def of(state: State) -> list[Mapping[str, Any]]:
    """The plugins that run beside the agent: ``metadata.name`` and ``spec.sidecar``. Raises `Problem`."""
    own = list(state.spec.get("executorPlugins") or ())
    for plugin in own:
        _check(plugin)
    if own and state.settings.executor == "in-pod" and not state.settings.workflow_level_plugins:
        raise Problem(
            "workflow-level executor plugins are disabled in the controller. To enable them, set the environment "
            "variable ARGO_WORKFLOW_LEVEL_EXECUTOR_PLUGINS=true"
        )
    if own:
        return own
    namespaces = dict.fromkeys((state.settings.controller_namespace, state.namespace))
    maps = (obj for namespace in namespaces for obj in state.lookup.executor_plugins(namespace))
    found: list[Mapping[str, Any]] = [_of_config_map(obj) for obj in maps]
    for plugin in found:
        _check(plugin)
    return found


def _of_config_map(obj: Object) -> dict[str, Any]:
    name, data = str(obj["metadata"]["name"]), obj.get("data") or {}
    try:
        container = merging.read_yaml(str(data.get("sidecar.container", "")))
    except ValueError as err:
        raise Problem(f"executor plugin {name}: sidecar.container: {err}") from err
    automount = data.get("sidecar.automountServiceAccountToken") == "true"
    sidecar = {"container": container or {}, "automountServiceAccountToken": automount}
    return {"metadata": {"name": name.removesuffix(_SUFFIX)}, "spec": {"sidecar": sidecar}}


def _check(plugin: Mapping[str, Any]) -> None:
    """What a plugin must say about itself. Raises `Problem`."""
    if not (plugin.get("metadata") or {}).get("name"):
        raise Problem("executor plugin metadata name is mandatory")
    container = ((plugin.get("spec") or {}).get("sidecar") or {}).get("container") or {}
    resources = container.get("resources") or {}
    for is_there, what in (
        (container.get("ports"), "at least one port is"),
        (resources.get("requests") is not None, "resources requests are"),
        (resources.get("limits") is not None, "resources limits are"),
        (container.get("securityContext") is not None, "security context is"),
    ):
        if not is_there:
            raise Problem(f"{what} mandatory")
