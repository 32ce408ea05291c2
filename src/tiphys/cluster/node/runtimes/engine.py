"""The ``engine`` runtime: containers by Docker or Podman, over the engine's socket; the only one with roots on macOS.

The engine keeps images, roots, limits and exit codes; here is what a life needs beside it: its output in our files,
its name made from its place (so that it is started once, whoever asks), and files of the container fetched when asked
for. Commands in containers go through the ``docker`` or ``podman`` program, which knows how to carry terminals.

The containers of a life and of the one before it stay until their pod is discarded: what they left can be read, and a
new agent finds them by their labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from weakref import WeakValueDictionary

from tiphys.cluster.node import cgroups
from tiphys.cluster.node.identity import USUAL_CAPABILITIES
from tiphys.cluster.node.images.layers import unpack
from tiphys.cluster.node.images.map import Image, ImageUnavailable, Pulled, PullRequest, check_name
from tiphys.cluster.node.rootfs import resolve
from tiphys.cluster.node.runtime import (
    Command,
    Container,
    Launch,
    LimitRefused,
    RuntimeUnusable,
    StartFailure,
    Writers,
)
from tiphys.cluster.node.runtimes import bundle, shim
from tiphys.cluster.node.runtimes.engine_api import Engine, EngineError, sockets
from tiphys.cluster.node.runtimes.oci import check_size
from tiphys.cluster.node.runtimes.process import CANNOT_START, DEFAULT_PATH, check_running, exec_failure
from tiphys.cluster.node.runtimes.sandbox import hosts_file
from tiphys.cluster.node.runtimes.sessions import ProcessSession
from tiphys.cluster.node.runtimes.spawn import Starter
from tiphys.machinery.podlife import Exit
from tiphys.oci.manifests import ImageError, parse_config

POD, CONTAINER, ATTEMPT, PLACE = "tiphys.pod", "tiphys.container", "tiphys.attempt", "tiphys.place"
MESSAGE_PATH = "/dev/termination-log"
_FRACTION = re.compile(r"\.(\d{6})\d*")


class EngineContainer:
    """A life in the engine. What it does is followed by a task of the loop."""

    def __init__(
        self, engine: Engine, launch_name: str, attempt: int, place: Path, apart: bool, starting: asyncio.Lock
    ) -> None:
        """``starting`` is shared by all that may start this life."""
        self.name = launch_name
        self.attempt = attempt
        self.place = place
        self.started_at = shim.CLOCK.now()
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.id = container_name(place)
        self._engine = engine
        self._apart = apart
        self._starting = starting
        self._signals: list[int] = []
        self._runs = False
        self._doomed = False
        self.outputs: Writers | None = None  # not written to: each stands where its output has come to
        self._task: asyncio.Task[None] | None = None

    def begin(self, body: Any | None) -> None:
        """Makes and starts the container where that was not done before, then follows it."""
        self._task = asyncio.get_running_loop().create_task(self._live(body))

    def doom(self) -> None:
        """Nothing of it may go on, though it may not have begun yet."""
        self._doomed = True
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(EngineError):
            self._engine.call("DELETE", f"/containers/{self.id}", force="1", v="1")

    def signal(self, number: int) -> None:
        if not self._runs:
            self._signals.append(number)
        elif not self.ended.done():
            with contextlib.suppress(EngineError):
                self._engine.call("POST", f"/containers/{self.id}/kill", signal=str(number))

    async def _live(self, body: Any | None) -> None:
        try:
            if body is not None:
                async with self._starting:  # or it may have ended between our look and our start, which is another one
                    await self._start(body)
                await self._forget_earlier(body["Labels"])
            self._runs = True
            if self._doomed:
                self._remove()
            for number in self._signals:
                self.signal(number)
            await asyncio.gather(self._keep_output(), self._engine.ask("POST", f"/containers/{self.id}/wait"))
            end = _exit_of(await self._engine.ask("GET", f"/containers/{self.id}/json"), self.started_at)
        except EngineError as err:
            now = shim.CLOCK.now()
            end = Exit(128, self.started_at, now, "StartError", str(err)) if not self._runs else _lost(self, err)
        if not self.ended.done():
            self.ended.set_result(end)

    async def _start(self, body: Any) -> None:
        try:
            await self._engine.ask("POST", "/containers/create", body, name=self.id)
        except EngineError as err:
            if err.status != 409 and "already in use" not in str(err):  # it was made before
                raise
        state = (await self._engine.ask("GET", f"/containers/{self.id}/json"))["State"]
        if state["Status"] in ("created", "configured", "initialized"):
            await self._engine.ask("POST", f"/containers/{self.id}/start")

    async def _forget_earlier(self, labels: Mapping[str, str]) -> None:
        """The life before this one stays, for who asks what it said; those before that go."""
        if self.attempt < 2:
            return
        with contextlib.suppress(EngineError):
            for row in await self._engine.ask("GET", "/containers/json", **_having(labels, POD, CONTAINER)) or ():
                found = row["Labels"]
                if Path(found[PLACE]).parent == self.place.parent and int(found[ATTEMPT]) < self.attempt - 1:
                    await self._engine.ask("DELETE", f"/containers/{row['Id']}", v="1")

    async def _keep_output(self) -> None:
        """From the beginning, each time somebody follows: files that are there already are written anew."""
        places = shim.log_files(self.place, self._apart)
        files = [place.open("wb") for place in places]
        out, err = self.outputs = os.open(places[0], os.O_RDONLY), os.open(places[-1], os.O_RDONLY)
        try:
            query = {"follow": "1", "stdout": "1", "stderr": "1"}
            async for stream, data in self._engine.frames(f"/containers/{self.id}/logs", **query):
                file = files[-1 if stream == 2 else 0]
                file.write(data)
                file.flush()
                os.lseek(err if stream == 2 else out, file.tell(), os.SEEK_SET)
        finally:
            self.outputs = None
            os.close(out)
            os.close(err)
            for file in files:
                file.close()


class EngineRuntime(Starter):
    """``place`` is the engine's socket; without it the usual places are tried."""

    name = "engine"
    isolated = True
    uses_files = True
    same_users = True

    def __init__(self, directory: Path, place: Path | None = None) -> None:
        self._directory = directory
        self._places = [place] if place else sockets()
        self._engine: Engine | None = None
        self._is_podman = False
        self._begun: dict[Path, EngineContainer] = {}
        self._starts: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self.base_env = {"PATH": DEFAULT_PATH}

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise StartFailure("StartError", "no container engine was found to work")
        return self._engine

    async def probe(self, scratch: Path) -> None:
        """Asks each socket; one that has any image must really run a container from it."""
        refused = []
        for place in self._places:
            engine = Engine(place)
            try:
                version = await engine.ask("GET", "/version")
                await _try_to_run(engine, await engine.ask("GET", "/images/json"))
            except EngineError as err:
                refused.append(str(err))
                continue
            self._engine, self._is_podman = engine, "podman" in json.dumps(version).lower()
            return
        raise RuntimeUnusable("; ".join(refused) or "neither Docker nor Podman listens on this machine")

    def start(self, launch: Launch) -> EngineContainer:
        check_size(launch)
        container = self._container(launch.container, launch.attempt, launch.place, launch.split_output)
        own = Path(f"{launch.place}.engine")
        own.mkdir(exist_ok=True)
        for name, text in (("hosts", hosts_file(launch)), ("resolv.conf", launch.resolv_conf), ("message", "")):
            (own / name).touch()
            if text:
                (own / name).write_text(text, encoding="utf-8")
        (own / "message").chmod(0o666)
        self._begun[launch.place] = container
        container.ended.add_done_callback(lambda _: self._begun.pop(launch.place, None))
        container.begin(_creation(launch, own))
        return container

    def exec(self, container: Container, launch: Launch, command: Command) -> ProcessSession:
        check_running(container)
        names = ("podman", "docker") if self._is_podman else ("docker", "podman")  # each knows its own best
        program = next(filter(None, map(shutil.which, names)), None)
        if program is None:
            raise StartFailure("ExecFailed", "commands in containers of an engine need its program, docker or podman")
        self._check_program(launch, command.argv[0])
        where = f"unix://{self.engine.place}"
        remote = ["--host", where] if program.endswith("docker") else ["--remote", "--url", where]
        flags = [flag for flag, wanted in (("-i", command.stdin or command.tty), ("-t", command.tty)) if wanted]
        words = [program, *remote, "exec", *flags, container_name(launch.place), *command.argv]
        session = ProcessSession(container, self.watch)
        session.start(self.spawner, words, dict(os.environ), command)
        return session

    def _check_program(self, launch: Launch, word: str) -> None:
        """Raises ``StartFailure`` where the container has no such file."""
        path = launch.env.get("PATH", DEFAULT_PATH)
        places = [word] if "/" in word else [f"{place}/{word}" for place in path.split(":") if place]
        if not any(self._has(launch, place) for place in places):
            said = f"stat {word}: no such file or directory" if "/" in word else "executable file not found in $PATH"
            raise exec_failure(StartFailure("StartError", f'{CANNOT_START}exec: "{word}": {said}'))

    def _has(self, launch: Launch, path: str) -> bool:
        try:
            self.engine.call("HEAD", f"/containers/{container_name(launch.place)}/archive", path=path)
        except EngineError:
            return False
        return True

    def adopt(self, pod_uid: str, directory: Path) -> Sequence[EngineContainer]:
        found = []
        for row in self._of_pod(pod_uid):
            labels = row.get("Labels") or {}
            place = Path(labels[PLACE])
            if place.parent == directory:
                apart = Path(f"{place}.stdout").exists()
                found.append(self._container(labels[CONTAINER], int(labels[ATTEMPT]), place, apart))
        found.sort(key=lambda container: (container.name, container.attempt))
        for container in found:
            container.begin(None)
        return found

    def host_path(self, launch: Launch, path: str) -> Path | None:
        """A copy of what the container has there, made when it is asked for; what is mounted is where it is."""
        wanted = PurePosixPath(path)
        if any(wanted.is_relative_to(mount.target) for mount in launch.mounts):
            mounted = resolve(launch.mounts, (), path)
            if mounted is not None:  # else a link there leads into the container's own files
                return mounted
        target = Path(f"{launch.place}.engine", "taken", hashlib.sha256(path.encode()).hexdigest()[:16])
        if not target.exists():
            self._take(launch, path, target)
        return target / (wanted.name or ".")

    def _take(self, launch: Launch, path: str, target: Path) -> None:
        target.mkdir(parents=True)
        with tempfile.TemporaryFile() as archive, contextlib.suppress(EngineError, ImageError):
            where = f"/containers/{container_name(launch.place)}/archive"
            self.engine.download(where, archive, {"path": path})
            archive.seek(0)
            unpack(archive, target)

    def log_files(self, place: Path, apart: bool | None = None) -> Sequence[Path]:
        return shim.log_files(place, apart)

    def writers(self, container: Container) -> Writers | None:
        outputs = container.outputs if isinstance(container, EngineContainer) else None
        return None if outputs is None else (os.dup(outputs[0]), os.dup(outputs[1]))

    def termination_message(self, launch: Launch) -> Path | None:
        return Path(f"{launch.place}.engine", "message")

    def resize(self, container: Container, launch: Launch) -> None:
        limits = _limits(cgroups.limits_of_launch(launch))
        try:
            self.engine.call("POST", f"/containers/{container_name(launch.place)}/update", limits)
        except EngineError as err:
            raise LimitRefused(str(err)) from err

    def discard(self, pod_uid: str, directory: Path) -> None:
        for place, container in list(self._begun.items()):
            if place.parent == directory:
                container.doom()
        for row in self._of_pod(pod_uid):
            if Path((row.get("Labels") or {})[PLACE]).parent == directory:
                with contextlib.suppress(EngineError):
                    self.engine.call("DELETE", f"/containers/{row['Id']}", force="1", v="1")

    def _of_pod(self, pod_uid: str) -> list[Any]:
        rows: list[Any] = self.engine.call("GET", "/containers/json", **_having({POD: pod_uid}, POD)) or []
        return rows

    def _container(self, name: str, attempt: int, place: Path, apart: bool) -> EngineContainer:
        starting = self._starts.setdefault(place, asyncio.Lock())
        return EngineContainer(self.engine, name, attempt, place, apart, starting)


