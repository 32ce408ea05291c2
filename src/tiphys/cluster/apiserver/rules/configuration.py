"""ConfigMaps and Secrets: keys, sizes, what a type must have, immutability."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import immutable, in_form, too_long
from tiphys.lang import gojson_read, name_rules
from tiphys.machinery.equality import same

BYTES_MAX: Final = 1 << 20
_ACCOUNT: Final = "kubernetes.io/service-account.name"
_NEEDS: Final = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def config_map(obj: Object, old: Object | None) -> Iterator[Complaint]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    yield from _unchangeable(obj, old, "data", "binaryData")
    for key in sorted(data):
        yield from in_form(key, f"data[{key}]", name_rules.config_map_key)
        if key in binary:
            yield invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in sorted(binary):
        yield from in_form(key, f"binaryData[{key}]", name_rules.config_map_key)
    if sum(len(text.encode()) for text in data.values()) + sum(map(_decoded_length, binary.values())) > BYTES_MAX:
        yield too_long("[]", BYTES_MAX)


def secret(obj: Object, old: Object | None) -> Iterator[Complaint]:
    data, kind = obj.get("data") or {}, obj.get("type") or ""
    if old is not None:
        yield from immutable("type", kind, old.get("type"))
    yield from _unchangeable(obj, old, "data")
    for key in sorted(data):
        yield from in_form(key, f"data[{key}]", name_rules.config_map_key)
    if sum(map(_decoded_length, data.values())) > BYTES_MAX:
        yield too_long("data", BYTES_MAX)
    yield from _type_complaints(obj, data, kind)


def _type_complaints(obj: Object, data: dict[str, str], kind: str) -> Iterator[Complaint]:
    absent = [key for key in _NEEDS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not ("username" in data or "password" in data):
        absent = ["username", "password"]
    if kind == "kubernetes.io/ssh-auth" and not data.get("ssh-privatekey"):
        absent = ["ssh-privatekey"]
    if kind == "kubernetes.io/service-account-token":
        annotations = obj["metadata"].get("annotations") or {}
        if not annotations.get(_ACCOUNT):
            yield required(f"metadata.annotations[{_ACCOUNT}]")
    for key in absent:
        yield required(f"data[{key}]")
    for key in (".dockercfg", ".dockerconfigjson"):
        if key in _NEEDS.get(kind, ()) and key in data:
            problem = _json_problem(data[key])
            if problem:
                yield invalid_value(f"data[{key}]", "<secret contents redacted>", problem)


def _json_problem(encoded: str) -> str:
    """What Go's decoder says to what should be an object, "" for nothing."""
    try:
        text = base64.b64decode(encoded).decode()
    except (binascii.Error, ValueError):
        return "invalid character 'ï' looking for beginning of value"
    try:
        value = json.loads(text)
    except ValueError:
        try:
            gojson_read.loads(text)
        except ValueError as err:
            return str(err)
        return ""
    if value is None or isinstance(value, dict):
        return ""
    kinds = {bool: "bool", str: "string", list: "array"}
    return f"json: cannot unmarshal {kinds.get(type(value), 'number')} into Go value of type map[string]interface {{}}"


def _unchangeable(obj: Object, old: Object | None, *fields: str) -> Iterator[Complaint]:
    if old is None or not old.get("immutable"):
        return
    text = "field is immutable when `immutable` is set"
    if not obj.get("immutable"):
        yield forbidden_value("immutable", text)
    for field in fields:
        if not same(obj.get(field) or {}, old.get(field) or {}):
            yield forbidden_value(field, text)


def _decoded_length(text: str | None) -> int:
    if text is None:
        return 0
    return len(text) * 3 // 4 - text[-2:].count("=")
