"""The same promises, kept by every driver of an object store: files, directories, large files, what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workflows.drivers import stores
from tiphys.workflows.drivers.artifacts import azure, gcs, oss, web
from tiphys.workflows.drivers.artifacts.registry import Drivers
from tiphys.workflows.executor.artifacts import ArtifactDriver
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

SECRETS = {("s", "id"): "id", ("s", "key"): "secret", ("s", "account"): stores.ACCOUNT_KEY}


def secret(name: str, key: str) -> str:
    return SECRETS[name, key]


def reference(key: str) -> dict[str, str]:
    return {"name": "s", "key": key}


class Kind:
    """One kind of store, running."""

    def __init__(self, server: stores.Store, name: str) -> None:
        self.server = server
        self.name = name

    def artifact(self, key: str) -> dict[str, Any]:
        at = self.server.endpoint
        places: dict[str, dict[str, Any]] = {
            "gcs": {"bucket": "box", "key": key},
            "azure": {
                "endpoint": f"http://{at}/{stores.ACCOUNT}",
                "container": "box",
                "blob": key,
                "accountKeySecret": reference("account"),
            },
            "oss": {
                "endpoint": f"http://{at}",
                "bucket": "box",
                "key": key,
                "accessKeySecret": reference("id"),
                "secretKeySecret": reference("key"),
                "createBucketIfNotPresent": True,
            },
        }
        return {"name": "a", self.name: places[self.name]}

    def driver(self, artifact: dict[str, Any]) -> ArtifactDriver:
        return Drivers(secret).driver_for(artifact)


@pytest.fixture(params=["gcs", "azure", "oss"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    handler = {"gcs": stores.Google, "azure": stores.Azure, "oss": stores.Alibaba}[request.param]
    with stores.serving(handler) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.endpoint)
        monkeypatch.setattr(web, "FIRST_WAIT_SECONDS", 0.001)
        for module, name in ((gcs, "PART_BYTES"), (azure, "BLOCK_BYTES"), (oss, "PART_BYTES")):
            monkeypatch.setattr(module, name, 1000)
        yield Kind(server, request.param)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
def test_a_file_there_and_back(kind: Kind, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    artifact = kind.artifact("dir/name with space+ü")
    kind.driver(artifact).save(Place(source, "/source"), artifact)
    assert kind.server.objects["dir/name with space+ü"] == source.read_bytes()
    kind.driver(artifact).load(artifact, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_directory_there_and_back_and_gone(kind: Kind, tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    artifact = kind.artifact("top")
    kind.driver(artifact).save(Place(tmp_path / "source", "/source"), artifact)
    assert sorted(kind.server.objects) == ["top/a", "top/b/c", "top/b/d/e"]
    kind.driver(artifact).load(artifact, tmp_path / "back")
    found = sorted(p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*") if p.is_file())
    assert found == ["a", "b/c", "b/d/e"]
    whole = kind.artifact("top/")
    kind.driver(whole).delete(whole)
    assert kind.server.objects == {}


def test_what_is_not_there(kind: Kind, tmp_path: Path) -> None:
    artifact = kind.artifact("nothing")
    with pytest.raises(ExecutorError) as caught:
        kind.driver(artifact).load(artifact, tmp_path / "back")
    assert caught.value.missing and not (tmp_path / "back").exists()
    kind.driver(artifact).delete(artifact)


def test_servers_that_are_busy_for_a_while(kind: Kind, tmp_path: Path) -> None:
    kind.server.objects["k"] = b"x"
    kind.server.failures = 3
    artifact = kind.artifact("k")
    kind.driver(artifact).load(artifact, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x"
    kind.server.objects["d/k"] = b"x"
    kind.server.failures = 3
    kind.driver(artifact).delete(kind.artifact("d/"))
    assert "d/k" not in kind.server.objects
    kind.server.failures = 100
    with pytest.raises(ExecutorError, match="503"):
        kind.driver(artifact).load(artifact, tmp_path / "back")


@pytest.mark.parametrize("kind", ["azure", "oss"], indirect=True)
def test_keys_that_lead_out_are_refused(kind: Kind, tmp_path: Path) -> None:
    kind.server.objects["top/../../escaped"] = b"x"
    artifact = kind.artifact("top")
    with pytest.raises(ExecutorError, match="illegal key"):
        kind.driver(artifact).load(artifact, tmp_path / "back")
    assert not (tmp_path.parent / "escaped").exists()


def test_google_service_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with stores.serving(stores.Google) as server:
        import json

        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        monkeypatch.setattr(gcs, "HOST", f"http://{server.endpoint}")
        account = {"client_email": "me", "private_key": pem, "token_uri": f"http://{server.endpoint}/token"}
        monkeypatch.setitem(SECRETS, ("s", "account"), json.dumps(account))
        server.objects["k"] = b"x"
        artifact = {"name": "a", "gcs": {"bucket": "b", "key": "k", "serviceAccountKeySecret": reference("account")}}
        Drivers(secret).driver_for(artifact).load(artifact, tmp_path / "back")
        assert server.asked[0] == "POST /token" and (tmp_path / "back").read_bytes() == b"x"


def hdfs(path: str, *addresses: str, **more: Any) -> dict[str, Any]:
    return {"name": "a", "hdfs": {"addresses": list(addresses), "path": path, "hdfsUser": "me", **more}}


def test_hdfs_at_the_name_node_that_is_active(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    with stores.serving(stores.Standby) as standby, stores.serving(stores.Hadoop) as active:
        artifact = hdfs("/data dir/f", standby.endpoint, active.endpoint)
        driver = Drivers(secret).driver_for(artifact)
        driver.save(Place(tmp_path / "source", "/source"), artifact)
        driver.load(artifact, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b"content"
        with pytest.raises(ExecutorError, match="already exists"):
            driver.save(Place(tmp_path / "source", "/source"), artifact)
        forced = hdfs("/data dir/f", active.endpoint, force=True)
        driver.save(Place(tmp_path / "source", "/source"), forced)
        for path, said in (("/none", "does not exist"), ("/data dir", "directory copy")):
            with pytest.raises(ExecutorError, match=said):
                driver.load(hdfs(path, active.endpoint), tmp_path / "x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"addresses": []}, "addresses is required"),
        ({"addresses": ["a:1"], "path": "rel", "hdfsUser": "u"}, "absolute"),
        ({"addresses": ["a:1"], "path": "/x"}, "either hdfs.hdfsUser"),
    ],
)
def test_hdfs_artifacts_that_are_none(tmp_path: Path, body: dict[str, Any], said: str) -> None:
    artifact = {"name": "a", "hdfs": body}
    with pytest.raises(ExecutorError, match=said):
        Drivers(secret).driver_for(artifact).load(artifact, tmp_path / "x")
