"""golden/kube structural: definitions of custom resources judged, and values read as their schema says.

op crd-validate {openAPIV3Schema, errors}; crd-object {crd, errors, defaulted}; value {schema (of .spec), value, and
what became of it in the order the server works}. Errors of schemas and values are sorted, as they are in the recording.
Nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.cluster.apiserver import crds, embedded, metadata
from tiphys.cluster.apiserver.rules import crds as rules
from tiphys.cluster.apiserver.typed import builtin_codec
from tiphys.lang import name_rules
from tiphys.machinery import structural

ANSWERS = (
    "errors",
    "defaulted",
    "coerceError",
    "unknownFields",
    "pruned",
    "metaErrors",
    "listErrors",
)


def recognises(sample: Sample) -> bool:
    return sample.head.get("op") in ("crd-validate", "crd-object", "value") and "errors" in sample.head


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        expected = {key: row[key] for key in ANSWERS if key in row}
        got = {"crd-validate": of_schema, "crd-object": of_definition, "value": of_value}[row["op"]](row)
        yield Row(row["name"], got == expected, expected, got)


def texts(faults: Iterable[Any]) -> list[str]:
    return sorted(dict.fromkeys(f"{fault.field}: {fault.message}" for fault in faults))


def of_schema(row: dict[str, Any]) -> dict[str, Any]:
    return {"errors": texts(rules.schema_complaints(row["openAPIV3Schema"], "spec.validation.openAPIV3Schema"))}


def of_definition(row: dict[str, Any]) -> dict[str, Any]:
    codec = builtin_codec("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert codec is not None
    crd, _ = codec.read({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1"} | row["crd"])
    crds.begin(crd)
    found = [*metadata.complaints(crd, name_rules.dns1123_subdomain), *rules.definition(crd, None)]
    errors = [f"{complaint.field}: {complaint.message}" for complaint in found]
    return {"errors": errors, "defaulted": {k: crd[k] for k in ("metadata", "spec", "status")}}


def of_value(row: dict[str, Any]) -> dict[str, Any]:
    schema, unknown = {"type": "object", "properties": {"spec": row["schema"]}}, list[str]()
    try:
        value = embedded.coerced({"spec": row["value"]}, schema, "", unknown)
    except embedded.BadMetadata as err:
        return {"coerceError": str(err), "errors": []}
    pruned = structural.pruned(value, schema, "", unknown)
    defaulted = structural.defaulted(structural.without_nulls(pruned, schema), schema)
    return {
        "unknownFields": sorted(unknown),
        "pruned": pruned.get("spec"),
        "defaulted": defaulted.get("spec"),
        "errors": texts(structural.validate(defaulted, schema, "")),
        "metaErrors": texts(embedded.faults(defaulted, schema, "")),
        "listErrors": texts(structural.list_faults(defaulted, schema, "")),
    }


FORMATS = (Format("structural schemas", recognises, judge),)
