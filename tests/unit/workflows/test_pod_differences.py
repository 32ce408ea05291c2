"""docs/reference/pod-differences.md names every field in which pods of the two executors differ, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.unit.workflows.kit import Cluster
from tiphys.workflows.plan.pods import artifact_gc
from tiphys.workflows.settings import Image, Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "pod-differences.md"
REPOSITORY = {"s3": {"endpoint": "s3", "bucket": "b", "accessKeySecret": {"name": "cred", "key": "k"}}}
ACCOUNTS = {
    name: {"metadata": {"name": name}, "secrets": [{"name": f"{name}-token"}]} for name in ("default", "exec", "sa")
}
INPUT = {"name": "in", "path": "/in", "raw": {"data": "x"}}
OUTPUT = {"name": "out", "path": "/out"}
TEMPLATES: dict[str, dict[str, Any]] = {
    "plain": {
        "container": {
            "image": "busybox",
            "command": ["sh"],
            "args": ["-c", "true"],
            "env": [{"name": "A", "value": "b"}],
        }
    },
    "bare": {"container": {"image": "busybox"}, "inputs": {"artifacts": [INPUT]}, "outputs": {"artifacts": [OUTPUT]}},
    "script": {"script": {"image": "busybox", "command": ["sh"], "source": "echo 1"}},
    "retried": {
        "container": {"image": "busybox", "command": ["true"]},
        "retryStrategy": {"limit": 1, "backoff": {"duration": "1s", "maxDuration": "10m"}},
    },
    "beside": {
        "container": {"image": "busybox", "command": ["true"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "sidecars": [{"name": "side", "image": "busybox", "command": ["true"], "mirrorVolumeMounts": True}],
        "initContainers": [{"name": "before", "image": "busybox", "command": ["true"]}],
        "executor": {"serviceAccountName": "exec"},
    },
    "set": {"containerSet": {"containers": [{"name": "a", "image": "busybox", "command": ["true"]}]}},
    "object": {"resource": {"action": "get", "manifest": "apiVersion: v1\nkind: Pod\nmetadata: {name: x}"}},
    "data": {"data": {"source": {"artifactPaths": {"name": "x", "s3": {"key": "k"}}}, "transformation": []}},
    "web": {"http": {"url": "http://example.com"}},
}


def pods(executor: Any) -> dict[str, Any]:
    """Every kind of pod that a workflow can have."""
    settings = Settings(executor=executor, artifact_repository=REPOSITORY, default_image=Image(("entry",), ("cmd",)))
    main = {
        "name": "main",
        "steps": [
            [{"name": name, "template": name} for name in TEMPLATES],
            [{"name": "after", "template": "plain", "when": "{{steps.script.outputs.result}} == 1"}],
        ],
    }
    templates = [main, *({"name": name, **template} for name, template in TEMPLATES.items())]
    spec = {"entrypoint": "main", "serviceAccountName": "sa", "templates": templates}
    cluster = Cluster(spec, settings, accounts=ACCOUNTS)
    cluster.decide()
    cluster.fail("wf[0].retried(0)")
    cluster.advance(2)
    found = dict(cluster.lookup.live_pods)
    task = {"metadata": {"name": "gc-0", "uid": "t"}}
    state = cluster.run._state
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    found["gc"] = artifact_gc.build(state, "gc", "OnWorkflowDeletion", artifact_gc.Access(), task, [REPOSITORY], moment)
    return found


def test_the_page_names_every_difference() -> None:
    known = dict.fromkeys(re.findall(r"^\| `((?:metadata|spec)\.[^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.M))
    original, native = pods("in-pod"), pods("native")
    assert original.keys() == native.keys()
    found = {path for name in original for path in differences(original[name], native[name])}
    used = {row for path in found for row in known if fnmatchcase(path, row.replace("[", "[[]"))}
    unnamed = sorted(path for path in found if not any(fnmatchcase(path, row.replace("[", "[[]")) for row in known))
    assert not unnamed
    assert sorted(known.keys() - used) == []


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two pods differ: down to fields, and annotations and containers by their names."""
    for key in sorted({*one, *other}):
        left, right = one.get(key), other.get(key)
        place = f"{path}.{key}".lstrip(".")
        if left == right:
            continue
        if key in ("containers", "initContainers"):
            yield from _containers(left or (), right or (), place)
        elif (
            isinstance(left, Mapping)
            and isinstance(right, Mapping)
            and place in ("metadata", "spec", "metadata.annotations")
        ):
            yield from differences(left, right, place)
        else:
            yield place


def _containers(one: Any, other: Any, path: str) -> Iterator[str]:
    left, right = ({container["name"]: container for container in side} for side in (one, other))
    for name in sorted({*left, *right}):
        if name in left and name in right:
            yield from differences(left[name], right[name], f"{path}[{name}]")
        else:
            yield f"{path}[{name}]"
