"""Outputs that somebody changes while they are collected: what lies outside is never read."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiphys.workflows.executor import archives, progress, trees
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

SECRET = b"hunter2"
ROUNDS = 100


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output directory; beside it is what nobody may read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(SECRET)
    (tmp_path / "volume/out/inner").mkdir(parents=True)
    (tmp_path / "volume/out/inner/file").write_bytes(b"own")
    return tmp_path / "volume/out"


def place_of(real: Path) -> Place:
    return Place(real, "/out", exact=True)


def exchange(place: Path, target: Path) -> None:
    place.rename(place.with_name(f"{place.name}.before"))
    place.symlink_to(target)


@contextmanager
def exchanging(place: Path, target: Path) -> Iterator[None]:
    """The place is a link to ``target`` every other moment, for as long as this lasts."""
    link, before, over = place.with_name(".link"), place.with_name(".before"), threading.Event()
    link.symlink_to(target)

    def work() -> None:
        while not over.is_set():
            place.rename(before)
            link.rename(place)
            place.rename(link)
            before.rename(place)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def as_tar(source: Place, _: Path) -> bytes:
    packed = io.BytesIO()
    archives.tar_gz(source, packed, None)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        files = [archive.extractfile(member) for member in archive if member.isreg()]
        return b"".join(file.read() for file in files if file is not None)


def as_zip(source: Place, _: Path) -> bytes:
    packed = io.BytesIO()
    archives.zip_up(source, packed)
    with zipfile.ZipFile(packed) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def as_copy(source: Place, scratch: Path) -> bytes:
    trees.copy(source, scratch)
    files = [scratch] if scratch.is_file() else [p for p in scratch.rglob("*") if p.is_file() and not p.is_symlink()]
    return b"".join(file.read_bytes() for file in files)


def as_parameter(source: Place, _: Path) -> bytes:
    with trees.open_file(source) as file:
        return file.read()


@pytest.mark.parametrize("read", [as_tar, as_zip, as_copy])
@pytest.mark.parametrize("which", ["", "inner", "inner/file"])
def test_a_link_never_leads_the_reader_out(
    out: Path, tmp_path: Path, which: str, read: Callable[[Place, Path], bytes]
) -> None:
    """At any moment, in the place of what is collected, of a directory in it and of a file."""
    target = tmp_path / "outside" / ("file" if which.endswith("file") else "")
    with exchanging(out / which, target):
        for number in range(ROUNDS):
            try:
                assert SECRET not in read(place_of(out), tmp_path / f"scratch.{number}")
            except (ExecutorError, OSError):
                continue


@pytest.mark.parametrize("which", ["inner", "inner/file"])
def test_a_parameter_is_not_read_through_a_link(out: Path, tmp_path: Path, which: str) -> None:
    assert as_parameter(place_of(out / "inner/file"), tmp_path) == b"own"
    exchange(out / which, tmp_path / "outside" / ("file" if which.endswith("file") else ""))
    with pytest.raises(ExecutorError, match="a link was put there meanwhile"):
        as_parameter(place_of(out / "inner/file"), tmp_path)


def test_what_was_a_directory_when_it_was_listed_is_not_entered_as_a_link(out: Path, tmp_path: Path) -> None:
    with trees.found(place_of(out), "out") as top:
        entries = trees.walk(top)
        assert [next(entries).name, next(entries).name] == ["out", "out/inner"]
        exchange(out / "inner", tmp_path / "outside")
        with pytest.raises(ExecutorError, match="/out/inner: a link was put there"):
            next(entries)


def test_what_was_a_file_is_not_opened_as_a_pipe(out: Path) -> None:
    with trees.found(place_of(out / "inner/file"), "file") as entry:
        (out / "inner/file").unlink()
        os.mkfifo(out / "inner/file")
        with pytest.raises(ExecutorError, match="a link was put there"):
            entry.open()


def test_a_copy_has_modes_times_and_links_and_no_pipes(out: Path, tmp_path: Path) -> None:
    (out / "link").symlink_to("/etc/passwd")
    os.mkfifo(out / "pipe")
    (out / "inner").chmod(0o500)
    os.utime(out / "inner", (7, 7))
    trees.copy(place_of(out), tmp_path / "copy")
    made = tmp_path / "copy"
    assert sorted(p.relative_to(made).as_posix() for p in made.rglob("*")) == ["inner", "inner/file", "link"]
    assert os.readlink(made / "link") == "/etc/passwd"
    state = (made / "inner").stat()
    assert (state.st_mode & 0o777, state.st_mtime) == (0o500, 7)


def test_nesting_is_bounded(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("out", *["d"] * (trees.LEVELS_MAX + 1))
    deep.mkdir(parents=True)
    with pytest.raises(ExecutorError, match="nested too deeply"):
        as_tar(place_of(tmp_path / "out"), tmp_path)


def test_progress_is_no_link_and_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("3/4")
    (tmp_path / "progress").symlink_to(tmp_path / "other")
    assert (progress.read(tmp_path / "other"), progress.read(tmp_path / "progress")) == ("3/4", "")
    (tmp_path / "progress").unlink()
    os.mkfifo(tmp_path / "progress")
    assert progress.read(tmp_path / "progress") == ""


@pytest.fixture(params=["same", "other"])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory of ours, on the file system of the volume and on another one."""
    folder = tmp_path
    if request.param == "other":
        folder = Path("/dev/shm")
        if not folder.is_dir() or folder.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system to write to")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        (Path(place) / "made/inner").mkdir(parents=True)
        (Path(place) / "made/inner/file").write_bytes(b"own")
        (Path(place) / "made/link").symlink_to("inner")
        (Path(place) / "made/inner").chmod(0o750)
        yield Path(place) / "made"


def test_what_is_put_somewhere_arrives_whole(ours: Path, out: Path) -> None:
    trees.move(ours, place_of(out / "new/er"))
    assert (out / "new/er/link/file").read_bytes() == b"own"
    assert os.readlink(out / "new/er/link") == "inner"
    assert (out / "new/er/inner").stat().st_mode & 0o777 == 0o750
    assert not ours.exists()


def test_a_directory_that_is_there_is_not_replaced(ours: Path, out: Path) -> None:
    with pytest.raises(FileExistsError):
        trees.move(ours, place_of(out / "inner"))


def test_nothing_is_put_through_a_link(ours: Path, out: Path, tmp_path: Path) -> None:
    """One on the way is refused; one in the very place gives way."""
    exchange(out / "inner", tmp_path / "outside")
    with pytest.raises(ExecutorError, match="a link was put there meanwhile"):
        trees.move(ours, place_of(out / "inner/new"))
    (out / "file").symlink_to(tmp_path / "outside/file")
    trees.move(ours / "inner/file", place_of(out / "file"))
    assert (out / "file").read_bytes() == b"own"
    assert not (out / "file").is_symlink()
    assert (tmp_path / "outside/file").read_bytes() == SECRET
    assert [p.name for p in (tmp_path / "outside").iterdir()] == ["file"]
