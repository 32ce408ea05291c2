"""The agent's pod: one per workflow with http or plugin templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiphys.lang import names
from tiphys.machinery.actions import Create
from tiphys.machinery.resources import PODS
from tiphys.workflows.plan import executor_plugins
from tiphys.workflows.plan.canonical import CONTAINER, POD_SPEC, canonical, dumps
from tiphys.workflows.plan.pods import inpod, metadata, native, patching
from tiphys.workflows.plan.reconcile import agent_name
from tiphys.workflows.plan.state import LABEL_COMPLETED, LABEL_COMPONENT, LABEL_INSTANCE_ID, LABEL_WORKFLOW

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


def create(state: State) -> None:
    """Plans the agent's pod."""
    state.actions.append(Create(PODS, build(state), why="http and plugin templates"))


def build(state: State) -> dict[str, Any]:
    """The pod, in the shape of the chosen executor. Raises `Problem` for a ``podSpecPatch`` that is none."""
    labels = {LABEL_WORKFLOW: state.name, LABEL_COMPLETED: "false", LABEL_COMPONENT: "agent"}
    if state.settings.instance_id:
        labels[LABEL_INSTANCE_ID] = state.settings.instance_id
    meta: dict[str, Any] = {
        "name": agent_name(state),
        "namespace": state.namespace,
        "labels": labels,
        "annotations": {native.DEFAULT_CONTAINER: "main"},
        "ownerReferences": [metadata.owner(state)],
    }
    spec = _native_spec(state) if state.settings.executor == "native" else _in_pod_spec(state)
    for key in ("nodeSelector", "affinity", "tolerations", "schedulerName", "hostAliases", "dnsPolicy", "dnsConfig"):
        if state.spec.get(key):
            spec[key] = state.spec[key]
    if state.spec.get("podPriorityClassName"):
        spec["priorityClassName"] = state.spec["podPriorityClassName"]
    if state.spec.get("securityContext") is not None:
        spec["securityContext"] = state.spec["securityContext"]
    for source in (state.spec.get("podMetadata") or {},):
        meta["labels"].update(source.get("labels") or {})
        meta["annotations"].update(source.get("annotations") or {})
    spec = canonical(spec, POD_SPEC)
    if state.spec.get("podSpecPatch"):
        spec = patching.patched(spec, str(state.spec["podSpecPatch"]))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _native_spec(state: State) -> dict[str, Any]:
    main = {"name": "main", "image": native.EXECUTOR_IMAGE, "command": ["tiphys-executor", "agent"]}
    sidecars = [plugin["spec"]["sidecar"]["container"] for plugin in executor_plugins.of(state)]
    return {"restartPolicy": "OnFailure", "securityContext": inpod.POD_SECURITY, "containers": [main, *sidecars]}


def _in_pod_spec(state: State) -> dict[str, Any]:
    sidecars, plugin_volumes = _plugins(state)
    addresses = [f"http://localhost:{sidecar['ports'][0].get('containerPort', 0)}" for sidecar in sidecars] or None
    account = str(state.spec.get("serviceAccountName") or "")
    secret = metadata.token_name(state, account or "default")
    token = f"kube-api-access-{names.fnv32a(state.uid.encode()) % 100_000:05}"
    container = {
        "image": state.settings.executor_image,
        "command": ["argoexec"],
        "env": [
            {"name": "ARGO_WORKFLOW_NAME", "value": state.name},
            {"name": "ARGO_WORKFLOW_UID", "value": state.uid},
            {"name": "ARGO_AGENT_PATCH_RATE", "value": state.settings.agent_patch_rate},
            {"name": "ARGO_PLUGIN_ADDRESSES", "value": dumps(addresses)},
            {"name": "ARGO_PLUGIN_NAMES", "value": dumps([sidecar["name"] for sidecar in sidecars] or None)},
        ],
        "resources": {
            "requests": {"cpu": "10m", "memory": "64M"},
            "limits": {"cpu": "100m", "memory": "256M"},
        },
        "securityContext": inpod.MINIMAL_SECURITY,
        "volumeMounts": [
            {"name": "var-run-argo", "mountPath": "/var/run/argo"},
            {"name": token, "mountPath": inpod.SERVICE_ACCOUNT_PATH, "readOnly": True},
        ],
    }
    logs = inpod.log_options(state)
    spec: dict[str, Any] = {
        "restartPolicy": "OnFailure",
        "securityContext": inpod.POD_SECURITY,
        "automountServiceAccountToken": False,
        "volumes": [
            *plugin_volumes,
            {"name": "var-run-argo", "emptyDir": {}},
            {"name": token, "secret": {"secretName": secret}},
        ],
        "initContainers": [{**container, "name": "init", "args": ["agent", "init", *logs]}],
        "containers": [*sidecars, {**container, "name": "main", "args": ["agent", "main", *logs]}],
    }
    if account:
        spec["serviceAccountName"] = account
    if state.spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = state.spec["imagePullSecrets"]
    return spec


def _plugins(state: State) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The sidecars of the executor plugins, and their volumes. Raises `Problem`."""
    sidecars: list[dict[str, Any]] = []
    tokens: list[dict[str, Any]] = []
    for plugin in executor_plugins.of(state):
        sidecar = plugin["spec"]["sidecar"]
        made = canonical(sidecar["container"], CONTAINER)
        # of the directory with all tokens, a plugin sees only its own
        own = {"name": "var-run-argo", "mountPath": "/var/run/argo", "readOnly": True, "subPath": made["name"]}
        made["volumeMounts"] = [*(made.get("volumeMounts") or ()), own]
        if sidecar.get("automountServiceAccountToken"):
            name = plugin["metadata"]["name"]
            secret = metadata.token_name(state, f"{name}-executor-plugin")
            token = f"kube-api-access-{names.fnv32a(f'{state.uid}/{name}'.encode()) % 100_000:05}"
            tokens.append({"name": token, "secret": {"secretName": secret}})
            made["volumeMounts"].append({"name": token, "mountPath": inpod.SERVICE_ACCOUNT_PATH, "readOnly": True})
        sidecars.append(made)
    return sidecars, tokens
