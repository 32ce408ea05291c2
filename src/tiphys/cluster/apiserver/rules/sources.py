"""What single sources of volumes must have: shared by pods' volumes and PersistentVolumes.

A table says which fields each source needs; what is more than that is a function of its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    given_one_of,
    in_form,
    in_form_if_given,
    inside,
    named,
    needed,
    too_long,
    within,
    without_dots,
)
from tiphys.lang import name_rules

Source = Callable[[Fields, str], Iterator[Complaint]]

# The place that complaints name, where it is not the source's own field; the original's spelling.
PLACES: Final = {"gcePersistentDisk": "persistentDisk"}
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "glusterfs": ("endpoints", "path"),
    "persistentVolumeClaim": ("claimName",),
    "rbd": ("monitors", "image"),
    "cephfs": ("monitors",),
    "azureFile": ("secretName", "shareName"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "scaleIO": ("gateway", "system", "volumeName"),
}
_HOST_PATH_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_INITIATORS: Final = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([a-zA-Z0-9\-.]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"^eui.[a-zA-Z0-9]{16}$"),
    "naa": re.compile(r"^naa.[a-zA-Z0-9]{32}$"),
}


def source_complaints(kind: str, source: Fields, at: str, *, persistent: bool = False) -> Iterator[Complaint]:
    """``at`` is the source's own place. ``persistent``: in a PersistentVolume, where secrets have namespaces."""
    yield from needed(source, at, *_NEEDS.get(kind, ()))
    check = _CHECKS.get(kind)
    if check is not None:
        yield from check(source, at)
    if persistent:
        yield from _persistent_complaints(kind, source, at)


def _persistent_complaints(kind: str, source: Fields, at: str) -> Iterator[Complaint]:
    secret = source.get("secretRef")
    if kind in ("cinder", "storageos") and secret is not None:
        yield from needed(secret, f"{at}.secretRef", "namespace")
    if kind == "glusterfs" and source.get("endpointsNamespace") is not None:
        name = source["endpointsNamespace"]
        text = "if the endpointnamespace is set, it must be a valid namespace name"
        for problem in name_rules.dns1123_label(name) if name else [text]:
            yield invalid_value(f"{at}.endpointsNamespace", name, problem)
    if kind == "azureFile" and source.get("secretNamespace") == "":
        yield required(f"{at}.secretNamespace")


def _host_path(source: Fields, at: str) -> Iterator[Complaint]:
    if not source.get("path"):
        yield required(f"{at}.path")
        return
    yield from without_dots(source["path"], f"{at}.path")
    yield from given_one_of(source, at, "type", _HOST_PATH_TYPES)


