"""What is asked of nodes, and of those who act for one: TaintNodesByCondition and NodeRestriction.

Who is called ``system:node:NAME`` and in the group ``system:nodes`` is the kubelet of that node (its certificate says
so). Whatever roles it has, it writes only what is its own: its Node without taints and owners, its Lease, CSINode and
ResourceSlices, the status of its pods and claims, mirror pods, tokens for its pods.
Source: ``plugin/pkg/admission/noderestriction``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.pods import MIRROR, refuse
from tiphys.cluster.apiserver.problems import forbidden
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.users import IN_PROCESS, User
from tiphys.lang.gofmt import quote
from tiphys.machinery.equality import same

_NOT_READY: Final = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_USER: Final = "system:node:"
_GROUP: Final = "system:nodes"
_LEASES: Final = "kube-node-lease"
_RESTRICTED: Final = "node-restriction.kubernetes.io"
_DOMAINS: Final = ("kubernetes.io", "k8s.io")
_OWN_DOMAINS: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN_LABELS: Final = frozenset(
    f"{domain}/{name}"
    for domain, names in (
        ("kubernetes.io", ("hostname", "os", "arch")),
        ("beta.kubernetes.io", ("os", "arch", "instance-type")),
        ("topology.kubernetes.io", ("zone", "region")),
        ("failure-domain.beta.kubernetes.io", ("zone", "region")),
    )
    for name in names
)
_CLAIM_STATUS: Final = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
# Volumes and sources of projected ones that need the API, and what they are called in messages.
_VOLUMES: Final = {
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
_PROJECTED: Final = {
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


def taint(request: Attributes) -> None:
    """TaintNodesByCondition: a new node gets no pods until it is ready (the node controller lifts the taint).

    Nodes of our own are made when they are ready.
    """
    is_new = request.operation == "CREATE" and request.info.collection == "nodes" and not request.subresource
    if not is_new or request.user is IN_PROCESS:
        return
    taints = (request.spec.get("taints") or []) if request.obj else []
    if all((each.get("key"), each.get("effect")) != tuple(_NOT_READY.values()) for each in taints):
        request.spec["taints"] = [*taints, dict(_NOT_READY)]


def node_of(user: User) -> str | None:
    """The node that the user is the kubelet of; None for everybody else."""
    if not user.name.startswith(_USER) or _GROUP not in user.groups:
        return None
    return user.name.removeprefix(_USER)


class NodeRestriction:
    """Refuses to kubelets what is not theirs; everybody else may pass."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules: Mapping[str, Callable[[Attributes, str], str]] = {
            "pods": self._pod,
            "nodes": _node,
            "persistentvolumeclaims": _claim,
            "leases.coordination.k8s.io": _lease,
            "csinodes.storage.k8s.io": _csi_node,
            "resourceslices.resource.k8s.io": _resource_slice,
        }

    def check(self, request: Attributes) -> None:
        """Raises Forbidden."""
        node, rule = node_of(request.user), self._rules.get(request.info.collection)
        if node is None:
            return
        if not node:
            raise refuse(request, f"could not determine node from user {quote(request.user.name)}")
        why = rule(request, node) if rule is not None else ""
        if why:
            raise refuse(request, why)

    def check_eviction(self, user: User, info: ResourceInfo, pod: Object) -> None:
        """Raises Forbidden."""
        node = node_of(user)
        if node is not None and pod["spec"].get("nodeName") != node:
            why = f"node {node} can only evict pods with spec.nodeName set to itself"
            raise forbidden(info, pod["metadata"]["name"], why)

    def check_token(self, user: User, info: ResourceInfo, account: Object, spec: Mapping[str, Any]) -> None:
        """Raises Forbidden: a kubelet asks for tokens of its pods alone."""
        node = node_of(user)
        why = self._token(node, account["metadata"]["namespace"], spec) if node is not None else ""
        if why:
            raise forbidden(info, account["metadata"]["name"], why)

    def _token(self, node: str, namespace: str, spec: Mapping[str, Any]) -> str:
        bound = spec.get("boundObjectRef") or {}
        if (bound.get("apiVersion"), bound.get("kind")) != ("v1", "Pod") or not bound.get("name"):
            return "node requested token not bound to a pod"
        if not bound.get("uid"):
            return "node requested token with a pod binding without a uid"
        record = self._store.latest("pods", f"{namespace}/{bound['name']}")
        pod = self._store.view(record) if record is not None else None
        if pod is None or pod["metadata"]["uid"] != bound["uid"]:
            uid = f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record"
            return f"{uid}. The object might have been deleted and then recreated"
        if pod["spec"].get("nodeName") != node:
            return "node requested token bound to a pod scheduled on a different node"
        return ""

    def _pod(self, request: Attributes, node: str) -> str:
        me, old = f"node {quote(node)}", request.old or {}
        if request.subresource == "status":
            if (old.get("spec") or {}).get("nodeName") != node:
                return f"{me} can only update pod status for pods with spec.nodeName set to itself"
            changed = not same(_labels(request.obj), _labels(old))
            return f"{me} cannot update labels through pod status" if changed else ""
        if request.subresource:
            only = "only 'status' and 'eviction' are allowed"
            return f"unexpected pod subresource {quote(request.subresource)}, {only}"
        if request.operation == "DELETE":
            mine = (old.get("spec") or {}).get("nodeName") == node
            return "" if mine else f"{me} can only delete pods with spec.nodeName set to itself"
        if request.operation != "CREATE":
            return f"unexpected operation {quote(request.operation)}, {me} can only create and delete mirror pods"
        return self._mirror(request.obj or {}, node)

    def _mirror(self, pod: Object, node: str) -> str:
        """What is wrong with a pod that shows one of the node's own."""
        me, spec, meta = f"node {quote(node)}", pod["spec"], pod["metadata"]
        if MIRROR not in (meta.get("annotations") or {}):
            return f"pod does not have {quote(MIRROR)} annotation, {me} can only create mirror pods"
        if spec.get("nodeName") != node:
            return f"{me} can only create pods with spec.nodeName set to itself"
        owners = meta.get("ownerReferences") or []
        if len(owners) > 1:
            return f"{me} can only create pods with a single owner reference set to itself"
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            return f"{me} can only create pods with an owner reference set to itself"
        if not owner.get("controller"):
            return f"{me} can only create pods with a controller owner reference set to itself"
        if owner.get("blockOwnerDeletion"):
            return f"{me} must not set blockOwnerDeletion on an owner reference"
        record = self._store.latest("nodes", node)
        uid = self._store.view(record)["metadata"]["uid"] if record is not None else ""
        if owner.get("uid") != uid:
            return f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}"
        reference = next(_references(spec), "")
        return f"{me} can not create pods that reference {reference}" if reference else ""


