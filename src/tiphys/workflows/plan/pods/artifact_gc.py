"""The pods that delete artifacts: one for each strategy and way to get at artifacts (`Access`).

Under "in-pod" the original's pod, whose ``argoexec artifact delete`` finds its task by a label; under "native" the node
agent does the work of ``main`` and finds the task among the pod's owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tiphys.lang import names
from tiphys.workflows.plan.canonical import POD_SPEC, canonical
from tiphys.workflows.plan.nodes import stamp
from tiphys.workflows.plan.pods import inpod, native, patching, plugins
from tiphys.workflows.plan.state import LABEL_COMPLETED, LABEL_COMPONENT, LABEL_INSTANCE_ID, LABEL_WORKFLOW

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

COMPONENT = "artifact-gc"
STRATEGY = "workflows.argoproj.io/artifact-gc-strategy"
_LIMITS = {"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": "50m", "memory": "32Mi"}}


@dataclass(frozen=True)
class Access:
    """What a pod needs to get at artifacts."""

    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Mapping[str, Any], artifact: Mapping[str, Any]) -> Access:
        """What the artifact says, over what the workflow says."""
        account = ""
        labels: dict[str, str] = {}
        annotations: dict[str, str] = {}
        for source in (spec.get("artifactGC") or {}, artifact.get("artifactGC") or {}):
            account = source.get("serviceAccountName") or account
            labels.update((source.get("podMetadata") or {}).get("labels") or {})
            annotations.update((source.get("podMetadata") or {}).get("annotations") or {})
        return cls(account, labels, annotations)


def build(
    state: State,
    name: str,
    strategy: str,
    access: Access,
    task: Mapping[str, Any],
    places: Iterable[Mapping[str, Any]],
    now: datetime,
) -> dict[str, Any]:
    """The pod called ``name`` for ``task`` (as stored). ``places`` are the locations and artifacts that it reads.

    Raises `Problem` for a ``podSpecPatch`` that is none, and for plugins that are not configured.
    """
    labels = {LABEL_WORKFLOW: state.name, LABEL_COMPONENT: COMPONENT, LABEL_COMPLETED: "false"}
    if state.settings.instance_id:
        labels[LABEL_INSTANCE_ID] = state.settings.instance_id
    meta = {
        "name": name,
        "namespace": state.namespace,
        "labels": {**labels, **access.labels},
        "annotations": {STRATEGY: strategy, **access.annotations},
        "ownerReferences": [_owner(task)],
    }
    is_native = state.settings.executor == "native"
    spec = _native_spec(state, places) if is_native else _in_pod_spec(state, name, list(places), now)
    spec = canonical(spec, POD_SPEC)
    patch = (state.spec.get("artifactGC") or {}).get("podSpecPatch")
    if patch:
        spec = patching.patched(spec, str(patch))
    if access.service_account:
        spec["serviceAccountName"] = access.service_account
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _owner(task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowArtifactGCTask",
        "name": task["metadata"]["name"],
        "uid": task["metadata"].get("uid", ""),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _native_spec(state: State, places: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    main = {"name": "main", "image": native.EXECUTOR_IMAGE, "command": ["tiphys-executor", "artifact", "delete"]}
    spec = {"restartPolicy": "Never", "securityContext": inpod.POD_SECURITY, "containers": [main]}
    sidecars = plugins.sidecars(state, plugins.of_places(places))
    return {**spec, "initContainers": sidecars} if sidecars else spec


def _in_pod_spec(state: State, name: str, places: list[Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    plugins.sidecars(state, plugins.of_places(places))  # raises for those that are not configured
    volumes, mounts = inpod.secret_volumes(places)
    main: dict[str, Any] = {
        "name": "main",
        "image": state.settings.executor_image,
        "args": ["artifact", "delete", *inpod.log_options(state)],
        "env": [
            {"name": "ARGO_POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "ARGO_TEMPLATE", "value": "{}"},
            {"name": "ARGO_DEADLINE", "value": stamp(now)},
            {"name": "ARGO_ARTIFACT_POD_NAME", "value": names.artifact_gc_pod_label(name)},
            {"name": "ARGO_ARTIFACT_PLUGIN_NAMES"},
        ],
        "resources": _LIMITS,
        "securityContext": inpod.MINIMAL_SECURITY,
        "volumeMounts": mounts,
    }
    if state.settings.executor_image_pull_policy:
        main["imagePullPolicy"] = state.settings.executor_image_pull_policy
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": True,
        "securityContext": inpod.POD_SECURITY,
        "volumes": volumes,
        "containers": [main],
    }
