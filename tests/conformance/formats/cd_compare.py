"""The comparison of a whole application, and the hooks of its deletion.

The recordings' controller lives in fake-argocd-ns, the repository answers with one revision; targets are placed as if
every kind had namespaces, and judged as if those of _CLUSTER_WIDE had none. Left
out: the order of resources, which Go's maps make random (sorted by key).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conformance.formats._calls import Answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan import deletion
from tiphys.cd.plan.compare import Comparison, Observed, Rendered, compare
from tiphys.cd.plan.health import Health, resource_health
from tiphys.cd.plan.health.custom import CustomHealth
from tiphys.cd.plan.objects import Object, key_of, name_of
from tiphys.cd.plan.projects import Cluster, Project
from tiphys.cd.plan.settings import Settings
from tiphys.cd.plan.spec import has_multiple_sources, sources_of
from tiphys.cd.plan.tracking import tracked
from tiphys.lang import gojson_read

Given = Mapping[str, Any]
CONTROL_NAMESPACE, NAMESPACE = "fake-argocd-ns", "fake-dest-ns"
SERVER = "https://localhost:6443"
REVISION = "a" * 40
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DEFAULT_PROJECT = {
    "metadata": {"name": "default"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
    },
}
_CLUSTER_WIDE = frozenset(
    ("ClusterRole", "ClusterRoleBinding", "Namespace", "CustomResourceDefinition", "PersistentVolume")
)


def _application(app: Given) -> dict[str, Any]:
    return {**app, "metadata": {"namespace": CONTROL_NAMESPACE, **app["metadata"]}}


def _check(settings: Settings) -> Any:
    custom = CustomHealth(settings.overrides, NOW)

    def check(obj: Object) -> Health | None:
        return resource_health(obj, custom)

    return check


def ask_comparison(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    app, settings = _application(given["app"]), Settings.of(given.get("argocdCm"))
    spec = app["spec"]
    seen = Observed(
        app=app,
        control_namespace=CONTROL_NAMESPACE,
        sources=sources_of(spec),
        rendered=_rendered(given, spec),
        live={key_of(obj): obj for obj in given["live"]},
        cluster=Cluster(SERVER, "minikube"),
        project=Project.of(given.get("project", _DEFAULT_PROJECT)),
        settings=settings,
        scopes=lambda _group, kind: kind not in _CLUSTER_WIDE,
        placing=lambda _group, _kind: True,
        check=_check(settings),
    )
    return {"out": _shown(compare(seen), given)}


def _rendered(given: Given, spec: Given) -> Rendered:
    asked = [source.get("targetRevision", "") for source in sources_of(spec)]
    if given.get("repoError"):
        return Rendered((), asked, (), f"failed to generate manifest for source 1 of 1: {given['repoError']}")
    if "localManifests" in given:
        return Rendered([json.loads(text) for text in given["localManifests"]], asked)
    try:
        manifests = [gojson_read.loads(text) for text in given.get("rawManifests") or ()] + given["manifests"]
    except gojson_read.JsonSyntaxError as err:
        return Rendered((), asked, (), f"failed to unmarshal manifests for source 1 of 1: {err}")
    count = len(sources_of(spec)) if has_multiple_sources(spec) else 1
    return Rendered(manifests, [REVISION] * count, [given.get("sourceType", "")])


def _shown(found: Comparison, given: Given) -> Any:
    return {
        "conditions": [{"type": each.type, "message": each.message} for each in found.conditions],
        "hasPostDeleteHooks": found.has_post_delete_hooks,
        "hasPreDeleteHooks": found.has_pre_delete_hooks,
        "health": found.health.status,
        "healthMessage": found.health.message,
        "hooks": [f"{hook['kind']}/{name_of(hook)}" for hook in found.pairing.hooks],
        "managed": [
            {
                "key": str(each.key),
                "hasTarget": each.target is not None,
                "hasLive": each.live is not None,
                "hook": bool(each.status.get("hook")),
                "modified": each.diff.is_modified,
            }
            for each in found.managed
        ],
        "resources": [
            {
                name: value
                for name, value in status.items()
                if name != "health" or given.get("persistResourceHealth", True)
            }
            for status in found.resources
        ],
        "syncStatus": found.sync,
        "targets": [target for target, _live in found.pairing.pairs if target is not None],
    }


def same_comparison(expected: Answer, got: Answer, row: Mapping[str, Any]) -> bool:
    left = {name: value for name, value in row["out"].items() if name not in ("revisionsMayHaveChanges", "sourceType")}
    return _sorted(left) == _sorted(got["out"])


def _sorted(value: Any) -> Any:
    """Lists of objects in one order."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted(map(_sorted, value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


# Hooks of the deletion


def ask_hooks(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    app, settings = _application(given["app"]), Settings.of(given.get("argocdCm"))
    live = {key_of(obj): obj for obj in given["live"]}

    def mark(obj: Object) -> Object:
        name = app["metadata"]["name"]
        return tracked(
            obj, name, NAMESPACE, settings.tracking_method, settings.instance_label, settings.installation_id
        )

    if given["op"] == "execute":
        step = deletion.run_hooks(given["hookType"], given["manifests"], live, NAMESPACE, mark, _check(settings))
    else:
        step = deletion.clean_hooks(given["hookType"], live, _check(settings))
    out = {
        "completed": step.is_over,
        "created": list(step.created),
        "deleted": [str(key_of(obj)) for obj in step.deleted],
    }
    return {"out": out | ({"error": step.failure} if step.failure else {})}


FORMATS = (
    Format(
        "cd comparison",
        lambda s: all_rows(s.rows, lambda given: {"app", "live", "manifests"} <= given.keys() and "op" not in given),
        judge_named(ask_comparison, same_comparison),
    ),
    Format(
        "cd deletion hooks",
        lambda s: all_rows(s.rows, lambda given: {"hookType", "live", "manifests"} <= given.keys()),
        judge_named(ask_hooks, lambda expected, got, _row: _sorted(expected) == _sorted(got)),
    ),
)