def _node(request: Attributes, node: str) -> str:
    name = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    if name != node:
        return f"node {quote(node)} is not allowed to modify node {quote(name)}"
    new, old = request.obj, request.old
    if new is None:
        return ""
    labels = ", ".join(_forbidden_labels(_labels(new), _labels(old)))
    if old is None:
        return f"node {quote(node)} is not allowed to set the following labels: {labels}" if labels else ""
    if not same((new.get("spec") or {}).get("taints") or [], (old.get("spec") or {}).get("taints") or []):
        return f"node {quote(node)} is not allowed to modify taints"
    if not same(new["metadata"].get("ownerReferences") or [], old["metadata"].get("ownerReferences") or []):
        return f"node {quote(node)} is not allowed to modify ownerReferences"
    return f"is not allowed to modify labels: {labels}" if labels else ""


def _forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """The changed labels that would let a node choose the pods that it gets."""
    changed = (key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
    return sorted(key for key in changed if not _is_own_label(key))


def _is_own_label(key: str) -> bool:
    domain = key.rpartition("/")[0]
    if _within(domain, (_RESTRICTED,)):
        return False
    return not _within(domain, _DOMAINS) or key in _OWN_LABELS or _within(domain, _OWN_DOMAINS)


def _within(domain: str, outer: tuple[str, ...]) -> bool:
    return any(domain == each or domain.endswith(f".{each}") for each in outer)


def _claim(request: Attributes, node: str) -> str:
    if request.subresource != "status":
        return "may only update PVC status"
    if same(_other_than_status(request.obj or {}), _other_than_status(request.old or {})):
        return ""
    return f"node {quote(node)} is not allowed to update fields other than status.quantity and status.conditions"


def _other_than_status(claim: Object) -> Object:
    """A claim without what a kubelet writes."""
    meta = {key: value for key, value in claim["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    status = {key: value for key, value in (claim.get("status") or {}).items() if key not in _CLAIM_STATUS}
    return claim | {"metadata": meta, "status": status}


def _lease(request: Attributes, node: str) -> str:
    if request.namespace != _LEASES:
        return f"can only access leases in the {quote(_LEASES)} system namespace"
    same_name = (request.name or (request.obj or {}).get("metadata", {}).get("name")) == node
    return "" if same_name else "can only access node lease with the same name as the requesting node"


def _csi_node(request: Attributes, node: str) -> str:
    same_name = (request.name or (request.obj or {}).get("metadata", {}).get("name")) == node
    return "" if same_name else "can only access CSINode with the same name as the requesting node"


def _resource_slice(request: Attributes, node: str) -> str:
    """Which node it is of cannot be changed."""
    held = {"CREATE": request.obj, "DELETE": request.old}.get(request.operation)
    if held is None or (held.get("spec") or {}).get("nodeName") == node:
        return ""
    return f"can only {request.operation.lower()} ResourceSlice with the same NodeName as the requesting node"


def _labels(obj: Object | None) -> Mapping[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}


def _references(spec: Mapping[str, Any]) -> Iterator[str]:
    """The kinds of API objects that a pod refers to."""
    if spec.get("serviceAccountName"):
        yield "serviceaccounts"
    sources = list(_sources(spec))
    if spec.get("imagePullSecrets") or any(key.startswith("secret") for key in sources):
        yield "secrets"
    if any(key.startswith("configMap") for key in sources):
        yield "configmaps"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    yield from (_VOLUMES[key] for volume in spec.get("volumes") or () for key in volume if key in _VOLUMES)
    yield from (_PROJECTED[key] for key in sources if key in _PROJECTED)


def _sources(spec: Mapping[str, Any]) -> Iterator[str]:
    """What the environment and the volumes of a pod are taken from (``secretKeyRef``, ``configMap`` …)."""
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            for entry in container.get("envFrom") or ():
                yield from entry
            for variable in container.get("env") or ():
                yield from variable.get("valueFrom") or ()
    for volume in spec.get("volumes") or ():
        yield from volume
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from source
