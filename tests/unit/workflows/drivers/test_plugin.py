"""Artifact plugins: the gRPC client against an HTTP/2 library that is not ours, the driver against a plugin."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from tests.services import S3, serving
from tiphys.workflows.drivers.artifacts.grpc import Channel, GrpcError
from tiphys.workflows.drivers.artifacts.hpack import Decoder, HpackError
from tiphys.workflows.drivers.artifacts.plugin import PluginDriver
from tiphys.workflows.executor.artifacts import PluginPlace
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

DRIVER = Path(__file__).parents[3] / "artifact_driver.py"
Object = dict[str, Any]
Headers = list[tuple[str, str]]

words = st.text(st.characters(codec="latin-1", min_codepoint=32), max_size=200)


@given(st.lists(st.lists(st.tuples(st.sampled_from((":status", "grpc-status", "x")), words), max_size=8), max_size=8))
def test_headers_as_another_library_packs_them(blocks: list[Headers]) -> None:
    """With Huffman codes, and the tables that both sides keep."""
    packer, decoder = Encoder(), Decoder()
    for block in blocks:
        assert decoder.decode(packer.encode(block)) == block


@given(st.binary(max_size=64))
def test_headers_that_are_none(block: bytes) -> None:
    with contextlib.suppress(HpackError):
        Decoder().decode(block)


# A service on the library: what it does with a request is the test's.

Answering = Callable[[h2.connection.H2Connection, int, str, bytes], None]


@contextlib.contextmanager
def service(place: Path, answering: Answering) -> Iterator[Channel]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, answering), daemon=True)
        thread.start()
        yield Channel(place, ready_seconds=60)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def _serve(listener: socket.socket, answering: Answering) -> None:
    with contextlib.suppress(OSError):
        while True:
            link, _ = listener.accept()
            with link, contextlib.suppress(OSError):  # who had its answer may be gone
                _converse(link, answering)


def _converse(link: socket.socket, answering: Answering) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    asked: dict[int, tuple[str, bytes]] = {}
    while data := link.recv(65_536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                asked[event.stream_id] = (dict(event.headers)[":path"], b"")
            elif isinstance(event, h2.events.DataReceived):
                method, body = asked[event.stream_id]
                asked[event.stream_id] = (method, body + event.data)
            elif isinstance(event, h2.events.StreamEnded):
                answering(connection, event.stream_id, *asked[event.stream_id])
        link.sendall(connection.data_to_send())


def packed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def echo(connection: h2.connection.H2Connection, stream: int, method: str, body: bytes) -> None:
    connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    for at in range(0, len(body), 10_000):
        connection.send_data(stream, body[at : at + 10_000])
    connection.send_headers(stream, [("grpc-status", "0"), ("x-method", method)], end_stream=True)


@pytest.mark.parametrize("size", [0, 1, 20_000, 60_000])
def test_a_call(tmp_path: Path, size: int) -> None:
    with service(tmp_path / "socket", echo) as channel:
        assert channel.call("/a.B/Echo", b"x" * size) == b"x" * size


def test_a_socket_with_a_long_name(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with service(tmp_path / "socket", echo):
        (tmp_path / "socket").rename(deep / "socket")
        assert Channel(deep / "socket", 60).call("/a.B/Echo", b"hi") == b"hi"


def test_a_call_that_fails(tmp_path: Path) -> None:
    def refuse(connection: h2.connection.H2Connection, stream: int, method: str, body: bytes) -> None:
        said = [("grpc-status", "12"), ("grpc-message", f"no {method}%0A%C3%A4")]
        connection.send_headers(stream, [(":status", "200"), *said], end_stream=True)

    with service(tmp_path / "socket", refuse) as channel, pytest.raises(GrpcError) as err:
        channel.call("/a.B/C", b"")
    assert str(err.value) == "rpc error: code = Unimplemented desc = no /a.B/C\nä"
    assert err.value.code == 12


def test_a_service_that_does_not_stop_to_answer(tmp_path: Path) -> None:
    """The one message is all that is read, however many more come."""

    def chatter(connection: h2.connection.H2Connection, stream: int, method: str, body: bytes) -> None:
        connection.send_headers(stream, [(":status", "200")])
        connection.send_data(stream, packed(b"x") * 2)

    with service(tmp_path / "socket", chatter) as channel, pytest.raises(GrpcError, match="more than one message came"):
        channel.call("/a.B/C", b"")


def test_a_service_that_goes_away(tmp_path: Path) -> None:
    def leave(connection: h2.connection.H2Connection, stream: int, method: str, body: bytes) -> None:
        raise OSError

    with service(tmp_path / "socket", leave) as channel, pytest.raises(GrpcError, match="code = Unavailable"):
        channel.call("/a.B/C", b"")


def test_a_service_that_never_speaks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with pytest.raises(GrpcError, match="does not answer"):
            Channel(tmp_path / "socket", ready_seconds=0.1).call("/a.B/C", b"")


def test_a_request_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(GrpcError, match="ResourceExhausted"):
        Channel(tmp_path / "socket", 1).call("/a.B/C", b"x" * 70_000)


# The driver.


@pytest.fixture(params=["shared", "apart"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PluginPlace]:
    """A plugin that sees this machine's files, or only those of a directory (which here has the same name for it)."""
    files, own, socket_path = (tmp_path / "plugin" / name for name in ("files", "own", "socket"))
    files.mkdir(parents=True)
    own.mkdir()
    with subprocess.Popen([sys.executable, "-I", "-S", DRIVER, socket_path]) as process:
        try:
            yield PluginPlace(socket_path, files, own, "" if request.param == "shared" else str(files))
        finally:
            process.terminate()
    assert process.returncode in (0, -15)


