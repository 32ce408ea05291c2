"""The health of an application: the worst of its resources', with the names of those that make it so.

Not counted: what is missing (unless all of it is), hooks, skipped objects, the application itself where it manages
itself, child applications that are Missing or Unknown, and whatever asks not to be (``ignore-healthcheck``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tiphys.cd.plan.health import Health, HealthError, is_worse
from tiphys.cd.plan.markers import IGNORE_HEALTH_CHECK, is_hook, is_ignorable, is_skipped
from tiphys.cd.plan.objects import Object, ResourceKey, annotations_of, gvk_of, key_of, metadata_of

_CAUSES_SHOWN: Final = 3
_APPLICATION: Final = ("argoproj.io", "Application")


@dataclass(frozen=True)
class AppHealth:
    """``by_resource`` has an entry per pair, None where there is nothing to say; ``error`` names the first check that
    failed."""

    status: str
    message: str
    by_resource: tuple[Health | None, ...]
    error: str = ""


def application_health(
    pairs: Sequence[tuple[Object | None, Object | None]],
    check: Callable[[Object], Health | None],
    application: Object | None = None,
) -> AppHealth:
    """``pairs`` are targets and live objects; ``check`` raises HealthError for one that fails."""
    worst, causes, error = "Healthy", list[ResourceKey](), ""
    verdicts: list[Health | None] = [None] * len(pairs)
    counted = [(index, target, live) for index, (target, live) in enumerate(pairs) if not _is_left_out(target, live)]
    for index, _target, live in counted:
        if live is not None and annotations_of(live).get(IGNORE_HEALTH_CHECK) == "true":
            continue
        if live is None:
            verdicts[index] = Health("Missing")
            continue
        if application is not None and _is_itself(application, live):
            continue
        try:
            health = check(live)
        except HealthError as err:
            health = Health("Unknown", _own_words(err))
            error = error or _named(live, err)
        if health is None:
            continue
        verdicts[index] = health
        if gvk_of(live)[::2] == _APPLICATION and health.status in ("Missing", "Unknown"):
            continue
        if is_worse(worst, health.status):
            worst, causes = health.status, [key_of(live)]
        elif health.status == worst != "Healthy":
            causes.append(key_of(live))
    if counted and all(live is None for _index, _target, live in counted) and is_worse(worst, "Missing"):
        worst, causes = "Missing", []
    return AppHealth(worst, _caused_by(causes), tuple(verdicts), error)


def _is_left_out(target: Object | None, live: Object | None) -> bool:
    if target is not None and is_skipped(target):
        return True
    return live is not None and (is_hook(live) or is_ignorable(live))


def _is_itself(application: Object, live: Object) -> bool:
    mine, other = metadata_of(application), metadata_of(live)
    same = all((mine.get(name) or "") == (other.get(name) or "") for name in ("uid", "name", "namespace"))
    return same and gvk_of(live)[::2] == _APPLICATION


def _own_words(err: HealthError) -> str:
    """The check's own words, without those of the calls around it."""
    cause = err.__cause__
    return str(cause) if isinstance(cause, HealthError) else str(err)


def _named(live: Object, err: HealthError) -> str:
    key = key_of(live)
    where = f'"{key.kind}" with name "{key.name}" in namespace "{key.namespace}"'
    return f"failed to get resource health for {where}: {err}"


def _caused_by(causes: Sequence[ResourceKey]) -> str:
    if not causes:
        return ""
    summary = ", ".join(map(_shown, causes[:_CAUSES_SHOWN]))
    more = f" and {len(causes) - _CAUSES_SHOWN} more" if len(causes) > _CAUSES_SHOWN else ""
    return f"Caused by {summary}{more}"


def _shown(key: ResourceKey) -> str:
    kind = f"{key.group}/{key.kind}" if key.group else key.kind
    return f"{kind}:{key.namespace}/{key.name}" if key.namespace else f"{kind}:{key.name}"
