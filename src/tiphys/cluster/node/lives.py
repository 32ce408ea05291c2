"""What is known of a pod's containers while the pod lives: values that the worker keeps and decisions read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tiphys.machinery.podlife import Exit


@dataclass(frozen=True, slots=True)
class Condemned:
    """Why a container is to end though its pod goes on, as its event says, and in how many seconds (None: the pod's).

    ``restarts``: it is started again whatever the pod's policy says; ``silently``: without saying so in the event.
    ``alone``: the end of it is a crash of its own (its postStart hook failed), which never takes the pod with it.
    """

    message: str
    grace_seconds: float | None = None
    restarts: bool = False
    silently: bool = False
    alone: bool = False


@dataclass(slots=True)
class Life:
    """The latest life of one container.

    ``waiting`` is (reason, message) while it does not run and should; it hides how the life before ended.
    ``complaint`` is what will be waited for once this life has ended.
    ``delay_seconds`` is the back-off that its next crash will meet, ``pull_delay_seconds`` the one of its image;
    ``not_before`` holds back the next attempt, and at ``tell_at`` that is told (None: it was, or need not be).
    ``started`` follows its startup probe and its postStart hook (``hooking`` while that runs), ``ready`` its readiness
    probe; both hold at once where there is none. ``asked`` is when it was asked to stop, ``kill_at`` when it will be
    killed for not having done so: ``replaced``, only to be started again, or ``dismissed``, with its whole pod.
    ``last`` is how the life before this one ended.
    """

    attempt: int = 0
    waiting: tuple[str, str] | None = None
    running_since: datetime | None = None
    exit: Exit | None = None
    last: Exit | None = None
    delay_seconds: float = 0.0
    pull_delay_seconds: float = 0.0
    not_before: datetime | None = None
    tell_at: datetime | None = None
    started: bool = False
    ready: bool = False
    hooking: bool = False
    condemned: Condemned | None = None
    complaint: tuple[str, str] | None = None
    asked: datetime | None = None
    kill_at: datetime | None = None
    killed: bool = False
    dismissed: bool = False
    replaced: bool = False

    @property
    def running(self) -> bool:
        return self.running_since is not None and self.exit is None

    @property
    def begun(self) -> bool:
        """Whether any attempt was ever made."""
        return self.running or self.exit is not None or self.last is not None
