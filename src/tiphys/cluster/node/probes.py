"""What a container's probes say of it: when to ask, and what a row of answers means. Pure.

Three kinds (kubernetes pkg/kubelet/prober/worker.go): a *startup* probe holds the other two back until it succeeds; a
failed *startup* or *liveness* probe ends the container; a *readiness* probe only says whether it is ready. An answer
counts once it was given ``failure_threshold`` (or ``success_threshold``) times in a row.

    answers:   ok … ok ─► verdict True        no … no ─► verdict False        error ─► thrown away

Asking is ``prober.py``'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

Object = Mapping[str, Any]

KINDS = {"startup": "startupProbe", "liveness": "livenessProbe", "readiness": "readinessProbe"}
DEFAULT_PERIOD_SECONDS, DEFAULT_TIMEOUT_SECONDS, DEFAULT_FAILURE_THRESHOLD = 10, 1, 3
# A container is not asked in the moment of its start: a kubelet's first question comes at its next tick.
SETTLE_SECONDS = 0.5
# A probe that could not be asked is asked again at once, this many times in all.
ASKED_MAX = 3


class Answer(Enum):
    """What one question got: ``WARNING`` is a success that is worth an event, ``ERROR`` no answer at all."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    ERROR = "unknown"


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of the manifest with the API's defaults; ``action`` has exec, httpGet, tcpSocket or grpc."""

    kind: str
    action: Object
    initial_delay_seconds: int = 0
    period_seconds: int = DEFAULT_PERIOD_SECONDS
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    success_threshold: int = 1
    failure_threshold: int = DEFAULT_FAILURE_THRESHOLD
    grace_seconds: int | None = None


def probes_of(container: Object) -> tuple[Probe, ...]:
    """The container's probes, startup first."""
    return tuple(_probe(kind, container[field]) for kind, field in KINDS.items() if container.get(field))


def _probe(kind: str, spec: Object) -> Probe:
    return Probe(
        kind=kind,
        action=spec,
        initial_delay_seconds=spec.get("initialDelaySeconds") or 0,
        period_seconds=spec.get("periodSeconds") or DEFAULT_PERIOD_SECONDS,
        timeout_seconds=spec.get("timeoutSeconds") or DEFAULT_TIMEOUT_SECONDS,
        success_threshold=spec.get("successThreshold") or 1,
        failure_threshold=spec.get("failureThreshold") or DEFAULT_FAILURE_THRESHOLD,
        grace_seconds=spec.get("terminationGracePeriodSeconds"),
    )


@dataclass(slots=True)
class Record:
    """The answers so far to one probe in one life of its container. ``verdict`` is None until the first that counts."""

    probe: Probe
    verdict: bool | None = None
    last: bool | None = None
    row: int = 0

    def add(self, answer: Answer) -> bool:
        """Takes an answer; whether it counts and the verdict is (still or newly) decided by it."""
        if answer is Answer.ERROR:
            return False
        good = answer is not Answer.FAILURE
        self.row = self.row + 1 if good is self.last else 1
        self.last = good
        if self.row < (self.probe.success_threshold if good else self.probe.failure_threshold):
            return False
        self.verdict = good
        return True

    @property
    def condemns(self) -> bool:
        """Whether the container is to end because of it."""
        return self.verdict is False and self.probe.kind != "readiness"


def first_ask_seconds(probe: Probe, running_seconds: float) -> float:
    """How long to wait before the first question to a container that has run for so long already."""
    return max(SETTLE_SECONDS, probe.initial_delay_seconds - running_seconds)


def event_message(probe: Probe, answer: Answer, output: str) -> tuple[str, str] | None:
    """(reason, message) of the event that tells of an answer; None for a plain success."""
    title = probe.kind.capitalize()
    if answer is Answer.FAILURE:
        return "Unhealthy", f"{title} probe failed: {output}"
    if answer is Answer.ERROR:
        return "Unhealthy", f"{title} probe errored and resulted in {answer.value} state: {output}"
    if answer is Answer.WARNING:
        return "ProbeWarning", f"{title} probe warning: {output}"
    return None
