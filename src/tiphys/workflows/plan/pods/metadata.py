"""What a pod says about itself and where it may run: names, labels, owner, scheduling, accounts, archive location."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.lang import durations
from tiphys.workflows.plan import parallelism, retry
from tiphys.workflows.plan.artifacts import has_location, location_of
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.state import (
    ANNOTATION_NODE_ID,
    ANNOTATION_NODE_NAME,
    LABEL_COMPLETED,
    LABEL_INSTANCE_ID,
    LABEL_ON_EXIT,
    LABEL_WORKFLOW,
    State,
)
from tiphys.workflows.plan.templates import Template

if TYPE_CHECKING:
    from tiphys.workflows.plan.pods.build import Draft

POD_GC = "workflows.argoproj.io/pod-gc-strategy"


def skeleton(draft: Draft, seconds: int | None) -> dict[str, Any]:
    """The pod without containers."""
    state, node = draft.state, draft.node
    labels = {LABEL_WORKFLOW: state.name, LABEL_COMPLETED: "false"}
    if draft.call.on_exit:
        labels[LABEL_ON_EXIT] = "true"
    if state.settings.instance_id:
        labels[LABEL_INSTANCE_ID] = state.settings.instance_id
    annotations = {ANNOTATION_NODE_NAME: node.name, ANNOTATION_NODE_ID: node.id}
    if (gc := state.spec.get("podGC")) is not None:
        annotations[POD_GC] = f"{gc.get('strategy', '')}/{gc_delay(state)}"
    spec: dict[str, Any] = {"restartPolicy": "Never"}
    if seconds is not None:
        spec["activeDeadlineSeconds"] = seconds
    for key in ("imagePullSecrets", "hostNetwork", "dnsPolicy", "dnsConfig"):
        if state.spec.get(key):
            spec[key] = state.spec[key]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": state.pod_name(node.name, str(draft.template.get("name") or "")),
            "namespace": state.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner(state)],
        },
        "spec": spec,
    }


def owner(state: State) -> dict[str, Any]:
    """The reference by which everything that a workflow creates belongs to it."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": state.name,
        "uid": state.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def gc_delay(state: State) -> str:
    """How long a pod stays after it may be deleted, as Go prints a duration."""
    own = (state.spec.get("podGC") or {}).get("deleteDelayDuration")
    if own:
        try:
            return durations.format(durations.parse_argo(str(own)))
        except ValueError:
            pass
    return durations.format(int(state.settings.pod_gc_delete_delay_seconds * 1e9))


def with_archive_location(state: State, template: Template) -> Template:
    """The template with the repository's location, where it needs one and names none."""
    own = template.get("archiveLocation")
    if has_location(own):
        return template
    archives_logs = saves_logs(state, template)
    inputs, outputs = template.get("inputs") or {}, template.get("outputs") or {}
    artifacts = [*(inputs.get("artifacts") or ()), *(outputs.get("artifacts") or ()), *_data_sources(template)]
    if not archives_logs and all(has_location(artifact) for artifact in artifacts):
        return template
    location = location_of(state.artifact_repository)
    if location is None:
        return template
    made = {"archiveLogs": archives_logs, **location}
    before = {key: value for key, value in template.items() if key not in _AFTER_LOCATION}
    return {**before, "archiveLocation": made, **{key: template[key] for key in _AFTER_LOCATION if key in template}}


_AFTER_LOCATION = [
    "activeDeadlineSeconds",
    "retryStrategy",
    "parallelism",
    "failFast",
    "tolerations",
    "schedulerName",
    "priorityClassName",
    "serviceAccountName",
    "automountServiceAccountToken",
    "executor",
    "hostAliases",
    "securityContext",
    "podSpecPatch",
    "metrics",
    "synchronization",
    "memoize",
    "timeout",
    "annotations",
    "pendingTimeout",
    "podResources",
    "resourceClaims",
]


def saves_logs(state: State, template: Template) -> bool:
    """Whether the logs become artifacts: the repository's word, else the template's, else the workflow's."""
    if (state.artifact_repository or {}).get("archiveLogs"):
        return True
    own = (template.get("archiveLocation") or {}).get("archiveLogs")
    return bool(own if own is not None else state.spec.get("archiveLogs"))


def _data_sources(template: Template) -> list[Mapping[str, Any]]:
    paths = ((template.get("data") or {}).get("source") or {}).get("artifactPaths")
    return [paths] if paths is not None else []


def set_service_account(draft: Draft) -> None:
    state, template = draft.state, draft.template
    name = template.get("serviceAccountName") or state.spec.get("serviceAccountName")
    if name:
        draft.spec["serviceAccountName"] = name
    automount = template.get("automountServiceAccountToken")
    if automount is None:
        automount = state.spec.get("automountServiceAccountToken")
    if automount is False:
        draft.spec["automountServiceAccountToken"] = False
    if state.settings.executor == "native":
        return  # the node's agent asks the API as itself
    account = executor_account(state, template)
    if account:
        token = {"name": "exec-sa-token", "secret": {"secretName": token_name(state, account)}}
        draft.spec.setdefault("volumes", []).append(token)
    elif automount is False:
        raise Problem("executor.serviceAccountName must not be empty if automountServiceAccountToken is false")


