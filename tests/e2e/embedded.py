"""An embedded cluster in a process of its own, driven by kubectl, and the stand-in for web images.

Where no registry answers, an image map of the tests lets a small program of this machine stand for the example apps'
images: it listens on port 80 of all the pod's addresses, answers with the pod's name, and ``/fetch/URL`` answers with
what the pod itself gets from ``http://URL``. Every use of it is to be seen in the pod's status.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import golden
from tiphys.app.datadir import ServerInfo
from tiphys.app.settings import Settings
from tiphys.app.up import detach, tiphys_command

SECONDS_MAX = 40.0
KUBECTL = shutil.which("kubectl") or ""
CORPUS = golden.corpus()
APPS = CORPUS / "cd" / "example-apps" if CORPUS else Path()
CAN_BRIDGE = os.geteuid() == 0 and bool(shutil.which("ip") and shutil.which("nft"))

needs_all = [
    pytest.mark.e2e,
    pytest.mark.skipif(not KUBECTL, reason="kubectl is not on this machine"),
    pytest.mark.skipif(CORPUS is None, reason="no corpus beside the project; set TIPHYS_CORPUS"),
    pytest.mark.skipif(not CAN_BRIDGE, reason="images that listen on port 80 need a bridge: root, ip and nft"),
]

STAND_IN = """#!/usr/bin/env python3
import http.server, os, signal, urllib.request
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["HOSTNAME"].encode()
        if self.path.startswith("/fetch/"):
            body = urllib.request.urlopen("http://" + self.path[7:], timeout=5).read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()
"""
MAP = """
[[entry]]
name = "web-stand-in"
match = ["gcr.io/google-samples/gb-frontend", "nginx"]
entrypoint = ["/web-stand-in"]
provides = {{ "/web-stand-in" = ["{program}"] }}
"""


class Driven:
    """A cluster as kubectl sees it."""

    server: ServerInfo

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            [KUBECTL, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            env=os.environ | {"KUBECONFIG": self.server.kubeconfig},
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """The object; {} where there is none."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "-o", "json", "--ignore-not-found", *arguments) or "{}")
        return found

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        return list(self.get(*arguments).get("items") or ())

    def wait(self, what: str, holds: Callable[[], Any], state: Callable[[], Any] | None = None) -> None:
        """Looks through kubectl, as a user would; a look takes about a tenth of a second itself."""
        ends = time.monotonic() + SECONDS_MAX
        while not holds():
            if time.monotonic() > ends:
                shown = state() if state else self.kubectl("get", "pods,events", "-A", check=False)
                raise AssertionError(f"{what}: {shown}")


class Cluster(Driven):
    """``tiphys up`` with its data in ``place``; ``runtime`` and ``network`` as its settings of those names."""

    def __init__(self, place: Path, runtime: str = "auto", network: str = "bridge") -> None:
        place.mkdir(parents=True, exist_ok=True)
        program, images = place / "web-stand-in", place / "image-map.toml"
        program.write_text(STAND_IN)
        program.chmod(0o755)
        images.write_text(MAP.format(program=program))
        flags = ["--data-dir", str(place / "data"), "--listen", "127.0.0.1:0", "--runtime", runtime]
        flags += ["--network", network]
        settings = {"TIPHYS_IMAGE_MAP": str(images), "TIPHYS_IMAGES": "map", "TIPHYS_S3_LISTEN": "127.0.0.1:0"}
        with environment(settings):
            self.server = detach(Settings(data_dir=place / "data"), tiphys_command("up", *flags))

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends its workloads first, whose network would stay for them, then the cluster."""
        try:
            self.kubectl("delete", "applications", "--all", "-A", "--timeout=10s", check=False)
            self.kubectl("delete", "deployments,replicasets,jobs", "--all", "-A", "--wait=false", check=False)
            self.kubectl("delete", "pods", "--all", "-A", "--grace-period=0", "--force", check=False)
        finally:
            os.kill(self.server.pid, signal.SIGTERM)
            os.waitpid(self.server.pid, 0)

    def apply(self, *objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))


class Repository:
    """A Git repository with all example apps in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        shutil.copytree(APPS, place)
        self.git("init", "-q", "-b", "master")
        self.head = self.commit("The example apps")

    @property
    def url(self) -> str:
        return f"file://{self.place}"

    def commit(self, message: str) -> str:
        """All that changed; the commit."""
        self.git("add", "-A")
        self.git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.place), *arguments], capture_output=True, text=True, check=True)
        return done.stdout


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def fetched(url: str, host: str = "") -> str:
    """What this machine gets from ``url``; "" where nothing answers, or with an error."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""
