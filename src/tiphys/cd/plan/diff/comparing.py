"""The comparison of one object: normalizations, then one of three ways to predict what an apply would make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tiphys.cd.plan.diff.ignoring import IgnoreError, Ignores, without_owned
from tiphys.cd.plan.diff.normal import normal
from tiphys.cd.plan.diff.owners import OwnersError, TypeOf, built_in_types, structured_merge, without_mutations
from tiphys.cd.plan.diff.threeway import ThreeWayError, predicted
from tiphys.cd.plan.markers import LAST_APPLIED, has_option
from tiphys.cd.plan.objects import Object, annotations_of, gvk_of, name_of, without
from tiphys.cd.plan.tracking import INSTANCE_LABEL, normalized
from tiphys.cd.plan.typed import remarshalled
from tiphys.lang import gojson
from tiphys.machinery.errors import ApiError

MANAGER: Final = "argocd-controller"

DryRun = Callable[[Object, str], Object]
"""What a server-side apply of the object by the manager would make of it. Raises ApiError."""


class DiffError(ValueError):
    """An object that cannot be compared: its status is unknown."""


@dataclass(frozen=True)
class Diff:
    """``live`` and ``predicted`` are what is shown side by side; either is None where there is no such object."""

    is_modified: bool
    live: Object | None
    predicted: Object | None


@dataclass(frozen=True)
class Comparator:
    """How an application's objects are compared. ``dry_run`` makes it ask the server."""

    ignores: Ignores = field(default_factory=Ignores)
    tracking_method: str = ""
    instance_label: str = INSTANCE_LABEL
    ignores_aggregated_roles: bool = False
    structured_merge: bool = False
    manager: str = MANAGER
    dry_run: DryRun | None = None
    keeps_mutations: bool = False
    type_of: TypeOf = built_in_types

    def compare(self, target: Object | None, live: Object | None) -> Diff:
        """Raises DiffError."""
        return self.diff(*self._trusting(target, live))

    def normalized(self, target: Object | None, live: Object | None) -> tuple[Object | None, Object | None]:
        """Both without what is to be overlooked, not compared. Raises ignoring.IgnoreError."""
        target, live = self._trusting(target, live)
        return (
            self.ignores.applied(target) if target is not None else None,
            self.ignores.applied(live) if live is not None else None,
        )

    def _trusting(self, target: Object | None, live: Object | None) -> tuple[Object | None, Object | None]:
        """Without differences of tracking alone, and of fields whose owners are trusted."""
        live = normalized(target, live, self.tracking_method, self.instance_label)
        if live is not None and target is not None:
            managers = self.ignores.trusted_managers(target)
            if managers:
                gvk = gvk_of(target)
                live, target = without_owned(live, target, managers, self.type_of(gvk.api_version, gvk.kind))
        return target, live

    def diff(self, target: Object | None, live: Object | None) -> Diff:
        """As ``compare``, of objects whose tracking and owners were seen to."""
        prepared = self._ready if self.dry_run is None else self._almost_ready
        target = prepared(remarshalled(target)) if target is not None else None
        live = prepared(remarshalled(live)) if live is not None else None
        if target is None or live is None:
            return Diff(target is not None, live, target)
        if self.dry_run is not None:
            return self._answered(target, live, self.dry_run)
        if self.structured_merge or has_option(target, "ServerSideApply=true"):
            try:
                return _diff(*structured_merge(target, live, self.manager, self.type_of))
            except OwnersError as err:
                raise DiffError(f"error calculating structured merge diff: {err}") from err
        last = last_applied(live)
        if last is not None:
            try:
                return _diff(*predicted(self._ready(last), target, live))
            except ThreeWayError:
                pass  # two ways are better than none
        return self.two_way(target, live)

    def two_way(self, target: Object | None, live: Object | None) -> Diff:
        """Takes the target for what was applied last."""
        if target is None or live is None:
            return Diff(target is not None, live, target)
        try:
            return _diff(*predicted(target, target, live))
        except ThreeWayError as err:
            raise DiffError(str(err)) from err

    def _ready(self, obj: Object) -> Object:
        obj = self._almost_ready(obj)
        try:
            return self.ignores.applied(obj)
        except IgnoreError:
            return obj

    def _almost_ready(self, obj: Object) -> Object:
        return normal(obj, ignores_aggregated_roles=self.ignores_aggregated_roles)

    def _answered(self, target: Object, live: Object, dry_run: DryRun) -> Diff:
        """What is ignored is so only after the prediction: until then the server may need it."""
        shown = f"{gvk_of(target).kind}/{name_of(target)}"
        failed = "error calculating server side diff: serverSideDiff error:"
        try:
            answer = dry_run(target, self.manager)
        except ApiError as err:
            doing = f"error running server side apply in dryrun mode for resource {shown}"
            raise DiffError(f"{failed} {doing}: {err}") from err
        if not self.keeps_mutations:
            try:
                answer = without_mutations(answer, live, self.manager, self.type_of)
            except OwnersError as err:
                doing = f"error removing non config mutations for resource {shown}"
                raise DiffError(f"{failed} {doing}: {err}") from err
        return _diff(_bare(self._ready(live)), _bare(self._ready(remarshalled(answer))))


def last_applied(live: Object) -> Object | None:
    """The object in the last-applied annotation; None where it is absent or unreadable."""
    text = annotations_of(live).get(LAST_APPLIED)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("kind") else None


def _bare(obj: Object) -> Object:
    for name in ("managedFields", "resourceVersion"):
        obj = without(obj, "metadata", name)
    return without(obj, "metadata", "annotations", LAST_APPLIED)


def _diff(live: Object, after: Object) -> Diff:
    return Diff(live is not after and gojson.dump_bytes(live) != gojson.dump_bytes(after), live, after)