def executor_account(state: State, template: Template) -> str:
    """The service account of the executor's own containers, "" for the pod's."""
    own = (template.get("executor") or {}).get("serviceAccountName")
    return str(own or (state.spec.get("executor") or {}).get("serviceAccountName") or "")


def token_name(state: State, account: str) -> str:
    """The secret with a service account's token. Raises `Problem` where there is no such account."""
    obj = state.lookup.service_account(account)
    if obj is None:
        raise Problem(f'serviceaccounts "{account}" not found')
    annotated = ((obj.get("metadata") or {}).get("annotations") or {}).get(
        "workflows.argoproj.io/service-account-token.name"
    )
    secrets = obj.get("secrets") or ()
    if annotated:
        return str(annotated)
    return str(secrets[0]["name"]) if secrets else f"{account}.service-account-token"


def schedule(draft: Draft) -> None:
    """Selectors, affinity and the like: the template's own, else of the template around it, else the workflow's."""
    state, template, spec = draft.state, draft.template, draft.spec
    try:
        around = parallelism.boundary_template(state, draft.node.boundary_id) or {}
    except Problem:
        around = {}
    for key in ("nodeSelector", "affinity", "tolerations"):
        value = template.get(key) or around.get(key) or state.spec.get(key)
        if value:
            spec[key] = value
    scheduler = template.get("schedulerName") or state.spec.get("schedulerName")
    if scheduler:
        spec["schedulerName"] = scheduler
    priority_class = template.get("priorityClassName") or state.spec.get("podPriorityClassName")
    if priority_class:
        spec["priorityClassName"] = priority_class
    aliases = [*(state.spec.get("hostAliases") or ()), *(template.get("hostAliases") or ())]
    if aliases:
        spec["hostAliases"] = aliases
    security = template.get("securityContext")
    if security is None:
        security = state.spec.get("securityContext")
    if security is not None:
        spec["securityContext"] = security


def add_metadata(draft: Draft) -> None:
    """Labels and annotations of the workflow's pods, then of the template's."""
    meta = draft.pod["metadata"]
    for source in (draft.state.spec.get("podMetadata") or {}, draft.template.get("metadata") or {}):
        for key in ("labels", "annotations"):
            meta[key].update(source.get(key) or {})


def set_resources(draft: Draft) -> None:
    resources = draft.template.get("podResources") or draft.state.spec.get("podResources")
    if resources:
        draft.spec["resources"] = resources
    claims = draft.template.get("resourceClaims") or draft.state.spec.get("resourceClaims")
    if claims:
        draft.spec["resourceClaims"] = claims


def avoid_failed_hosts(draft: Draft) -> None:
    """With ``retryStrategy.affinity`` an attempt keeps away from hosts where one failed before.

    The strategy is that of the template of the Retry node, which may be one above this one's. Raises `Problem` where
    that template is not there any more.
    """
    state = draft.state
    around = _retry_node(state, draft.node)
    if around is None:
        return
    strategy = retry.strategy_of(state, _template_of(state, around) or draft.template)
    if not strategy or (strategy.get("affinity") or {}).get("nodeAntiAffinity") is None:
        return
    hosts = _failed_hosts(state, around)
    if hosts and state.settings.retry_host_label:
        draft.spec["affinity"] = _without_hosts(draft.spec.get("affinity"), state.settings.retry_host_label, hosts)


def _retry_node(state: State, node: Node) -> Node | None:
    for child in (node.id, node.boundary_id):
        for parent_id in state.nodes.parents.get(child, ()):
            parent = state.nodes.by_id.get(parent_id)
            if parent is not None and parent.type == "Retry":
                return parent
    return None


def _template_of(state: State, node: Node) -> Template | None:
    if not node.template_name and not node.template_ref:
        return None
    call = state.calls.get(node.id)
    if call is not None and (call.holder.get("template") or "") == node.template_name:
        return state.templates.resolve(call.context, call.holder)[1]
    context = state.templates.context_of(node.template_scope)
    return state.templates.resolve(context, {"template": node.template_name, "templateRef": node.template_ref})[1]


def _failed_hosts(state: State, node: Node) -> list[str]:
    hosts: dict[str, None] = {}
    todo = [node.id]
    seen: set[str] = set()
    while todo:
        current = state.nodes.by_id.get(todo.pop())
        if current is None or current.id in seen:
            continue
        seen.add(current.id)
        if current.type == "Pod" and current.unsuccessful:
            hosts[current.host_node_name] = None
        todo.extend(current.children)
    return list(hosts)


def _without_hosts(affinity: Mapping[str, Any] | None, label: str, hosts: list[str]) -> dict[str, Any]:
    rule = {"key": label, "operator": "NotIn", "values": hosts}
    made = dict(affinity or {})
    node_affinity = dict(made.get("nodeAffinity") or {})
    required = dict(node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {})
    terms = [dict(term) for term in required.get("nodeSelectorTerms") or ()] or [{}]
    terms = [{**term, "matchExpressions": _merged_rule(term.get("matchExpressions") or (), rule)} for term in terms]
    required["nodeSelectorTerms"] = terms
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required
    made["nodeAffinity"] = node_affinity
    return made


def _merged_rule(rules: Any, rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    made = [dict(known) for known in rules]
    for known in made:
        if known.get("key") == rule["key"] and known.get("operator") == "NotIn":
            known["values"] = list(dict.fromkeys([*(known.get("values") or ()), *rule["values"]]))
            return made
    return [*made, dict(rule)]
