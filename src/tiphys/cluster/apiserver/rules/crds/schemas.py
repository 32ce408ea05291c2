"""Everything that is demanded of the schema of one version of a custom resource."""

from __future__ import annotations

from collections.abc import Iterator

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value
from tiphys.cluster.apiserver.rules.crds.defaults import default_complaints
from tiphys.cluster.apiserver.rules.crds.keywords import keyword_complaints
from tiphys.cluster.apiserver.rules.crds.shapes import (
    NotConvertible,
    Schema,
    check_convertible,
    structural_complaints,
)
from tiphys.machinery.structural.extensions import has_rules


def schema_complaints(schema: Schema, path: str) -> Iterator[Complaint]:
    """``path`` is the schema's own (spec.validation.openAPIV3Schema)."""
    if schema.get("nullable"):
        yield forbidden_value(f"{path}.nullable", "nullable cannot be true at the root")
    shape: list[Complaint] = []
    problem = ""
    try:
        check_convertible(schema)
    except NotConvertible as err:
        problem = str(err)
    if not problem:
        shape = structural_complaints(schema, path) or list(default_complaints(schema, path))
    keywords = list(keyword_complaints(schema, path))
    yield from shape
    yield from keywords
    if problem and not keywords:
        yield invalid_value(path, "", problem)
    if not problem and not shape and has_rules(schema):
        # Most clusters never write such a definition: the language is loaded when one comes.
        from tiphys.machinery.cel_rules.definitions import definition_faults, is_about_text

        for fault in definition_faults(schema, path):
            if not is_about_text(fault):
                yield Complaint(*fault)
