"""Pods and pod templates: the parts that are about the pod as a whole; see ``containers`` and ``volumes``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.metadata import label_complaints
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.containers import container_complaints
from tiphys.cluster.apiserver.rules.values import Fields, in_form, one_of
from tiphys.cluster.apiserver.rules.volumes import volume_complaints
from tiphys.lang import name_rules

INT32_MAX: Final = (1 << 31) - 1
_DNS: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    yield from spec_complaints(spec, "spec")
    if old is None and spec.get("ephemeralContainers"):
        yield forbidden_value("spec.ephemeralContainers", "cannot be set on create")


def template_complaints(template: Fields, at: str) -> Iterator[Complaint]:
    yield from label_complaints((template.get("metadata") or {}).get("labels") or {}, f"{at}.labels")
    spec = template.get("spec") or {}
    yield from spec_complaints(spec, f"{at}.spec")
    if spec.get("ephemeralContainers"):
        yield forbidden_value(f"{at}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def spec_complaints(spec: dict[str, Any], at: str) -> Iterator[Complaint]:
    """What is wrong with a pod's specification (``ValidatePodSpec``)."""
    volumes = spec.get("volumes") or []
    yield from volume_complaints(volumes, f"{at}.volumes")
    yield from container_complaints(spec, at, {volume.get("name") for volume in volumes})
    yield from one_of(spec, at, "restartPolicy", ("Always", "OnFailure", "Never"))
    yield from one_of(spec, at, "dnsPolicy", _DNS)
    yield from label_complaints(spec.get("nodeSelector") or {}, f"{at}.nodeSelector")
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        yield required(f"{at}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
    if spec.get("serviceAccountName"):
        yield from in_form(spec["serviceAccountName"], f"{at}.serviceAccountName", name_rules.dns1123_subdomain)
    if spec.get("nodeName"):
        yield from in_form(spec["nodeName"], f"{at}.nodeName", name_rules.dns1123_subdomain)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= INT32_MAX:
        yield invalid_value(f"{at}.activeDeadlineSeconds", deadline, f"must be between 1 and {INT32_MAX}, inclusive")
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            yield from in_form(spec[field], f"{at}.{field}", name_rules.dns1123_label)
    for number, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _toleration_complaints(toleration, f"{at}.tolerations[{number}]")
    for number, alias in enumerate(spec.get("hostAliases") or ()):
        if not _is_address(alias.get("ip") or ""):
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            yield invalid_value(f"{at}.hostAliases[{number}].ip", alias.get("ip") or "", text)
    for number, gate in enumerate(spec.get("schedulingGates") or ()):
        yield from in_form(gate.get("name") or "", f"{at}.schedulingGates[{number}]", name_rules.qualified_name)


def _toleration_complaints(toleration: Fields, at: str) -> Iterator[Complaint]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    if key:
        yield from in_form(key, f"{at}.key", name_rules.qualified_name)
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid_value(f"{at}.operator", operator, text)
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid_value(f"{at}.effect", toleration.get("effect") or "", text)
    if operator == "Exists" and toleration.get("value"):
        yield invalid_value(f"{at}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
    elif operator not in ("", "Equal", "Exists"):
        yield unsupported(f"{at}.operator", operator, ("Equal", "Exists"))
    yield from one_of(toleration, at, "effect", _EFFECTS)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
