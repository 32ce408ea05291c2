"""The API server's refusals, with the wording and details that clients match on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tiphys.lang.gofmt import quote
from tiphys.machinery.errors import AlreadyExists, BadRequest, Conflict, Forbidden, Invalid, MethodNotAllowed, NotFound

if TYPE_CHECKING:
    from tiphys.cluster.apiserver.registry import ResourceInfo

STALE = "the object has been modified; please apply your changes to the latest version and try again"


class Complaint(NamedTuple):
    """One entry of ``details.causes``. ``reason`` such as FieldValueInvalid; ``message`` without the field's path."""

    field: str
    reason: str
    message: str


def required(field: str, text: str = "") -> Complaint:
    return Complaint(field, "FieldValueRequired", f"Required value: {text}" if text else "Required value")


def invalid_value(field: str, value: Any, text: str) -> Complaint:
    return Complaint(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {text}")


def forbidden_value(field: str, text: str) -> Complaint:
    return Complaint(field, "FieldValueForbidden", f"Forbidden: {text}")


def unsupported(field: str, value: Any, supported: Sequence[str]) -> Complaint:
    choices = ", ".join(shown(choice) for choice in supported)
    return Complaint(field, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {choices}")


def shown(value: Any) -> str:
    """A value inside a message: strings quoted as Go does, the rest as JSON."""
    if isinstance(value, str):
        return quote(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def invalid(kind: str, group: str, name: str, complaints: Sequence[Complaint]) -> Invalid:
    """422 with all complaints, as ``errors.NewInvalid`` words it."""
    lines = list(dict.fromkeys(f"{c.field}: {c.message}" for c in complaints))
    text = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in complaints]
    qualified = f"{kind}.{group}" if group else kind
    return Invalid(f'{qualified} "{name}" is invalid: {text}', details)


def invalid_object(info: ResourceInfo, name: str, complaints: Sequence[Complaint]) -> Invalid:
    # Events of both groups are refused as core/v1's.
    group = "" if info.collection == "events" else info.resource.group
    return invalid(info.kind, group, name, complaints)


def invalid_options(kind: str, complaints: Sequence[Complaint]) -> Invalid:
    return invalid(kind, "meta.k8s.io", "", complaints)


def not_found(info: ResourceInfo, name: str) -> NotFound:
    return NotFound(f'{info.resource.key} "{name}" not found', _details(info, name))


def already_exists(info: ResourceInfo, name: str) -> AlreadyExists:
    return AlreadyExists(f'{info.resource.key} "{name}" already exists', _details(info, name))


def conflict(info: ResourceInfo, name: str, why: str = STALE) -> Conflict:
    message = f'Operation cannot be fulfilled on {info.resource.key} "{name}": {why}'
    return Conflict(message, _details(info, name))


def forbidden(info: ResourceInfo, name: str, why: str, causes: Sequence[Complaint] = ()) -> Forbidden:
    details = _details(info, name)
    if causes:
        details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return Forbidden(f'{info.resource.key} "{name}" is forbidden: {why}', details)


def rejected() -> Invalid:
    """A patch that could be read and not be carried out."""
    return Invalid("the server rejected our request due to an error in our request", {})


def no_such_namespace(name: str) -> NotFound:
    return NotFound(f'namespaces "{name}" not found', {"name": name, "kind": "namespaces"})


def no_such_page() -> NotFound:
    """A path that names no resource at all."""
    return NotFound("the server could not find the requested resource", {})


def not_allowed() -> MethodNotAllowed:
    return MethodNotAllowed("the server does not allow this method on the requested resource", {})


def bad_request(message: str) -> BadRequest:
    return BadRequest(message)


def _details(info: ResourceInfo, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if info.resource.group:
        details["group"] = info.resource.group
    details["kind"] = info.resource.plural
    return details
