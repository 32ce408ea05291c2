"""What the recorded syncs do not show: hooks in two phases, conflicts, vanished objects, unknown kinds."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any

from tiphys.cd.plan.health import resource_health
from tiphys.cd.plan.markers import HOOK_FINALIZER
from tiphys.cd.plan.objects import Gvk, Object, finalizers_of, with_metadata
from tiphys.cd.plan.sync.operations import (
    Answer,
    Answers,
    ApiResource,
    Get,
    Operation,
    SetFinalizers,
    Stage,
    UnknownKind,
)
from tiphys.cd.plan.sync.run import Options, Seen, State, sync
from tiphys.machinery.errors import Conflict, NotFound

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class AllKinds:
    def find(self, gvk: Gvk) -> ApiResource:
        if gvk.kind == "Lost":
            raise UnknownKind("no such kind")
        return ApiResource(gvk.kind.lower() + "s", namespaced=True)


def config_map(name: str, **annotations: str) -> Object:
    named = {key.replace("_", "-"): value for key, value in annotations.items()}
    notes = {f"argocd.argoproj.io/{key}": value for key, value in named.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "annotations": notes},
    }


def seen(*pairs: tuple[Object | None, Object | None], hooks: tuple[Object, ...] = (), **options: Any) -> Seen:
    return Seen(pairs, hooks, "ns", "abcdef0123", AllKinds(), Options(**options), resource_health)


def hold(
    talk: Generator[Stage, Answers, State], answer: Callable[[Operation], Answer]
) -> tuple[State, list[Operation]]:
    asked: list[Operation] = []
    try:
        stage = next(talk)
        while True:
            asked += stage
            stage = talk.send(tuple(answer(operation) for operation in stage))
    except StopIteration as end:
        return end.value, asked


def fine(_operation: Operation) -> Answer:
    return Answer(message="done")


def running_hook(state: State) -> tuple[State, Object]:
    hook = config_map("hook", hook="PreSync")
    started, _ = hold(sync(seen(hooks=(hook,)), state), fine)
    assert started.phase == "Running"
    return started, hook


def test_a_conflict_reads_the_hook_again_and_keeps_others_finalizers() -> None:
    started, hook = running_hook(State(NOW))
    live = with_metadata(hook, finalizers=[HOOK_FINALIZER])
    newer = with_metadata(hook, finalizers=["other/one", HOOK_FINALIZER])
    written: list[list[str]] = []

    def answer(operation: Operation) -> Answer:
        if isinstance(operation, SetFinalizers):
            written.append(finalizers_of(operation.obj))
            return Answer(error=Conflict("newer")) if len(written) == 1 else Answer()
        return Answer(newer if isinstance(operation, Get) else None)

    state, _ = hold(sync(seen((None, live), hooks=(hook,)), started), answer)
    assert (state.phase, written) == ("Succeeded", [[], ["other/one"]])


def test_a_hook_that_vanished_ends_the_sync() -> None:
    started, hook = running_hook(State(NOW))
    gone, _ = hold(sync(seen(hooks=(hook,)), started), lambda _operation: Answer(error=NotFound("gone")))
    assert gone.results[0].hook_phase == "Error"
    failed, _ = hold(sync(seen(hooks=(hook,)), gone), fine)
    assert failed.phase == "Failed"


def test_a_kind_that_nobody_serves_stops_everything_before_it_begins() -> None:
    lost = {"apiVersion": "x.io/v1", "kind": "Lost", "metadata": {"name": "a"}}
    state, asked = hold(sync(seen((lost, None), (config_map("b"), None)), State(NOW)), fine)
    assert (state.phase, asked) == ("Failed", [])
    assert state.message == "one or more synchronization tasks are not valid: no such kind"


def test_a_finished_sync_asks_for_nothing_more() -> None:
    pair = (config_map("a"), config_map("a"))
    state, _ = hold(sync(seen(pair), State(NOW)), fine)
    again, asked = hold(sync(seen(pair), state), fine)
    assert (again.phase, asked) == ("Succeeded", [])


def test_nothing_is_pruned_unless_asked() -> None:
    state, asked = hold(sync(seen((None, config_map("old"))), State(NOW)), fine)
    assert asked == []
    assert state.results[0].status == "PruneSkipped"
