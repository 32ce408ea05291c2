"""What a project permits, and whether it may be stored.

Left out: the number behind ``hash=`` in the complaint about a window given twice, which hashes Go's gob bytes with type
ids that depend on the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan.projects import Cluster, Project, ProjectError
from tiphys.cd.plan.windows import WindowError

Given = Mapping[str, Any]
_HASH = re.compile(r" \(hash=\d+, duplicate detected\)")


class Refused(Exception):
    pass


def ask(row: Mapping[str, Any]) -> Answer:
    given = row["in"]

    def own_clusters(_project: str) -> Iterable[Cluster]:
        if given.get("projectClustersError"):
            raise Refused(f"could not retrieve project clusters: {given['projectClustersError']}")
        return [_cluster(each) for each in given.get("projectClusters") or ()]

    project = Project.of(given["project"], own_clusters)
    return answer(lambda: _ask(project, given), ProjectError, WindowError, Refused)


def _ask(project: Project, given: Given) -> Any:
    match given["op"]:
        case "source":
            return project.permits_source(given["repoURL"])
        case "destination":
            return project.permits_destination(_cluster(given["cluster"]), given["namespace"])
        case "groupKind":
            return project.permits_kind(given["group"], given["kind"], given["name"], namespaced=given["namespaced"])
        case "live":
            return project.permits(given["object"], _cluster(given["cluster"]))
        case "appNamespace":
            return project.permits_application_in(given["appNamespace"], given["controllerNamespace"])
        case "policies":
            return project.policies()
        case "validate":
            project.check()
            return "valid"


def _cluster(given: Given | None) -> Any:
    return Cluster(given.get("server", ""), given.get("name", "")) if given is not None else None


def same(expected: Answer, got: Answer, row: Mapping[str, Any]) -> bool:
    return got == ({"error": _HASH.sub("", row["error"])} if "error" in row else expected)


FORMATS = (
    Format(
        "cd project permissions",
        lambda s: all_rows(s.rows, lambda given: {"op", "project"} <= given.keys() and "spec" in given["project"]),
        judge_named(ask, same),
    ),
)
