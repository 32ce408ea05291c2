"""CustomResourceDefinition: the validation rules of its schemas must compile and stay within their cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tiphys.cluster.apiserver.problems import Complaint
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.structural.extensions import has_rules


def definition(crd: Object, old: Object | None) -> Iterator[Complaint]:
    """A schema that did not change was judged when it was written."""
    known = [schema for _, schema in _schemas(old or {})]
    for path, schema in _schemas(crd):
        if schema not in known and has_rules(schema):
            # Most clusters never write such a definition: the language is loaded when one comes.
            from tiphys.machinery.cel_rules import definition_faults

            yield from (Complaint(*fault) for fault in definition_faults(schema, path))


def _schemas(crd: Object) -> list[tuple[str, Mapping[str, Any]]]:
    """The schemas with their paths; one that all versions share is the definition's own, as the original has it."""
    versions = (crd.get("spec") or {}).get("versions") or []
    found = [(version.get("schema") or {}).get("openAPIV3Schema") for version in versions]
    if found and found[0] is not None and all(schema == found[0] for schema in found):
        return [("spec.validation.openAPIV3Schema", found[0])]
    return [(f"spec.versions[{at}].schema.openAPIV3Schema", s) for at, s in enumerate(found) if s is not None]
