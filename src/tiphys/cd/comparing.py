"""Compares an application with its cluster: what it refers to is looked up, its sources are rendered, and then
``plan/compare.py`` decides.

    spec ─► project, cluster ─► render ─► watch the kinds it has ─► live objects from the index ─► comparison

Between two comparisons of an application what was rendered is kept, and which pairs differed: a change of one object
costs the look at that object.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tiphys.cd.act import SyncActor
from tiphys.cd.caches import Caches
from tiphys.cd.clusters import ClusterSet
from tiphys.cd.kinds import ServedKinds
from tiphys.cd.live import LiveCluster
from tiphys.cd.plan.compare import Comparison, Observed, comparator, compare, placed
from tiphys.cd.plan.diff import Comparator, Diff
from tiphys.cd.plan.diff.ignoring import IgnoreError
from tiphys.cd.plan.health import Health, resource_health
from tiphys.cd.plan.health.custom import CustomHealth
from tiphys.cd.plan.hydration import dry_source
from tiphys.cd.plan.integrity import policies_of
from tiphys.cd.plan.markers import COMPARE_OPTIONS, has_option
from tiphys.cd.plan.objects import (
    Gvk,
    Object,
    ResourceKey,
    annotations_of,
    gvk_of,
    key_of,
    metadata_of,
    name_of,
    namespace_of,
)
from tiphys.cd.plan.projects import Cluster, Project, impersonated
from tiphys.cd.plan.settings import Settings
from tiphys.cd.plan.spec import instance_name, sources_of
from tiphys.cd.plan.tracking import TrackingError
from tiphys.cd.plan.validation import Clusters, Condition, DestinationError, problems_of
from tiphys.cd.plan.windows import Destination
from tiphys.cd.rendering import Rendered, Renderer, Wanted
from tiphys.cd.settings import ControllerSettings
from tiphys.client.client import Client
from tiphys.machinery.equality import same
from tiphys.machinery.errors import ApiError, Forbidden
from tiphys.runtime.clock import Clock

KUBE_VERSION = "1.34"


class ProjectError(ValueError):
    """An application whose project is not there, or does not let it live where it lives."""


class ImpersonationError(ValueError):
    """An application for which nobody may act on its cluster."""


@dataclass(frozen=True)
class Sources:
    """What is to be rendered: the spec's sources, or those that an operation chose."""

    sources: Sequence[Mapping[str, Any]]
    revisions: Sequence[str] = ()

    @classmethod
    def of_spec(cls, app: Mapping[str, Any]) -> Sources:
        spec = app.get("spec") or {}
        return cls(sources_of(spec))


@dataclass(slots=True)
class _Kept:
    """What stays of an application's last comparison."""

    asked: tuple[Any, ...] = ()
    rendered: Rendered | None = None
    rules: tuple[Any, ...] = ()
    equal: dict[ResourceKey, tuple[Object, str]] = field(default_factory=dict)
    """Targets with the uid and version of the live object that they were equal to."""


@dataclass(frozen=True)
class Compared:
    """A comparison with what it was made of."""

    comparison: Comparison
    project: Project
    cluster: Cluster
    live: LiveCluster
    check: Callable[[Object], Health | None]
    unrendered: str = ""
    """Why there are no targets."""
    unseen: str = ""
    """Why live objects are not known."""

    @property
    def kinds(self) -> ServedKinds:
        return ServedKinds(self.live.kinds)


