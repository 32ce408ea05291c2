"""The comparison of an application: every target with its live object, and what that says of the whole.

    targets normalized ─► live objects paired ─► each pair compared ─► status of each resource ─► sync and health

Status of a resource: none for hooks, skipped objects and copies; OutOfSync where target and live object differ or one
is missing; Unknown where the project does not permit its kind or something could not be loaded. Any resource OutOfSync
makes the application so, unless it is merely extra and says ``IgnoreExtraneous``. Source: argo-cd controller/state.go;
judged by golden/cd compare-state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from tiphys.cd.plan.app_health import AppHealth, application_health
from tiphys.cd.plan.deletion import for_sync, is_any_hook
from tiphys.cd.plan.diff import Comparator, Diff, DiffError, Ignores
from tiphys.cd.plan.diff.ignoring import IgnoreError
from tiphys.cd.plan.health import Health
from tiphys.cd.plan.markers import COMPARE_OPTIONS, has_option, is_ignorable, is_skipped, option_value, wave_of
from tiphys.cd.plan.objects import (
    Gvk,
    Object,
    ResourceKey,
    gvk_of,
    key_of,
    metadata_of,
    name_of,
    namespace_of,
    with_metadata,
    without,
)
from tiphys.cd.plan.pairing import Pairing, paired
from tiphys.cd.plan.projects import Cluster, Project
from tiphys.cd.plan.settings import Settings
from tiphys.cd.plan.spec import SyncOptions, has_multiple_sources, instance_name
from tiphys.cd.plan.sync.namespaces import namespace_change
from tiphys.cd.plan.tracking import LABEL, TrackingError, application_of, id_for, id_of, tracked
from tiphys.cd.plan.validation import Condition
from tiphys.machinery.equality import same

COMPARISON_ERROR: Final = "ComparisonError"


class Scopes(Protocol):
    """Says of a group and kind whether it has namespaces; None: not known."""

    def __call__(self, group: str, kind: str) -> bool | None: ...


@dataclass(frozen=True)
class Rendered:
    """What the sources gave. ``problem`` says why they gave nothing, ``untrusted`` why it may not be used."""

    targets: Sequence[Object] = ()
    revisions: Sequence[str] = ()
    types: Sequence[str] = ()
    problem: str = ""
    untrusted: Sequence[str] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Observed:
    """Everything that a comparison is decided from. ``live`` are the objects that carry the application's mark, and
    those that a target names; ``sources`` are what was rendered, which an operation may have chosen. ``placing`` stands
    in for ``scopes`` where targets are placed and paired, as long as it is not known what the cluster serves."""

    app: Mapping[str, Any]
    control_namespace: str
    sources: Sequence[Mapping[str, Any]]
    rendered: Rendered
    live: Mapping[ResourceKey, Object]
    cluster: Cluster
    project: Project
    settings: Settings
    scopes: Scopes
    check: Callable[[Object], Health | None]
    live_problem: str = ""
    placing: Scopes | None = None
    compare: Callable[[Object | None, Object | None], Diff] | None = None


@dataclass(frozen=True)
class Managed:
    """One resource: its target and live object with how they differ, and its entry in ``status.resources``."""

    target: Object | None
    live: Object | None
    diff: Diff
    status: Mapping[str, Any]
    is_out_of_sync: bool
    """Whether it makes the application OutOfSync, which it does also where the project hides its own status."""
    is_copy: bool = False
    """Whether the live object carries the mark of another one: it is neither synced nor pruned."""

    @property
    def key(self) -> ResourceKey:
        return key_of(self.live if self.live is not None else self.target or {})


@dataclass(frozen=True)
class Comparison:
    """``targets`` are all wanted objects as they would be applied; ``pairing`` is what a sync goes by."""

    sync: Mapping[str, Any]
    health: AppHealth
    managed: Sequence[Managed]
    pairing: Pairing
    targets: Sequence[Object]
    conditions: Sequence[Condition]
    has_pre_delete_hooks: bool = False
    has_post_delete_hooks: bool = False
    types: Sequence[str] = ()
    settings: Settings = field(default_factory=Settings)
    comparator: Comparator | None = None

    @property
    def resources(self) -> list[Mapping[str, Any]]:
        """The entries of ``status.resources``."""
        return [each.status for each in self.managed]

    @property
    def modified(self) -> dict[ResourceKey, bool]:
        return {each.key: each.diff.is_modified for each in self.managed}


def compare(seen: Observed) -> Comparison:
    return _Comparing(seen).run()


@dataclass
class _Comparing:
    seen: Observed
    conditions: list[Condition] = field(default_factory=list)
    is_unknown: bool = False

    def run(self) -> Comparison:
        seen = self.seen
        if seen.rendered.problem:
            self._fail(f"Failed to load target state: {seen.rendered.problem}")
        for problem in seen.rendered.untrusted:
            self.conditions.append(Condition("ComparisonError", problem))
        targets = self._included(self._normalized(seen.rendered.targets))
        if seen.live_problem:
            self._fail(f"Failed to load live state: {seen.live_problem}")
        live = self._permitted()
        self._warn_of_sharing(live.values())
        targets = [*targets, *self._managed_namespace(targets, live.values())]
        synced, before, after = for_sync(targets)
        pairing = paired(synced, live, self._namespace, self._placing)
        diffs = self._diffs(pairing)
        managed = [self._managed(t, o, d, pairing) for (t, o), d in zip(pairing.pairs, diffs, strict=True)]
        health = application_health(pairing.pairs, seen.check, seen.app)
        if health.error:
            self.conditions.append(Condition(COMPARISON_ERROR, f"error setting app health: {health.error}"))
        managed = [_with_health(each, verdict) for each, verdict in zip(managed, health.by_resource, strict=True)]
        sync = self._sync_status(managed)
        types = seen.rendered.types
        conditions, settings = self.conditions, seen.settings
        return Comparison(sync, health, managed, pairing, targets, conditions, before, after, types, settings)

    @property
    def _spec(self) -> Mapping[str, Any]:
        return self.seen.app.get("spec") or {}

    @property
    def _namespace(self) -> str:
        return str((self._spec.get("destination") or {}).get("namespace") or "")

    @property
    def _placing(self) -> Scopes:
        return self.seen.placing or self.seen.scopes

    @property
    def _instance(self) -> str:
        app = self.seen.app
        return instance_name(name_of(app), namespace_of(app), self.seen.control_namespace)

    def _fail(self, message: str) -> None:
        self.conditions.append(Condition(COMPARISON_ERROR, message))
        self.is_unknown = True

    def _permitted(self) -> dict[ResourceKey, Object]:
        """The live objects that the project lets be seen; it asks for names only of kinds without namespaces."""
        seen = self.seen
        known: dict[tuple[str, str, str], bool] = {}
        found = {}
        for key, obj in seen.live.items():
            place = key[:3] if key.namespace else (*key[:2], "/" + key.name)
            if place not in known:
                known[place] = seen.project.permits(obj, seen.cluster)
            if known[place]:
                found[key] = obj
        return found

    # Targets

    def _normalized(self, targets: Sequence[Object]) -> list[Object]:
        """Each with the namespace that its kind wants, and its mark; of several with one key the last."""
        by_key: dict[ResourceKey, list[Object]] = {}
        try:
            for index, obj in enumerate(targets):
                placed = self._placed(obj)
                key = key_of(placed)
                if not key.name and metadata_of(placed).get("generateName"):
                    key = key._replace(name=f"{metadata_of(placed)['generateName']}{index}")
                by_key.setdefault(key, []).append(placed)
        except TrackingError as err:
            text = f"Failed to normalize target state: failed to set app instance label on resource: {err}"
            self.conditions.append(Condition(COMPARISON_ERROR, text))
        for key, doubles in by_key.items():
            if len(doubles) > 1:
                text = f"Resource {key} appeared {len(doubles)} times among application resources."
                self.conditions.append(Condition("RepeatedResourceWarning", text))
        return [doubles[-1] for doubles in by_key.values()]

    def _placed(self, obj: Object) -> Object:
        gvk = gvk_of(obj)
        is_namespaced = self._placing(gvk.group, gvk.kind) is not False
        return placed(obj, self._namespace, self._instance, self.seen.settings, is_namespaced=is_namespaced)

    def _included(self, targets: Sequence[Object]) -> list[Object]:
        kept: list[Object] = []
        excluded: dict[Gvk, bool] = {}
        for obj in targets:
            gvk = gvk_of(obj)
            if gvk not in excluded:
                excluded[gvk] = self.seen.settings.filter.excludes(gvk.group, gvk.kind, self.seen.cluster.server)
            if excluded[gvk]:
                text = f"Resource {gvk.group}/{gvk.kind} {name_of(obj)} is excluded in the settings"
                self.conditions.append(Condition("ExcludedResourceWarning", text))
            else:
                kept.append(obj)
        return kept

    def _managed_namespace(self, targets: Sequence[Object], live: Any) -> list[Object]:
        """The namespace that the application keeps, as a target: without one it would be pruned."""
        policy = self._spec.get("syncPolicy") or {}
        if not policy.get("managedNamespaceMetadata") or any(map(self._is_own_namespace, targets)):
            return []
        change = namespace_change(policy)
        own = [obj for obj in live if self._is_own_namespace(obj)]
        bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
        wanted = (change(bare, obj) for obj in own)
        return [obj for obj in wanted if obj is not None]

    def _is_own_namespace(self, obj: Object) -> bool:
        return obj.get("kind") == "Namespace" and name_of(obj) == self._namespace

    # Live objects

    def _warn_of_sharing(self, live: Any) -> None:
        settings, app = self.seen.settings, self.seen.app
        for obj in live:
            owner = application_of(obj, settings.tracking_method, settings.instance_label, settings.installation_id)
            if owner and owner != self._instance:
                apps = f"{namespace_of(app)}/{name_of(app)} and {owner.replace('_', '/')}"
                text = f"{obj.get('kind')}/{name_of(obj)} is part of applications {apps}"
                self.conditions.append(Condition("SharedResourceWarning", text))

    def _is_member(self, target: Object | None, live: Object | None) -> bool:
        """False for an object that was copied with the mark of another one on it."""
        settings = self.seen.settings
        if live is None or settings.tracking_method == LABEL:
            return True
        if target is not None:
            mark = id_for(target, name_of(self.seen.app), "")
        else:
            found = id_of(live, settings.installation_id)
            if found is None or settings.tracking_method not in ("annotation", "annotation+label"):
                return True
            mark = found
        key = key_of(live)
        return key.namespace in (mark.namespace, "") and (key.group, key.kind, key.name) == (
            mark.group,
            mark.kind,
            mark.name,
        )

    # Pairs

    def _diffs(self, pairing: Pairing) -> list[Diff]:
        try:
            ask = self.seen.compare or comparator(self.seen.app, self.seen.settings).compare
            return [ask(target, live) for target, live in pairing.pairs]
        except IgnoreError as err:
            problem = f"failed to create diff normalizer: {err}"
        except DiffError as err:
            problem = f"failed to calculate diff: {err}"
        self._fail(f"Failed to compare desired state to live state: {problem}")
        return [Diff(False, {}, {}) for _pair in pairing.pairs]

    def _managed(self, target: Object | None, live: Object | None, diff: Diff, pairing: Pairing) -> Managed:
        obj = live if live is not None else target or {}
        gvk, is_member, is_a_hook = gvk_of(obj), self._is_member(target, live), is_any_hook(obj)
        status: dict[str, Any] = {
            "group": gvk.group,
            "version": gvk.version,
            "kind": gvk.kind,
            "namespace": namespace_of(obj),
            "name": name_of(obj),
            "hook": is_a_hook,
            "requiresPruning": target is None and live is not None and is_member,
            "requiresDeletionConfirmation": any(self._wants_confirmation(each) for each in (target, live)),
            "syncWave": self._wave(target, live, is_a_hook, pairing),
            "status": self._status(target, live, diff, is_a_hook=is_a_hook, is_member=is_member),
        }
        is_out_of_sync = status["status"] == "OutOfSync" and not (
            target is None and has_option(live, "IgnoreExtraneous", COMPARE_OPTIONS)
        )
        is_namespaced = self.seen.scopes(gvk.group, gvk.kind)
        permitted = self.seen.project.permits_kind(gvk.group, gvk.kind, name_of(obj), namespaced=bool(is_namespaced))
        if not permitted or self.is_unknown:
            status["status"] = "Unknown"
        if is_namespaced and not namespace_of(obj):
            text = f"Namespace for {name_of(obj)} {Gvk(*gvk)} is missing."
            self.conditions.append(Condition("InvalidSpecError", text))
        shown = {name: value for name, value in status.items() if value}
        return Managed(target, live, diff, shown, is_out_of_sync, is_copy=not is_member)

    def _status(
        self, target: Object | None, live: Object | None, diff: Diff, *, is_a_hook: bool, is_member: bool
    ) -> str:
        obj = live if live is not None else target or {}
        if is_a_hook or is_ignorable(obj) or (target is not None and is_skipped(target)) or not is_member:
            return ""
        keeps_namespace = bool((self._spec.get("syncPolicy") or {}).get("managedNamespaceMetadata"))
        if target is not None and live is None and keeps_namespace and self._is_own_namespace(target):
            return "Synced"
        return "OutOfSync" if diff.is_modified or target is None or live is None else "Synced"

    def _wave(self, target: Object | None, live: Object | None, is_a_hook: bool, pairing: Pairing) -> int:
        if target is not None:
            return wave_of(target)
        if live is None or not is_a_hook:
            return 0
        place = key_of(live)[1:]
        return next((wave_of(hook) for hook in pairing.hooks if key_of(hook)[1:] == place), 0)

    def _wants_confirmation(self, obj: Object | None) -> bool:
        if obj is None:
            return False
        options = SyncOptions.of((self._spec.get("syncPolicy") or {}).get("syncOptions"))
        for name in ("Delete", "Prune"):
            own = option_value(obj, name)
            if (options.value(name) if own is None else own) == "confirm":
                return True
        return False

    # The whole

    def _sync_status(self, managed: Sequence[Managed]) -> dict[str, Any]:
        status = "OutOfSync" if any(each.is_out_of_sync for each in managed) else "Synced"
        if self.is_unknown:
            status = "Unknown"
        elif self._has_new_namespace_metadata():
            status = "OutOfSync"
        several, revisions = has_multiple_sources(self._spec), list(self.seen.rendered.revisions)
        result: dict[str, Any] = {"status": status, "comparedTo": compared_to(self._spec, self.seen.sources)}
        if several:
            return result | ({"revisions": revisions} if revisions else {})
        return result | ({"revision": revisions[0]} if revisions and revisions[0] else {})

    def _has_new_namespace_metadata(self) -> bool:
        wanted = (self._spec.get("syncPolicy") or {}).get("managedNamespaceMetadata")
        result = ((self.seen.app.get("status") or {}).get("operationState") or {}).get("syncResult")
        if wanted is None or result is None:
            return False
        return not same(wanted, result.get("managedNamespaceMetadata"))


def placed(obj: Object, namespace: str, instance: str, settings: Settings, *, is_namespaced: bool) -> Object:
    """The target with the namespace that its kind wants, and the mark that says so. Raises TrackingError."""
    if is_namespaced and not namespace_of(obj):
        obj = with_metadata(obj, namespace=namespace)
    elif not is_namespaced and namespace_of(obj):
        obj = without(obj, "metadata", "namespace")
    else:
        return obj
    method, label = settings.tracking_method, settings.instance_label
    return tracked(obj, instance, namespace, method, label, settings.installation_id)


def compared_to(spec: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``status.sync.comparedTo``: what the comparison stands on."""
    several = has_multiple_sources(spec)
    result: dict[str, Any] = {"destination": spec.get("destination") or {}}
    result |= {"sources": list(sources)} if several else {"source": next(iter(sources), {"repoURL": ""})}
    if spec.get("ignoreDifferences"):
        result["ignoreDifferences"] = spec["ignoreDifferences"]
    return result


def comparator(app: Mapping[str, Any], settings: Settings) -> Comparator:
    """How the objects of an application are compared. Raises diff.ignoring.IgnoreError."""
    spec = app.get("spec") or {}
    options = SyncOptions.of((spec.get("syncPolicy") or {}).get("syncOptions"))
    return Comparator(
        Ignores.of(spec.get("ignoreDifferences"), settings.overrides),
        settings.tracking_method,
        settings.instance_label,
        settings.ignores_aggregated_roles,
        structured_merge=options.has("ServerSideApply=true"),
        keeps_mutations=has_option(app, "IncludeMutationWebhook=true", COMPARE_OPTIONS),
    )


def _with_health(managed: Managed, health: Health | None) -> Managed:
    if health is None:
        return managed
    shown = {name: value for name, value in (("status", health.status), ("message", health.message)) if value}
    return replace(managed, status={**managed.status, "health": shown})
