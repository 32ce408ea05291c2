"""A sync operation from request to end, as it stands in ``status.operationState``.

    operation set ─► Running ─── passes ───► Succeeded ─► history, ``operation`` cleared
                      │   ▲                     Failed, Error ─┬─► retries left: Running with finishedAt, waits
                      │   └──────────── time is up ────────────┘
                      └── Terminating (somebody asked, or too long) ─► Failed

A retry waits as *Running with a finishedAt*: odd, but what every client of the original reads. All of the engine's
memory is in ``syncResult``: a controller that starts again goes on from there. Source: argo-cd controller/sync.go,
appcontroller.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tiphys.cd.plan.compare import Comparison
from tiphys.cd.plan.markers import DELETION_APPROVED
from tiphys.cd.plan.objects import Object, ResourceKey, annotations_of, gvk_of, name_of, namespace_of
from tiphys.cd.plan.projects import Cluster, Project
from tiphys.cd.plan.respecting import respecting_ignored
from tiphys.cd.plan.spec import RetryError, SyncOptions, has_multiple_sources, next_retry, selects, sources_of
from tiphys.cd.plan.sync.namespaces import namespace_change
from tiphys.cd.plan.sync.operations import ApiResource
from tiphys.cd.plan.sync.run import CLIENT_SIDE_MANAGER, Options, Seen, State
from tiphys.cd.plan.sync.tasks import COMPLETED, ResourceResult
from tiphys.cd.plan.validation import Condition
from tiphys.cd.plan.windows import Destination, WindowError, Windows

MANAGER: Final = "argocd-controller"
MIGRATED_MANAGER: Final = "argocd.argoproj.io/client-side-apply-migration-manager"
_PROPAGATION: Final = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}
_HISTORY_MAX: Final = 10

OperationState = Mapping[str, Any]


def is_in_progress(app: Mapping[str, Any]) -> bool:
    """Whether an operation was begun and has not ended."""
    state = (app.get("status") or {}).get("operationState")
    return state is not None and state.get("phase") not in COMPLETED


def begun(operation: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The state of an operation that begins."""
    return {"operation": operation, "phase": "Running", "startedAt": stamp(now)}


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def stamped(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class Awaiting:
    """A failed operation that waits for its retry, ``until`` then; or the state with which the retry begins."""

    until: datetime | None = None
    state: OperationState | None = None


def awaited(state: OperationState, now: datetime) -> Awaiting | None:
    """What becomes of an operation that waits for its retry; None for one that does not wait."""
    if state.get("phase") != "Running" or not state.get("finishedAt"):
        return None
    operation, count = state.get("operation") or {}, int(state.get("retryCount") or 0)
    retry = operation.get("retry") or {}
    try:
        at = next_retry(retry, stamped(state["finishedAt"]), count - 1 if count else 0)
    except RetryError as err:
        return Awaiting(state={**state, "phase": "Error", "message": str(err)})
    if at > now:
        return Awaiting(until=at)
    again = {name: value for name, value in state.items() if name not in ("finishedAt", "syncResult")}
    how = ""
    if retry.get("refresh"):
        how = " with latest revisions"
        sync = {n: v for n, v in (operation.get("sync") or {}).items() if n not in ("revision", "revisions")}
        again["operation"] = {**operation, "sync": sync}
    again["message"] = f"Retrying operation{how}. Attempt #{count}"
    return Awaiting(state=again)


def chosen(app: Mapping[str, Any], state: OperationState) -> tuple[list[Mapping[str, Any]], list[str], bool]:
    """The sources and revisions of an operation, and whether there are several: pinned, asked for, or the spec's."""
    result, asked, spec = state.get("syncResult"), _sync(state), app.get("spec") or {}
    if result is None:
        if asked.get("sources") or asked.get("source"):
            result = asked
        elif has_multiple_sources(spec):
            result = {"sources": spec["sources"], "revisions": asked.get("revisions")}
        else:
            result = {"source": (sources_of(spec) or [{}])[0], "revision": asked.get("revision")}
    sources = list(result.get("sources") or ())
    if sources:
        return sources, list(result.get("revisions") or ()), True
    revision = str(result.get("revision") or "")
    return [result.get("source") or {}], [revision] if revision else [], False


def blocked_by_window(
    app: Mapping[str, Any], project: Project, destination: Destination, state: OperationState, now: datetime
) -> str | None:
    """Why the operation may not run now; None if it may."""
    windows = Windows.of(project.spec.get("syncWindows")).concerning(name_of(app), destination)
    manual = not ((state.get("operation") or {}).get("initiatedBy") or {}).get("automated")
    started = stamped(state["startedAt"]) if state.get("startedAt") else None
    try:
        if windows.can_sync(now, manual=manual, started_at=started):
            return None
    except WindowError as err:
        return f"Sync operation blocked by sync window: invalid sync windows: {err}"
    return "Sync operation blocked by sync window"


def refusal(state: OperationState, conditions: Sequence[Condition]) -> tuple[str, str] | None:
    """The phase and message with which an operation ends before it begins, for what the comparison found."""
    options = SyncOptions.of(_sync(state).get("syncOptions"))
    shared = next((each.message for each in conditions if each.type == "SharedResourceWarning"), None)
    if shared is not None and options.has("FailOnSharedResource=true"):
        return "Failed", f"Shared resource found: {shared}"
    wrong = [each for each in conditions if each.type in ("ComparisonError", "InvalidSpecError")]
    if wrong:
        return "Error", ";".join(f"{each.type}: {each.message}" for each in wrong)
    return None


@dataclass(frozen=True)
class Around:
    """What a sync needs to know beside its comparison."""

    project: Project
    cluster: Cluster
    kinds: Any
    check: Any


def seen_by_sync(app: Mapping[str, Any], state: OperationState, comparison: Comparison, around: Around) -> Seen:
    """What the passes of the operation decide from."""
    asked, spec = _sync(state), app.get("spec") or {}
    options = SyncOptions.of(asked.get("syncOptions"))
    strategy = asked.get("syncStrategy") or {}
    resources = asked.get("resources") or ()
    members = {id(each.live) for each in comparison.managed if each.live is not None and not each.is_copy}

    def included(key: ResourceKey, _target: Object | None, live: Object | None) -> bool:
        return selects(resources, key) and (live is None or id(live) in members)

    revision = str(comparison.sync.get("revision") or next(iter(comparison.sync.get("revisions") or ()), ""))
    pairs = comparison.pairing.pairs
    if options.has("RespectIgnoreDifferences=true"):
        pairs = respecting_ignored(app, comparison)
    return Seen(
        pairs,
        comparison.pairing.hooks,
        str((spec.get("destination") or {}).get("namespace") or ""),
        revision,
        around.kinds,
        Options(
            prune=bool(asked.get("prune")),
            prune_option=options.value("Prune"),
            prune_confirmed=is_confirmed(app, stamped(state["startedAt"])),
            prune_last=options.has("PruneLast=true"),
            propagation=_PROPAGATION.get(options.value("PrunePropagationPolicy") or "", "Foreground"),
            dry_run=bool(asked.get("dryRun")),
            force=bool((strategy.get("apply") or strategy.get("hook") or {}).get("force")),
            replace=options.has("Replace=true"),
            validate=not options.has("Validate=false"),
            skip_hooks=strategy.get("apply") is not None or bool(resources),
            skip_dry_run_on_missing=options.has("SkipDryRunOnMissingResource=true"),
            apply_out_of_sync_only=options.has("ApplyOutOfSyncOnly=true"),
            modified=comparison.modified,
            server_side=options.has("ServerSideApply=true"),
            manager=MANAGER,
            migrates_client_side=not options.has("ClientSideApplyMigration=false"),
            migrated_manager=annotations_of(app).get(MIGRATED_MANAGER) or CLIENT_SIDE_MANAGER,
            namespace_change=namespace_change(spec.get("syncPolicy")) if options.has("CreateNamespace=true") else None,
            permitted=lambda obj, resource: not_permitted(around.project, around.cluster, obj, resource),
            included=included,
            notes_first=True,
        ),
        around.check,
    )


def not_permitted(project: Project, cluster: Cluster, obj: Object, resource: ApiResource) -> str | None:
    """Why the project does not let the object be synced; None if it does."""
    gvk = gvk_of(obj)
    if not project.permits_kind(gvk.group, gvk.kind, name_of(obj), namespaced=resource.namespaced):
        return f"resource {gvk.group}:{gvk.kind} is not permitted in project {project.name}"
    if resource.namespaced and not project.permits_destination(cluster, namespace_of(obj)):
        return f"namespace {namespace_of(obj)} is not permitted in project '{project.name}'"
    return None


def is_confirmed(app: Mapping[str, Any], since: datetime) -> bool:
    """Whether a human approved deletions of this operation."""
    try:
        return datetime.fromisoformat(annotations_of(app)[DELETION_APPROVED]) >= since
    except (KeyError, ValueError, TypeError):
        return False


def engine_state(state: OperationState) -> State:
    """The stored state as the engine has it."""
    results = (state.get("syncResult") or {}).get("resources") or ()
    return State(
        stamped(state["startedAt"]),
        state.get("phase", ""),
        state.get("message", ""),
        tuple(_result(each, order) for order, each in enumerate(results, 1)),
        int(state.get("retryCount") or 0),
    )


def after_pass(
    app: Mapping[str, Any], state: OperationState, comparison: Comparison, engine: State, preferred: Any
) -> dict[str, Any]:
    """The state to be stored after a pass. ``preferred`` says of a group and kind which version the cluster serves."""
    result = pinned(app, state, comparison)
    metadata = ((app.get("spec") or {}).get("syncPolicy") or {}).get("managedNamespaceMetadata")
    if metadata is not None:
        result["managedNamespaceMetadata"] = metadata
    result["resources"] = [_stored(each, preferred) for each in engine.results]
    return {**state, "phase": engine.phase, "message": engine.message, "syncResult": result}


def pinned(app: Mapping[str, Any], state: OperationState, comparison: Comparison) -> dict[str, Any]:
    """The sync result with the revision that is really synced: what a branch meant when the operation began."""
    sources, _revisions, several = chosen(app, state)
    result = dict(state.get("syncResult") or {})
    if several:
        result |= {"sources": sources, "revisions": list(comparison.sync.get("revisions") or ()), "revision": ""}
    else:
        result |= {"source": sources[0], "revision": comparison.sync.get("revision", "")}
    return result


def settled(state: OperationState, now: datetime, *, was_terminating: bool, cause: str = "") -> dict[str, Any]:
    """The state with what becomes of a failure: another try, or the end of it."""
    phase = state.get("phase")
    result = dict(state)
    if phase in ("Failed", "Error"):
        retry = (state.get("operation") or {}).get("retry") or {}
        count, limit = int(state.get("retryCount") or 0), int(retry.get("limit") or 0)
        message = state.get("message", "")
        if not was_terminating and (count < limit or limit < 0):
            try:
                at = next_retry(retry, now, count)
            except RetryError as err:
                result["message"] = f"{message} (failed to retry: {err})"
            else:
                when = at.strftime("%I:%M%p").lstrip("0")
                text = f"{message}. Retrying attempt #{count + 1} at {when}."
                return result | {
                    "phase": "Running", "finishedAt": stamp(now), "retryCount": count + 1, "message": text,
                }  # fmt: skip
        elif cause:
            result["message"] = f"{message}, triggered by {cause}"
        if count > 0:
            result["message"] = f"{result['message']} (retried {count} times)."
    if result.get("phase") in COMPLETED:
        result["finishedAt"] = stamp(now)
    return result


def recorded(
    app: Mapping[str, Any], state: OperationState, comparison: Comparison, now: datetime
) -> list[Mapping[str, Any]] | None:
    """The history with this operation; None for one that is not recorded: dry, partial, or not successful."""
    asked = _sync(state)
    if state.get("phase") != "Succeeded" or asked.get("dryRun") or asked.get("resources"):
        return None
    history = list((app.get("status") or {}).get("history") or ())
    limit = (app.get("spec") or {}).get("revisionHistoryLimit")
    limit = _HISTORY_MAX if limit is None else int(limit)
    entry: dict[str, Any] = {
        "id": int(history[-1].get("id", 0)) + 1 if history else 0,
        "deployStartedAt": state["startedAt"],
        "deployedAt": stamp(now),
        "initiatedBy": (state.get("operation") or {}).get("initiatedBy") or {},
    }
    sources, _revisions, several = chosen(app, state)
    if several:
        entry |= {"sources": sources, "revisions": list(comparison.sync.get("revisions") or ())}
    else:
        entry |= {"source": sources[0], "revision": comparison.sync.get("revision", "")}
    return [*history, entry][-limit:] if limit > 0 else []


def summary_of(state: OperationState) -> tuple[str, str]:
    """The type and message of the event that tells of the end."""
    what = "Partial sync operation" if _sync(state).get("resources") else "Sync operation"
    result = state.get("syncResult")
    to = f" to {result.get('revision', '')}" if result is not None else ""
    if state.get("phase") == "Succeeded":
        return "Normal", f"{what}{to} succeeded"
    return "Warning", f"{what}{to} failed: {state.get('message', '')}"


def _sync(state: OperationState) -> Mapping[str, Any]:
    return (state.get("operation") or {}).get("sync") or {}


def _result(stored: Mapping[str, Any], order: int) -> ResourceResult:
    key = ResourceKey(*(stored.get(name) or "" for name in ("group", "kind", "namespace", "name")))
    return ResourceResult(
        key,
        stored.get("version") or "",
        order,
        stored.get("status") or "",
        stored.get("message") or "",
        stored.get("hookType") or "",
        stored.get("hookPhase") or "",
        stored.get("syncPhase") or "Sync",
        tuple(stored.get("images") or ()),
    )


def _stored(result: ResourceResult, preferred: Any) -> dict[str, Any]:
    key = result.key
    fields = {
        "group": key.group, "version": result.version, "kind": key.kind, "namespace": key.namespace, "name": key.name,
    }  # fmt: skip
    more = {
        "status": result.status,
        "message": _explained(result, preferred),
        "hookType": result.hook_type,
        "hookPhase": result.hook_phase,
        "syncPhase": result.sync_phase,
        "images": list(result.images),
    }
    return fields | {name: value for name, value in more.items() if value}


def _explained(result: ResourceResult, preferred: Any) -> str:
    """The message with what a user can do about it, for the two failures that most users meet."""
    key, message = result.key, result.message
    if "the server could not find the requested resource" in message:
        served = preferred(key.group, key.kind)
        what, where = f"{key.group}/{key.kind}", f"{key.namespace}/{key.name}"
        if served is None:
            installed = f'Make sure the "{key.kind}" CRD is installed on the destination cluster.'
            return f"The Kubernetes API could not find {what} for requested resource {where}. {installed}"
        missing = f'The Kubernetes API could not find version "{result.version}" of {what}'
        there = f'Version "{served}" of {what} is installed on the destination cluster.'
        return f"{missing} for requested resource {where}. {there}"
    if "metadata.annotations: Too long: must have at most 262144 bytes" in message:
        return (
            f"{message} \n -Additional Info: This error usually means that you are trying to add a large resource on "
            "client side. Consider using Server-side apply or syncing with replace enabled. Note: Syncing with Replace "
            "enabled is potentially destructive as it may cause resource deletion and re-creation."
        )
    return message
