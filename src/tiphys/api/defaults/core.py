"""Defaults of the core group: pods and what holds pod templates, services, volumes, quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tiphys.machinery import quantities

Object = dict[str, Any]


def fill(target: Object, **defaults: Any) -> None:
    """Sets what is absent, null or empty text; Go cannot tell those apart where the field is no pointer."""
    for name, value in defaults.items():
        if target.get(name) in (None, ""):
            target[name] = value


def child(target: Object, name: str) -> Object:
    """The object under ``name``, made where it is absent."""
    value: Object | None = target.get(name)
    if value is None:
        value = target[name] = {}
    return value


def each(target: Object, name: str) -> Iterable[Object]:
    return target.get(name) or ()


def pod(obj: Object) -> None:
    spec = obj["spec"]
    pod_spec(spec)
    fill(spec, enableServiceLinks=True)
    for container in (*each(spec, "initContainers"), *each(spec, "containers")):
        _requests_from_limits(container)
    if spec.get("hostNetwork"):
        _host_ports(spec)
    if resources := spec.get("resources"):
        _pod_level_requests(spec, resources)


def pod_template(template: Object) -> None:
    pod_spec(template["spec"])


def pod_spec(spec: Object) -> None:
    fill(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", terminationGracePeriodSeconds=30)
    fill(spec, schedulerName="default-scheduler")
    child(spec, "securityContext")
    if spec.get("hostNetwork"):
        _host_ports(spec)
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for one in each(spec, group):
            container(one)
    for one in each(spec, "volumes"):
        volume(one)
    if spec.get("overhead"):
        spec["overhead"] = resource_list(spec["overhead"])


def container(one: Object) -> None:
    fill(one, imagePullPolicy=pull_policy(one.get("image") or ""))
    fill(one, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    for port in each(one, "ports"):
        fill(port, protocol="TCP")
    for variable in each(one, "env"):
        if (source := variable.get("valueFrom")) and (reference := source.get("fieldRef")):
            fill(reference, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (found := one.get(name)) is not None:
            probe(found)
    for hook in (one.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            handler(hook)
    if (context := one.get("securityContext")) and "procMount" in context:
        fill(context, procMount="Default")
    _round_resources(one.get("resources"))


def pull_policy(image: str) -> str:
    """Always for the tag latest (or none), else IfNotPresent; a digest pins the image, and so does no image at all."""
    name, _, digest = image.partition("@")
    if digest:
        return "IfNotPresent"
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") and name else "IfNotPresent"


def probe(found: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not found.get(name):
            found[name] = value
    handler(found)


def handler(found: Object) -> None:
    if http := found.get("httpGet"):
        fill(http, path="/", scheme="HTTP")
    if (grpc := found.get("grpc")) and grpc.get("service") is None:
        grpc["service"] = ""


# (source, default fields) of the volume sources whose defaults are plain values.
_VOLUME_DEFAULTS: dict[str, Object] = {
    "secret": {"defaultMode": 0o644},
    "configMap": {"defaultMode": 0o644},
    "downwardAPI": {"defaultMode": 0o644},
    "projected": {"defaultMode": 0o644},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
_VOLUME_SOURCES = (
    "hostPath", "emptyDir", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "secret", "nfs", "iscsi",
    "glusterfs", "persistentVolumeClaim", "rbd", "flexVolume", "cinder", "cephfs", "flocker", "downwardAPI", "fc",
    "azureFile", "configMap", "vsphereVolume", "quobyte", "azureDisk", "photonPersistentDisk", "projected",
    "portworxVolume", "scaleIO", "storageos", "csi", "ephemeral", "image",
)  # fmt: skip


def volume(one: Object) -> None:
    if not any(one.get(source) is not None for source in _VOLUME_SOURCES):
        one["emptyDir"] = {}
    source_defaults(one)
    for name in ("downwardAPI", "projected"):
        if (source := one.get(name)) is not None:
            _field_references(source)
    if claim := ((one.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec"):
        claim_spec(claim)


def source_defaults(one: Object) -> None:
    """Of a pod's volume or of a persistent volume's source."""
    for name, defaults in _VOLUME_DEFAULTS.items():
        if (source := one.get(name)) is not None:
            for key, value in defaults.items():
                if source.get(key) is None or (source[key] == "" and value):
                    source[key] = value


def _field_references(source: Object) -> None:
    items = [*each(source, "items")]
    for part in each(source, "sources"):
        items += each(part.get("downwardAPI") or {}, "items")
        if token := part.get("serviceAccountToken"):
            fill(token, expirationSeconds=3600)
    for item in items:
        if reference := item.get("fieldRef"):
            fill(reference, apiVersion="v1")


def resource_list(amounts: Object) -> Object:
    """Amounts finer than a milli are rounded up to one."""
    return {name: str(quantities.parse(str(text)).rounded_up(-3)[0]) for name, text in amounts.items()}


def _round_resources(resources: Object | None) -> None:
    for name in ("limits", "requests"):
        if resources and resources.get(name):
            resources[name] = resource_list(resources[name])


def _requests_from_limits(one: Object) -> None:
    resources = one.get("resources") or {}
    if limits := resources.get("limits"):
        requests = resources.get("requests") or {}
        resources["requests"] = requests | {name: limits[name] for name in limits if name not in requests}


def _pod_level_requests(spec: Object, resources: Object) -> None:
    """Requests of the pod as a whole, from its containers or else from its own limits (PodLevelResources)."""
    limits = resources.get("limits")
    if not limits:
        return
    requests = dict(resources.get("requests") or {})
    for name in limits:
        if name in requests or name not in ("cpu", "memory"):
            continue
        asked = [
            amount
            for one in each(spec, "containers")
            if (amount := ((one.get("resources") or {}).get("requests") or {}).get(name)) is not None
        ]
        total = quantities.parse("0")
        for amount in asked:
            total = total + quantities.parse(str(amount))
        requests[name] = str(total) if asked else limits[name]
    if requests:
        resources["requests"] = requests


def _host_ports(spec: Object) -> None:
    for group in ("initContainers", "containers"):
        for one in each(spec, group):
            for port in each(one, "ports"):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)


def service(obj: Object) -> None:
    spec = obj["spec"]
    fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client_ip = child(child(spec, "sessionAffinityConfig"), "clientIP")
        fill(client_ip, timeoutSeconds=10800)
    for port in each(spec, "ports"):
        fill(port, protocol="TCP")
        if port.get("targetPort") in (0, "", None):
            port["targetPort"] = port.get("port", 0)
    if spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] != "ExternalName":
        fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)


def endpoints(obj: Object) -> None:
    for subset in each(obj, "subsets"):
        for port in each(subset, "ports"):
            fill(port, protocol="TCP")


def replication_controller(obj: Object) -> None:
    spec = obj["spec"]
    if template := spec.get("template"):
        pod_template(template)
        labels = (template.get("metadata") or {}).get("labels") or {}
        if labels:
            if not spec.get("selector"):
                spec["selector"] = labels
            if not obj["metadata"].get("labels"):
                obj["metadata"]["labels"] = labels
    fill(spec, replicas=1)


def secret(obj: Object) -> None:
    fill(obj, type="Opaque")


def namespace(obj: Object) -> None:
    fill(obj["status"], phase="Active")
    # A namespace always carries its own name; spec.finalizers are set by the storage strategy, not here.
    if name := obj["metadata"].get("name"):
        labels = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": name}


def node(obj: Object) -> None:
    status = obj["status"]
    capacity = status.get("capacity")
    if capacity and not status.get("allocatable"):
        status["allocatable"] = capacity
    for name in ("capacity", "allocatable"):
        if status.get(name):
            status[name] = resource_list(status[name])


def persistent_volume(obj: Object) -> None:
    spec = obj["spec"]
    fill(obj["status"], phase="Pending")
    fill(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    source_defaults(spec)
    for name in ("secret", "configMap"):
        spec.pop(name, None)
    if spec.get("capacity"):
        spec["capacity"] = resource_list(spec["capacity"])


def persistent_volume_claim(obj: Object) -> None:
    fill(obj["status"], phase="Pending")
    claim_spec(obj["spec"])


def claim_spec(spec: Object) -> None:
    fill(spec, volumeMode="Filesystem")
    _round_resources(spec.get("resources"))


def limit_range(obj: Object) -> None:
    for item in each(obj["spec"], "limits"):
        for name in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            if item.get(name):
                item[name] = resource_list(item[name])
        if item.get("type") == "Container":
            _container_limits(item)


def _container_limits(item: Object) -> None:
    """default from max; defaultRequest from default, else from min."""
    default = (item.get("max") or {}) | (item.get("default") or {})
    request = (item.get("min") or {}) | default | (item.get("defaultRequest") or {})
    if default:
        item["default"] = default
    if request:
        item["defaultRequest"] = request


def resource_quota(obj: Object) -> None:
    for part, name in ((obj["spec"], "hard"), (obj["status"], "hard"), (obj["status"], "used")):
        if part.get(name):
            part[name] = resource_list(part[name])


def config_map(obj: Object) -> None:
    data = obj.get("data")
    if data:
        obj["data"] = {key: value if value is not None else "" for key, value in data.items()}


def pod_template_object(obj: Object) -> None:
    pod_template(obj["template"])


DEFAULTERS: dict[str, Callable[[Object], None]] = {
    "v1/Pod": pod,
    "v1/PodTemplate": pod_template_object,
    "v1/ReplicationController": replication_controller,
    "v1/Service": service,
    "v1/Endpoints": endpoints,
    "v1/Secret": secret,
    "v1/ConfigMap": config_map,
    "v1/Namespace": namespace,
    "v1/Node": node,
    "v1/PersistentVolume": persistent_volume,
    "v1/PersistentVolumeClaim": persistent_volume_claim,
    "v1/LimitRange": limit_range,
    "v1/ResourceQuota": resource_quota,
}
