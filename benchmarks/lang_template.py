"""Go templates and lint: rendering a manifest, validating workflows, reading them strictly.

Floors: a compiled template is held against a Python function written by hand that gives the same text, the strict
reading of fields against orjson's reading of the same document, which knows nothing of types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from benchmarks._rows import Row, median_seconds
from tiphys.api import decode
from tiphys.lang.gotemplate import Template, appset
from tiphys.workflows.plan.validate import NoTemplates, validate_workflow

TASKS = 1000
MICRO = 1e6

MANIFEST = """metadata:
  name: {{ .name | normalize }}-{{ .env }}
  labels: {{- range $key, $value := .labels }}
    {{ $key }}: {{ $value | quote }}
  {{- end }}
spec:
{{- if and .enabled (gt .replicas 1) }}
  replicas: {{ .replicas }}
{{- else }}
  replicas: 1
{{- end }}
"""
PARAMS: dict[str, Any] = {
    "name": "My App",
    "env": "prod",
    "enabled": True,
    "replicas": 3,
    "labels": {"a": "1", "b": "2"},
}


def rows() -> Iterator[Row]:
    assert by_hand(PARAMS) == appset.render(MANIFEST, PARAMS)
    warm = median_seconds(lambda: appset.render(MANIFEST, PARAMS), number=500) * MICRO
    floor = median_seconds(lambda: by_hand(PARAMS), number=500) * MICRO
    yield Row("Go template of a manifest, warm, of Python by hand", "µs", warm, bar=20, aim=12, floor=floor)
    cold = median_seconds(lambda: Template(MANIFEST, "base", appset.FUNCTIONS), number=50) * MICRO
    yield Row("Go template of a manifest, parsed and compiled", "µs", cold, bar=1500, aim=500)
    one = median_seconds(lambda: validate_workflow(hello_world(), NoTemplates(), lint=True), number=200) * MICRO
    yield Row("lint of hello-world", "µs", one, bar=400, aim=150)
    many = median_seconds(lambda: validate_workflow(dag(TASKS), NoTemplates(), lint=True)) * MICRO / TASKS
    yield Row(f"lint of a DAG of {TASKS} tasks, per task", "µs", many, bar=400, aim=150)
    document = dag(TASKS)
    text = orjson.dumps(document)
    strict = median_seconds(lambda: decode.decode("Workflow", document, strict=True)) * 1e3
    least = median_seconds(lambda: orjson.loads(text)) * 1e3
    yield Row(f"strict fields of {TASKS} tasks, of orjson's reading", "ms", strict, bar=60, aim=20, floor=least)


def by_hand(params: dict[str, Any]) -> str:
    """What `MANIFEST` gives, as one would write it in Python."""
    name = re.sub(r"[^-a-z0-9.]", "-", params["name"].lower()).strip("-.")
    labels = "".join(f"\n    {key}: {json.dumps(value)}" for key, value in sorted(params["labels"].items()))
    replicas = params["replicas"] if params["enabled"] and params["replicas"] > 1 else 1
    return f"metadata:\n  name: {name}-{params['env']}\n  labels:{labels}\nspec:\n  replicas: {replicas}\n"


def hello_world() -> dict[str, Any]:
    template = {"name": "main", "container": {"image": "busybox", "command": ["echo", "hello world"]}}
    return {"kind": "Workflow", "metadata": {"name": "w"}, "spec": {"entrypoint": "main", "templates": [template]}}


def dag(count: int) -> dict[str, Any]:
    leaf = {
        "name": "leaf",
        "inputs": {"parameters": [{"name": "m"}]},
        "container": {"image": "busybox", "args": ["{{inputs.parameters.m}}"]},
    }
    tasks = [
        {
            "name": f"t{number}",
            "template": "leaf",
            "dependencies": [f"t{number - 1}"] if number else [],
            "arguments": {"parameters": [{"name": "m", "value": "{{workflow.name}}"}]},
        }
        for number in range(count)
    ]
    templates = [{"name": "main", "dag": {"tasks": tasks}}, leaf]
    return {"kind": "Workflow", "metadata": {"name": "w"}, "spec": {"entrypoint": "main", "templates": templates}}
