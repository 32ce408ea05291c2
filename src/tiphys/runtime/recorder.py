"""The flight recorder: a line of JSON per decision, with all that went in and what came out.

Since a decision depends on nothing else, the lines can be decided again anywhere (``tiphys replay FILE``): a bug report
becomes a test. Off unless asked for (setting ``flight_record``). Secrets are not in it as far as decisions do not see
them: they never do.

    {"key": "default/hello", "what": "load" | "decide", "observed": {…}, "now": "…", "plan": {…}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

# A recording of a long-lived controller must not fill the disk.
_BYTES_MAX = 1 << 30


class FlightRecorder:
    """Appends to ``path``; stops recording at 1 GiB."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab")

    def record(self, **line: Any) -> None:
        if self._file.tell() < _BYTES_MAX:
            self._file.write(encode(line) + b"\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FlightRecorder:
        return self

    def __exit__(self, _type: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        self.close()


def read(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a recording; a last line that was cut off is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield orjson.loads(line)


def encode(value: Any) -> bytes:
    """JSON, dataclasses, enums and times included. Keys keep their order: it can matter to a decision."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"a decision saw a {type(value).__name__}, which no recording can hold")
