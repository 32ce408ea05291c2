"""GitOps Promoter: strategies, policies, pull requests and commit statuses.

All of its kinds go the same way: is it being deleted, was the present spec observed, did the last reconcile work – and
then what the kind itself has to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.cd.plan.health.others.parts import (
    degraded,
    generation,
    healthy,
    listed,
    mapping,
    progressing,
    status_of,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_GROUP = "promoter.argoproj.io"


@dataclass(frozen=True)
class Stages:
    """The words of one kind on its way to being ready; ``rest`` judges it from there.

    ``failed`` stands before the error of a reconcile, ``not_ready`` before any other reason, ``unsure`` before an
    unknown state ("" where the kind does not look at that). ``finalizers`` explain what a deletion waits for.
    """

    initializing: str
    deleting: str
    observing: str
    failed: str
    not_ready: str
    missing: str
    rest: Callable[[Object], Health]
    unsure: str = ""
    types: Sequence[str] = ("Ready",)
    finalizers: Mapping[str, tuple[str, str]] | None = None

    def __call__(self, obj: Object) -> Health:
        metadata = mapping(obj.get("metadata"))
        if metadata.get("deletionTimestamp"):
            return progressing(self._deleting(metadata))
        if obj.get("status") is None:
            return progressing(self.initializing)
        found = [one for one in conditions_of(status_of(obj)) if one.get("type") in self.types]
        for condition in found:
            problem = self._problem(condition, generation(obj))
            if problem is not None:
                return problem
        return self.rest(obj) if found else progressing(self.missing)

    def _deleting(self, metadata: Mapping[str, Any]) -> str:
        parts = [self.deleting]
        for name in metadata.get("finalizers") or ():
            wait, risk = (self.finalizers or {}).get(name, ("", ""))
            if wait:
                parts.append(f"{name}: {wait} Risk if removed manually: {risk}")
        return " ".join(parts)

    def _problem(self, condition: Mapping[str, Any], wanted: Any) -> Health | None:
        observed = condition.get("observedGeneration")
        if observed is not None and wanted is not None and observed != wanted:
            return progressing(self.observing)
        why = condition.get("reason") or "Unknown"
        match condition.get("status"):
            case "False":
                text = condition.get("message") or "Unknown error"
                is_error = why == "ReconciliationError"
                return degraded(f"{self.failed}: {text}" if is_error else f"{self.not_ready} ({why}): {text}")
            case "Unknown" if self.unsure:
                return progressing(f"{self.unsure} ({why}): {condition.get('message') or 'Unknown'}")
        return None


def _named(subject: str, article: str, rest: Callable[[Object], Health], **more: Any) -> Stages:
    """The words of the kinds that speak of reconciliation."""
    deleting = more.pop("deleting", f"{subject} is being deleted")
    return Stages(
        initializing=f"Initializing {article}",
        deleting=deleting,
        observing=f"Waiting for {article} spec update to be observed",
        failed=f"{subject} reconciliation failed",
        not_ready=f"{subject} reconciliation failed",
        missing=f"{subject} is not ready yet",
        rest=rest,
        **more,
    )


def _checked(kind: str, article: str, subject: str, what: str, rest: Callable[[Object], Health], **more: Any) -> Stages:
    """The words of the kinds that are validated."""
    words = {
        "deleting": f"{kind} is being deleted",
        "failed": f"{subject} {what} failed",
        "not_ready": f"{subject} not ready",
        "unsure": f"{subject} readiness unknown",
        **more,
    }
    return Stages(
        initializing=f"Initializing {article}",
        observing=f"Waiting for {kind} spec update to be observed",
        missing=f"{kind} Ready condition is missing",
        rest=rest,
        **words,
    )


@dataclass(frozen=True)
class _Gate:
    """Commit statuses with an environment each: all must have passed."""

    subject: str
    reconciled: str
    passed: str

    def __call__(self, obj: Object) -> Health:
        environments = listed(status_of(obj).get("environments"))
        if not environments:
            return healthy(f"{self.reconciled} reconciled")
        phases = [(one.get("branch") or "?", one.get("phase") or "pending") for one in environments]
        failed = [branch for branch, phase in phases if phase == "failure"]
        pending = [branch for branch, phase in phases if phase not in ("failure", "success")]
        if failed:
            return degraded(f"{self.subject} failed for branch(es): {', '.join(failed)}")
        if pending:
            return progressing(f"{self.subject} pending for branch(es): {', '.join(pending)}")
        return healthy(f"{self.subject} {self.passed} for {len(phases)} environment(s)")


def _fixed(text: str) -> Callable[[Object], Health]:
    return lambda _: healthy(text)


def _applications(obj: Object) -> Health:
    count = len(listed(status_of(obj).get("applicationsSelected")))
    if not count:
        return degraded("Argo CD commit status has no applications configured")
    return healthy(f"Argo CD commit status is healthy and is tracking {count} applications")


def _commit_status(obj: Object) -> Health:
    sha, phase = status_of(obj).get("sha"), status_of(obj).get("phase")
    if not sha or not phase:
        return healthy("Commit status is healthy")
    return healthy(f"Commit status for commit {sha} reports {phase}")


def _pull_request(obj: Object) -> Health:
    number, state = status_of(obj).get("id"), status_of(obj).get("state")
    if not number or not state:
        return healthy("Pull request is healthy")
    return healthy(f"Pull request is {state} as PR {number}")


def _dry_sha(branch: Any) -> str:
    return str(mapping(mapping(branch).get("dry")).get("sha") or "")


def _short(sha: str) -> str:
    return sha[:7]


def _tally(branch: Any) -> tuple[str, int, int]:
    """What the commit statuses of a branch come to: the words, how many are pending, how many failed."""
    statuses = listed(mapping(branch).get("commitStatuses"))
    keys: dict[str, list[str]] = {"pending": [], "success": [], "failure": []}
    for one in statuses:
        keys.get(str(one.get("phase")), []).append(str(one.get("key", "")))
    text = f"{len(keys['pending'])} pending, {len(keys['success'])} successful, {len(keys['failure'])} failed. "
    if keys["pending"]:
        text += f"Pending commit statuses: {', '.join(keys['pending'])}. "
    if keys["failure"]:
        text += f"Failed commit statuses: {', '.join(keys['failure'])}. "
    return text, len(keys["pending"]), len(keys["failure"])


def _transfer(obj: Object) -> Health:
    status = status_of(obj)
    active, proposed = _dry_sha(status.get("active")), _dry_sha(status.get("proposed"))
    for name, sha in (("active", active), ("proposed", proposed)):
        if not sha:
            return progressing(f"The {name} commit DRY SHA is missing or empty.")
    if active != proposed:
        text, _, _ = _tally(status.get("proposed"))
        return progressing(f"Promotion in progress from '{_short(active)}' to '{_short(proposed)}': {text}")
    text, pending, failed = _tally(status.get("active"))
    if pending or failed:
        start = "Environment is up-to-date, but there are non-successful active commit statuses"
        return healthy(f"{start}: {text}")
    return healthy(f"Environment is up-to-date on commit {_short(active)}.")


def _proposed(environment: Mapping[str, Any]) -> str:
    """The dry commit that was hydrated last for an environment."""
    proposed = mapping(environment.get("proposed"))
    return str(mapping(proposed.get("note")).get("drySha") or _dry_sha(proposed))


def _strategy(obj: Object) -> Health:
    environments = listed(status_of(obj).get("environments"))
    if not environments:
        return degraded("Promotion strategy has no environments configured")
    for one in environments:
        for name, sha in (("active", _dry_sha(one.get("active"))), ("proposed", _proposed(one))):
            if not sha:
                where = f"in environment '{one.get('branch', '')}'."
                return progressing(f"The {name} commit DRY SHA is missing or empty {where}")
    if len({_proposed(one) for one in environments}) > 1:
        return progressing(
            "Not all environments have the same proposed commit SHA. "
            "This likely means the hydrator has not run for all environments yet."
        )
    return _strategy_in_progress(environments) or _strategy_done(environments)


def _strategy_in_progress(environments: Sequence[Mapping[str, Any]]) -> Health | None:
    for one in environments:
        active, proposed = _dry_sha(one.get("active")), _dry_sha(one.get("proposed"))
        if active != proposed:
            text, _, _ = _tally(one.get("proposed"))
            way = f"from '{_short(active)}' to '{_short(proposed)}'"
            hydrated = f"Hydrator has processed dry commit '{_short(_proposed(one))}'. "
            return progressing(
                f"Promotion in progress for environment '{one.get('branch', '')}' {way}: {text}{hydrated}"
            )
    return None


def _strategy_done(environments: Sequence[Mapping[str, Any]]) -> Health:
    unsuccessful = []
    for one in environments:
        _, pending, failed = _tally(one.get("active"))
        if pending or failed:
            unsuccessful.append(f"{one.get('branch', '')} ({failed} failed, {pending} pending)")
    if unsuccessful:
        start = "Environments are up-to-date, but some environments have non-successful commit statuses"
        return healthy(f"{start}: {', '.join(unsuccessful)}.")
    active, proposed = _dry_sha(environments[0].get("active")), _proposed(environments[0])
    return healthy(
        f"All environments are up-to-date on commit '{_short(active)}'. "
        f"Hydrator has processed dry commit '{_short(proposed)}'."
    )


_PROVIDER_RISK = "GitRepository objects can reference a provider that no longer exists."

CHECKS = {
    (_GROUP, "ArgoCDCommitStatus"): _named("Argo CD commit status", "Argo CD commit status", _applications),
    (_GROUP, "ChangeTransferPolicy"): _named(
        "Change transfer policy",
        "change transfer policy",
        _transfer,
        deleting="Change transfer policy is being deleted.",
        finalizers={
            f"changetransferpolicy.{_GROUP}/finalizer": (
                "Waiting to clear related PullRequest finalizers and finish cleanup before this policy is removed.",
                f"The 'changetransferpolicy.{_GROUP}/pullrequest-finalizer' finalizer may not be cleaned up from "
                "PullRequests owned by this ChangeTransferPolicy.",
            )
        },
    ),
    (_GROUP, "ClusterScmProvider"): _checked(
        "ClusterScmProvider",
        "cluster SCM provider",
        "Cluster SCM provider",
        "validation",
        _fixed("Cluster SCM provider is ready"),
        deleting="ClusterScmProvider is being deleted.",
        finalizers={
            f"clusterscmprovider.{_GROUP}/finalizer": (
                "Waiting until no GitRepository still references this cluster-wide SCM provider.",
                _PROVIDER_RISK,
            )
        },
    ),
    (_GROUP, "CommitStatus"): _named("Commit status", "commit status", _commit_status),
    (_GROUP, "GitCommitStatus"): _checked(
        "GitCommitStatus",
        "git commit validation",
        "Git commit validation",
        "",
        _Gate("Git commit validation", "Git commit validation", "passed"),
        failed="Git commit validation failed",
        unsure="Git commit validation status unknown",
    ),
    (_GROUP, "GitRepository"): _checked(
        "GitRepository",
        "Git repository",
        "Git repository",
        "validation",
        _fixed("Git repository is ready"),
        deleting="GitRepository is being deleted.",
        finalizers={
            f"gitrepository.{_GROUP}/finalizer": (
                "Waiting until no non-deleting PullRequests still reference this repository.",
                "repository metadata may be removed while promotions still depend on it.",
            )
        },
    ),
    (_GROUP, "PromotionStrategy"): _named("Promotion strategy", "promotion strategy", _strategy),
    (_GROUP, "PullRequest"): _named(
        "Pull request",
        "pull request",
        _pull_request,
        deleting="Pull request is being deleted.",
        types=("Reconciled", "Ready"),
        finalizers={
            f"pullrequest.{_GROUP}/finalizer": (
                "Waiting for SCM closure or reconciliation of the pull request.",
                "the real PR can stay open after the CR is gone.",
            ),
            f"changetransferpolicy.{_GROUP}/pullrequest-finalizer": (
                "Waiting for the ChangeTransferPolicy to observe PR identity and state.",
                "promotion status or history can be wrong or racy.",
            ),
        },
    ),
    (_GROUP, "ScmProvider"): _checked(
        "ScmProvider",
        "SCM provider",
        "SCM provider",
        "validation",
        _fixed("SCM provider is ready"),
        deleting="ScmProvider is being deleted.",
        finalizers={
            f"scmprovider.{_GROUP}/finalizer": (
                "Waiting until no GitRepository in this namespace still references this provider.",
                _PROVIDER_RISK,
            )
        },
    ),
    (_GROUP, "TimedCommitStatus"): _checked(
        "TimedCommitStatus",
        "timed commit gate",
        "Timed commit gate",
        "",
        _Gate("Timed commit gate", "Timed commit gate", "satisfied"),
        failed="Timed commit gate failed",
        unsure="Timed commit gate status unknown",
    ),
    (_GROUP, "WebRequestCommitStatus"): _checked(
        "WebRequestCommitStatus",
        "web request commit validation",
        "Web request commit validation",
        "",
        _Gate("Web request validation", "Web request commit validation", "passed"),
        failed="Web request commit validation failed",
        unsure="Web request commit validation unknown",
    ),
}
