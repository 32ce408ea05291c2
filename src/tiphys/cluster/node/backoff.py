"""How long a container waits before it is started again, and a pull before it is tried again. Pure.

The first restart comes at once; each one after a crash finds the delay that the one before has left: 10 s, doubled up
to 5 min, forgotten after 10 minutes without a restart (client-go util/flowcontrol Backoff, kuberuntime doBackOff). It
counts from the end of the life before. A container that was ended to be started again (a failed probe) has not
crashed: what counts is the end of the life before that one, if there was any.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tiphys.cluster.node.lives import Life
from tiphys.machinery.podlife import Exit

FIRST_SECONDS, CAP_SECONDS = 10.0, 300.0
FORGOTTEN_AFTER_SECONDS = 600.0
# A kubelet tells of a back-off when it next looks at the pod, about a second later: until then the container shows how
# it ended (or why its image could not be pulled).
TOLD_AFTER = timedelta(seconds=1)


def note_exit(life: Life, end: Exit) -> None:
    """The life has ended: from when on may the next one begin, should there be one?"""
    life.exit = end
    life.ready = life.started = life.hooking = False
    life.waiting = life.not_before = life.tell_at = None
    reference = life.last if life.replaced else end
    if reference is None or not life.delay_seconds or _forgotten(life, reference):
        return
    life.not_before = reference.finished_at + timedelta(seconds=life.delay_seconds)
    life.tell_at = min(end.finished_at + TOLD_AFTER, life.not_before)


def next_life(life: Life) -> Life:
    """The life after one that has ended."""
    assert life.exit is not None, "only an ended life has a next one"
    reference = life.last if life.replaced else life.exit
    delay = life.delay_seconds
    if reference is not None:
        delay = FIRST_SECONDS if _forgotten(life, reference) else longer(delay)
    return Life(attempt=life.attempt + 1, last=life.exit, delay_seconds=delay)


def note_failed_pull(life: Life, now: datetime) -> None:
    """The image could not be had: when to try again, and when to tell that this waits."""
    life.pull_delay_seconds = longer(life.pull_delay_seconds)
    life.not_before = now + timedelta(seconds=life.pull_delay_seconds)
    life.tell_at = now + TOLD_AFTER


def longer(delay_seconds: float) -> float:
    """The delay after this one; 0 stands for none so far."""
    return min(delay_seconds * 2, CAP_SECONDS) if delay_seconds else FIRST_SECONDS


def _forgotten(life: Life, reference: Exit) -> bool:
    if life.running_since is None:  # it could not even be started
        return False
    return (reference.finished_at - life.running_since).total_seconds() > FORGOTTEN_AFTER_SECONDS
