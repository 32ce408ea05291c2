"""Reading objects as their type says: unknown fields found, wrong types refused, defaults filled in.

Built-in kinds are read by ``tiphys.api`` as Go's structs would; custom ones as their structural schema says.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

from tiphys.api import decode, defaults, kube_messages
from tiphys.api.defaults import internal
from tiphys.cluster.apiserver import embedded
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery import structural
from tiphys.machinery.structural.extensions import has_rules
from tiphys.machinery.structural.shape import EMBEDDED

if TYPE_CHECKING:
    from tiphys.machinery.cel_rules import Rules


class Unreadable(ValueError):
    """A value of a wrong type; the message is the decoder's."""


class Codec(Protocol):
    """How objects of one kind are read."""

    def read(self, obj: Object) -> tuple[Object, Sequence[str]]:
        """The object as the server would keep it, and what a strict reading objects to (``unknown field "x"``).

        ``obj`` may be changed. Raises Unreadable.
        """
        ...

    def empty(self) -> Object:
        """The zero object, kind and apiVersion first."""
        ...

    def faults(self, obj: Object) -> Sequence[structural.Fault]:
        """What is wrong with the values of an object that was read."""
        ...

    def rule_faults(
        self, obj: Object, old: Object | None, faults: Sequence[structural.Fault]
    ) -> Sequence[structural.Fault]:
        """What the validation rules of the kind say of an object. ``faults`` are those of its values: with some of
        them no rule is asked."""
        ...


class BuiltinCodec:
    """A kind of ``tiphys.api``."""

    def __init__(self, api_version: str, kind: str, type_name: str) -> None:
        self._api_version, self._kind, self._type = api_version, kind, type_name

    def read(self, obj: Object) -> tuple[Object, Sequence[str]]:
        try:
            found = decode.decode(self._type, obj, strict=True)
        except decode.DecodeError as err:
            raise Unreadable(str(err)) from None
        normal = found.value
        defaults.apply(self._api_version, self._kind, normal)
        complete = _COMPLETIONS.get(self._kind)
        if complete is not None:
            complete(normal)
        internal.convert(self._kind, normal)
        read = decode.pruned(self._type, normal)
        return {"kind": self._kind, "apiVersion": self._api_version} | read, [str(field) for field in found.unknown]

    def faults(self, obj: Object) -> Sequence[structural.Fault]:
        del obj
        return ()

    def rule_faults(
        self, obj: Object, old: Object | None, faults: Sequence[structural.Fault]
    ) -> Sequence[structural.Fault]:
        del obj, old, faults
        return ()

    def empty(self) -> Object:
        return {"kind": self._kind, "apiVersion": self._api_version} | defaults.empty(self._api_version, self._kind)


def complete_definition(crd: Object) -> None:
    """The defaults of a CustomResourceDefinition: names that follow from others, the strategy of conversion."""
    spec = crd.get("spec") or {}
    accepted = spec.get("names") or {}
    kind = str(accepted.get("kind") or "")
    accepted["singular"] = accepted.get("singular") or kind.lower()
    accepted["listKind"] = accepted.get("listKind") or f"{kind}List"
    spec["conversion"] = spec.get("conversion") or {"strategy": "None"}


def complete_secret(secret: Object) -> None:
    """``stringData`` is a way of writing ``data``."""
    texts = secret.pop("stringData", None)
    if texts:
        coded = {key: b64encode(str(value).encode()).decode() for key, value in texts.items()}
        secret["data"] = (secret.get("data") or {}) | coded


def _complete_node(node: Object) -> None:
    """The older of two fields for networks wins."""
    spec = node.get("spec") or {}
    first, networks = spec.get("podCIDR"), spec.get("podCIDRs") or []
    if first and first not in networks[:1]:
        spec["podCIDRs"] = [first]
    elif networks:
        spec["podCIDR"] = networks[0]


_COMPLETIONS: Final[Mapping[str, Callable[[Object], None]]] = {
    "CustomResourceDefinition": complete_definition,
    "Node": _complete_node,
    "Secret": complete_secret,
}


_BLOCKS_RULES: Final = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
_NOT_CHECKED: Final = structural.Fault(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


class StructuralCodec:
    """A custom kind at one version, by the structural schema of its definition."""

    def __init__(self, api_version: str, kind: str, schema: Mapping[str, Any]) -> None:
        self._api_version, self._kind, self._schema = api_version, kind, schema

    def read(self, obj: Object) -> tuple[Object, Sequence[str]]:
        unknown: list[str] = []
        schema = self._schema if self._has_resources else {}
        try:
            read = embedded.coerced(obj, schema, "", unknown, is_resource=True)
        except embedded.BadMetadata as err:
            raise Unreadable(err.told) from None
        read = structural.pruned(read, self._schema, "", unknown, is_resource=True)
        read = structural.defaulted(structural.without_nulls(read, self._schema), self._schema)
        return read, [f'unknown field "{path}"' for path in sorted(unknown)]

    def empty(self) -> Object:
        return {"kind": self._kind, "apiVersion": self._api_version}

    def converted(self, obj: Object) -> Object:
        """An object of another version as this one knows it: without what it does not have, nothing filled in."""
        pruned: Object = structural.pruned(obj, self._schema, "", [], is_resource=True)
        return pruned

    def faults(self, obj: Object) -> Sequence[structural.Fault]:
        found = structural.validate(obj, self._schema, "")
        return found or list(structural.list_faults(obj, self._schema, ""))

    def rule_faults(
        self, obj: Object, old: Object | None, faults: Sequence[structural.Fault]
    ) -> Sequence[structural.Fault]:
        if self._rules is None:
            return ()
        if any(fault.reason in _BLOCKS_RULES for fault in faults):
            return (_NOT_CHECKED,)
        return self._rules.faults(obj, "", old)

    @cached_property
    def _has_resources(self) -> bool:
        """Whether there are resources inside; without, only the object's own metadata has a type of its own."""
        return _mentions(self._schema, EMBEDDED)

    @cached_property
    def _rules(self) -> Rules | None:
        if not has_rules(self._schema):
            return None
        from tiphys.machinery.cel_rules import rules_of  # the language is loaded for kinds that have rules

        return rules_of(self._schema, is_resource=True)


def _mentions(schema: Any, word: str) -> bool:
    if isinstance(schema, Mapping):
        return word in schema or any(_mentions(member, word) for member in schema.values())
    return isinstance(schema, list) and any(_mentions(item, word) for item in schema)


def builtin_codec(api_version: str, kind: str) -> Codec | None:
    """None for a kind that ``tiphys.api`` does not know."""
    message = kube_messages.message_of(api_version, kind)
    return BuiltinCodec(api_version, kind, message.name) if message else None