@dataclass(frozen=True)
class EngineImages:
    """An ``ImageSource``: the engine's own images, and what it pulls."""

    runtime: EngineRuntime

    def at_hand(self, reference: str, policy: str) -> Image | None:
        name = check_name(reference)
        found = self._inspect(str(name)) if policy != "Always" else None
        if found is None and policy == "Never":
            said = f'Container image "{reference}" is not present with pull policy of Never'
            raise ImageUnavailable("ErrImageNeverPull", said)
        return found

    async def pull(self, request: PullRequest) -> Pulled:
        name, began = check_name(request.reference), shim.CLOCK.monotonic()
        query = {"fromImage": name.repository, "tag": name.selector}
        try:
            said = await self.runtime.engine.ask("POST", "/images/create", **query)
        except EngineError as err:
            raise ImageUnavailable("ErrImagePull", f'failed to pull and unpack image "{name}": {err}') from err
        image = self._inspect(str(name))
        if image is None:
            last = str(said).strip().splitlines()[-1:] or ["nothing came"]
            raise ImageUnavailable("ErrImagePull", f'failed to pull and unpack image "{name}": {last[0]}')
        return Pulled(image, shim.CLOCK.monotonic() - began, 0.0, 1)

    def _inspect(self, name: str) -> Image | None:
        try:
            row = self.runtime.engine.call("GET", f"/images/{name}/json")
        except EngineError:
            return None
        config = parse_config(json.dumps({"config": row.get("Config") or {}}).encode())
        digests = row.get("RepoDigests") or [row["Id"]]
        return Image(
            name, digests[0], config.entrypoint, config.cmd, config.env, config.workdir,
            user=config.user if config.user.partition(":")[0].isdecimal() else "", stop_signal=config.stop_signal,
        )  # fmt: skip


