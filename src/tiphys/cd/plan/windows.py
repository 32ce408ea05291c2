"""Sync windows: when an application may be synced, by hand and by itself.

An active deny window beats everything; where there are allow windows and none is open, the answer is no; where there
are none at all, yes. By hand a sync is possible where *all* windows in the way say ``manualSync``; one that runs may go
on where all of them say ``syncOverrun`` and it was allowed to start.

A schedule is read in its window's time zone by the offset that the zone has *now*, as in the original; an unknown zone
is UTC. Source: argo-cd pkg/apis/application/v1alpha1/types.go; judged by golden/cd sync-windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tiphys.lang import cron, durations, globs
from tiphys.machinery.errors import SpecError

Matches = Callable[[str, str], bool]

_DESCRIPTION_LENGTH_MAX = 255


class WindowError(ValueError):
    """A window whose schedule or duration cannot be read: nobody can say whether a sync is allowed."""


@dataclass(frozen=True)
class Destination:
    """Where an application goes, as windows see it."""

    server: str = ""
    name: str = ""
    namespace: str = ""


@dataclass(frozen=True)
class Window:
    kind: str
    schedule: str
    duration: str
    applications: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    manual: bool = False
    overrun: bool = False
    zone: str = ""
    matches_all: bool = False
    description: str = ""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Window:
        return cls(
            spec.get("kind") or "",
            spec.get("schedule") or "",
            spec.get("duration") or "",
            tuple(spec.get("applications") or ()),
            tuple(spec.get("namespaces") or ()),
            tuple(spec.get("clusters") or ()),
            bool(spec.get("manualSync")),
            bool(spec.get("syncOverrun")),
            spec.get("timeZone") or "",
            bool(spec.get("andOperator")),
            spec.get("description") or "",
        )

    def concerns(self, application: str, destination: Destination) -> bool:
        """Whether one of its selectors (with ``andOperator``: each that is not empty) fits."""
        clusters = [value for value in (destination.name, destination.server) if value]
        selectors = (
            (self.applications, [application]),
            (self.clusters, clusters),
            (self.namespaces, [destination.namespace]),
        )
        verdicts = [_any_fits(patterns, candidates) for patterns, candidates in selectors if patterns]
        return bool(verdicts) and (all(verdicts) if self.matches_all else any(verdicts))

    def is_active(self, at: datetime, now: datetime | None = None) -> bool:
        """Whether the window is open ``at`` a moment; ``now`` decides on the offset of its zone. Raises WindowError."""
        schedule, seconds = self._schedule(), self._seconds()
        local = at.astimezone(UTC) + _offset(self.zone, now or at)
        opened = schedule.next(local - timedelta(seconds=seconds))
        # A schedule that never comes counts as begun, as in the original.
        return opened is None or opened < local

    def check(self) -> None:
        """Raises WindowError for what cannot be stored."""
        if self.kind not in ("allow", "deny"):
            raise WindowError(f"kind '{self.kind}' mismatch: can only be allow or deny")
        self._schedule()
        self._seconds()
        if len(self.description.encode()) > _DESCRIPTION_LENGTH_MAX:
            raise WindowError(f"description must not exceed {_DESCRIPTION_LENGTH_MAX} characters")

    @property
    def identity(self) -> tuple[Any, ...]:
        """Two windows of one project may not share it."""
        return (
            self.kind, self.schedule, self.duration, self.applications, self.namespaces, self.clusters, self.zone,
            self.matches_all,
        )  # fmt: skip

    def _schedule(self) -> cron.Schedule:
        try:
            _refuse_descriptor(self.schedule)
            return cron.parse(self.schedule)
        except cron.CronError as err:
            raise WindowError(f"cannot parse schedule '{self.schedule}': {err}") from err

    def _seconds(self) -> float:
        try:
            return durations.parse(self.duration) / 1e9
        except durations.DurationError as err:
            raise WindowError(f"cannot parse duration '{self.duration}': {err}") from err


@dataclass(frozen=True)
class Windows:
    """All windows that concern an application."""

    windows: tuple[Window, ...] = ()

    @classmethod
    def of(cls, specs: Sequence[Mapping[str, Any]] | None) -> Windows:
        return cls(tuple(map(Window.of, specs or ())))

    def concerning(self, application: str, destination: Destination) -> Windows:
        return Windows(tuple(each for each in self.windows if each.concerns(application, destination)))

    def active(self, at: datetime, now: datetime | None = None) -> Windows:
        """Raises WindowError."""
        return Windows(tuple(each for each in self.windows if each.is_active(at, now)))

    def inactive_allows(self, at: datetime, now: datetime | None = None) -> Windows:
        """Raises WindowError."""
        allows = (each for each in self.windows if each.kind == "allow")
        return Windows(tuple(each for each in allows if not each.is_active(at, now)))

    def can_sync(self, now: datetime, *, manual: bool, started_at: datetime | None = None) -> bool:
        """Whether a sync may start, or, given when it did, go on. Raises WindowError."""
        blocking = self._blocking(now, now)
        if not blocking or (manual and all(each.manual for each in blocking)):
            return True
        if started_at is None or not all(each.overrun for each in blocking):
            return False
        then = self._blocking(started_at, now)
        return not then or (manual and all(each.manual for each in then))

    def _blocking(self, at: datetime, now: datetime) -> tuple[Window, ...]:
        """The windows in the way: active denies, else, where no allow is open, the closed allows."""
        active = self.active(at, now).windows
        denies = tuple(each for each in active if each.kind == "deny")
        if denies or any(each.kind == "allow" for each in active):
            return denies
        return self.inactive_allows(at, now).windows


def check_spec(spec: Mapping[str, Any], path: str) -> None:
    """Raises SpecError naming ``path`` for a window that cannot be used."""
    try:
        Window.of(spec).check()
    except WindowError as err:
        raise SpecError(path, str(err)) from err


def _any_fits(patterns: Sequence[str], candidates: Sequence[str]) -> bool:
    return any(pattern == "*" or globs.fits(pattern, each) for each in candidates for pattern in patterns)


def _refuse_descriptor(schedule: str) -> None:
    text = schedule
    if text.startswith(("TZ=", "CRON_TZ=")):
        text = text.partition(" ")[2].strip()
    if text.startswith("@"):
        raise cron.CronError(f"parser does not accept descriptors: {text}")


def _offset(zone: str, now: datetime) -> timedelta:
    try:
        offset = now.astimezone(ZoneInfo(zone)).utcoffset() if zone else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        offset = None
    return offset or timedelta()
