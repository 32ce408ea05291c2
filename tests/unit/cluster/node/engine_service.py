"""A container engine for tests: the one that listens here, else Podman's service, started on a socket of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cluster.node.images.building import ImageFiles, busybox_layer
from tiphys.cluster.node.runtimes.engine_api import Engine, EngineError

TEST_IMAGE = "localhost/tiphys-test/busybox:1"
# Where limits cannot be raised, Podman's own defaults must not be asked for.
CONFIG = """
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
START_SECONDS = 15.0


@pytest.fixture(scope="session")
def engine_socket() -> Iterator[Path]:
    """Skips where there is no engine, saying so."""
    program = shutil.which("podman")
    if program is None:
        pytest.skip("no container engine to start: podman is not installed")
    with tempfile.TemporaryDirectory(prefix="tiphys-engine-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        (place / "containers.conf").write_text(CONFIG)
        store = ["--root", folder + "/root", "--runroot", folder + "/run", "--storage-driver", "vfs"]
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin",
            "HOME": folder,
            "CONTAINERS_CONF": folder + "/containers.conf",
        }
        words = [program, *store, "system", "service", "-t", "0", f"unix://{place}/engine.sock"]
        with (place / "log").open("wb") as log, subprocess.Popen(words, env=env, stdout=log, stderr=log) as service:
            try:
                _load(Engine(place / "engine.sock"), place)
                yield place / "engine.sock"
            finally:
                service.terminate()


def _load(engine: Engine, place: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            engine.call("GET", "/version")
            break
        except EngineError as err:
            if time.monotonic() > give_up:
                pytest.skip(f"podman's service does not start here: {err}")
            time.sleep(0.05)
    layer = busybox_layer()
    file = ImageFiles([layer], {"Cmd": ["sh"]}, "").saved(place / "image.tar", TEST_IMAGE, layers=[layer])
    curl = ["curl", "-sf", "--unix-socket", str(engine.place), "-H", "Content-Type: application/x-tar", "--data-binary"]
    subprocess.run([*curl, f"@{file}", "http://engine/images/load"], check=True, capture_output=True)