def container_name(place: Path) -> str:
    """One name per life, so that the engine itself refuses to start it twice."""
    return f"tiphys-{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}"


def _having(labels: Mapping[str, str], *names: str) -> dict[str, str]:
    """The query for all containers that have these labels, whether they run or not."""
    return {"all": "1", "filters": json.dumps({"label": [f"{name}={labels[name]}" for name in names]})}


def _creation(launch: Launch, own: Path) -> dict[str, Any]:
    spec = launch.pod.get("spec") or {}
    keys = ("initContainers", "containers", "ephemeralContainers")
    rows = (c for key in keys for c in spec.get(key) or () if c["name"] == launch.container)
    row: Mapping[str, Any] = next(rows, {})
    who, limits = launch.identity, cgroups.limits_of(row)
    command = (*launch.wrapper, *launch.argv)
    body = {
        "Image": row.get("image", ""),
        "Entrypoint": [command[0]],
        "Cmd": list(command[1:]),
        "Env": [f"{name}={value}" for name, value in launch.env.items()],
        "WorkingDir": launch.cwd or "/",
        "Hostname": launch.hostname,
        "Labels": {
            POD: launch.pod_uid,
            CONTAINER: launch.container,
            ATTEMPT: str(launch.attempt),
            PLACE: str(launch.place),
        },
        "HostConfig": _host_config(launch, own, limits),
    }
    if who.uid is not None:
        body["User"] = f"{who.uid}:{who.gid or 0}"
    return body


