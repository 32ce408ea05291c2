"""What each built-in kind demands of its objects, beyond types and metadata: a rule per kind, texts as the original's.

A rule yields complaints about an object's content; it gets the old object too, where there is one. What may be written
through a subresource has rules of its own. Kinds that are not in the tables are taken as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules import (
    access,
    admission,
    autoscaling,
    claims,
    classes,
    configuration,
    crds,
    endpoints,
    events,
    flows,
    jobs,
    limits,
    networking,
    nodes,
    persistent_volumes,
    pod_updates,
    pods,
    requests,
    services,
    statuses,
    storage,
    workloads,
)
from tiphys.machinery.equality import same

Rule = Callable[[Object, Object | None], Iterator[Complaint]]
ChangeRule = Callable[[Object, Object], Iterator[Complaint]]

RULES: Final[dict[str, Rule]] = {
    "pods": pods.pod,
    "podtemplates": workloads.pod_template,
    "replicationcontrollers": workloads.replication_controller,
    "configmaps": configuration.config_map,
    "secrets": configuration.secret,
    "persistentvolumeclaims": claims.claim,
    "persistentvolumes": persistent_volumes.volume,
    "services": services.service,
    "endpoints": endpoints.endpoints,
    "nodes": nodes.node,
    "namespaces": nodes.namespace,
    "resourcequotas": limits.quota,
    "limitranges": limits.limit_range,
    "deployments.apps": workloads.deployment,
    "statefulsets.apps": workloads.stateful_set,
    "daemonsets.apps": workloads.daemon_set,
    "replicasets.apps": workloads.replica_set,
    "controllerrevisions.apps": workloads.controller_revision,
    "jobs.batch": jobs.job,
    "cronjobs.batch": jobs.cron_job,
    "horizontalpodautoscalers.autoscaling": autoscaling.autoscaler,
    "poddisruptionbudgets.policy": autoscaling.disruption_budget,
    "ingresses.networking.k8s.io": networking.ingress,
    "ingressclasses.networking.k8s.io": networking.ingress_class,
    "networkpolicies.networking.k8s.io": networking.network_policy,
    "ipaddresses.networking.k8s.io": networking.ip_address_object,
    "servicecidrs.networking.k8s.io": networking.service_cidr,
    "endpointslices.discovery.k8s.io": endpoints.endpoint_slice,
    "roles.rbac.authorization.k8s.io": access.role,
    "clusterroles.rbac.authorization.k8s.io": access.cluster_role,
    "rolebindings.rbac.authorization.k8s.io": access.binding(("Role", "ClusterRole")),
    "clusterrolebindings.rbac.authorization.k8s.io": access.binding(("ClusterRole",)),
    "storageclasses.storage.k8s.io": storage.storage_class,
    "volumeattributesclasses.storage.k8s.io": storage.attributes_class,
    "volumeattachments.storage.k8s.io": storage.attachment,
    "csidrivers.storage.k8s.io": storage.driver,
    "csinodes.storage.k8s.io": storage.node,
    "csistoragecapacities.storage.k8s.io": storage.capacity,
    "priorityclasses.scheduling.k8s.io": classes.priority_class,
    "runtimeclasses.node.k8s.io": classes.runtime_class,
    "events": events.core_event,
    "events.events.k8s.io": events.event,
    "apiservices.apiregistration.k8s.io": classes.api_service,
    "leases.coordination.k8s.io": classes.lease,
    "certificatesigningrequests.certificates.k8s.io": requests.signing_request,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": admission.webhooks(mutating=False),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": admission.webhooks(mutating=True),
    "validatingadmissionpolicies.admissionregistration.k8s.io": admission.policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": admission.binding,
    "flowschemas.flowcontrol.apiserver.k8s.io": flows.flow_schema,
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": flows.priority_level,
    "customresourcedefinitions.apiextensions.k8s.io": crds.definition,
}
SUBRESOURCES: Final[dict[str, ChangeRule]] = {
    "pods/status": statuses.pod,
    "pods/ephemeralcontainers": pod_updates.ephemeral_update,
    "pods/resize": pod_updates.resize,
    "deployments.apps/status": statuses.deployment,
    "replicasets.apps/status": statuses.replica_set,
    "replicationcontrollers/status": statuses.replica_set,
    "statefulsets.apps/status": statuses.stateful_set,
    "daemonsets.apps/status": statuses.daemon_set,
    "horizontalpodautoscalers.autoscaling/status": statuses.autoscaler,
    "poddisruptionbudgets.policy/status": statuses.disruption_budget,
    "jobs.batch/status": statuses.job,
    "services/status": services.service_status,
    "ingresses.networking.k8s.io/status": statuses.ingress,
    "persistentvolumeclaims/status": statuses.claim,
    "resourcequotas/status": statuses.quota,
    "namespaces/status": nodes.namespace_status,
    "nodes/status": nodes.node,
    "volumeattachments.storage.k8s.io/status": storage.attachment_status,
    "certificatesigningrequests.certificates.k8s.io/status": requests.status,
    "certificatesigningrequests.certificates.k8s.io/approval": requests.approval,
}
# What everybody may do without the content being looked at again.
_UNJUDGED: Final = ("status", "binding", "finalize", "approval")
# Their rules look at annotations, too.
_ANNOTATED: Final = ("pods", "services", "podtemplates", "persistentvolumeclaims", "secrets")


def complaints(key: str, obj: Object, old: Object | None, subresource: str = "") -> Iterator[Complaint]:
    """What is wrong with the content of an object of the kind ``plural.group``; nothing where it has not changed."""
    if old is not None and subresource:
        change_rule = SUBRESOURCES.get(f"{key}/{subresource}")
        if change_rule is not None:
            yield from change_rule(obj, old)
            return
        if subresource in _UNJUDGED:
            return
    rule = RULES.get(key)
    if rule is not None and (old is None or _has_changed(key, obj, old)):
        yield from rule(obj, old)


def _has_changed(key: str, obj: Object, old: Object) -> bool:
    fields = (obj.keys() | old.keys()) - {"metadata", "status"}
    if any(_differs(obj.get(field), old.get(field)) for field in fields):
        return True
    return key in _ANNOTATED and _differs(obj["metadata"].get("annotations"), old["metadata"].get("annotations"))


def _differs(new: Any, old: Any) -> bool:
    return new is not old and not same(new, old)
