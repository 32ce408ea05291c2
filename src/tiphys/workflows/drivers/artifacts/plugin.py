"""Artifacts kept by a plugin: a gRPC service (``artifact.ArtifactService``) in a container beside the step.

What is loaded or saved goes by path, not by content: the plugin and this machine see one directory, each by its own
name (``executor.artifacts.PluginPlace``). A file to be saved is linked into it, one that was loaded is moved out of it.
A plugin is no part of this machine's trust: what it leaves is not followed where it leads elsewhere.
Messages and errors are the original's (pkg/apiclient/artifact/artifact.proto, workflow/artifacts/plugin).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiphys.api import protobuf
from tiphys.workflows.drivers.artifacts.grpc import Channel, GrpcError
from tiphys.workflows.executor.artifacts import PluginPlace
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
SERVICE = "/artifact.ArtifactService"
READY_SECONDS = 5.0
SOCKET_SECONDS = 120.0
_LOOK_SECONDS = 0.02
# Fields of the messages that are not the artifact's.
_ARTIFACT, _PATH, _ARTIFACT_TO_SAVE = 1, 2, 2
_PATH_TO_SAVE = 1
_ARTIFACT_NAME = "artifact"


class PluginDriver:
    """The plugins of one pod, by name."""

    def __init__(self, plugins: Mapping[str, PluginPlace]) -> None:
        self._plugins = plugins

    def load(self, artifact: Object, target: Path) -> None:
        name, place = self._find(artifact)
        with _Shared(place) as shared:
            path = shared.draft(target)
            request = _message(_ARTIFACT, artifact) + protobuf.bytes_field(_PATH, path.encode())
            self._do(name, place, artifact, "Load", "load", request)
            try:
                shared.take(target)
            except ExecutorError as err:
                raise ExecutorError(f"plugin {name} load failed: {err}") from err

    def save(self, source: Place, artifact: Object) -> None:
        name, place = self._find(artifact)
        with _Shared(place) as shared:
            path = shared.offer(source.real)
            request = protobuf.bytes_field(_PATH_TO_SAVE, path.encode()) + _message(_ARTIFACT_TO_SAVE, artifact)
            self._do(name, place, artifact, "Save", "save", request)

    def delete(self, artifact: Object) -> None:
        name, place = self._find(artifact)
        self._do(name, place, artifact, "Delete", "delete", _message(_ARTIFACT, artifact))

    def list_objects(self, artifact: Object) -> list[str]:
        name, place = self._find(artifact)
        fields = self._call(name, place, artifact, "ListObjects", "list objects", _message(_ARTIFACT, artifact))
        error = _text(dict(fields).get(2, b""))
        if error:
            raise ExecutorError(f"plugin {name} list objects failed: {error}")
        return [_text(value) for number, value in fields if number == 1]

    def _find(self, artifact: Object) -> tuple[str, PluginPlace]:
        name = str(artifact["plugin"].get("name") or "")
        place = self._plugins.get(name)
        if place is None:
            raise ExecutorError(f"failed to create plugin driver for {name}: artifact driver {name} not found")
        return name, place

    def _do(self, name: str, place: PluginPlace, artifact: Object, method: str, verb: str, request: bytes) -> None:
        """A call whose answer is whether it went well."""
        answer = dict(self._call(name, place, artifact, method, verb, request))
        if not answer.get(1):
            raise ExecutorError(f"plugin {name} {verb} failed: {_text(answer.get(2, b''))}")

    def _call(
        self, name: str, place: PluginPlace, artifact: Object, method: str, verb: str, request: bytes
    ) -> list[tuple[int, int | bytes]]:
        """The fields of the answer."""
        _await_socket(name, place.socket)
        seconds = float(artifact["plugin"].get("connectionTimeoutSeconds") or READY_SECONDS)
        try:
            return list(protobuf.read_fields(Channel(place.socket, seconds).call(f"{SERVICE}/{method}", request)))
        except (GrpcError, protobuf.ProtobufError) as err:
            raise ExecutorError(f"plugin {name} {verb} failed: {err}") from err


class _Shared:
    """A directory for one transfer, which the plugin sees too.

    What the plugin sees it can exchange for a link at any time. So nothing is written there: files come and go by
    renaming, out of and into directories that it does not see.
    """

    def __init__(self, place: PluginPlace) -> None:
        self._place = place
        self._name = ""
        self._opened = -1

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened >= 0:
            os.close(self._opened)
        if self._name:
            shutil.rmtree(self._place.files / self._name, ignore_errors=True)

    def draft(self, target: Path) -> str:
        """Where the plugin is to write what belongs to ``target``."""
        if not self._place.inside:
            return str(target)
        self._publish(self._prepare())
        self._opened = os.open(
            self._place.files / self._name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        return f"{self._place.inside}/{self._name}/{_ARTIFACT_NAME}"

    def take(self, target: Path) -> None:
        """Brings what the plugin has written to ``target``. Raises ``ExecutorError`` for nothing, or a link."""
        if self._place.inside:
            aside = self._prepare()
            try:
                os.rename(_ARTIFACT_NAME, aside / _ARTIFACT_NAME, src_dir_fd=self._opened)
                if not (aside / _ARTIFACT_NAME).is_symlink():
                    shutil.move(aside / _ARTIFACT_NAME, target)
            except FileNotFoundError:
                raise ExecutorError("the plugin has written nothing") from None
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        if target.is_symlink() or not target.exists():
            raise ExecutorError("the plugin has written no file and no directory")

    def offer(self, source: Path) -> str:
        """What the plugin calls the file or directory."""
        if not self._place.inside:
            return str(source)
        made = self._prepare()
        if source.is_dir():
            shutil.copytree(source, made / source.name, symlinks=True, copy_function=_link)
        else:
            _link(source, made / source.name)
        self._publish(made)
        return f"{self._place.inside}/{self._name}/{source.name}"

    def _prepare(self) -> Path:
        made = Path(tempfile.mkdtemp(dir=self._place.own))
        made.chmod(0o777)  # the plugin may be another user
        return made

    def _publish(self, made: Path) -> None:
        made.rename(self._place.files / made.name)
        self._name = made.name


def _link(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _await_socket(name: str, socket: Path) -> None:
    until = time.monotonic() + SOCKET_SECONDS
    while not socket.exists():
        if time.monotonic() >= until:
            raise ExecutorError(
                f"failed to create plugin driver for {name}: plugin {name} expected unix socket at {socket} but it"
                f" does not exist after waiting for {SOCKET_SECONDS:g} seconds"
            )
        time.sleep(_LOOK_SECONDS)


def _message(number: int, artifact: Object) -> bytes:
    """The artifact as field ``number`` of a request."""
    plugin = artifact["plugin"]
    own = [
        (1, plugin.get("name")),
        (2, plugin.get("configuration")),
        (3, int(plugin.get("connectionTimeoutSeconds") or 0)),
        (4, plugin.get("key")),
    ]
    body = [
        (1, artifact.get("name")),
        (2, artifact.get("path")),
        (3, int(artifact.get("mode") or 0)),
        (4, artifact.get("from")),
        (5, _fields(own)),
        (6, bool(artifact.get("optional"))),
        (7, artifact.get("subPath")),
        (8, bool(artifact.get("recurseMode"))),
        (9, artifact.get("fromExpression")),
        (10, bool(artifact.get("deleted"))),
    ]
    return protobuf.bytes_field(number, _fields(body))


def _fields(values: list[tuple[int, Any]]) -> bytes:
    """As proto3 writes them: what is empty is left out."""
    out = b""
    for number, value in values:
        if isinstance(value, int):
            out += protobuf.number_field(number, value) if value else b""
        elif value:
            out += protobuf.bytes_field(number, value if isinstance(value, bytes) else str(value).encode())
    return out


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