class Comparer:
    def __init__(
        self, caches: Caches, clusters: ClusterSet, renderer: Renderer, settings: ControllerSettings, clock: Clock
    ) -> None:
        self.control_namespace = settings.namespace
        self._server_side_diff = settings.server_side_diff
        self._caches = caches
        self._clusters = clusters
        self._renderer = renderer
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    def instance_of(self, app: Mapping[str, Any]) -> str:
        return instance_name(name_of(app), namespace_of(app), self.control_namespace)

    def forget(self, instance: str) -> None:
        self._kept.pop(instance, None)

    # What an application refers to

    def project_of(self, app: Mapping[str, Any]) -> Project:
        """Raises ProjectError."""
        name = (app.get("spec") or {}).get("project") or "default"
        found = self._caches.project(name)
        if found is None:
            raise ProjectError(f"Application referencing project {name} which does not exist")
        project = Project.of(found, self._clusters.of_project)
        if not project.permits_application_in(namespace_of(app), self.control_namespace):
            where = f"application '{name_of(app)}' in namespace '{namespace_of(app)}'"
            raise ProjectError(f"{where} is not allowed to use project {name}")
        return project

    def cluster_of(self, app: Mapping[str, Any]) -> Cluster:
        """Raises DestinationError."""
        return self._known_clusters().destination((app.get("spec") or {}).get("destination") or {})

    def live_of(self, cluster: Cluster) -> LiveCluster:
        return self._clusters.live(cluster)

    def client_for(self, app: Mapping[str, Any], project: Project, cluster: Cluster) -> Client:
        """Who changes things for the application: we, or the account that its project names for the destination.

        Raises ImpersonationError where there has to be one, and is none.
        """
        settings = self._caches.settings
        namespace = str(((app.get("spec") or {}).get("destination") or {}).get("namespace") or "")
        account = impersonated(project, cluster.server, namespace) if settings.impersonates else None
        if account is not None:
            return self._clusters.acting(cluster, f"system:serviceaccount:{account}")
        if settings.impersonates and settings.enforces_impersonation:
            where = f"{cluster.server} and namespace {namespace}"
            raise ImpersonationError(f"no matching service account found for destination server {where}")
        return self._clusters.live(cluster).client

    def is_paused(self, app: Mapping[str, Any]) -> bool:
        """Whether the secret of its cluster says that nothing is to be done there."""
        try:
            return self._clusters.is_paused(self.cluster_of(app))
        except DestinationError:
            return False

    def destination_of(self, app: Mapping[str, Any]) -> Destination:
        """The destination as sync windows see it."""
        namespace = str(((app.get("spec") or {}).get("destination") or {}).get("namespace") or "")
        try:
            cluster = self.cluster_of(app)
        except DestinationError:
            return Destination(namespace=namespace)
        return Destination(cluster.server, cluster.name, namespace)

    def problems(self, app: Mapping[str, Any]) -> list[Condition]:
        """What is wrong with the spec itself."""
        try:
            project = self.project_of(app)
        except ProjectError as err:
            return [Condition("InvalidSpecError", str(err))]
        return problems_of(app.get("spec") or {}, project, self._known_clusters())

    def _known_clusters(self) -> Clusters:
        return Clusters(self._clusters.known, in_cluster_enabled=self._caches.settings.in_cluster_enabled)

    def check(self) -> Callable[[Object], Health | None]:
        """How the health of an object is judged now."""
        overrides = self._caches.settings.overrides
        custom = (
            CustomHealth(overrides, self._clock.now()) if any("health.lua" in o for o in overrides.values()) else None
        )
        return lambda obj: resource_health(obj, custom)

    # The comparison

    async def compare(
        self, app: Mapping[str, Any], chosen: Sources, *, resolve: bool = False, hard: bool = False, keep: bool = True
    ) -> Compared:
        """Raises ProjectError and DestinationError; everything else that goes wrong is part of the answer.

        ``keep`` False: what was rendered is of an operation and not what the next comparison is about.
        """
        project, cluster, settings = self.project_of(app), self.cluster_of(app), self._caches.settings
        live, instance = self._clusters.live(cluster), self.instance_of(app)
        kept = self._kept.setdefault(instance, _Kept()) if keep else self._kept.get(instance) or _Kept()
        problem, found = "", dict[ResourceKey, Object]()
        try:
            await live.watch([*_known_kinds(app), _NAMESPACE])
        except ApiError as err:
            problem = f"{err}"
        asked = self._asked(app, chosen, project, live)
        rendered = kept.rendered
        if rendered is None or rendered.problem or rendered.untrusted or resolve or hard or not same(asked, kept.asked):
            wanted = self._wanted(app, chosen, project, live, resolve=resolve, hard=hard)
            rendered = self._placed(await self._renderer.render(wanted), app, live)
            if keep:
                kept.asked, kept.rendered = asked, rendered
        try:
            await live.watch(map(gvk_of, rendered.targets))
            found = live.managed(instance, rendered.targets)
        except ApiError as err:
            problem = f"{err}"
        check = self.check()
        asker = _Asker(found) if self._asks_server(app) else None
        # What is not asked yet is taken for equal at first: that must not be remembered.
        first = kept if asker is None else _Kept(rules=kept.rules, equal=dict(kept.equal))
        seen = Observed(
            app, self.control_namespace, chosen.sources, rendered, found, cluster, project, settings,
            ServedKinds(live.kinds).scope, check, problem, compare=self._comparing(app, settings, first, asker),
        )  # fmt: skip
        comparison = compare(seen)
        if asker is not None and asker.needed:
            try:
                client = self.client_for(app, project, cluster)
            except ImpersonationError as err:
                asker.refuse(Forbidden(str(err)))
            else:
                await asker.ask(SyncActor(live, self._clock, client))
            comparison = compare(replace(seen, compare=self._comparing(app, settings, kept, asker)))
        return Compared(comparison, project, cluster, live, check, rendered.problem, problem)

    async def rendered(self, app: Mapping[str, Any], chosen: Sources, project: Project, live: LiveCluster) -> Rendered:
        """What the sources give at the revisions that the application was compared with last."""
        sync = (app.get("status") or {}).get("sync") or {}
        known = sync.get("revisions") or ([sync["revision"]] if sync.get("revision") else [])
        pinned = replace(chosen, revisions=known if len(known) == len(chosen.sources) else ())
        return await self._renderer.render(self._wanted(app, pinned, project, live, resolve=False, hard=False))

    async def dry(self, app: Mapping[str, Any], revision: str = "") -> Rendered:
        """What the dry source of a hydrated application gives, unmarked. Raises ProjectError, DestinationError."""
        project, live = self.project_of(app), self._clusters.live(self.cluster_of(app))
        source = dry_source((app.get("spec") or {}).get("sourceHydrator") or {})
        wanted = self._wanted(app, Sources([source], [revision]), project, live, resolve=not revision, hard=False)
        return await self._renderer.render(replace(wanted, is_marked=False))

    def _asked(self, app: Mapping[str, Any], chosen: Sources, project: Project, live: LiveCluster) -> tuple[Any, ...]:
        """Everything that a render depends on, as far as we can tell."""
        spec = app.get("spec") or {}
        return (
            list(chosen.sources), list(chosen.revisions), spec.get("destination"), spec.get("project"), live.server,
            self._caches.settings, policies_of(project.spec),
        )  # fmt: skip

    def _wanted(
        self, app: Mapping[str, Any], chosen: Sources, project: Project, live: LiveCluster, *, resolve: bool, hard: bool
    ) -> Wanted:
        spec = app.get("spec") or {}
        return Wanted(
            instance=self.instance_of(app),
            namespace=str((spec.get("destination") or {}).get("namespace") or ""),
            project=project.name,
            sources=chosen.sources,
            revisions=chosen.revisions,
            annotations=annotations_of(app),
            settings=self._caches.settings,
            kube_version=KUBE_VERSION,
            api_versions=list(live.kinds.api_versions()) if any(map(_may_ask_for_kinds, chosen.sources)) else (),
            integrity=policies_of(project.spec),
            resolve=resolve,
            hard=hard,
        )

    def _placed(self, rendered: Rendered, app: Mapping[str, Any], live: LiveCluster) -> Rendered:
        """With the targets of known kinds in their namespaces, once and not in every comparison."""
        namespace = str(((app.get("spec") or {}).get("destination") or {}).get("namespace") or "")
        instance, settings = self.instance_of(app), self._caches.settings
        targets: list[Object] = []
        for target in rendered.targets:
            resource = live.resource_of(gvk_of(target))
            if resource is not None:
                with contextlib.suppress(TrackingError):  # the comparison says so
                    target = placed(target, namespace, instance, settings, is_namespaced=resource.namespaced)
            targets.append(target)
        return replace(rendered, targets=targets)

    def _asks_server(self, app: Mapping[str, Any]) -> bool:
        """Whether the server says what an apply would change."""
        if has_option(app, "ServerSideDiff=false", COMPARE_OPTIONS):
            return False
        return self._server_side_diff or has_option(app, "ServerSideDiff=true", COMPARE_OPTIONS)

    def _comparing(
        self, app: Mapping[str, Any], settings: Settings, kept: _Kept, asker: _Asker | None
    ) -> Callable[[Object | None, Object | None], Diff]:
        """The comparison of a pair; one that was equal, and is as it was, is not looked at again."""
        try:
            rules = comparator(app, settings)
        except IgnoreError as err:
            problem = err

            def refuse(_target: Object | None, _live: Object | None) -> Diff:
                raise problem

            return refuse
        if asker is not None:
            rules = replace(rules, dry_run=asker)
        known = ((app.get("spec") or {}).get("ignoreDifferences"), settings, rules.structured_merge, asker is None)
        if kept.rules != known:
            kept.rules, kept.equal = known, {}
        return lambda target, live: _compared(rules, kept, target, live)


