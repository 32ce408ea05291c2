"""What the API server asks the node agent for: logs, exec, attach and connections to pods.

The server checks and finds the pod; a ``LogSource`` and a ``StreamSource`` that ``app`` registers do the rest. Without
one (no node, or a stage) there are no logs and no streams, and the answer says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from tiphys.cluster.apiserver.problems import bad_request, invalid, invalid_value
from tiphys.cluster.apiserver.queries import flag
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.node.runtime import STDERR, STDOUT, Session
from tiphys.machinery.times import parse_time

STDIN: Final = 0
_STREAMS: Final = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr"}


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of ``/log``. None for a limit means "all"; ``since`` drops what is older."""

    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """The query of ``/exec`` and ``/attach``. ``streams``: which of stdin, stdout and stderr (0, 1, 2) are wanted."""

    container: str
    streams: frozenset[int]
    command: tuple[str, ...] = ()
    tty: bool = False

    @property
    def stdin(self) -> bool:
        return STDIN in self.streams


class StreamSource(Protocol):
    """The live side of pods. All raise DriverError where it is not there (any more)."""

    def exec(self, pod: Mapping[str, Any], options: RemoteOptions) -> Session: ...

    def attach(self, pod: Mapping[str, Any], options: RemoteOptions) -> Session: ...

    def check(self, pod: Mapping[str, Any], container: str) -> None:
        """Whether the container runs: asked before a connection is upgraded."""
        ...

    async def connect(self, pod: Mapping[str, Any], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a port of the pod, seen from inside of it."""
        ...


class LogSource(Protocol):
    """Where the logs of pods are."""

    def logs(self, pod: Mapping[str, Any], options: LogOptions) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Opens a container's log; raises BadRequest where there is none (yet)."""
        ...


def parse_log_options(pod: Object, query: Mapping[str, str], now: datetime) -> LogOptions:
    """Raises BadRequest for an unknown or missing container, Invalid for a number that cannot be."""
    limits = {name: _number(query, name) for name in ("tailLines", "limitBytes", "sinceSeconds")}
    since = parse_time(query["sinceTime"]) if query.get("sinceTime") else None
    if limits["sinceSeconds"] is not None:
        since = now - timedelta(seconds=limits["sinceSeconds"])
    return LogOptions(
        container=choose_container(pod, query.get("container", "")),
        follow=flag(query, "follow"),
        previous=flag(query, "previous"),
        timestamps=flag(query, "timestamps"),
        tail_lines=limits["tailLines"],
        limit_bytes=limits["limitBytes"],
        since=since,
    )


def parse_remote_options(
    pod: Object, query: Mapping[str, str], command: tuple[str, ...] | None = None
) -> RemoteOptions:
    """``command``: of an exec. Raises BadRequest for an unknown or missing container, no command, or no streams."""
    tty = flag(query, "tty")
    wanted = {number for number, name in _STREAMS.items() if flag(query, name)}
    if tty:
        wanted.discard(STDERR)  # one terminal is both
    if not wanted:
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if command == ():
        raise bad_request("you must specify at least one command for the container")
    container = choose_container(pod, query.get("container", ""))
    return RemoteOptions(container, frozenset(wanted), command or (), tty)


def choose_container(pod: Object, asked: str) -> str:
    """The container that is meant; the only one where none was named."""
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    main = [c["name"] for c in spec.get("containers") or ()]
    init = [c["name"] for c in spec.get("initContainers") or ()]
    ephemeral = [c["name"] for c in spec.get("ephemeralContainers") or ()]
    if asked:
        if asked not in (*main, *init, *ephemeral):
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(main) == 1:
        return str(main[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        text += f" or one of the init containers: [{' '.join(init)}]"
    raise bad_request(text)


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    least = 0 if name == "tailLines" else 1
    if number < least:
        message = f"must be greater than {'or equal to ' if least == 0 else ''}0"
        raise invalid("PodLogOptions", "", "", [invalid_value(name, number, message)])
    return number
