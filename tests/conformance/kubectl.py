"""What kubectl does on this side of the API for the commands that recorded pods were asked with.

``logs``, ``exec``, ``attach``, ``cp``, ``port-forward`` and ``debug --copy-to``: options, the choice of a container and
what is said about it, errors as kubectl prints them. The server's side is the real one: the API for objects and logs,
the node's runtime for commands and streams.
"""

from __future__ import annotations

import asyncio
import io
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.apiserver.streams import RemoteOptions
from tiphys.cluster.node.agent import Agent
from tiphys.cluster.node.runtime import STDERR, STDOUT, Command, Session, StartFailure
from tiphys.machinery.errors import ApiError, DriverError
from tiphys.machinery.resources import PODS, ObjectKey

Object = Mapping[str, Any]

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
SESSION_NOTE = (
    "All commands and output from this session will be recorded in container logs, including credentials and sensitive"
    " information passed through the command prompt.\nIf you don't see a command prompt, try pressing enter.\n"
)
LEGACY_NOTE = (
    "--profile=legacy is deprecated and will be removed in the future. It is recommended to explicitly specify a"
    ' profile, for example "--profile=general".\n'
)
FLAGS = {"-f": "follow", "-p": "previous", "--previous": "previous", "--timestamps": "timestamps", "-i": "stdin"}
SECONDS = {"s": 1, "m": 60, "h": 3600}
TIME_LIMIT_SECONDS = 60.0
BEGINNING_TRIES = 40


@dataclass
class Said:
    """What a command printed and how it ended."""

    rc: int | None = 0
    stdout: str = ""
    stderr: str = ""
    response: Object | None = None


@dataclass
class Line:
    """A command line: ``words`` before ``--``, ``command`` after it."""

    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)


def parse(text: str) -> Line:
    line = Line()
    words = shlex.split(text)[1:]
    while words:
        word = words.pop(0)
        if word == "--":
            line.command = words
            break
        if word == "-c":
            line.options["container"] = words.pop(0)
        elif word in FLAGS:
            line.options[FLAGS[word]] = "true"
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            line.options[name] = value if equals else "true"
        else:
            line.words.append(word)
    return line


class Failed(Exception):
    """The command ends with 1 and this text."""