def _git_repo(source: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(source, at, "repository")
    yield from inside(source.get("directory") or "", f"{at}.directory")


def _disk(id_field: str) -> Source:
    def check(source: Fields, at: str) -> Iterator[Complaint]:
        yield from needed(source, at, id_field)
        partition = source.get("partition") or 0
        if not 0 <= partition <= 255:
            yield invalid_value(f"{at}.partition", partition, "must be between 1 and 255, inclusive")

    return check


def _nfs(source: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(source, at, "server", "path")
    path = source.get("path") or ""
    if not path.startswith("/"):
        yield invalid_value(f"{at}.path", path, "must be an absolute path")


def iscsi_complaints(source: Fields, at: str, *, hint: str = " starting with iqn, eui, or naa") -> Iterator[Complaint]:
    """``hint`` is left out for PersistentVolumes."""
    yield from needed(source, at, "targetPortal", "iqn")
    if source.get("iqn"):
        yield from _initiator(source["iqn"], f"{at}.iqn", hint)
    yield from within(source.get("lun") or 0, f"{at}.lun", 0, 255)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        yield required(f"{at}.secretRef")
    if not hint and source.get("secretRef") is not None:
        yield from needed(source["secretRef"], f"{at}.secretRef", "name")
    if source.get("initiatorName") is not None:
        yield from _initiator(source["initiatorName"], f"{at}.initiatorname", hint)


def _initiator(name: str, at: str, hint: str) -> Iterator[Complaint]:
    pattern = _INITIATORS.get(name[:3])
    if pattern is None:
        yield invalid_value(at, name, f"must be valid format{hint}")
    elif not pattern.search(name):
        yield invalid_value(at, name, "must be valid format")


def _quobyte(source: Fields, at: str) -> Iterator[Complaint]:
    registry, text = source.get("registry") or "", "must be a host:port pair or multiple pairs separated by commas"
    if not registry:
        yield required(f"{at}.registry", text)
    elif len(source.get("tenant") or "") >= 65:
        yield required(f"{at}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in registry.split(","):
            if not _is_host_and_port(pair):
                yield invalid_value(f"{at}.registry", registry, text)
    yield from needed(source, at, "volume")


def _is_host_and_port(pair: str) -> bool:
    return re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*", pair) is not None


def _flocker(source: Fields, at: str) -> Iterator[Complaint]:
    name, uid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uid:
        yield required(at, "one of datasetName and datasetUUID is required")
    if name and uid:
        yield invalid_value(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in name:
        yield invalid_value(f"{at}.datasetName", name, "must not contain '/'")


def _cinder(source: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(source, at, "volumeID")
    yield from _secret_name(source, at)


def _secret_name(source: Fields, at: str) -> Iterator[Complaint]:
    if source.get("secretRef") is not None:
        yield from needed(source["secretRef"], f"{at}.secretRef", "name")


def _fc(source: Fields, at: str) -> Iterator[Complaint]:
    targets, wwids, lun = source.get("targetWWNs") or [], source.get("wwids") or [], source.get("lun")
    if not targets and not wwids:
        yield required(f"{at}.targetWWNs", "must specify either targetWWNs or wwids, but not both")
    if targets and wwids:
        text = "targetWWNs and wwids can not be specified simultaneously"
        yield invalid_value(f"{at}.targetWWNs", targets, text)
    if targets:
        if lun is None:
            yield required(f"{at}.lun", "lun is required if targetWWNs is specified")
        else:
            yield from within(lun, f"{at}.lun", 0, 255)


def _flex_volume(source: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(source, at, "driver")
    for key in sorted(source.get("options") or {}):
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            yield invalid_value(f"{at}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved")


def _azure_disk(source: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(source, at, "diskName", "diskURI")
    uri, kind = source.get("diskURI") or "", source.get("kind")
    yield from given_one_of(source, at, "cachingMode", ("None", "ReadOnly", "ReadWrite"))
    yield from given_one_of(source, at, "kind", ("Dedicated", "Managed", "Shared"))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        yield unsupported(f"{at}.diskURI", uri, [form])
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        yield unsupported(f"{at}.diskURI", uri, [form])


def _storage_os(source: Fields, at: str) -> Iterator[Complaint]:
    yield from named(source, at, "volumeName", name_rules.dns1123_label)
    yield from in_form_if_given(source, at, "volumeNamespace", name_rules.dns1123_label)
    yield from _secret_name(source, at)


def csi_driver(name: str, at: str) -> Iterator[Complaint]:
    """The name of a CSI driver."""
    if not name:
        yield required(at)
        return
    if len(name.encode()) > 63:
        yield too_long(at, 63)
    for problem in name_rules.dns1123_subdomain(name.lower()):
        yield invalid_value(at, name, problem)


def _csi(source: Fields, at: str) -> Iterator[Complaint]:
    yield from csi_driver(source.get("driver") or "", f"{at}.driver")
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        if not secret.get("name"):
            yield required(f"{at}.nodePublishSecretRef.name")
        else:
            yield from in_form(secret["name"], f"{at}.name", name_rules.dns1123_subdomain)


_CHECKS: Final[dict[str, Source]] = {
    "hostPath": _host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "nfs": _nfs,
    "iscsi": iscsi_complaints,
    "quobyte": _quobyte,
    "flocker": _flocker,
    "cinder": _cinder,
    "fc": _fc,
    "flexVolume": _flex_volume,
    "azureDisk": _azure_disk,
    "storageos": _storage_os,
    "csi": _csi,
}