def _host_config(launch: Launch, own: Path, limits: cgroups.Limits) -> dict[str, Any]:
    who = launch.identity
    files = [("message", MESSAGE_PATH), ("hosts", "/etc/hosts")]
    files += [("resolv.conf", "/etc/resolv.conf")] if launch.resolv_conf else []
    binds = [f"{own / name}:{target}" for name, target in files]
    binds += [f"{mount.source}:{mount.target}{':ro' if mount.read_only else ''}" for mount in launch.mounts]
    wanted = USUAL_CAPABILITIES if who.capabilities is None else who.capabilities
    options = ["no-new-privileges"] if who.no_new_privileges else []
    options += [] if bundle.security_of(launch).filtered else ["seccomp=unconfined"]
    return {
        "Binds": binds,
        "NetworkMode": "host",
        "Privileged": who.privileged,
        "CapDrop": [] if who.privileged else ["ALL"],
        "CapAdd": [] if who.privileged else list(wanted),
        "GroupAdd": [str(group) for group in who.groups],
        "ReadonlyRootfs": launch.read_only_root,
        "SecurityOpt": options,
        "PidsLimit": limits.pids,
        **_limits(limits),
    }


def _limits(limits: cgroups.Limits) -> dict[str, int]:
    """What can be changed while a container runs; its swap goes along, or the limit could not grow beyond it."""
    memory = limits.memory_bytes or 0
    return {"Memory": memory, "MemorySwap": memory, "NanoCpus": int((limits.cpu or 0) * 1e9)}


async def _try_to_run(engine: Engine, images: list[Any]) -> None:
    if not images:
        return
    name = f"tiphys-probe-{os.getpid()}"
    body = {"Image": images[0]["Id"], "Entrypoint": ["true"], "HostConfig": {"NetworkMode": "host"}}
    try:
        await engine.ask("POST", "/containers/create", body, name=name)
        try:
            await engine.ask("POST", f"/containers/{name}/start")
            await engine.ask("POST", f"/containers/{name}/wait")
        except EngineError as err:
            if "not found" not in str(err):  # an image may well have no such program
                raise
    finally:
        with contextlib.suppress(EngineError):
            await engine.ask("DELETE", f"/containers/{name}", force="1")


def _exit_of(row: Any, otherwise: datetime) -> Exit:
    state = row["State"]
    began, ended = _moment(state.get("StartedAt"), otherwise), _moment(state.get("FinishedAt"), shim.CLOCK.now())
    reason = "OOMKilled" if state.get("OOMKilled") else ""
    return Exit(int(state.get("ExitCode") or 0), min(began, ended), ended, reason)


def _lost(container: EngineContainer, err: EngineError) -> Exit:
    return Exit(137, container.started_at, shim.CLOCK.now(), "ContainerStatusUnknown", str(err))


def _moment(text: str | None, otherwise: datetime) -> datetime:
    """RFC 3339 with nanoseconds; the year 1 stands for never."""
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r".\1", text or "").replace("Z", "+00:00"))
    except ValueError:
        return otherwise
    return otherwise if moment.year < 1970 else moment.astimezone(UTC)
