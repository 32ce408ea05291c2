"""Application specs: normal form, names, retries, selections, differences; and their validation against a project."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.conformance.formats._calls import Answer, answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan import spec
from tiphys.cd.plan.objects import ResourceKey
from tiphys.cd.plan.projects import Cluster, Project
from tiphys.cd.plan.validation import Clusters, problems_of
from tiphys.lang import name_rules

Given = Mapping[str, Any]


def ask(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    return answer(lambda: _OPS[given["op"]](given), spec.RetryError)


def _retry(given: Given) -> Any:
    last = datetime.fromisoformat(given["lastAttempt"])
    at = spec.next_retry(given["retry"], last, given["retryCount"])
    seconds = (at - last).total_seconds()
    return {"delaySeconds": int(seconds) if seconds == int(seconds) else seconds, "nextRetryAt": _shown(at)}


def _shown(moment: datetime) -> str:
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "Z"


def _names(given: Given) -> Any:
    name, control = given["name"], given["namespace"]
    own_name, own_namespace = spec.parse_qualified(name, control)
    instance_name, instance_namespace = spec.parse_instance(name, control)
    return {
        "instance": spec.instance_name(own_name, own_namespace, control),
        "instanceName": instance_name,
        "instanceNamespace": instance_namespace,
        "name": own_name,
        "namespace": own_namespace,
        "validAppName": not name_rules.dns1123_subdomain(name),
        "validNamespace": not name_rules.dns1123_label(name),
        "validProjectName": not name_rules.dns1123_subdomain(name),
    }


def _include(given: Given) -> Any:
    key = ResourceKey(given["group"], given["kind"], given["namespace"], given["name"])
    return spec.selects(given["resources"], key)


_OPS = {
    "retry": _retry,
    "normalize": lambda given: spec.normalized(given["spec"]),
    "qualifiedName": _names,
    "includeResource": _include,
    "diffPaths": lambda given: spec.different_paths(given["a"], given["b"]) or None,
}


def ask_validation(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    clusters = [Cluster(each["server"], each["name"]) for each in given["clusters"]]

    def own_clusters(project: str) -> list[Cluster]:
        return [Cluster(c["server"], c["name"]) for c in given["clusters"] if c.get("project") == project]

    enabled = (given.get("argocdCm") or {}).get("cluster.inClusterEnabled") != "false"
    project = Project.of(given["project"], own_clusters)
    found = problems_of(given["spec"], project, Clusters(clusters, enabled))
    return {"out": {"conditions": [{"type": each.type, "message": each.message} for each in found]}}


FORMATS = (
    Format(
        "cd spec",
        lambda s: all_rows(s.rows, lambda given: given.get("op") in _OPS and "project" not in given),
        judge_named(
            ask,
            lambda expected, got, row: got == ({"error": row["error"]} if "error" in row else expected),
        ),
    ),
    Format(
        "cd application validation",
        lambda s: all_rows(s.rows, lambda given: {"clusters", "project", "spec"} <= given.keys()),
        judge_named(ask_validation),
    ),
)
