"""What a container left to say at its end: its termination message file, or the end of its log.

Both are cut to their last bytes (kubelet kuberuntime: getTerminationMessage, tail.ReadAtMost). The file is the
container's to arrange: it is opened without following links, and only its beginning or end is ever read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiphys.cluster.node.launching import USUAL_MESSAGE_PATH
from tiphys.cluster.node.runtime import Launch, Runtime

FILE_BYTES_MAX = 4096
LOG_BYTES_MAX, LOG_LINES_MAX = 2048, 80


def termination_message(container: Mapping[str, Any], launch: Launch, code: int, runtime: Runtime) -> str:
    """The message of a life that ended with ``code``; "" where there is none."""
    place = _place(container.get("terminationMessagePath"), launch, runtime)
    text = last_bytes(place, FILE_BYTES_MAX) if place is not None else ""
    if not text and code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        text = last_lines(runtime.log_files(launch.place, launch.split_output))
    return text


def _place(path: str | None, launch: Launch, runtime: Runtime) -> Path | None:
    if path in (None, "", USUAL_MESSAGE_PATH):
        return runtime.termination_message(launch)
    return runtime.host_path(launch, path or "")


def last_bytes(path: Path, limit: int) -> str:
    """The end of a regular file; "" for everything else."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            facts = os.fstat(descriptor)
            if stat.S_ISREG(facts.st_mode):
                return os.pread(descriptor, limit, max(0, facts.st_size - limit)).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    return ""


def last_lines(files: Sequence[Path]) -> str:
    """The last lines of a log, within the limits."""
    text = last_bytes(files[-1], LOG_BYTES_MAX) if files else ""
    return "".join(text.splitlines(keepends=True)[-LOG_LINES_MAX:])
