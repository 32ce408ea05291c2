"""Whether an application that is OutOfSync is synced by itself, and with which operation.

A revision is tried once: one that failed is not tried again before something changes, one that worked only by
self-heal, and then only the resources that differ. Never where it would delete everything that there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cd.plan.objects import metadata_of
from tiphys.cd.plan.settings import SelfHeal
from tiphys.cd.plan.spec import has_multiple_sources, sources_of
from tiphys.cd.plan.sync.tasks import COMPLETED
from tiphys.cd.plan.validation import Condition
from tiphys.machinery.equality import same

_RETRY_LIMIT: Final = 5


@dataclass(frozen=True)
class AutoSync:
    """At most one of: an operation to start, a condition that says why none is, a time to look again."""

    operation: Mapping[str, Any] | None = None
    condition: Condition | None = None
    wake_at: datetime | None = None


def auto_sync(
    app: Mapping[str, Any],
    sync: Mapping[str, Any],
    resources: Sequence[Mapping[str, Any]],
    now: datetime,
    self_heal: SelfHeal,
    *,
    revisions_may_differ: bool = True,
) -> AutoSync:
    """``sync`` and ``resources`` are what a comparison just found (``status.sync``, ``status.resources``)."""
    spec = app.get("spec") or {}
    policy = spec.get("syncPolicy") or {}
    automated = policy.get("automated")
    if automated is None or automated.get("enabled") is False or app.get("operation") is not None:
        return AutoSync()
    if metadata_of(app).get("deletionTimestamp") or sync.get("status") != "OutOfSync":
        return AutoSync()
    prunes = bool(automated.get("prune"))
    if not prunes and all(each.get("status") == "Synced" or each.get("requiresPruning") for each in resources):
        return AutoSync()
    several = has_multiple_sources(spec)
    revisions = list(sync.get("revisions") or ()) if several else [sync.get("revision", "")]
    operation = _operation(spec, sync, prunes=prunes)
    attempt = _last_attempt(app, revisions, revisions_may_differ=revisions_may_differ)
    if attempt is not None:
        held = _heal(app, attempt, automated, resources, operation["sync"], now, self_heal)
        if held is not None:
            return held
    if prunes and not automated.get("allowEmpty") and all(each.get("requiresPruning") for each in resources):
        message = f"Skipping sync attempt to {_shown(revisions)}: auto-sync will wipe out all resources"
        return AutoSync(condition=Condition("SyncError", message))
    return AutoSync(operation=operation)


@dataclass(frozen=True)
class _Attempt:
    revisions: Sequence[str]
    phase: str


def _operation(spec: Mapping[str, Any], sync: Mapping[str, Any], *, prunes: bool) -> dict[str, Any]:
    policy = spec.get("syncPolicy") or {}
    asked: dict[str, Any] = {
        "revision": sync.get("revision"),
        "prune": prunes or None,
        "source": None if has_multiple_sources(spec) else (sources_of(spec) or [{"repoURL": ""}])[0],
        "syncOptions": policy.get("syncOptions"),
        "sources": spec.get("sources"),
        "revisions": sync.get("revisions"),
    }
    return {
        "sync": _present(asked),
        "initiatedBy": {"automated": True},
        "retry": {"limit": _RETRY_LIMIT} if policy.get("retry") is None else _present(policy["retry"]),
    }


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty fields, which Go would not write."""
    return {name: value for name, value in fields.items() if value}


def _last_attempt(app: Mapping[str, Any], revisions: Sequence[str], *, revisions_may_differ: bool) -> _Attempt | None:
    """The last operation, where it tried what would be tried now."""
    state = (app.get("status") or {}).get("operationState")
    if state is None:
        return None
    phase, result = str(state.get("phase", "")), state.get("syncResult")
    if result is None:
        # It ended without a result, so in an error: trying the same for ever would not help.
        return _Attempt((), phase) if phase in COMPLETED else None
    spec = app.get("spec") or {}
    several = has_multiple_sources(spec)
    tried = list(result.get("revisions") or ()) if several else [result.get("revision", "")]
    if revisions_may_differ and tried != list(revisions):
        return None
    if several:
        is_same = same(spec.get("sources") or [], result.get("sources") or [])
    else:
        is_same = same(_present((sources_of(spec) or [{}])[0]), _present(result.get("source") or {}))
    return _Attempt(tried, phase) if is_same else None


def _heal(
    app: Mapping[str, Any], attempt: _Attempt, automated: Mapping[str, Any], resources: Sequence[Mapping[str, Any]],
    asked: dict[str, Any], now: datetime, self_heal: SelfHeal,
) -> AutoSync | None:  # fmt: skip
    """Narrows the operation to what differs, or says why nothing is done."""
    state = app["status"]["operationState"]
    if attempt.phase != "Succeeded":
        message = f"Failed last sync attempt to {_shown(attempt.revisions)}: {state.get('message', '')}"
        return AutoSync(condition=Condition("SyncError", message))
    if not automated.get("selfHeal"):
        return AutoSync()
    attempts = int(((state.get("operation") or {}).get("sync") or {}).get("autoHealAttemptsCount") or 0)
    wait = timedelta(seconds=self_heal.wait_seconds(attempts))
    finished = state.get("finishedAt")
    begin = datetime.fromisoformat(finished) if finished else now
    if begin + wait > now:
        return AutoSync(wake_at=begin + wait)
    asked["autoHealAttemptsCount"] = attempts + 1
    differing = [each for each in resources if each.get("status") != "Synced"]
    if differing:
        asked["resources"] = [_reference(each) for each in differing]
    return None


def _reference(resource: Mapping[str, Any]) -> dict[str, Any]:
    reference = {"kind": resource.get("kind", ""), "name": resource.get("name", "")}
    return reference | ({"group": resource["group"]} if resource.get("group") else {})


def _shown(revisions: Sequence[str]) -> str:
    return f"[{' '.join(revisions)}]"
