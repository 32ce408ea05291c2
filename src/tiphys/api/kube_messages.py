"""The built-in Kubernetes types field by field: JSON names, protobuf numbers, and what Go leaves out when it is empty.

Drives the protobuf codec (``protobuf.py``) and, through ``go_rows``, decoding as Go does (``types.py``, ``decode.py``),
where a message is found under its full name (``k8s.io.api.core.v1.Pod``). The data is generated
(``tools/codegen_kube_messages.py``) and read at the first question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Final

import orjson

# Every group version also serves these, always as the meta v1 message.
OPTIONS_KINDS = frozenset(
    {"CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PatchOptions", "UpdateOptions", "WatchEvent"}
)
# Structs by value that Go leaves out when they are zero (``omitzero``), which omitempty alone does not do.
OMITS_ZERO_STRUCT = frozenset({("ObjectMeta", "creationTimestamp")})

SCALARS = frozenset({"string", "bool", "bytes", "int32", "int64", "uint32", "uint64", "double"})


@dataclass(frozen=True, eq=False)
class Field:
    """``type`` is a scalar or a message's name; ``map_key`` is empty unless the field is a map.

    ``omits_empty``: Go leaves the field out of JSON when it is empty. ``pointer``: absent and zero differ. ``inline``:
    the message's members stand in the parent's JSON. ``nilable``: bytes where nil and empty differ. ``number`` is 0
    where the field is not on the wire. ``go_name`` is the Go type of a named scalar.
    """

    name: str
    number: int
    type: str
    omits_empty: bool
    pointer: bool
    repeated: bool
    inline: bool
    nilable: bool
    map_key: str = ""
    go_name: str = ""

    @property
    def is_message(self) -> bool:
        return self.type not in SCALARS


@dataclass(frozen=True, eq=False)
class Message:
    """``special`` names the types whose JSON is not an object of their fields (Time, Quantity, IntOrString …)."""

    name: str
    special: str
    has_type_meta: bool
    fields: tuple[Field, ...]

    @cached_property
    def by_number(self) -> Mapping[int, Field]:
        return {field.number: field for field in self.fields if field.number}

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """By JSON name, members of inlined messages included."""
        out: dict[str, Field] = {}
        for field in self.fields:
            if field.inline:
                out |= message(field.type).by_name
            else:
                out[field.name] = field
        return out

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]


@cache
def message(name: str) -> Message:
    """Raises KeyError where there is no such message."""
    body = _table()["messages"][name]
    fields = tuple(_field(*row) for row in body.get("fields", ()))
    return Message(name, body.get("special", ""), bool(body.get("typemeta")), fields)


def message_of(api_version: str, kind: str) -> Message | None:
    """The message of a kind (``("apps/v1", "Deployment")``), None where it is no built-in."""
    name = _table()["gvk"].get(f"{api_version}/{kind}")
    if name is None and kind in OPTIONS_KINDS and api_version in _group_versions():
        name = f"k8s.io.apimachinery.pkg.apis.meta.v1.{kind}"
    return message(name) if name else None


def go_rows(name: str) -> list[tuple[str, ...]] | str:
    """The message in the row format of ``types.py``; a text for types that read their own JSON. KeyError: unknown."""
    found = message(name)
    if found.special and found.special not in ("items", "interface"):
        return "!json"
    if found.special == "items":
        return "[]string"
    head = [("kind", "string", "o"), ("apiVersion", "string", "o")] if found.has_type_meta else []
    return head + [row for field in found.fields for row in _go_field(found, field)]


def _go_field(owner: Message, field: Field) -> list[tuple[str, ...]]:
    if field.inline:
        inner = message(field.type)
        through = inner.short_name
        return [(*(*row, "", "", "")[:4], f"{through}.{row[4]}" if len(row) > 4 and row[4] else through)
                for member in inner.fields for row in _go_field(inner, member)]  # fmt: skip
    flags = "o" if field.omits_empty else ""
    if (owner.short_name, field.name) in OMITS_ZERO_STRUCT:
        flags += "z"
    return [(field.name, _go_expression(owner, field), flags)]


def _go_expression(owner: Message, field: Field) -> str:
    scalar = {"bytes": "[]uint8", "double": "float64", ".": "interface"}.get(field.type, field.type)
    named = _ELEMENTS.get((owner.short_name, field.name)) or _scalar_name(owner, field.go_name)
    if named:
        scalar = f"{scalar}={named}"
    if field.map_key:
        return f"map[{field.map_key}]{scalar}"
    if field.repeated:
        return f"[]{scalar}"
    return f"*{scalar}" if field.pointer else scalar


# Lists of named strings: the record names only the types of single values.
_ELEMENTS: Final = {
    ("Capabilities", "add"): "v1.Capability",
    ("Capabilities", "drop"): "v1.Capability",
    ("CertificateSigningRequestSpec", "usages"): "v1.KeyUsage",
    ("NamespaceSpec", "finalizers"): "v1.FinalizerName",
    ("NetworkPolicySpec", "policyTypes"): "v1.PolicyType",
    ("PersistentVolumeClaimSpec", "accessModes"): "v1.PersistentVolumeAccessMode",
    ("PersistentVolumeClaimStatus", "accessModes"): "v1.PersistentVolumeAccessMode",
    ("PersistentVolumeSpec", "accessModes"): "v1.PersistentVolumeAccessMode",
    ("ResourceQuotaSpec", "scopes"): "v1.ResourceQuotaScope",
    ("Rule", "operations"): "v1.OperationType",
    ("RuleWithOperations", "operations"): "v1.OperationType",
    ("NamedRuleWithOperations", "operations"): "v1.OperationType",
    ("ServiceSpec", "ipFamilies"): "v1.IPFamily",
    ("ValidatingAdmissionPolicyBindingSpec", "validationActions"): "v1.ValidationAction",
}
_TYPES_PACKAGE: Final = frozenset({"UID", "NodeName"})
# What other groups take from core or meta v1.
_SHARED: Final = frozenset({
    "ConditionStatus", "NodeInclusionPolicy", "PersistentVolumeMode", "PersistentVolumeReclaimPolicy",
    "PodConditionType", "PreemptionPolicy", "Protocol", "ResourceName", "StatusReason", "TaintEffect",
})  # fmt: skip


def _scalar_name(owner: Message, name: str) -> str:
    """The Go type of a named scalar with its package, "" for a plain one."""
    if not name:
        return ""
    package = "types" if name in _TYPES_PACKAGE else "v1" if name in _SHARED else owner.name.split(".")[-2]
    return f"{package}.{name}"


def _field(name: str, number: int, kind: str, flags: str = "", map_key: str = "", go_name: str = "") -> Field:
    wire = 0 if "x" in flags else number
    return Field(
        name, wire, kind, "o" in flags, "p" in flags, "r" in flags, "i" in flags, "n" in flags, map_key, go_name
    )


@cache
def _group_versions() -> frozenset[str]:
    return frozenset(key.rpartition("/")[0] for key in _table()["gvk"])


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = orjson.loads(files("tiphys.api").joinpath("data/kube_messages.json").read_bytes())
    return table
