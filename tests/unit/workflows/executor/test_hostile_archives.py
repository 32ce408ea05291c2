"""Artifacts that mean harm: they lead out of their destination, or hold more than anybody has room for."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tiphys.workflows.executor import archives
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, 0o644
    return info


@pytest.fixture
def untar(tmp_path: Path) -> Callable[..., Path]:
    """Packs entries, unpacks them at ``in/here`` and tells where."""
    (tmp_path / "in").mkdir(exist_ok=True)

    def run(*entries: tarfile.TarInfo) -> Path:
        packed, target = tmp_path / "packed.tgz", tmp_path / "in/here"
        with tarfile.open(packed, "w:gz", format=tarfile.PAX_FORMAT) as archive:
            for info in entries:
                archive.addfile(info, io.BytesIO(b"x" * info.size))
        archives.untar(Place(packed, "packed.tgz"), Place(target, "/in/here"))
        return target

    return run


@pytest.fixture
def unzip(tmp_path: Path) -> Callable[..., Path]:
    (tmp_path / "in").mkdir(exist_ok=True)

    def run(*names: str, content: bytes = b"x") -> Path:
        packed, target = tmp_path / "packed.zip", tmp_path / "in/here"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, content)
        archives.unzip(Place(packed, "packed.zip"), Place(target, "/in/here"))
        return target

    return run


OUT = entry("d/out", tarfile.SYMTYPE, "../../../outside")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((entry("../../outside/x"),), "illegal file path"),
        ((entry("d/../../../outside/x"),), "illegal file path"),
        ((OUT,), "illegal symlink target"),
        ((entry("d/out", tarfile.SYMTYPE, "/etc"),), "illegal symlink target"),
    ],
)
def test_names_and_links_that_lead_out_are_refused(
    untar: Callable[..., Path], tmp_path: Path, entries: tuple[tarfile.TarInfo, ...], said: str
) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(ExecutorError, match=said):
        untar(*entries)
    assert os.listdir(tmp_path / "outside") == []


def test_absolute_names_are_taken_for_relative_ones(untar: Callable[..., Path], tmp_path: Path) -> None:
    place = untar(entry(f"{tmp_path}/outside/x"), entry("y"))
    assert not (tmp_path / "outside").exists()
    assert (place / "y").exists()


def test_a_file_below_a_link_that_another_program_put_there(tmp_path: Path) -> None:
    """The archive holds no link: it was made in the destination while it was being unpacked."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "in/here.tmpdir").mkdir(parents=True)
    (tmp_path / "in/here.tmpdir/d").symlink_to(tmp_path / "outside")
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.addfile(entry("d/x"))
    with pytest.raises(ExecutorError, match="resolves outside destination"):
        archives.untar(Place(packed, "packed.tgz"), Place(tmp_path / "in/here", "/in/here"))
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_left_out(untar: Callable[..., Path], kind: bytes) -> None:
    place = untar(entry("d/device", kind), entry("d/file"), entry("e"))
    assert sorted(os.listdir(place / "d")) == ["file"]


def test_a_link_to_another_name_of_a_file_outside_is_left_out(untar: Callable[..., Path]) -> None:
    place = untar(entry("d/passwd", tarfile.LNKTYPE, "/etc/passwd"), entry("d/file"), entry("e"))
    assert sorted(os.listdir(place / "d")) == ["file"]


def test_a_zip_that_climbs(unzip: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="Illegal file path"):
        unzip("../../outside")
    assert not (tmp_path / "outside").exists()


def test_bombs_are_refused_before_they_fill_the_machine(
    unzip: Callable[..., Path], untar: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(archives, "UNPACKED_BYTES_MAX", 1 << 20)
    with pytest.raises(ExecutorError, match="archive is too large"):
        untar(entry("a", size=600 << 10), entry("b", size=600 << 10))
    with pytest.raises(ExecutorError, match="archive is too large"):
        unzip("bomb", content=bytes(2 << 20))
    assert not (tmp_path / "in/here.tmpdir/bomb").exists()
    monkeypatch.setattr(archives, "ENTRIES_MAX", 3)
    with pytest.raises(ExecutorError, match="archive is too large"):
        unzip(*"abcd")


def test_a_zip_that_holds_more_than_it_says(tmp_path: Path) -> None:
    """Its table says ten bytes; no more are written."""
    packed, target = tmp_path / "packed.zip", tmp_path / "here"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(1 << 20))
    data = packed.read_bytes().replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    packed.write_bytes(data)
    with pytest.raises(ExecutorError, match="zip: not a valid zip file"):
        archives.unzip(Place(packed, "packed.zip"), Place(target, "/here"))
    assert sum(p.stat().st_size for p in tmp_path.rglob("bomb")) <= 10
