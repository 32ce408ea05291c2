"""Where artifacts are kept: which store serves which artifact, and an S3 that is a small server of this test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import S3, serving
from tiphys.workflows.drivers.artifacts.local import LocalStore
from tiphys.workflows.drivers.artifacts.registry import Drivers
from tiphys.workflows.drivers.artifacts.s3 import S3Driver
from tiphys.workflows.executor import deletion
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving(S3()) as server:
        yield server


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
        "cloud": {"name": "cloud", "plugin": {"name": "p", "configuration": "c", "key": "k"}},
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
