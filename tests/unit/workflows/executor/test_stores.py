"""Where artifacts are kept: which store serves which artifact, and an S3 that is a small server of this test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tiphys.workflows.drivers.artifacts.local import LocalStore
from tiphys.workflows.drivers.artifacts.registry import Drivers
from tiphys.workflows.drivers.artifacts.s3 import S3Driver
from tiphys.workflows.executor import deletion
from tiphys.workflows.executor.archives import Place
from tiphys.workflows.executor.errors import ExecutorError


class S3(ThreadingHTTPServer):
    """Objects by path (``/bucket/key``)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: S3

    def do_PUT(self) -> None:
        self.server.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.query:
            prefix = parse_qs(parts.query)["prefix"][0]
            keys = [path.removeprefix(f"{parts.path}/") for path in sorted(self.server.objects)]
            found = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys if key.startswith(prefix))
            self._answer(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())
        elif self.path in self.server.objects:
            self._answer(200, self.server.objects[self.path])
        else:
            self._answer(404)

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.path, None)
        self._answer(204)

    def _answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what went wrong."""


@pytest.fixture
def s3() -> Iterator[S3]:
    with S3() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def no_secret(name: str, key: str) -> str:
    raise ExecutorError(f"no secret {name}/{key}")


def away(server: S3, key: str) -> dict[str, Any]:
    return {"name": "a", "s3": {"endpoint": server.endpoint, "bucket": "b", "key": key, "insecure": True}}


def test_an_artifact_that_names_its_endpoint_is_there_and_others_are_local(tmp_path: Path) -> None:
    drivers = Drivers(no_secret, LocalStore(tmp_path))
    full = {"s3": {"endpoint": "s3.example.com", "bucket": "b", "key": "k"}}
    assert isinstance(drivers.driver_for(full), S3Driver)
    assert isinstance(drivers.driver_for({"s3": {"bucket": "b", "key": "k"}}), LocalStore)
    assert isinstance(drivers.driver_for({"s3": {"endpoint": "local", "bucket": "b", "key": "k"}}), LocalStore)


def test_saved_loaded_and_deleted_in_the_s3_that_is_named(s3: S3, tmp_path: Path) -> None:
    drivers = Drivers(no_secret, LocalStore(tmp_path / "local"))
    artifact = away(s3, "x/file")
    source = tmp_path / "source"
    source.write_text("text")
    driver = drivers.driver_for(artifact)
    driver.save(Place(source, "/source"), artifact)
    assert s3.objects == {"/b/x/file": b"text"}
    driver.load(artifact, tmp_path / "target")
    assert (tmp_path / "target").read_text() == "text"
    driver.delete(artifact)
    assert s3.objects == {} and not (tmp_path / "local").exists()


def test_a_directory_in_s3_is_deleted_whole(s3: S3) -> None:
    s3.objects |= {"/b/dir/1": b"", "/b/dir/2/3": b"", "/b/directory": b""}
    artifact = away(s3, "dir/")
    Drivers(no_secret).driver_for(artifact).delete(artifact)
    assert list(s3.objects) == ["/b/directory"]


def test_the_local_store_keeps_no_empty_directories(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for key in ("wf/pod/a", "wf/other/b"):
        place = store.place_of({"s3": {"key": key}})
        place.parent.mkdir(parents=True)
        place.touch()
    store.delete({"s3": {"key": "wf/pod/a"}})
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["artifacts", "b", "other", "wf"]
    store.delete({"s3": {"key": "wf/pod/a"}})


def test_a_task_says_of_each_artifact_what_came_of_it(s3: S3, tmp_path: Path) -> None:
    s3.objects["/b/k"] = b"x"
    place = away(s3, "prefix")["s3"]
    artifacts = {
        "here": {"name": "here", "s3": {"key": "k"}},
        "text": {"name": "text", "raw": {"data": "x"}},
        "cloud": {"name": "cloud", "gcs": {"bucket": "b", "key": "k"}},
    }
    task = {"spec": {"artifactsByNode": {"n": {"archiveLocation": {"s3": place}, "artifacts": artifacts}}}}
    status = deletion.delete(task, Drivers(no_secret, LocalStore(tmp_path)))
    found = status["artifactResultsByNode"]["n"]["artifactResults"]
    assert found == {
        "here": {"name": "here", "success": True},
        "text": {"name": "text", "error": deletion.NOT_SUPPORTED},
        "cloud": {"name": "cloud", "error": "Unsupported artifact driver for cloud"},
    }
    assert s3.objects == {}
    assert len(list(deletion.failures(status))) == 2
