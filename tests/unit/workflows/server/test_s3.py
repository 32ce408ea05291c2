"""The local store as S3: our own driver, Amazon's client and a Rust one, and requests that are not what they say."""

from __future__ import annotations

import asyncio
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts import s3
from tiphys.workflows.drivers.artifacts.local import LocalStore
from tiphys.workflows.drivers.artifacts.s3 import S3Driver
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place
from tiphys.workflows.server.s3 import signatures
from tiphys.workflows.server.s3.handler import S3Handler
from tiphys.workflows.server.s3.objects import Objects
from tiphys.workflows.server.s3.signatures import Asked, Denied, verify

ACCESS, SECRET = "tiphys", "very secret"


@dataclass
class Server:
    root: Path
    endpoint: str

    def client(self, **more: Any) -> Any:
        boto3 = pytest.importorskip("boto3")
        config = pytest.importorskip("botocore.config").Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}
        )
        return boto3.client(
            "s3", endpoint_url=f"http://{self.endpoint}", aws_access_key_id=ACCESS,
            aws_secret_access_key=more.get("secret", SECRET), region_name="us-east-1", config=config,
        )  # fmt: skip


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    root = tmp_path / "artifacts"
    (root / "box").mkdir(parents=True)
    handler = S3Handler(Objects(root), {ACCESS: SECRET}, SystemClock())
    runner = web.AppRunner(handler.application(), auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Server(root, f"127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def off(action: Callable[[], Any]) -> Any:
    """A blocking client's work, beside the server's loop."""
    return await asyncio.to_thread(action)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        return bytes(response.read())


def artifact(server: Server, key: str, **more: Any) -> dict[str, Any]:
    who = {"accessKeySecret": {"name": "s", "key": "id"}, "secretKeySecret": {"name": "s", "key": "word"}}
    return {
        "name": "a",
        "s3": {"endpoint": server.endpoint, "bucket": "box", "insecure": True, "key": key, **who, **more},
    }


def driver() -> S3Driver:
    return S3Driver(lambda name, key: {"id": ACCESS, "word": SECRET}[key])


@pytest.mark.parametrize("size", [0, 10, 100_001])
async def test_our_driver_there_and_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 40_000)
    (tmp_path / "source").write_bytes(os.urandom(size))
    what = artifact(server, "a dir/näme+&=.txt")
    await off(lambda: driver().save(Place(tmp_path / "source", "/s"), what))
    await off(lambda: driver().load(what, tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "source").read_bytes()
    assert (server.root / "box/a dir/näme+&=.txt").stat().st_size == size
    assert not list((server.root / ".uploads").glob("*"))


async def test_what_the_executor_saved_is_there_to_be_read(server: Server, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("result")
    LocalStore(server.root).save(Place(tmp_path / "source", "/s"), {"s3": {"bucket": "box", "key": "wf/pod/out.tgz"}})
    client = server.client()
    found = await off(lambda: client.list_objects_v2(Bucket="box", Prefix="wf/"))
    assert [(row["Key"], row["Size"]) for row in found["Contents"]] == [("wf/pod/out.tgz", 6)]
    assert await off(lambda: client.get_object(Bucket="box", Key="wf/pod/out.tgz")["Body"].read()) == b"result"


async def test_amazons_client(server: Server, tmp_path: Path) -> None:
    client = server.client()
    await off(lambda: client.create_bucket(Bucket="made"))
    names = [row["Name"] for row in (await off(client.list_buckets))["Buckets"]]
    assert names == ["box", "made"]
    put = await off(lambda: client.put_object(Bucket="made", Key="x/ü y", Body=b"0123456789", ContentType="text/plain"))
    assert put["ETag"] == f'"{hashlib.md5(b"0123456789").hexdigest()}"'
    head = await off(lambda: client.head_object(Bucket="made", Key="x/ü y"))
    assert (head["ContentLength"], head["ContentType"], head["ETag"]) == (10, "text/plain", put["ETag"])
    wanted = {"Bucket": "made", "Key": "x/ü y", "Range": "bytes=2-4"}
    data, span = await off(lambda: (lambda a: (a["Body"].read(), a["ContentRange"]))(client.get_object(**wanted)))
    assert (data, span) == (b"234", "bytes 2-4/10")
    await off(lambda: client.copy_object(Bucket="made", Key="copy", CopySource={"Bucket": "made", "Key": "x/ü y"}))
    assert await off(lambda: client.get_object(Bucket="made", Key="copy")["Body"].read()) == b"0123456789"
    gone = await off(
        lambda: client.delete_objects(Bucket="made", Delete={"Objects": [{"Key": "copy"}, {"Key": "x/ü y"}]})
    )
    assert len(gone["Deleted"]) == 2
    await off(lambda: client.delete_bucket(Bucket="made"))
    assert not (server.root / "made").exists()


async def test_large_files_of_amazons_client(server: Server, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(12 << 20))
    client = server.client()
    await off(lambda: client.upload_file(str(tmp_path / "big"), "box", "big"))
    await off(lambda: client.download_file("box", "big", str(tmp_path / "back")))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    head = await off(lambda: client.head_object(Bucket="box", Key="big"))
    assert head["ETag"].endswith('-2"')


async def test_listing_page_by_page_and_folder_by_folder(server: Server) -> None:
    client = server.client()
    keys = [f"d{n}/f{m}" for n in range(3) for m in range(3)] + ["d0", "d0.txt", "z"][1:]
    for key in keys:
        (server.root / "box" / key).parent.mkdir(parents=True, exist_ok=True)
        (server.root / "box" / key).write_text("x")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="box", PaginationConfig={"PageSize": 2})
    found = await off(lambda: [row["Key"] for page in pages for row in page["Contents"]])
    assert found == sorted(keys)
    top = await off(lambda: client.list_objects_v2(Bucket="box", Delimiter="/"))
    assert [row["Prefix"] for row in top["CommonPrefixes"]] == ["d0/", "d1/", "d2/"]
    assert [row["Key"] for row in top["Contents"]] == ["d0.txt", "z"]
    pages = client.get_paginator("list_objects").paginate(Bucket="box", Delimiter="/", PaginationConfig={"PageSize": 1})
    rows = await off(lambda: [p.get("CommonPrefixes", p.get("Contents")) for p in pages])
    assert [next(iter(row[0].values())) for row in rows] == ["d0.txt", "d0/", "d1/", "d2/", "z"]


async def test_a_client_of_another_kind(server: Server) -> None:
    obstore = pytest.importorskip("obstore")
    store = pytest.importorskip("obstore.store").S3Store(
        "box", endpoint=f"http://{server.endpoint}", access_key_id=ACCESS, secret_access_key=SECRET,
        region="us-east-1", virtual_hosted_style_request=False, client_options={"allow_http": True},
    )  # fmt: skip
    await obstore.put_async(store, "a/b", b"content")
    assert bytes(await (await obstore.get_async(store, "a/b")).bytes_async()) == b"content"
    assert [row["path"] for row in await off(lambda: obstore.list(store, "a").collect())] == ["a/b"]


async def test_addresses_that_anybody_may_use_for_a_while(server: Server) -> None:
    client = server.client()
    (server.root / "box" / "k").write_text("shared")
    url = client.generate_presigned_url("get_object", Params={"Bucket": "box", "Key": "k"}, ExpiresIn=60)
    assert await off(lambda: fetched(url)) == b"shared"
    with pytest.raises(urllib.error.HTTPError) as caught:
        await off(lambda: fetched(url.replace("/k?", "/other?")))
    assert caught.value.code == 403
    caught.value.close()


async def test_who_does_not_know_the_secret(server: Server, tmp_path: Path) -> None:
    error = pytest.importorskip("botocore.exceptions").ClientError
    for secret, code in (("wrong", "SignatureDoesNotMatch"),):
        with pytest.raises(error, match=code):
            await off(lambda secret=secret: server.client(secret=secret).list_buckets())
    with pytest.raises(urllib.error.HTTPError) as caught:
        await off(lambda: fetched(f"http://{server.endpoint}/box/k"))
    assert caught.value.code == 403
    caught.value.close()


@pytest.mark.parametrize("key", ["../../escaped", "a/../../../escaped", "a//b", "./x", "a\0b", "." + "x." + "0" * 32])
async def test_keys_that_are_none(server: Server, tmp_path: Path, key: str) -> None:
    (tmp_path / "source").write_text("x")
    with pytest.raises(ExecutorError):
        await off(lambda: driver().save(Place(tmp_path / "source", "/s"), artifact(server, key)))
    assert sorted(p.name for p in (server.root / "box").iterdir()) == []


async def test_links_in_the_store_lead_nowhere(server: Server, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "f").write_text("mine")
    (server.root / "box" / "link").symlink_to(tmp_path / "private")
    with pytest.raises(ExecutorError):
        await off(lambda: driver().load(artifact(server, "link/f"), tmp_path / "back"))


async def test_a_body_that_is_not_what_was_signed(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "source").write_text("right")
    digest = hashlib.sha256(b"other").hexdigest()
    monkeypatch.setattr(s3.Bucket, "_payload_hash", lambda self, body: digest)
    with pytest.raises(ExecutorError, match="does not match what was computed"):
        await off(lambda: driver().save(Place(tmp_path / "source", "/s"), artifact(server, "k")))
    assert list((server.root / "box").iterdir()) == []


def test_amazons_own_example() -> None:
    """docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, GET Object."""
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "range": "bytes=0-9",
        "x-amz-content-sha256": signatures.EMPTY,
        "x-amz-date": "20130524T000000Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    }
    asked = Asked("GET", "/test.txt", "", headers)
    now = datetime(2013, 5, 24, tzinfo=UTC)
    assert verify(asked, {"AKIAIOSFODNN7EXAMPLE": secret}, now).access_key == "AKIAIOSFODNN7EXAMPLE"
    for moment, secrets, code in (
        (now + timedelta(hours=1), {"AKIAIOSFODNN7EXAMPLE": secret}, "RequestTimeTooSkewed"),
        (now, {}, "InvalidAccessKeyId"),
        (now, {"AKIAIOSFODNN7EXAMPLE": "x"}, "SignatureDoesNotMatch"),
    ):
        with pytest.raises(Denied) as caught:
            verify(asked, secrets, moment)
        assert caught.value.code == code
