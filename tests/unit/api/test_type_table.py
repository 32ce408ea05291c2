"""The recorded table of Go types against the published OpenAPI document of the same release."""

import json
from typing import Any

import pytest

from tests.conformance.golden import corpus
from tiphys.api import types

PREFIXES = ("io.argoproj.", "io.k8s.api.", "io.k8s.apimachinery.pkg.apis.")
CORPUS = corpus()
pytestmark = pytest.mark.skipif(CORPUS is None, reason="no corpus beside the project; set TIPHYS_CORPUS")


def definitions() -> dict[str, Any]:
    assert CORPUS is not None
    return json.loads((CORPUS / "schemas" / "argo-workflows.swagger.json").read_text())["definitions"]


def pairs() -> list[tuple[types.Type, dict[str, Any]]]:
    published = definitions()
    found = []
    for name in types.recorded():
        body = next((published[prefix + name] for prefix in PREFIXES if prefix + name in published), None)
        if body is not None and types.type_of(name).kind == "struct":
            found.append((types.type_of(name), body))
    return found


def test_every_struct_has_the_published_fields() -> None:
    compared = pairs()
    assert len(compared) > 200
    differing = {t.name for t, body in compared if set(t.fields) != set(body.get("properties", {}))}
    assert not differing


def test_lists_merge_by_the_published_keys() -> None:
    differing = [
        f"{t.name}.{name}"
        for t, body in pairs()
        for name, field in body.get("properties", {}).items()
        if t.fields[name].merge_key != field.get("x-kubernetes-patch-merge-key", "")
    ]
    assert not differing