def an_artifact(endpoint: str, key: str) -> Object:
    plugin = {"name": "test", "configuration": f"bucket: b\nendpoint: {endpoint}\n", "key": key}
    return {"name": "a", "plugin": {**plugin, "connectionTimeoutSeconds": 60}}


def test_files_and_directories_go_to_the_plugin_and_back(place: PluginPlace, tmp_path: Path) -> None:
    source, driver = tmp_path / "source", PluginDriver({"test": place})
    (source / "in").mkdir(parents=True)
    (source / "one.txt").write_text("one")
    (source / "in" / "two.txt").write_text("two")
    with serving(S3()) as s3:
        file, tree = an_artifact(s3.endpoint, "file"), an_artifact(s3.endpoint, "tree")
        driver.save(Place(source / "one.txt", "/one.txt"), file)
        driver.save(Place(source, "/source"), tree)
        assert sorted(s3.objects) == ["/b/file", "/b/tree/in/two.txt", "/b/tree/one.txt"]
        driver.load(file, tmp_path / "file")
        driver.load(tree, tmp_path / "tree")
        assert (tmp_path / "file").read_text() == "one"
        assert (tmp_path / "tree" / "in" / "two.txt").read_text() == "two"
        assert driver.list_objects(tree) == ["tree/in/two.txt", "tree/one.txt"]
        driver.delete(tree)
        assert sorted(s3.objects) == ["/b/file"]
        with pytest.raises(ExecutorError, match=r"plugin test load failed: key not found: tree"):
            driver.load(tree, tmp_path / "again")
    assert (source / "one.txt").read_text() == "one"
    assert not [*place.files.iterdir(), *place.own.iterdir()]


def test_a_plugin_that_leaves_a_link(tmp_path: Path) -> None:
    """To a file of this machine, which the step would be shown."""
    files, own = tmp_path / "files", tmp_path / "own"
    files.mkdir()
    own.mkdir()

    def link(connection: h2.connection.H2Connection, stream: int, method: str, body: bytes) -> None:
        (made,) = files.iterdir()
        (made / "artifact").symlink_to("/etc/passwd")
        connection.send_headers(stream, [(":status", "200")])
        connection.send_data(stream, packed(b"\x08\x01"))
        connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    with service(tmp_path / "socket", link):
        driver = PluginDriver({"test": PluginPlace(tmp_path / "socket", files, own, str(files))})
        with pytest.raises(ExecutorError, match="no file and no directory"):
            driver.load(an_artifact("x", "k"), tmp_path / "target")
    assert not [*files.iterdir(), *own.iterdir()]


@pytest.mark.parametrize("answer", [b"\xff", b"\x00", b"\x12\x7f"])
def test_a_plugin_whose_answer_is_no_message(tmp_path: Path, answer: bytes) -> None:
    def babble(connection: h2.connection.H2Connection, stream: int, method: str, body: bytes) -> None:
        connection.send_headers(stream, [(":status", "200")])
        connection.send_data(stream, packed(answer))
        connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    with service(tmp_path / "socket", babble):
        driver = PluginDriver({"test": PluginPlace(tmp_path / "socket", tmp_path, tmp_path)})
        artifact = an_artifact("x", "k")
        with pytest.raises(ExecutorError, match="plugin test delete failed: "):
            driver.delete(artifact)
        with pytest.raises(ExecutorError, match="plugin test list objects failed: "):
            driver.list_objects(artifact)


def test_a_plugin_that_is_not_there() -> None:
    with pytest.raises(ExecutorError, match="artifact driver test not found"):
        PluginDriver({}).delete(an_artifact("x", "k"))
