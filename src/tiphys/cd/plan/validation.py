"""Whether an application may be: its sources and destination are complete, exist and are permitted by its project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tiphys.cd.plan.projects import Cluster, Project
from tiphys.cd.plan.spec import Source, Spec, has_multiple_sources, sync_source
from tiphys.lang.gofmt import quote

IN_CLUSTER: Final = Cluster("https://kubernetes.default.svc", "in-cluster")


class Condition(NamedTuple):
    """An entry of ``status.conditions``, without its time."""

    type: str
    message: str


class DestinationError(ValueError):
    """A destination that is no cluster that we know."""


@dataclass(frozen=True)
class Clusters:
    """The known clusters. The one that we run in is there unless it was disabled or its secret says otherwise."""

    named: Sequence[Cluster] = ()
    in_cluster_enabled: bool = True

    def destination(self, destination: Mapping[str, Any]) -> Cluster:
        """Raises DestinationError."""
        server, name = destination.get("server") or "", destination.get("name") or ""
        if name and server:
            raise DestinationError(f"application destination can't have both name and server defined: {name} {server}")
        if server:
            return self._at(server)
        if not name:
            raise DestinationError("Destination server missing from app spec")
        found = [cluster for cluster in self._all() if cluster.name == name]
        if not found:
            raise DestinationError(f"there are no clusters with this name: {name}")
        if len(found) > 1:
            servers = " ".join(cluster.server for cluster in found)
            raise DestinationError(f"there are {len(found)} clusters with the same name: [{servers}]")
        return found[0]

    def _at(self, server: str) -> Cluster:
        wanted = server.rstrip("/")
        for cluster in self._all():
            if cluster.server.rstrip("/") == wanted:
                return cluster
        state = "is disabled" if wanted == IN_CLUSTER.server else "not found"
        why = f"rpc error: code = NotFound desc = cluster {quote(wanted)} {state}"
        raise DestinationError(f"error getting cluster by server {quote(server)}: {why}")

    def _all(self) -> list[Cluster]:
        if not self.in_cluster_enabled:
            return [cluster for cluster in self.named if cluster.server != IN_CLUSTER.server]
        has_own = any(cluster.server == IN_CLUSTER.server for cluster in self.named)
        return [*self.named, *(() if has_own else (IN_CLUSTER,))]


def problems_of(spec: Spec, project: Project, clusters: Clusters) -> list[Condition]:
    """What is wrong with an application, empty where nothing is."""
    found, is_incomplete = _source_problems(spec, project)
    if is_incomplete:
        return found
    destination = spec.get("destination") or {}
    try:
        cluster = clusters.destination(destination)
    except DestinationError as err:
        return [*found, _invalid(str(err))]
    namespace = destination.get("namespace") or ""
    if not project.permits_destination(cluster, namespace):
        shown = cluster.name if destination.get("name") else cluster.server
        where = f"application destination server '{shown}' and namespace '{namespace}'"
        text = f"{where} do not match any of the allowed destinations in project '{project.name}'"
        found.append(_invalid(text))
    return found


def _source_problems(spec: Spec, project: Project) -> tuple[list[Condition], bool]:
    """The problems, and whether they keep anything else from being looked at."""
    hydrator = spec.get("sourceHydrator")
    if hydrator is not None:
        missing = _hydrator_problems(hydrator)
        return (missing, True) if missing else (_hydrator_permissions(hydrator, project), False)
    several = has_multiple_sources(spec)
    found: list[Condition] = []
    for source in spec["sources"] if several else [spec.get("source") or {}]:
        incomplete = _incomplete(source, several=several)
        if incomplete is not None:
            return [*found, _invalid(incomplete)], True
        if not project.permits_source(source["repoURL"]):
            found.append(_not_permitted("application repo", source["repoURL"], project))
    return found, False


def _incomplete(source: Source, *, several: bool) -> str | None:
    """What the source lacks."""
    is_named = bool(source.get("path") or source.get("chart") or (several and source.get("ref")))
    if not source.get("repoURL") or not is_named:
        if not several:
            return "spec.source.repoURL and either spec.source.path or spec.source.chart are required"
        needed = "spec.source.repoURL and either source.path, source.chart, or source.ref are required"
        return f"{needed} for source {_shown(source)}"
    if source.get("chart") and not source.get("targetRevision"):
        return "spec.source.targetRevision is required if the manifest source is a helm chart"
    return None


def _hydrator_problems(hydrator: Mapping[str, Any]) -> list[Condition]:
    found = []
    if not (hydrator.get("drySource") or {}).get("repoURL"):
        found.append(_invalid("spec.sourceHydrator.drySource.repoURL is required"))
    if not (hydrator.get("syncSource") or {}).get("targetBranch"):
        found.append(_invalid("spec.sourceHydrator.syncSource.targetBranch is required"))
    to = hydrator.get("hydrateTo")
    if to is not None and not to.get("targetBranch"):
        field = "spec.sourceHydrator.hydrateTo"
        found.append(_invalid(f"when {field} is set, {field}.targetBranch is required"))
    return found


def _hydrator_permissions(hydrator: Mapping[str, Any], project: Project) -> list[Condition]:
    found = []
    dry, sync = hydrator["drySource"]["repoURL"], sync_source(hydrator)["repoURL"]
    if not project.permits_source(dry):
        found.append(_not_permitted("application repo", dry, project))
    if sync != dry and not project.permits_source(sync):
        found.append(_not_permitted("sync source repo", sync, project))
    return found


def _not_permitted(what: str, url: str, project: Project) -> Condition:
    return _invalid(f"{what} {url} is not permitted in project '{project.name}'")


def _invalid(message: str) -> Condition:
    return Condition("InvalidSpecError", message)


def _shown(source: Source) -> str:
    """The source as Go prints the struct."""
    texts = [str(source.get(name) or "") for name in ("repoURL", "path", "targetRevision")]
    tools = ["nil" if source.get(name) is None else f"&{source[name]}" for name in _TOOLS]
    rest = [str(source.get(name) or "") for name in ("chart", "ref", "name", "tagPrefix")]
    return f"{{{' '.join((*texts, *tools, *rest))}}}"


_TOOLS: Final = ("helm", "kustomize", "directory", "plugin")
