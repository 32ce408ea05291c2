"""Facts about the built-in Kubernetes types: field tables of protobuf messages, and how fields merge.

Two documents: ``messages`` with ``gvk`` (proto-fields: message → fields), and ``goTypes`` with ``openapi`` (merge keys:
Go type → patch strategies, schema → list and map types). One row for each message, type, schema and kind.

Left out: of messages ``pn``, ``noproto`` and ``notag`` (names and markers of the generator, which the codec does not
need: a field that is not on the wire has number 0); of OpenAPI schemas the patch strategies, which are read from the Go
types.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.api import kube_messages, kube_types, protobuf

FLAGS = ("omit", "ptr", "rep", "inline", "nilable")
OF_GO_TYPES = ("patch-merge-key", "patch-strategy")


def judge_messages(sample: Sample) -> Iterable[Row]:
    facts = sample.document
    yield Row("envelope", b64decode(facts["envelope"]["magic"]) == protobuf.MAGIC, facts["envelope"], protobuf.MAGIC)
    for kind, name in facts["gvk"].items():
        found = kube_messages.message_of(*kind.rsplit("/", 1))
        yield judged(f"kind {kind}", name, found.name if found else None)
    for name, message in facts["messages"].items():
        yield judged(name, told(message), held(name))


def told(message: Mapping[str, Any]) -> dict[str, Any]:
    fields = [
        {"j": f.get("j", ""), "n": f.get("n", 0), "t": f["t"], "key": f.get("key", ""), "go": f.get("go", "")}
        | {flag: bool(f.get(flag)) for flag in FLAGS}
        for f in message.get("fields", ())
    ]
    return {"special": message.get("special", ""), "typemeta": bool(message.get("typemeta")), "fields": fields}


def held(name: str) -> dict[str, Any] | None:
    """The same of our table."""
    try:
        message = kube_messages.message(name)
    except KeyError:
        return None
    fields = [
        {
            "j": "" if f.inline else f.name, "n": f.number, "t": f.type, "key": f.map_key, "go": f.go_name,
            "omit": f.omits_empty, "ptr": f.pointer, "rep": f.repeated, "inline": f.inline, "nilable": f.nilable,
        }
        for f in message.fields
    ]  # fmt: skip
    return {"special": message.special, "typemeta": message.has_type_meta, "fields": fields}


def judge_merge_keys(sample: Sample) -> Iterable[Row]:
    facts = sample.document
    for kind, name in facts["gvk"].items():
        yield judged(f"kind {kind}", name, kube_types.strategic_type(*kind.rsplit("/", 1)))
    for kind, name in facts["openapiGvk"].items():
        yield judged(f"schema of {kind}", name, kube_types.openapi_name(*kind.rsplit("/", 1)))
    for name, fields in facts["goTypes"].items():
        yield judged(name, fields, dict(kube_types.strategic_fields(name)))
    schemas = kube_types.merge_facts()
    for name, schema in facts["openapi"].items():
        yield judged(name, without_strategies(schema), schemas.get(name))


def without_strategies(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_strategies(member) for key, member in value.items() if key not in OF_GO_TYPES}
    return value


def judged(name: str, expected: Any, got: Any) -> Row:
    return Row(name, expected == got, expected, got)


def are_messages(sample: Sample) -> bool:
    return {"envelope", "gvk", "messages"} <= sample.head.keys()


def are_merge_keys(sample: Sample) -> bool:
    return {"goTypes", "gvk", "openapi", "openapiGvk"} <= sample.head.keys()


FORMATS = (
    Format("kube messages", are_messages, judge_messages),
    Format("kube merge keys", are_merge_keys, judge_merge_keys),
)
