"""OpenAPI v3 documents: what generators of clients and of requests need."""

from __future__ import annotations

import re

from tiphys.cluster.apiserver.http.openapi import document
from tiphys.cluster.apiserver.registry import builtin


def test_every_placeholder_of_a_path_is_declared() -> None:
    paths = document(builtin({}).in_version("", "v1"))["paths"]
    assert "/api/v1/namespaces/{namespace}/configmaps/{name}" in paths
    for path, item in paths.items():
        declared = {one["name"] for one in item["parameters"] if one["in"] == "path" and one["required"]}
        assert declared == set(re.findall(r"{(\w+)}", path)), path
