"""Decisions about a pod's containers: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tiphys.cluster.node import backoff
from tiphys.cluster.node.lifecycle import Ask, Decision, Shape, Stop, decide, shape_of
from tiphys.cluster.node.lives import Condemned, Life
from tiphys.machinery.podlife import Exit

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def pod(policy: str = "Always", init: tuple[Any, ...] = (), main: tuple[Any, ...] = ("c",), **spec: Any) -> Shape:
    def containers(names: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [name if isinstance(name, dict) else {"name": name} for name in names]

    body = {"restartPolicy": policy, "initContainers": containers(init), "containers": containers(main), **spec}
    return shape_of({"spec": body})


def running(since: float = 0, **more: Any) -> Life:
    return Life(running_since=at(since), **{"started": True, "ready": True, **more})


def ended(code: int = 0, finished: float = 1, **more: Any) -> Life:
    life = running(**more)
    backoff.note_exit(life, Exit(code, at(0), at(finished)))
    return life


SIDECAR = {"name": "s", "restartPolicy": "Always"}


def test_init_containers_come_one_after_another() -> None:
    shape = pod(init=("a", "b"))
    lives = {"a": Life(), "b": Life(), "c": Life()}
    assert decide(shape, lives, None, T0).start == ("a",)
    lives["a"] = ended(0)
    assert decide(shape, lives, None, T0).start == ("b",)
    lives["b"] = ended(0)
    assert decide(shape, lives, None, T0).start == ("c",)


def test_a_sidecar_must_have_started_before_the_next() -> None:
    shape = pod(init=(SIDECAR,))
    lives = {"s": running(started=False), "c": Life()}
    assert decide(shape, lives, None, T0) == Decision()
    lives["s"].started = True
    assert decide(shape, lives, None, T0).start == ("c",)


def test_sidecars_go_last_and_do_not_come_back() -> None:
    shape = pod("Never", init=(SIDECAR,), terminationGracePeriodSeconds=7)
    lives = {"s": running(), "c": ended(9)}
    assert decide(shape, lives, None, T0).ask == (Ask("s", 7),)
    lives["s"] = ended(137, dismissed=True)
    assert decide(shape, lives, None, T0).over


def test_a_pod_whose_init_container_failed_ends_with_its_sidecars() -> None:
    shape = pod("Never", init=(SIDECAR, {"name": "i"}), terminationGracePeriodSeconds=7)
    lives = {"s": running(), "i": ended(3), "c": Life()}
    assert decide(shape, lives, None, T0).ask == (Ask("s", 7),)
    lives["s"] = ended(0, dismissed=True)
    assert decide(shape, lives, None, T0).over


def test_a_deleted_pod_keeps_its_sidecars_until_the_others_are_gone() -> None:
    shape = pod(init=({"name": "s1", "restartPolicy": "Always"}, {"name": "s2", "restartPolicy": "Always"}))
    lives = {"s1": running(), "s2": running(), "c": running()}
    stop = Stop(T0, 10)
    assert decide(shape, lives, stop, T0).ask == (Ask("c", 10),)
    lives["c"] = ended()
    assert decide(shape, lives, stop, T0).ask == (Ask("s2", 10),)
    lives["s2"] = ended()
    assert decide(shape, lives, stop, T0).ask == (Ask("s1", 10),)
    lives["s1"] = ended()
    assert decide(shape, lives, stop, T0).over


def test_the_grace_period_is_the_whole_pods() -> None:
    shape = pod(init=(SIDECAR,))
    lives = {"s": running(), "c": running(asked=T0, kill_at=at(10))}
    decision = decide(shape, lives, Stop(T0, 10), at(10))
    assert (decision.kill, decision.ask) == (("c",), (Ask("s", 10),))


def test_a_second_shorter_grace_period_counts_for_who_was_asked_before() -> None:
    lives = {"c": running(asked=T0, kill_at=at(30))}
    assert decide(pod(), lives, Stop(T0, 30), at(3)).wake_at == at(30)
    assert decide(pod(), lives, Stop(at(2), 1, shortened=True), at(3)).kill == ("c",)


def test_the_end_of_the_pod_does_not_wait_for_who_was_asked_with_more_time() -> None:
    lives = {"c": running(asked=T0, kill_at=at(30))}
    assert decide(pod(), lives, Stop(at(2), 5), at(3)).wake_at == at(7)
    assert decide(pod(), lives, Stop(at(2), 0), at(2)).kill == ("c",)


@pytest.mark.parametrize(("policy", "again"), [("Always", True), ("OnFailure", True), ("Never", False)])
def test_a_failed_probe_restarts_the_container_where_the_policy_lets_it(policy: str, again: bool) -> None:
    lives = {"c": running(condemned=Condemned("Container c failed liveness probe", 3))}
    (ask,) = decide(pod(policy, terminationGracePeriodSeconds=8), lives, None, T0).ask
    if again:
        assert ask == Ask("c", 3, "Container c failed liveness probe, will be restarted", again=True)
    else:  # the whole pod ends, with its own grace period
        assert ask == Ask("c", 8)


def test_a_failed_probe_ends_one_of_several_alone() -> None:
    lives = {"a": running(condemned=Condemned("Container a failed liveness probe")), "b": running()}
    decision = decide(pod("Never", main=("a", "b"), terminationGracePeriodSeconds=8), lives, None, T0)
    assert decision.ask == (Ask("a", 8, "Container a failed liveness probe"),)


def test_a_failed_hook_is_a_crash_of_its_own() -> None:
    lives = {"c": running(condemned=Condemned("FailedPostStartHook", alone=True))}
    (ask,) = decide(pod("Never", terminationGracePeriodSeconds=2), lives, None, T0).ask
    assert ask == Ask("c", 2, "FailedPostStartHook")


def test_a_hook_holds_back_the_containers_after_it() -> None:
    lives = {"a": running(hooking=True), "b": Life()}
    assert decide(pod(main=("a", "b")), lives, None, T0).start == ()
    lives["a"].hooking = False
    assert decide(pod(main=("a", "b")), lives, None, T0).start == ("b",)


def test_restart_rules_are_asked_before_the_policy() -> None:
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    shape = pod(main=({"name": "c", "restartPolicy": "Never", "restartPolicyRules": [rule]},))
    assert decide(shape, {"c": ended(42)}, None, at(1)).start == ("c",)
    assert decide(shape, {"c": ended(43)}, None, at(1)).over


def test_an_ephemeral_container_does_not_hold_the_pod() -> None:
    shape = pod("Never", ephemeralContainers=[{"name": "e"}])
    assert decide(shape, {"c": running(), "e": Life()}, None, T0).start == ("e",)
    assert decide(shape, {"c": ended(), "e": running()}, None, T0).ask == (Ask("e", 30),)
    assert decide(shape, {"c": running(), "e": ended(1)}, None, T0) == Decision()


# Back-off.


def crash(life: Life, finished: float) -> Life:
    life.running_since = at(finished - 1)
    backoff.note_exit(life, Exit(1, at(finished - 1), at(finished)))
    return life


def test_the_first_restart_is_at_once_the_next_ones_wait_longer_and_longer() -> None:
    life, waits = Life(), []
    moment = 0.0
    for _ in range(8):
        moment += 1
        crash(life, moment)
        wait = 0.0 if life.not_before is None else (life.not_before - at(moment)).total_seconds()
        waits.append(wait)
        moment += wait
        life = backoff.next_life(life)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    assert life.attempt == 8


def test_a_container_that_ran_long_has_not_crashed_lately() -> None:
    life = Life(delay_seconds=160, running_since=T0)
    backoff.note_exit(life, Exit(1, T0, at(601)))
    assert life.not_before is None
    assert backoff.next_life(life).delay_seconds == 10


def test_who_was_ended_to_be_restarted_waits_for_nothing_at_first() -> None:
    life = running(replaced=True)
    backoff.note_exit(life, Exit(137, at(0), at(5)))
    assert life.not_before is None
    assert backoff.next_life(life).delay_seconds == 0


def test_the_back_off_is_told_a_moment_after_the_end() -> None:
    shape, life = pod(), crash(Life(delay_seconds=10), 1)
    first = decide(shape, {"c": life}, None, at(1))
    assert (first.backing_off, first.wake_at) == ((), at(2))
    assert decide(shape, {"c": life}, None, at(2)).backing_off == ("c",)
    assert decide(shape, {"c": life}, None, at(11)).start == ("c",)


def test_a_program_that_cannot_be_started_backs_off_too() -> None:
    life = Life(delay_seconds=10)
    backoff.note_exit(life, Exit(128, datetime(1970, 1, 1, tzinfo=UTC), at(1), "StartError"))
    assert life.not_before == at(11)
