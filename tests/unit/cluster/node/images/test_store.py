from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tests.unit.cluster.node.images.building import ImageFiles, busybox_layer, digest, layer, member
from tiphys.cluster.node.images.archives import load
from tiphys.cluster.node.images.store import YOUNG_SECONDS, Store, chain_ids
from tiphys.oci.manifests import ImageError, choose_platform

LAYERS = [layer(member("a", b"1"), member("b", b"2")), layer(member(".wh.a"), member("b", b"3"))]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("compress", ["gzip", "zstd", ""])
def test_a_layout_directory(store: Store, tmp_path: Path, compress: str) -> None:
    files = ImageFiles(LAYERS, {"Cmd": ["sh"], "Env": ["A=b=c", "odd"], "User": "app"}, compress)
    (entry,) = load(files.layout(tmp_path / "layout", "team/app:1"), store)
    assert entry.name == "docker.io/team/app:1" and entry.manifest == files.digest
    assert entry.image_id == digest(files.config)
    config = store.config(store.manifest(entry.manifest))
    assert (config.cmd, config.env, config.user) == (("sh",), {"A": "b=c"}, "app")
    root = store.root(entry)
    assert sorted(p.name for p in root.iterdir()) == ["b"] and (root / "b").read_text() == "3"
    assert store.root(entry) == root


def test_layers_are_shared_without_being_written_to(store: Store, tmp_path: Path) -> None:
    base = load(ImageFiles(LAYERS[:1]).layout(tmp_path / "one", "base"), store)[0]
    more = load(ImageFiles(LAYERS).layout(tmp_path / "two", "more"), store)[0]
    first = store.root(base)
    second = store.root(more)
    assert (first / "b").read_text() == "2" and (second / "b").read_text() == "3"
    assert (first / "a").exists() and not (second / "a").exists()


def test_a_saved_archive_under_all_its_names(store: Store, tmp_path: Path) -> None:
    file = ImageFiles(LAYERS).saved(tmp_path / "x.tar", "a:1", "b:2", layers=LAYERS)
    assert [e.name for e in load(file, store)] == ["docker.io/library/a:1", "docker.io/library/b:2"]
    packed = tmp_path / "x.tar.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    (entry,) = load(packed, store, "c")
    assert (store.root(entry) / "b").read_text() == "3"


def test_a_layout_in_a_tar(store: Store, tmp_path: Path) -> None:
    place = ImageFiles(LAYERS).layout(tmp_path / "layout", "app")
    with tarfile.open(tmp_path / "layout.tar", "w") as archive:
        archive.add(place, ".")
    assert load(tmp_path / "layout.tar", store)[0].name == "docker.io/library/app:latest"


def test_blobs_that_are_not_what_they_are_called(store: Store, tmp_path: Path) -> None:
    files = ImageFiles(LAYERS)
    place = files.layout(tmp_path / "layout", "app")
    victim = place / "blobs/sha256" / files.blobs.keys().__iter__().__next__().removeprefix("sha256:")
    victim.write_bytes(b"something else")
    with pytest.raises(ImageError, match="not what it is called"):
        load(place, store)
    assert store.entries() == []


@pytest.mark.parametrize("name", ["sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32])
def test_digests_are_no_paths(store: Store, name: str) -> None:
    with pytest.raises(ImageError, match="unsupported digest"):
        store.blob(name)


@pytest.mark.parametrize("content", [b"", b"no tar", layer(member("x", b""))])
def test_files_that_are_no_images(store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ImageError):
        load(tmp_path / "x", store)


def test_an_index_has_this_platform_or_says_what_it_has() -> None:
    rows = '{"manifests": [{"digest": "sha256:1", "size": 1, "platform": {"os": "linux", "architecture": "s390x"}}]}'
    with pytest.raises(ImageError, match=r"wanted linux/amd64, it has linux/s390x"):
        choose_platform(rows.encode(), "x86_64")
    assert choose_platform(rows.encode(), "s390x").digest == "sha256:1"


def test_garbage_goes_when_it_is_old_and_nothing_names_it(store: Store, tmp_path: Path) -> None:
    kept = load(ImageFiles(LAYERS).layout(tmp_path / "one", "kept"), store)[0]
    gone = load(ImageFiles([busybox_layer()]).layout(tmp_path / "two", "gone"), store)[0]
    roots = [store.root(kept), store.root(gone)]
    assert store.forget(gone.name) and not store.forget(gone.name)
    assert store.collect().blobs == 0  # it may be on its way to a name
    later = (tmp_path / "store" / "lock").stat().st_mtime + YOUNG_SECONDS + 60
    collected = store.collect(now=later)
    assert (collected.blobs, roots[0].exists(), roots[1].exists()) == (3, True, False)
    assert store.find("docker.io/library/kept:latest") == kept and store.has(kept.manifest)
    assert store.collect(now=later, all_names=True).roots == 1
    assert store.entries() == []


def test_a_download_is_checked_before_it_counts(store: Store) -> None:
    name = digest(b"right")
    store.part(name).write_bytes(b"wrong")
    with pytest.raises(ImageError, match="not what it is called"):
        store.complete(name)
    assert not store.has(name) and not store.part(name).exists()
    store.put_stream(io.BytesIO(b"right"), name)
    assert store.read(name) == b"right"


def test_chain_ids() -> None:
    first, second = digest(b"1"), digest(b"2")
    assert chain_ids([first]) == [first.removeprefix("sha256:")]
    assert chain_ids([first, second])[1] == digest(f"{first} {second}".encode()).removeprefix("sha256:")
