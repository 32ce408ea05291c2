"""What must be at a ``hostPath`` by its type, as a kubelet's check of types goes (pkg/volume/hostpath)."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiphys.cluster.node.hostpaths import ALL_HOST_PATHS, HostPathRefused


@pytest.fixture
def place() -> Iterator[Path]:
    """With a short name: those of sockets are bounded."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as listener:
        directory = Path(name).resolve()
        (directory / "directory").mkdir()
        (directory / "file").write_text("kept")
        listener.bind(str(directory / "socket"))
        yield directory


def prepared(place: Path, kind: str) -> Path:
    return ALL_HOST_PATHS.prepare({"path": str(place), "type": kind})


@pytest.mark.parametrize(
    ("kind", "fits"),
    [
        ("", {"directory", "file", "socket", "missing"}),
        ("Directory", {"directory"}),
        ("DirectoryOrCreate", {"directory", "missing"}),
        ("File", {"file"}),
        ("FileOrCreate", {"file", "missing"}),
        ("Socket", {"socket"}),
        ("CharDevice", set()),
        ("BlockDevice", set()),
    ],
)
def test_what_a_type_wants(place: Path, kind: str, fits: set[str]) -> None:
    for name in ("directory", "file", "socket", "missing"):
        if name in fits:
            assert prepared(place / name, kind) == place / name
        else:
            with pytest.raises(HostPathRefused, match=rf"hostPath type check failed: {place / name} is not a"):
                prepared(place / name, kind)
    assert (place / "file").read_text() == "kept"
    assert (place / "missing").exists() == ("missing" in fits)
    assert (place / "missing").is_file() == (kind == "FileOrCreate")


def test_devices() -> None:
    assert prepared(Path("/dev/null"), "CharDevice") == Path("/dev/null")
