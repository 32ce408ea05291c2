"""Layers from strangers: what is unpacked, and what is refused."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from tests.unit.cluster.node.images.building import digest, is_root, layer, member
from tiphys.cluster.node.images import layers
from tiphys.cluster.node.images.layers import unpack
from tiphys.oci.manifests import ImageError

DIR, LINK, HARD, FIFO, CHAR = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE


def lay(root: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    root.mkdir(exist_ok=True)
    unpack(io.BytesIO(layer(*members)), root)


def tree(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))


def test_files_directories_links_modes_and_times(tmp_path: Path) -> None:
    root = tmp_path / "root"
    lay(
        root,
        member("bin/", kind=DIR, mode=0o711, mtime=1000),
        member("bin/sh", b"#!", mode=0o4755, mtime=2000),
        member("bin/hard", kind=HARD, link="bin/sh"),
        member("sbin", kind=LINK, link="bin"),
        member("sbin/more", b"through the link"),
        member("a/b/c", b"parents that nobody listed"),
        member("pipe", kind=FIFO),
    )
    assert stat.S_IMODE((root / "bin").stat().st_mode) == 0o711
    assert (root / "bin").stat().st_mtime == 1000
    assert stat.S_IMODE((root / "bin/sh").stat().st_mode) == 0o4755
    assert (root / "bin/sh").stat().st_ino == (root / "bin/hard").stat().st_ino
    assert (root / "bin/more").read_text() == "through the link"
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)


@pytest.mark.skipif(not is_root(), reason="only root may give files away")
def test_owners(tmp_path: Path) -> None:
    lay(tmp_path / "root", member("f", b"", uid=7, gid=8), member("l", kind=LINK, link="f", uid=9, gid=10))
    assert ((tmp_path / "root/f").stat().st_uid, (tmp_path / "root/f").stat().st_gid) == (7, 8)
    assert os.lstat(tmp_path / "root/l").st_uid == 9


def test_whiteouts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    lay(
        root, member("d/", kind=DIR), member("d/a", b"1"), member("d/sub/x", b"2"), member("f", b"3"), member("g", b"4")
    )
    lay(root, member(".wh.f"), member("d/.wh..wh..opq"), member("d/new", b"5"), member(".wh.never-was"))
    assert tree(root) == ["d", "d/new", "g"]


def test_a_file_takes_the_place_of_a_directory_and_of_a_link(tmp_path: Path) -> None:
    root = tmp_path / "root"
    outside = tmp_path / "outside"
    outside.write_text("mine")
    lay(root, member("d/x", b"1"), member("l", kind=LINK, link=str(outside)))
    lay(root, member("d", b"file"), member("l", b"not through it"))
    assert (root / "d").read_text() == "file"
    assert outside.read_text() == "mine" and (root / "l").read_text() == "not through it"


def test_links_lead_where_they_would_in_a_container(tmp_path: Path) -> None:
    root = tmp_path / "root"
    lay(
        root,
        member("up", kind=LINK, link="../../../../.."),
        member("up/escaped", b"1"),
        member("abs", kind=LINK, link="/etc"),
        member("abs/passwd", b"2"),
    )
    assert tree(root) == ["abs", "escaped", "etc", "etc/passwd", "up"]
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (member("../x", b""), "leads out"),
        (member("a/../../x", b""), "leads out"),
        (member("x", kind=CHAR, devmajor=1, devminor=1), "device node"),
        (member("x", kind=tarfile.BLKTYPE), "device node"),
        (member("x", kind=HARD, link="../../etc/shadow"), "leads out"),
        (member("x", kind=HARD, link="nothing"), "not there"),
        (member("x", kind=HARD, link="tmp"), "hard link to a directory"),
        (member("file/x", b""), "a file where a directory must be"),
        (member("loop/x", b""), "circle"),
        (member(".wh.."), "strange whiteout"),
        (member("/".join("d" * 300), b""), "directories"),
        (member("x", b"", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"}), "attribute"),
        (member("x", b"", pax={"SCHILY.xattr.user.overlay.opaque": "y"}), "attribute"),
    ],
)
def test_what_is_refused(tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes], said: str) -> None:
    before = [member("tmp/", kind=DIR), member("file", b""), member("loop", kind=LINK, link="loop")]
    with pytest.raises(ImageError, match=said):
        lay(tmp_path / "root", *before, entry)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root"]


def test_devices_in_dev_are_left_out(tmp_path: Path) -> None:
    lay(tmp_path / "root", member("dev/null", kind=CHAR, devmajor=1, devminor=3), member("f", b""))
    assert tree(tmp_path / "root") == ["dev", "f"]


@pytest.mark.parametrize("how", ["gzip", "zstd", ""])
def test_compression_and_digest(tmp_path: Path, how: str) -> None:
    from tests.unit.cluster.node.images.building import _compressed

    plain = layer(member("f", b"x" * 100_000))
    (tmp_path / "root").mkdir()
    unpack(io.BytesIO(_compressed(plain, how)), tmp_path / "root", diff_id=digest(plain))
    assert (tmp_path / "root/f").stat().st_size == 100_000
    with pytest.raises(ImageError, match="not what the image says"):
        unpack(io.BytesIO(_compressed(plain, how)), tmp_path / "root", diff_id=digest(b""))


@pytest.mark.parametrize("cut", [3, 600, 2000])
def test_layers_that_end_too_early(tmp_path: Path, cut: int) -> None:
    from tests.unit.cluster.node.images.building import _compressed

    packed = _compressed(layer(member("f", os.urandom(5000))), "gzip")
    (tmp_path / "root").mkdir()
    with pytest.raises(ImageError):
        unpack(io.BytesIO(packed[:cut]), tmp_path / "root")


def test_bombs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.cluster.node.images.building import _compressed

    monkeypatch.setattr(layers, "RATIO_COUNTS_FROM_BYTES", 1 << 20)
    packed = _compressed(layer(member("f", bytes(32 << 20))), "gzip")
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(layers, "RATIO_MAX", 100)
    with pytest.raises(ImageError, match="100 times its size"):
        unpack(io.BytesIO(packed), tmp_path / "root")
    monkeypatch.setattr(layers, "ENTRIES_MAX", 3)
    with pytest.raises(ImageError, match="more than 3 entries"):
        lay(tmp_path / "root", *(member(f"f{n}", b"") for n in range(5)))
