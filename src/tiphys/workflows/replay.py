"""Records decisions about workflows, and decides recorded ones again (``tiphys replay``).

What a decision asked of the caches is recorded with it, as ``[question, arguments, answer]`` in the order of asking.
Not recorded: the locks that other workflows held; a decision that waited for one goes on when it is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import orjson

from tiphys.machinery.actions import Plan
from tiphys.machinery.resources import ObjectKey
from tiphys.runtime.recorder import FlightRecorder, encode, read
from tiphys.workflows.observe import Changes, Lookup
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.plan.locks import LockTable
from tiphys.workflows.settings import FailedPodRestart, Image, Settings


class RecordedRun:
    """A ``Run`` whose every decision goes into the recorder."""

    def __init__(
        self,
        recorder: FlightRecorder,
        key: ObjectKey,
        workflow: Mapping[str, Any],
        settings: Settings,
        lookup: Lookup,
        locks: LockTable,
    ) -> None:
        self._recorder = recorder
        self._key = str(key)
        self._asked: list[list[Any]] = []
        self._run = Run.load(workflow, settings, _listening(lookup, self._asked), locks)
        self._note("load", observed={"workflow": workflow, "settings": settings})

    def decide(self, changes: Changes, now: datetime) -> Plan:
        plan = self._run.decide(changes, now)
        self._note("decide", observed={"changes": changes}, now=now, plan=plan)
        return plan

    def wrote(self, resource_version: str) -> None:
        self._run.wrote(resource_version)
        self._note("wrote", observed={"resourceVersion": resource_version})

    def _note(self, what: str, **fields: Any) -> None:
        self._recorder.record(key=self._key, what=what, asked=self._asked, **fields)
        self._asked.clear()


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision made again: ``recorded`` and ``now_decided`` are plans as JSON values, equal if nothing changed."""

    line: int
    key: str
    recorded: Any
    now_decided: Any

    @property
    def is_same(self) -> bool:
        return bool(self.recorded == self.now_decided)


def replay(path: Path) -> Iterator[Replayed]:
    """Every recorded decision with what this version of tiphys decides."""
    runs: dict[str, tuple[Run, _Answers]] = {}
    for number, line in enumerate(read(path), 1):
        key, seen = line["key"], line.get("observed", {})
        if line["what"] == "load":
            answers = _Answers()
            answers.put(line["asked"])
            runs[key] = (Run.load(seen["workflow"], _settings(seen["settings"]), cast(Lookup, answers)), answers)
        elif key in runs:
            run, answers = runs[key]
            answers.put(line["asked"])
            if line["what"] == "wrote":
                run.wrote(seen["resourceVersion"])
            else:
                plan = run.decide(Changes(**seen["changes"]), datetime.fromisoformat(line["now"]))
                yield Replayed(number, key, line["plan"], orjson.loads(encode(plan)))


def _settings(recorded: Mapping[str, Any]) -> Settings:
    """Settings from their JSON; what this version does not know any more is left out."""
    values = {name: value for name, value in recorded.items() if name in Settings.__dataclass_fields__}
    values["images"] = {
        name: Image(tuple(image["entrypoint"]), tuple(image["cmd"])) for name, image in recorded["images"].items()
    }
    values["failed_pod_restart"] = FailedPodRestart(**recorded["failed_pod_restart"])
    values["user_override_allowlist"] = frozenset(recorded["user_override_allowlist"])
    if recorded.get("default_image") is not None:
        values["default_image"] = Image(**recorded["default_image"])
    return Settings(**values)


def _listening(lookup: Lookup, asked: list[list[Any]]) -> Lookup:
    return cast(Lookup, _Listening(lookup, asked))


class _Listening:
    """A lookup that writes down every question with its answer."""

    def __init__(self, lookup: Lookup, asked: list[list[Any]]) -> None:
        self._lookup = lookup
        self._asked = asked

    def __getattr__(self, question: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            answer = getattr(self._lookup, question)(*arguments)
            if not isinstance(answer, Mapping) and isinstance(answer, Iterable):
                answer = list(answer)
            self._asked.append([question, list(arguments), answer])
            return answer

        return ask


class _Answers:
    """A lookup that answers as recorded: in the order of asking, the last answer staying true."""

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}

    def put(self, asked: Iterable[list[Any]]) -> None:
        fresh: dict[str, list[Any]] = {}
        for question, arguments, answer in asked:
            fresh.setdefault(f"{question} {arguments}", []).append(answer)
        self._known.update(fresh)

    def __getattr__(self, question: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            answers = self._known.get(f"{question} {list(arguments)}") or [None]
            return answers.pop(0) if len(answers) > 1 else answers[0]

        return ask