@dataclass
class _Asker:
    """A ``diff.DryRun`` of answers that were fetched before; it notes what it was asked in vain."""

    live: Mapping[ResourceKey, Object]
    answers: dict[ResourceKey, Object | ApiError] = field(default_factory=dict)
    needed: dict[ResourceKey, tuple[Object, str]] = field(default_factory=dict)

    def __call__(self, target: Object, manager: str) -> Object:
        answer = self.answers.get(key_of(target))
        if isinstance(answer, ApiError):
            raise answer
        if answer is None:
            self.needed[key_of(target)] = (target, manager)
            return self.live.get(key_of(target), target)
        return answer

    def refuse(self, err: ApiError) -> None:
        """Answers with an error what was noted."""
        self.answers.update(dict.fromkeys(self.needed, err))

    async def ask(self, actor: SyncActor) -> None:
        """Fetches what was noted."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(key: ResourceKey, target: Object, manager: str) -> None:
            async with limit:
                try:
                    self.answers[key] = await actor.dry_run_apply(target, manager)
                except ApiError as err:
                    self.answers[key] = err

        await asyncio.gather(*(one(key, *asked) for key, asked in self.needed.items()))


_AT_ONCE = 32
_NAMESPACE = Gvk("", "v1", "Namespace")
_NO_DIFFERENCE = Diff(False, {}, {})


def _compared(rules: Comparator, kept: _Kept, target: Object | None, live: Object | None) -> Diff:
    if target is None or live is None:
        return rules.compare(target, live)
    metadata = metadata_of(live)
    key, version = key_of(live), f"{metadata.get('uid')} {metadata.get('resourceVersion')}"
    before = kept.equal.get(key)
    if before is not None and before[1] == version and before[0] == target:
        return _NO_DIFFERENCE
    diff = rules.compare(target, live)
    if not diff.is_modified:
        kept.equal[key] = (target, version)
        return _NO_DIFFERENCE
    kept.equal.pop(key, None)
    return replace(diff)


def _known_kinds(app: Mapping[str, Any]) -> Iterable[Gvk]:
    """The kinds that the application is known to have objects of, also where Git has none any more."""
    status = app.get("status") or {}
    result = (status.get("operationState") or {}).get("syncResult") or {}
    for each in (*(status.get("resources") or ()), *(result.get("resources") or ())):
        if each.get("kind") and each.get("version"):
            yield Gvk(each.get("group") or "", each["version"], each["kind"])


def _may_ask_for_kinds(source: Mapping[str, Any]) -> bool:
    """Whether a tool may want to know what the cluster serves: anything that might be a chart."""
    return not source.get("directory")
