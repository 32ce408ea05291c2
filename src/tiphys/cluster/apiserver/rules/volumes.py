"""Volumes of a pod: one source each, and what a source must have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.metadata import annotation_complaints_at
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.claims import claim_spec
from tiphys.cluster.apiserver.rules.environment import amount_complaints, field_complaints
from tiphys.cluster.apiserver.rules.signers import is_kubernetes_signer, signer_complaints, trust_bundle_name
from tiphys.cluster.apiserver.rules.sources import PLACES, source_complaints
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    chosen,
    duplicate,
    file_below,
    in_form,
    labels,
    named,
    needed,
    quantity,
    selector,
)
from tiphys.lang import name_rules

MODE_MAX: Final = 0o777
# In the order in which the original looks at them: the second one that is found is one too many. Second: what it
# calls that source then.
_SOURCES: Final = (
    ("emptyDir", ""),
    ("hostPath", ""),
    ("gitRepo", ""),
    ("gcePersistentDisk", ""),
    ("awsElasticBlockStore", ""),
    ("secret", ""),
    ("nfs", ""),
    ("iscsi", ""),
    ("glusterfs", ""),
    ("flocker", ""),
    ("persistentVolumeClaim", ""),
    ("rbd", ""),
    ("cinder", ""),
    ("cephfs", "cephFS"),
    ("quobyte", ""),
    ("downwardAPI", "downwarAPI"),
    ("fc", ""),
    ("flexVolume", ""),
    ("configMap", ""),
    ("azureFile", ""),
    ("vsphereVolume", ""),
    ("photonPersistentDisk", ""),
    ("portworxVolume", ""),
    ("azureDisk", ""),
    ("storageos", ""),
    ("projected", ""),
    ("scaleIO", ""),
    ("csi", ""),
    ("ephemeral", ""),
    ("image", ""),
)
SECONDS_MIN: Final = 600
_KEY_TYPES: Final = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")


def volume_complaints(
    volumes: Sequence[Fields], at: str, pod: str, *, is_pod: bool
) -> tuple[dict[str, Fields], list[Complaint]]:
    """The usable volumes by name, and what is wrong with the others. ``pod`` is the pod's name, "" where unknown;
    ``is_pod``: not a template."""
    usable: dict[str, Fields] = {}
    found: list[Complaint] = []
    made = {f"{pod}-{volume.get('name') or ''}" for volume in volumes if pod and volume.get("ephemeral") is not None}
    for number, volume in enumerate(volumes):
        here, name = f"{at}[{number}]", volume.get("name") or ""
        problems = [*_source(volume, here, pod, is_pod), *named(volume, here, "name", name_rules.dns1123_label)]
        if name in usable:
            problems.append(duplicate(f"{here}.name", name))
        if not problems:
            usable[name] = volume
        found += problems
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
        if claim in made:
            text = "must not reference a PVC that gets created for an ephemeral volume"
            found.append(invalid_value(f"{here}.persistentVolumeClaim.claimName", claim, text))
    return usable, found


def _source(volume: Fields, at: str, pod: str, is_pod: bool) -> Iterator[Complaint]:
    taken = False
    for kind, other_name in _SOURCES:
        source = volume.get(kind)
        if source is None:
            continue
        if taken and kind != "emptyDir":
            yield forbidden_value(f"{at}.{other_name or kind}", "may not specify more than 1 volume type")
        else:
            yield from _of_kind(kind, source, f"{at}.{PLACES.get(kind, kind)}", is_pod)
            if kind == "ephemeral":
                yield from _claim_name(volume, at, pod)
        if kind == "iscsi":
            yield from _initiator_length(volume, source, at)
        taken = True
    if not taken:
        yield required(at, "must specify a volume type")


def _claim_name(volume: Fields, at: str, pod: str) -> Iterator[Complaint]:
    name = volume.get("name") or ""
    if pod and name:
        for problem in name_rules.dns1123_subdomain(f"{pod}-{name}"):
            yield invalid_value(f"{at}.name", name, f'PVC name "{pod}-{name}": {problem}')


def _initiator_length(volume: Fields, source: Fields, at: str) -> Iterator[Complaint]:
    name = volume.get("name") or ""
    if source.get("initiatorName") is not None and len(f"{name}:{source.get('targetPortal') or ''}") > 64:
        text = (
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
            "specified."
        )
        yield invalid_value(f"{at}.name", name, text)


def _of_kind(kind: str, source: Fields, at: str, is_pod: bool) -> Iterator[Complaint]:
    match kind:
        case "emptyDir":
            limit = source.get("sizeLimit")
            if limit is not None and quantity(limit).sign < 0:
                yield forbidden_value(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        case "secret" | "configMap":
            yield from needed(source, at, "secretName" if kind == "secret" else "name")
            yield from _mode(source, at, "defaultMode")
            for number, item in enumerate(source.get("items") or ()):
                yield from _item(item, f"{at}.items[{number}]")
        case "downwardAPI":
            yield from _mode(source, at, "defaultMode")
            for item in source.get("items") or ():
                yield from _downward_file(item, at)
        case "projected":
            yield from _mode(source, at, "defaultMode")
            yield from _Projection(at).complaints(source)
        case "ephemeral":
            yield from _ephemeral(source.get("volumeClaimTemplate"), f"{at}.volumeClaimTemplate")
        case "image":
            if is_pod:
                yield from needed(source, at, "reference")
            yield from chosen(source.get("pullPolicy"), f"{at}.pullPolicy", ("Always", "IfNotPresent", "Never"))
        case _:
            yield from source_complaints(kind, source, at)


def _mode(source: Fields, at: str, field: str) -> Iterator[Complaint]:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= MODE_MAX:
        text = "must be a number between 0 and 0777 (octal), both inclusive"
        yield invalid_value(f"{at}.{field}", mode, text)


def _item(item: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(item, at, "key", "path")
    yield from file_below(item.get("path") or "", f"{at}.path")
    yield from _mode(item, at, "mode")


_VOLUME_FIELDS: Final = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)


def _downward_file(item: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(item, at, "path")
    yield from file_below(item.get("path") or "", f"{at}.path")
    field, amount = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        yield from field_complaints(field, f"{at}.fieldRef", _VOLUME_FIELDS)
        if amount is not None:
            yield invalid_value(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
    elif amount is not None:
        yield from amount_complaints(amount, f"{at}.resourceFieldRef", in_volume=True)
    else:
        yield required(at, "one of fieldRef and resourceFieldRef is required")
    yield from _mode(item, at, "mode")


def _ephemeral(template: Fields | None, at: str) -> Iterator[Complaint]:
    if template is None:
        yield required(at)
        return
    meta = template.get("metadata") or {}
    yield from annotation_complaints_at(meta.get("annotations") or {}, f"{at}.metadata.annotations")
    yield from labels(meta, f"{at}.metadata", "labels")
    for field in sorted(meta.keys() - {"annotations", "labels", "creationTimestamp"}):
        if meta[field]:
            yield forbidden_value(f"{at}.metadata.{field}", "cannot be set")
    yield from claim_spec(template.get("spec") or {}, f"{at}.spec")


class _Projection:
    """The sources of a projected volume; all their files go into one folder."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.paths: set[str] = set()

    def complaints(self, source: Fields) -> Iterator[Complaint]:
        for number, one in enumerate(source.get("sources") or ()):
            here = f"{self.at}.sources[{number}]"
            count = 0
            for kind, check in self._checks().items():
                part = one.get(kind)
                if part is not None:
                    count += 1
                    yield from check(part, f"{here}.{kind}")
            if count > 1:
                yield forbidden_value(here, "may not specify more than 1 volume type per source")

    def _checks(self) -> Mapping[str, Any]:
        return {
            "secret": self._keyed,
            "configMap": self._keyed,
            "downwardAPI": self._downward,
            "serviceAccountToken": self._token,
            "clusterTrustBundle": self._trust_bundle,
            "podCertificate": self._certificate,
        }

    def _claimed(self, path: str, told: Any) -> Iterator[Complaint]:
        if path in self.paths:
            yield invalid_value(self.at, told, "conflicting duplicate paths")
        self.paths.add(path)

    def _keyed(self, part: Fields, at: str) -> Iterator[Complaint]:
        yield from needed(part, at, "name")
        for number, item in enumerate(part.get("items") or ()):
            yield from _item(item, f"{at}.items[{number}]")
            if item.get("path"):
                yield from self._claimed(item["path"], part.get("name") or "")

    def _downward(self, part: Fields, at: str) -> Iterator[Complaint]:
        for item in part.get("items") or ():
            yield from _downward_file(item, at)
            if item.get("path"):
                yield from self._claimed(item["path"], item["path"])

    def _token(self, part: Fields, at: str) -> Iterator[Complaint]:
        seconds, path = part.get("expirationSeconds"), part.get("path") or ""
        seconds = 3600 if seconds is None else seconds
        if seconds < SECONDS_MIN:
            text = "may not specify a duration less than 10 minutes"
            yield invalid_value(f"{at}.expirationSeconds", seconds, text)
        if seconds > 1 << 32:
            text = "may not specify a duration larger than 2^32 seconds"
            yield invalid_value(f"{at}.expirationSeconds", seconds, text)
        if not path:
            yield required(f"{self.at}.path")
        else:
            yield from file_below(path, f"{self.at}.path")

    def _trust_bundle(self, part: Fields, at: str) -> Iterator[Complaint]:
        name, signer = part.get("name"), part.get("signerName")
        if name is not None and signer is not None:
            told = internal_names.shown("core.ClusterTrustBundleProjection", part)
            yield invalid_value(at, told, "only one of name and signerName may be used")
        elif name is not None:
            if not name:
                yield required(f"{at}.name", "must be a valid object name")
            for problem in trust_bundle_name(name):
                yield invalid_value(f"{at}.name", name, f"not a valid clustertrustbundlename: {problem}")
            if part.get("labelSelector") is not None:
                text = "labelSelector must be unset if name is specified"
                yield invalid_value(f"{at}.labelSelector", part["labelSelector"], text)
        elif signer is not None:
            if not signer:
                yield required(f"{at}.signerName", "must be a valid signer name")
            yield from signer_complaints(signer, f"{at}.signerName")
            yield from selector(part.get("labelSelector"), f"{at}.labelSelector")
        else:
            yield required(at, "either name or signerName must be specified")
        path = part.get("path") or ""
        yield from needed(part, at, "path")
        yield from file_below(path, f"{at}.path")
        yield from self._claimed(path, path)

    def _certificate(self, part: Fields, at: str) -> Iterator[Complaint]:
        signer = part.get("signerName") or ""
        yield from signer_complaints(signer, f"{at}.signerName")
        for key in sorted(part.get("userAnnotations") or {}):
            yield from _prefixed_key(key.lower(), f"{at}.userAnnotations")
        if part.get("keyType") not in _KEY_TYPES:
            yield unsupported(f"{at}.keyType", part.get("keyType") or "", _KEY_TYPES)
        yield from _expiration(part.get("maxExpirationSeconds"), signer, f"{at}.maxExpirationSeconds")
        given = [field for field in ("credentialBundlePath", "keyPath", "certificateChainPath") if part.get(field)]
        for field in given:
            yield from file_below(part[field], f"{at}.{field}")
            yield from self._claimed(part[field], part[field])
        if not given:
            yield required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")


def _prefixed_key(key: str, at: str) -> Iterator[Complaint]:
    problems = name_rules.qualified_name(key)
    yield from in_form(key, at, lambda _: problems)
    if not problems and key.count("/") != 1:
        yield invalid_value(at, key, 'must be a domain-prefixed key (such as "acme.io/foo")')


def _expiration(seconds: int | None, signer: str, at: str) -> Iterator[Complaint]:
    if seconds is None:
        return
    most = 24 * 3600 if is_kubernetes_signer(signer) else 91 * 24 * 3600
    if seconds < 3600:
        yield invalid_value(at, seconds, "if provided, maxExpirationSeconds must be >= 3600")
    if seconds > most:
        yield invalid_value(at, seconds, f"if provided, maxExpirationSeconds must be <= {most}")