class Kubectl:
    """For one namespace. ``host_files`` stands for the recorder's ``/hostpath-fixture``."""

    def __init__(self, client: Client, agent: Agent, namespace: str, host_files: Path) -> None:
        self._client = client
        self._agent = agent
        self._namespace = namespace
        self._host_files = host_files

    async def run(self, text: str, stdin: str | None = None, request: str = "") -> Said:
        """``request`` is a path to ask for through a forwarded port."""
        line = parse(text)
        said = Said()
        verb = line.words.pop(0)
        if verb == "port-forward":
            stdin = request
        act = {"logs": self._logs, "exec": self._exec, "attach": self._attach, "cp": self._cp, "debug": self._debug,
               "port-forward": self._forward}  # fmt: skip
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await act[verb](line, said, stdin)
        except Failed as err:
            said.rc, said.stderr = 1, f"{said.stderr}{err}\n"
        except ApiError as err:
            said.rc, said.stderr = 1, f"{said.stderr}Error from server ({err.reason}): {err}\n"
        return said

    async def _logs(self, line: Line, said: Said, stdin: str | None) -> None:
        del stdin
        name, options = line.words[0], line.options
        try:
            pod = await self._pod(name)
        except ApiError as err:
            raise Failed(f'error: error from server ({err.reason}): {err} in namespace "{self._namespace}"') from err
        if "all-containers" in options:
            for container in _names(pod):
                text = await self._log(name, container, options)
                prefix = f"[pod/{name}/{container}] " if "prefix" in options else ""
                said.stdout += "".join(f"{prefix}{row}" for row in text.splitlines(keepends=True))
            return
        container = self._choose(pod, options, said)
        if container not in _names(pod):
            raise Failed(f"error: container {container} is not valid for pod {name}")
        said.stdout = await self._log(name, container, options)

    async def _log(self, name: str, container: str, options: Mapping[str, str]) -> str:
        query = {"container": container}
        for option in ("follow", "previous", "timestamps"):
            if option in options:
                query[option] = "true"
        if int(options.get("tail", "-1")) >= 0:
            query["tailLines"] = options["tail"]
        if int(options.get("limit-bytes", "0")) > 0:
            query["limitBytes"] = options["limit-bytes"]
        if "since" in options:
            query["sinceSeconds"] = str(int(options["since"][:-1]) * SECONDS[options["since"][-1]])
        async with self._client.logs(ObjectKey(self._namespace, name), **query) as chunks:
            return b"".join([chunk async for chunk in chunks]).decode()

    async def _exec(self, line: Line, said: Said, stdin: str | None) -> None:
        pod = await self._pod(line.words[0])
        container = self._choose(pod, line.options, said)
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            raise Failed(f"error: cannot exec into a container in a completed pod; current phase is {phase}")
        if container not in _names(pod):
            raise Failed(f"Error from server (BadRequest): container {container} is not valid for pod {line.words[0]}")
        code, out, err = await self._command(pod, container, line.command, (stdin or "").encode())
        said.stdout += out
        said.stderr += err
        if code:
            said.rc = code
            said.stderr += f"command terminated with exit code {code}\n"

    async def _command(self, pod: Object, container: str, words: list[str], data: bytes) -> tuple[int, str, str]:
        options = RemoteOptions(container, frozenset({0, 1, 2} if data else {1, 2}), tuple(words))
        for attempt in range(BEGINNING_TRIES):
            try:
                session = self._agent.stream_source.exec(pod, options)
            except StartFailure as err:
                running = any("running" in r["state"] for r in pod["status"].get("containerStatuses") or ())
                if err.reason == "ContainerGone" and running and attempt + 1 < BEGINNING_TRIES:
                    await asyncio.sleep(0.05)  # told to run, but not there yet
                    continue
                raise Failed(f"error: Internal error occurred: unable to upgrade connection: {err}") from err
            else:
                return await _converse(session, data)
        raise AssertionError

    async def _attach(self, line: Line, said: Said, stdin: str | None) -> None:
        pod = await self._pod(line.words[0])
        container = self._choose(pod, line.options, said)
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            raise Failed(f"error: cannot attach a container in a completed pod; current phase is {phase}")
        said.stderr += SESSION_NOTE
        session = self._agent.stream_source.attach(
            pod, RemoteOptions(container, frozenset({0, 1, 2} if stdin else {1, 2}))
        )
        _, out, err = await _converse(session, (stdin or "").encode())
        said.stdout += out
        said.stderr += err

    async def _cp(self, line: Line, said: Said, stdin: str | None) -> None:
        del stdin
        source, target = line.words
        if ":" in target:
            await self._copy_up(self._here(source), target, said, source)
        else:
            await self._copy_down(source, self._here(target), said)

    async def _copy_up(self, source: Path, target: str, said: Said, shown: str) -> None:
        if not await asyncio.to_thread(source.exists):
            raise Failed(f"error: {shown} doesn't exist in local filesystem")
        name, _, path = target.partition(":")
        pod = await self._pod(name)
        container = self._choose(pod, {}, said)
        packed = io.BytesIO()
        place = Path(path)
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, place.name, filter=_by_root)
        words = ["tar", "-xmf", "-", "-C", str(place.parent)]
        code, _, err = await self._command(pod, container, words, packed.getvalue())
        said.stderr += err
        if code:
            said.rc = 1
            said.stderr += f"command terminated with exit code {code}\n"

    async def _copy_down(self, source: str, target: Path, said: Said) -> None:
        """kubectl shows tar's complaints on its own standard output, and calls a missing file a success."""
        name, _, path = source.partition(":")
        pod = await self._pod(name)
        container = self._choose(pod, {}, said)
        worker = self._agent.worker(ObjectKey(self._namespace, name))
        found = None if worker is None else worker.running(container)
        assert found is not None
        session = self._agent.runtime.exec(*found, Command(("tar", "cf", "-", path)))
        data, complaints = await asyncio.gather(_drain(session, STDOUT), _drain(session, STDERR))
        session.close()
        said.stdout += complaints.decode()
        if data.strip(b"\0"):
            await asyncio.to_thread(_unpack_first, data, target)

    async def _forward(self, line: Line, said: Said, path: str | None) -> None:
        pod = await self._pod(line.words[0])
        phase = (pod.get("status") or {}).get("phase")
        if phase != "Running":
            raise Failed(f"error: unable to forward port because pod is not running. Current status={phase}")
        port = line.words[1].rpartition(":")[2]
        reader, writer = await self._connect(pod, int(port))
        said.stdout, said.rc = f"Forwarding from 127.0.0.1:EPHEMERAL -> {port}\n", None
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        said.response = {"status": int(head.split()[1]), "body": body}

    async def _connect(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(BEGINNING_TRIES):
            try:
                return await self._agent.stream_source.connect(pod, port)
            except DriverError:  # it runs, but does not listen yet
                await asyncio.sleep(0.05)
        return await self._agent.stream_source.connect(pod, port)

    async def _debug(self, line: Line, said: Said, stdin: str | None) -> None:
        del stdin
        pod = await self._pod(line.words[0])
        spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
        wanted = line.options["container"]
        plain = ("command", "args", "livenessProbe", "readinessProbe", "startupProbe")
        spec["containers"] = [
            {**{k: v for k, v in c.items() if k not in plain}, "command": line.command} if c["name"] == wanted else c
            for c in spec["containers"]
        ]
        copy = {"metadata": {"name": line.options["copy-to"], "namespace": self._namespace}, "spec": spec}
        await self._client.create(PODS, copy)
        said.stderr = LEGACY_NOTE

    async def _pod(self, name: str) -> Object:
        return await self._client.get(PODS, ObjectKey(self._namespace, name.removeprefix("pod/")))

    def _choose(self, pod: Object, options: Mapping[str, str], said: Said) -> str:
        if "container" in options:
            return options["container"]
        annotated = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER)
        if annotated:
            return str(annotated)
        names = _names(pod, shown=True)
        if len(names) > 1:
            said.stderr += f'Defaulted container "{names[0]}" out of: {", ".join(names)}\n'
        return names[0]

    def _here(self, path: str) -> Path:
        return self._host_files / Path(path).relative_to("/hostpath-fixture")


def _names(pod: Object, *, shown: bool = False) -> list[str]:
    spec = pod["spec"]
    init = [c["name"] for c in spec.get("initContainers") or ()]
    main = [c["name"] for c in spec["containers"]]
    return [*main, *(f"{name} (init)" for name in init)] if shown else [*init, *main]


async def _converse(session: Session, data: bytes) -> tuple[int, str, str]:
    async def feed() -> None:
        if data:
            await session.write(data)
            session.close_input()

    try:
        _, out, err = await asyncio.gather(feed(), _drain(session, STDOUT), _drain(session, STDERR))
        return await asyncio.shield(session.ended), out.decode(), err.decode()
    finally:
        session.close()


async def _drain(session: Session, stream: int) -> bytes:
    kept = b""
    while chunk := await session.read(stream):
        kept += chunk
    return kept


def _unpack_first(data: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.next()
        content = archive.extractfile(member) if member is not None else None
        target.write_bytes(content.read() if content is not None else b"")


def _by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
