"""The agent's answer to exec, attach and port-forward (``apiserver.streams.StreamSource``)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.cluster.apiserver.streams import RemoteOptions
from tiphys.cluster.node.changes import FileChanges
from tiphys.cluster.node.inprocess import InProcessContainer
from tiphys.cluster.node.outputs import OutputSession
from tiphys.cluster.node.runtime import Command, Container, Launch, Session, StartFailure
from tiphys.cluster.node.runtimes.attaching import ConsoleSession
from tiphys.machinery.errors import DriverError
from tiphys.machinery.resources import key_of

if TYPE_CHECKING:
    from tiphys.cluster.node.agent import Agent

Object = Mapping[str, Any]
DIAL_SECONDS_MAX = 10.0
LOOPBACK = "127.0.0.1"
_CLONE_NEWNET = 0x40000000


class StreamSource:
    """Finds the container that is meant and lets its runtime do the rest."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._changes = FileChanges()

    def check(self, pod: Object, container: str) -> None:
        self._find(pod, container)

    def exec(self, pod: Object, options: RemoteOptions) -> Session:
        container, launch = self._find(pod, options.container)
        command = Command(options.command, stdin=options.stdin, tty=options.tty)
        return self._agent.runtime.exec(container, launch, command)

    def attach(self, pod: Object, options: RemoteOptions) -> Session:
        container, launch = self._find(pod, options.container)
        if launch.stdin or launch.tty:
            return ConsoleSession(container, launch.place, has_input=options.stdin)
        runtime = self._agent.runtime
        files = runtime.log_files(launch.place, launch.split_output)
        return OutputSession(container, files, runtime.writers(container), self._changes)

    async def connect(self, pod: Object, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the pod's loopback address, in its own network where it has one; where the machine's network is shared
        by addresses, to its own one. Raises DriverError.
        """
        worker = self._agent.worker(key_of(pod))
        if worker is None:
            raise DriverError("pod is not running")
        living = (worker.running(container["name"]) for container in pod["spec"]["containers"])
        network = next((found[1].network for found in living if found is not None), "")
        try:
            async with asyncio.timeout(DIAL_SECONDS_MAX):
                if not network:
                    return await asyncio.open_connection(worker.own_address or LOOPBACK, port)
                link = await asyncio.to_thread(_socket_in, network)
                await asyncio.get_running_loop().sock_connect(link, (LOOPBACK, port))
                return await asyncio.open_connection(sock=link)
        except OSError as err:
            why = f"dial tcp4 {LOOPBACK}:{port}: connect: {(err.strerror or str(err)).lower()}"
            raise DriverError(f"failed to connect to localhost:{port} inside the pod: {why}") from err

    def _find(self, pod: Object, name: str) -> tuple[Container, Launch]:
        """Raises StartFailure."""
        worker = self._agent.worker(key_of(pod))
        found = None if worker is None else worker.running(name)
        if found is None or isinstance(found[0], InProcessContainer):
            raise StartFailure("ContainerGone", f'container not found ("{name}")')
        return found


def _socket_in(network: str) -> socket.socket:
    """A socket of another network namespace. Raises OSError.

    A socket belongs to the namespace of the thread that makes it; a thread of its own changes over and ends.
    """
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            descriptor = os.open(network, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(descriptor)
            link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            link.setblocking(False)
            made.append(link)
        except OSError as err:
            made.append(err)

    thread = threading.Thread(target=make, name="tiphys-dial")
    thread.start()
    thread.join()
    found = made[0]
    if isinstance(found, OSError):
        raise found
    return found
