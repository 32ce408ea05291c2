"""Texts come from files, folders, standard input and addresses, within bounds."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tiphys.cli import sources
from tiphys.machinery.errors import SpecError


def names(*places: str) -> list[str]:
    return [source.name for source in sources.read(places)]


def test_a_folder_is_its_manifests_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "sub/c.json", "readme.md", ".hidden/x.yaml", ".y.yaml"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("a: 1")
    assert names(str(tmp_path)) == [str(tmp_path / name) for name in ("a.yml", "b.yaml", "sub/c.json")]


def test_a_folder_without_manifests_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no manifest in this folder"):
        names(str(tmp_path))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO("\ufeffkind: Workflow".encode())))
    assert list(sources.read(["-"])) == [sources.Source("<stdin>", "kind: Workflow")]


def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(SpecError, match=r"x.yaml:2: not UTF-8"):
        names(str(file))


def test_too_long_a_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BYTES_MAX", 10)
    file = tmp_path / "x.yaml"
    file.write_text("a" * 11)
    with pytest.raises(SpecError, match="longer than"):
        names(str(file))


def test_other_schemes_are_refused() -> None:
    with pytest.raises(SpecError, match="only http and https"):
        names("ftp://host/x.yaml")


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/hello.yaml" else 404)
        self.end_headers()
        self.wfile.write(b"kind: Workflow")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    httpd = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_an_address_is_fetched(server: str) -> None:
    assert list(sources.read([f"{server}/hello.yaml"])) == [sources.Source(f"{server}/hello.yaml", "kind: Workflow")]


def test_an_address_that_is_not_there(server: str) -> None:
    with pytest.raises(SpecError, match="the server answered 404"):
        names(f"{server}/other")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="cannot be fetched"):
        names("http://127.0.0.1:9/x.yaml")
