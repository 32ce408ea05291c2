"""The agent's pod: one per workflow with http or plugin templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiphys.lang import names
from tiphys.machinery.actions import Create
from tiphys.machinery.resources import PODS
from tiphys.workflows.plan.canonical import POD_SPEC, canonical
from tiphys.workflows.plan.pods import inpod, metadata, native
from tiphys.workflows.plan.reconcile import agent_name
from tiphys.workflows.plan.state import LABEL_COMPLETED, LABEL_COMPONENT, LABEL_INSTANCE_ID, LABEL_WORKFLOW

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


def create(state: State) -> None:
    """Plans the agent's pod."""
    state.actions.append(Create(PODS, build(state), why="http and plugin templates"))


def build(state: State) -> dict[str, Any]:
    """The pod, in the shape of the chosen executor."""
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
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": canonical(spec, POD_SPEC)}


def _native_spec(state: State) -> dict[str, Any]:
    main = {"name": "main", "image": native.EXECUTOR_IMAGE, "command": ["tiphys-executor", "agent"]}
    return {"restartPolicy": "OnFailure", "containers": [main]}


def _in_pod_spec(state: State) -> dict[str, Any]:
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
            {"name": "ARGO_PLUGIN_ADDRESSES", "value": "null"},
            {"name": "ARGO_PLUGIN_NAMES", "value": "null"},
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
        "securityContext": {"runAsNonRoot": True, "runAsUser": 8737, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "volumes": [{"name": "var-run-argo", "emptyDir": {}}, {"name": token, "secret": {"secretName": secret}}],
        "initContainers": [{**container, "name": "init", "args": ["agent", "init", *logs]}],
        "containers": [{**container, "name": "main", "args": ["agent", "main", *logs]}],
    }
    if account:
        spec["serviceAccountName"] = account
    if state.spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = state.spec["imagePullSecrets"]
    return spec
