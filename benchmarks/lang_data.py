"""Data languages: YAML, paths, filters, schedules, selectors; what reading manifests and asking for fields costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import yaml

from benchmarks._rows import Row, median_seconds
from tiphys.lang import cron, durations, gjson, gojson, goyaml, jq, jsonpath
from tiphys.machinery import resource_conditions, selectors

YAML_BYTES = 1_000_000
MOMENT = datetime(2024, 1, 15, 10, 7, 30, tzinfo=UTC)


def rows() -> Iterator[Row]:
    yield from manifests()
    yield from paths()
    yield from small_things()


def manifests() -> Iterator[Row]:
    value = workflows()
    text = goyaml.dump(value)
    # The floor is the loader that everybody else uses, which knows none of Go's rules.
    floor = median_seconds(lambda: yaml.load(text, yaml.CSafeLoader), repeat=3) * 1000
    yield Row("YAML of 1 MB, read", "ms", milli(lambda: goyaml.load(text)), bar=1.5, aim=0.3, floor=floor)
    strict = milli(lambda: goyaml.load_strict(text))
    yield Row("YAML of 1 MB, read strictly", "ms", strict, bar=1.5, aim=0.3, floor=floor)
    dump_floor = median_seconds(lambda: yaml.dump(value, Dumper=yaml.CSafeDumper), repeat=3) * 1000
    yield Row("YAML of 1 MB, printed", "ms", milli(lambda: goyaml.dump(value)), bar=1.5, aim=0.3, floor=dump_floor)
    json_floor = median_seconds(lambda: orjson.dumps(value, option=orjson.OPT_SORT_KEYS)) * 1000
    yield Row("Go's JSON of 1 MB, printed", "ms", milli(lambda: gojson.dumps(value)), bar=15, aim=8, floor=json_floor)


def workflows() -> list[dict[str, Any]]:
    """Manifests as they are written: short texts, some numbers, scripts of several lines; 1 MB of YAML."""
    script = "\n".join(f"echo step {number}: {{{{inputs.parameters.p{number}}}}}" for number in range(12))
    template = {
        "name": "main",
        "inputs": {"parameters": [{"name": f"p{number}", "value": str(number)} for number in range(5)]},
        "container": {
            "image": "docker.io/library/python:3.12-alpine",
            "command": ["sh", "-c"],
            "args": [script],
            "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        },
        "retryStrategy": {"limit": 3, "backoff": {"duration": "10s", "factor": 2}},
    }
    one = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "bench-", "labels": {"app.kubernetes.io/name": "bench", "yes": "no"}},
        "spec": {"entrypoint": "main", "templates": [template] * 4},
    }
    count = YAML_BYTES // len(goyaml.dump([one])) + 1
    loaded: list[dict[str, Any]] = orjson.loads(orjson.dumps([one] * count))
    return loaded


def paths() -> Iterator[Row]:
    job = {"status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}] * 5}}
    text = json.dumps(job)
    template = jsonpath.compile('{.status.conditions[?(@.type=="Complete")].status}')
    yield Row("kubectl JSONPath with a filter", "µs", micro(lambda: template.render(job), 1_000), bar=100, aim=30)
    path = 'status.conditions.#(type=="Complete").status'
    yield Row("gjson with a query", "µs", micro(lambda: gjson.get(text, path), 1_000), bar=100, aim=30)
    jq_filter = '.status.conditions[] | select(.type == "Complete") | .status'
    floor = micro(lambda: by_hand(text), 1_000)
    row = micro(lambda: jq.argo_filter(jq_filter, text), 300)
    yield Row("jq filter, to the same in Python", "µs", row, bar=80, aim=30, floor=floor)
    conditions = resource_conditions.parse("status.succeeded > 0", "status.failed > 0")
    each = micro(lambda: resource_conditions.evaluate(conditions, text), 1_000)
    yield Row("resource conditions", "µs", each, bar=100, aim=30)


def by_hand(text: str) -> str:
    conditions = orjson.loads(text)["status"]["conditions"]
    return "\n".join(each["status"] for each in conditions if each["type"] == "Complete")


def small_things() -> Iterator[Row]:
    schedule = cron.parse("CRON_TZ=Europe/Berlin 30 2 * * MON-FRI")
    yield Row("cron, next time", "µs", micro(lambda: schedule.next(MOMENT), 1_000), bar=200, aim=60)
    yield Row("duration, read", "µs", micro(lambda: durations.parse_argo("1h30m"), 5_000), bar=10, aim=4)
    labels = {"app": "web", "tier": "front", "n": "5"}
    equal = selectors.parse_labels("app=web,tier=front")
    yield Row("label selector of equalities", "µs", micro(lambda: equal.matches(labels), 10_000), bar=2, aim=0.7)
    mixed = selectors.parse_labels("app in (web, api),n>4,!canary")
    yield Row("label selector of sets", "µs", micro(lambda: mixed.matches(labels), 5_000), bar=10, aim=4)


def milli(work: Any) -> float:
    return median_seconds(work, repeat=5) * 1000


def micro(work: Any, number: int) -> float:
    return median_seconds(work, repeat=5, number=number) * 1e6
