"""Environment variables of containers, and the selectors of fields that volumes use as well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import Fields, in_form, label_key, named, needed, quantity, without_dots
from tiphys.lang import name_rules

_VARIABLE_FIELDS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_KNOWN_FIELDS: Final = (
    *_VARIABLE_FIELDS,
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
)
_SUBSCRIPT: Final = re.compile(r"(.+?)\['(.*)'\]", re.DOTALL)
_AMOUNTS: Final = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_HUGE_PAGES: Final = ("limits.hugepages-", "requests.hugepages-")
_BYTES: Final = ("1", *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E")))
_DIVISORS: Final = (*_BYTES, *(f"1{unit}i" for unit in ("K", "M", "G", "T", "P", "E")))


def variable_complaints(variables: Sequence[Fields], at: str) -> Iterator[Complaint]:
    for number, variable in enumerate(variables):
        here, name = f"{at}[{number}]", variable.get("name") or ""
        if not name:
            yield required(f"{here}.name")
        else:
            yield from in_form(name, f"{here}.name", relaxed_name)
        if variable.get("valueFrom") is not None:
            yield from _source(variable, variable["valueFrom"], f"{here}.valueFrom")


def relaxed_name(name: str) -> list[str]:
    """What is wrong with the name of an environment variable."""
    if all(" " <= letter <= "~" and letter != "=" for letter in name):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def _source(variable: Fields, source: Fields, at: str) -> Iterator[Complaint]:
    count = 0
    if source.get("fieldRef") is not None:
        count += 1
        yield from field_complaints(source["fieldRef"], f"{at}.fieldRef", _VARIABLE_FIELDS)
    if source.get("resourceFieldRef") is not None:
        count += 1
        yield from amount_complaints(source["resourceFieldRef"], f"{at}.resourceFieldRef", in_volume=False)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if source.get(field) is not None:
            count += 1
            yield from _key_complaints(source[field], f"{at}.{field}")
    if source.get("fileKeyRef") is not None:
        count += 1
        yield from _file_complaints(source["fileKeyRef"], f"{at}.fileKeyRef")
    if not count:
        kinds = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield invalid_value(at, "", f"must specify one of: {kinds}")
    elif variable.get("value"):
        yield invalid_value(at, "", "may not be specified when `value` is not empty")
    elif count > 1:
        yield invalid_value(at, "", "may not have more than one field specified at a time")


def _key_complaints(source: Fields, at: str) -> Iterator[Complaint]:
    yield from in_form(source.get("name") or "", f"{at}.name", name_rules.dns1123_subdomain)
    yield from named(source, at, "key", name_rules.config_map_key)


def _file_complaints(source: Fields, at: str) -> Iterator[Complaint]:
    yield from named(source, at, "key", relaxed_name)
    yield from named(source, at, "volumeName", name_rules.dns1123_label)
    yield from needed(source, at, "path")
    yield from without_dots(source.get("path") or "", f"{at}.path")


def field_complaints(reference: Fields, at: str, allowed: Sequence[str]) -> Iterator[Complaint]:
    """A ``fieldRef``."""
    version, path = reference.get("apiVersion") or "", reference.get("fieldPath") or ""
    if not version or not path:
        yield required(f"{at}.{'fieldPath' if version else 'apiVersion'}")
        return
    subscript = _SUBSCRIPT.fullmatch(path)
    problem = _unknown_field(version, path, subscript[1] if subscript else "")
    if problem:
        yield invalid_value(f"{at}.fieldPath", path, f"error converting fieldPath: {problem}")
    elif subscript:
        yield from label_key(subscript[2].lower() if subscript[1].endswith("annotations") else subscript[2], at)
    elif path not in allowed and not (path == "spec.host" and "spec.nodeName" in allowed):
        yield unsupported(f"{at}.fieldPath", "spec.nodeName" if path == "spec.host" else path, allowed)


def _unknown_field(version: str, path: str, subscripted: str) -> str:
    if version != "v1":
        return f"unsupported pod version: {version}"
    if subscripted:
        known = subscripted in ("metadata.annotations", "metadata.labels")
        return "" if known else f"field label does not support subscript: {path}"
    return "" if path in _KNOWN_FIELDS or path == "spec.host" else f"field label not supported: {path}"


def amount_complaints(reference: Fields, at: str, *, in_volume: bool) -> Iterator[Complaint]:
    """A ``resourceFieldRef``."""
    name = reference.get("resource") or ""
    if in_volume and not reference.get("containerName"):
        yield required(f"{at}.containerName")
    elif not name:
        yield required(f"{at}.resource")
    elif name not in _AMOUNTS and not name.startswith(_HUGE_PAGES):
        yield unsupported(f"{at}.resource", name, _AMOUNTS)
    divisor = quantity(reference.get("divisor") or "0")
    if not divisor.sign:
        return
    kind = "hugepages" if name.startswith(_HUGE_PAGES) else name.partition(".")[2]
    if name in ("limits.cpu", "requests.cpu"):
        if str(divisor) not in ("1m", "1"):
            text = "only divisor's values 1m and 1 are supported with the cpu resource"
            yield invalid_value(f"{at}.divisor", name, text)
    elif (name in _AMOUNTS or kind == "hugepages") and str(divisor) not in _DIVISORS:
        what = "local ephemeral storage" if kind == "ephemeral-storage" else kind
        text = f"only divisor's values {', '.join(_DIVISORS)} are supported with the {what} resource"
        yield invalid_value(f"{at}.divisor", name, text)


def environment_source_complaints(sources: Sequence[Fields], at: str) -> Iterator[Complaint]:
    """``envFrom``; what is wrong with the number of sources is told of the whole list."""
    for number, source in enumerate(sources):
        here, count = f"{at}[{number}]", 0
        if source.get("prefix"):
            yield from in_form(source["prefix"], f"{here}.prefix", relaxed_name)
        for field in ("configMapRef", "secretRef"):
            if source.get(field) is not None:
                count += 1
                yield from _named_source(source[field], f"{here}.{field}")
        if not count:
            yield invalid_value(at, "", "must specify one of: `configMapRef` or `secretRef`")
        elif count > 1:
            yield invalid_value(at, "", "may not have more than one field specified at a time")


def _named_source(source: Fields, at: str) -> Iterator[Complaint]:
    name = source.get("name") or ""
    if not name:
        yield required(f"{at}.name")
        return
    # Judged as the beginning of a name: a dash may come last.
    judged = name[:-1] + "a" if name.endswith("-") else name
    for problem in name_rules.dns1123_subdomain(judged):
        yield invalid_value(f"{at}.name", name, problem)
