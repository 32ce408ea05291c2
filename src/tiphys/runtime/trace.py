"""The stops that a run passes, each with the file that it is in: ``tiphys run --trace``.

A stop is noted by the code that *is* the stop, with the function itself, so that the file and line in the trace are
those of the code and cannot go stale. Nobody asked for a trace: ``NO_TRACE`` notes nothing and costs a method call.

    trace.stop(Informer._apply, "pods default/hello")  ->  Stop("runtime/informer.py", 171, "Informer._apply", …)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tiphys
from tiphys.runtime.clock import Clock

_PACKAGE = Path(tiphys.__file__).parent
_STOPS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Stop:
    """``file`` is relative to the package; ``at_seconds`` since the trace began."""

    file: str
    line: int
    function: str
    about: str
    at_seconds: float

    def __str__(self) -> str:
        return f"{self.at_seconds * 1000:8.1f} ms  {self.file}:{self.line}  {self.function}  {self.about}"


class Trace(Protocol):
    def stop(self, function: Callable[..., Any], about: str) -> None: ...


class _NoTrace:
    def stop(self, function: Callable[..., Any], about: str) -> None:
        pass


NO_TRACE: Trace = _NoTrace()


class RunTrace:
    """Keeps the first ``_STOPS_MAX`` stops and hands each to ``on_stop``."""

    def __init__(self, clock: Clock, on_stop: Callable[[Stop], None] | None = None) -> None:
        self.stops: list[Stop] = []
        self._clock = clock
        self._began = clock.monotonic()
        self._on_stop = on_stop

    def stop(self, function: Callable[..., Any], about: str) -> None:
        if len(self.stops) >= _STOPS_MAX:
            return
        code = function.__code__
        file = Path(code.co_filename)
        where = file.relative_to(_PACKAGE).as_posix() if file.is_relative_to(_PACKAGE) else file.name
        noted = Stop(where, code.co_firstlineno, function.__qualname__, about, self._clock.monotonic() - self._began)
        self.stops.append(noted)
        if self._on_stop is not None:
            self._on_stop(noted)
