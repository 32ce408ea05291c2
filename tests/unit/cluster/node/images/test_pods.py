"""Pods made from real images: built here, pushed to a real registry, pulled by tag and by digest, and really run."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import Node, Object, a_pod, node, state
from tests.unit.cluster.node.images.building import ImageFiles, busybox_layer, layer, member, python_layer
from tests.unit.cluster.node.images.registry_server import docker_registry, pull_secret, push
from tiphys.cluster.node.images.archives import load
from tiphys.cluster.node.images.map import ImageMap
from tiphys.cluster.node.images.pulling import Images, PullSettings
from tiphys.cluster.node.images.store import Store
from tiphys.cluster.node.runtime import Runtime
from tiphys.machinery.resources import EVENTS, SECRETS
from tiphys.runtime.clock import SystemClock

BUSYBOX = busybox_layer()
APP = ImageFiles(
    [BUSYBOX, layer(member("greeting", b"hello from the image\n"), member("home/app/work/", kind=b"5"))],
    {
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["cat /greeting; id -u; pwd; echo $WHO $HOME"],
        "Env": ["WHO=image", "PATH=/bin"],
        "User": "app",
        "WorkingDir": "/home/app/work",
    },
)

# User "me", password "secret".
HTPASSWD = "me:$2b$04$ZRk00C3FYPSVSZfHimejPOQMIz8Vv5n4.dys/Ar2mYAwuGa4Q/NnS"


def a_source(store: Store, settings: PullSettings, runtime: Runtime) -> Images:
    return Images(store, ImageMap(), SystemClock(), settings)


@pytest.fixture(params=["oci", "sandbox"])
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with node(request.param, tmp_path / "node") as made:
        made.images = partial(a_source, Store(tmp_path / "store"), PullSettings())
        await made.start()
        yield made


def a_container(image: str, **more: Any) -> dict[str, Any]:
    spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": image, **more}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"terminationGracePeriodSeconds": 1, **spec},
    }


async def events(machine: Node, reason: str) -> Object:
    async with machine.client.watch(EVENTS, "default") as found:
        async for event in found:
            if event.type != "BOOKMARK" and event.object["reason"] == reason:
                return event.object
    raise AssertionError("the watch ended")


async def test_by_tag_and_by_digest(machine: Node, tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host:
        await push(host, "team/app", "1", APP)
        await push(host, "team/app", "1", APP)
        pod = await machine.run(a_container(f"{host}/team/app:1", imagePullPolicy="Always"))
        key = _key(pod)
        said = await machine.log(key)
        assert state(pod)["terminated"]["exitCode"] == 0, (said, state(pod))
        uid = "1000"
        assert said.splitlines()[:3] == ["hello from the image", uid, "/home/app/work"]
        assert said.splitlines()[3].startswith("image ")
        (row,) = pod["status"]["containerStatuses"]
        assert (row["image"], row["imageID"]) == (f"{host}/team/app:1", f"{host}/team/app@{APP.digest}")
        told = await events(machine, "Pulled")
        assert told["message"].startswith(f'Successfully pulled image "{host}/team/app:1" in ')
        by_digest = a_container(f"{host}/team/app@{APP.digest}", command=["/bin/cat", "/greeting"])
        by_digest["metadata"]["name"] = "q"
        pod = await machine.run(by_digest)
        assert await machine.log(_key(pod)) == "hello from the image\n"


@pytest.mark.slow
async def test_python_as_debian_packages_it(machine: Node, tmp_path: Path) -> None:
    """An interpreter that is none of this machine's programs: its own loader, libraries and modules."""
    packages = python_layer()
    if packages is None:
        pytest.skip("Debian's packages of Python are not installed here")
    config = {"Entrypoint": ["/usr/bin/python3", "-c"], "Env": ["PATH=/usr/bin"]}
    image = ImageFiles([packages, layer(member("etc/mark", b"in the image\n"))], config)
    script = "import os, hashlib; print(os.getpid(), open('/etc/mark').read().strip(), os.path.exists('/home'))"
    async with docker_registry(tmp_path) as host:
        await push(host, "python", "3", image)
        for name, reference in (("p", f"{host}/python:3"), ("q", f"{host}/python@{image.digest}")):
            pod = a_container(reference, args=[script])
            pod["metadata"]["name"] = name
            done = await machine.run(pod)
            said = await machine.log(_key(done))
            assert said == "1 in the image False\n", state(done)
            assert done["status"]["containerStatuses"][0]["imageID"].endswith(image.digest)


async def test_containers_do_not_change_their_image_or_each_other(machine: Node, tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host:
        await push(host, "box", "1", ImageFiles([BUSYBOX]))
        script = ["/bin/sh", "-c", "cat /data/seed.txt; echo changed > /data/seed.txt; rm -r /etc; ls /"]
        for name in ("p", "q"):
            pod = a_container(f"{host}/box:1", command=script)
            pod["metadata"]["name"] = name
            done = await machine.run(pod)
            assert (await machine.log(_key(done))).startswith("seed\n")


async def test_pull_secrets(machine: Node, tmp_path: Path) -> None:
    async with docker_registry(tmp_path, HTPASSWD) as host:
        await push(host, "box", "1", ImageFiles([BUSYBOX]), "Basic " + base64.b64encode(b"me:secret").decode())
        refused = await machine.create(a_container(f"{host}/box:1", command=["true"]))
        waiting = await machine.until(refused, lambda pod: _waits(pod, "ErrImagePull"))
        assert "no basic auth credentials" in state(waiting)["waiting"]["message"]
        await machine.client.create(SECRETS, pull_secret(host, "me", "secret"))
        pod = a_container(f"{host}/box:1", command=["/bin/true"])
        pod["metadata"]["name"] = "q"
        pod["spec"]["imagePullSecrets"] = [{"name": "creds"}]
        assert (await machine.run(pod))["status"]["phase"] == "Succeeded"


async def test_what_a_kubelet_says_of_images_that_are_not_there(machine: Node, tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host:
        name = f"{host}/none/x:1"
        key = await machine.create(a_container(name, command=["true"]))
        pod = await machine.until(key, lambda pod: _waits(pod, "ErrImagePull"))
        reason = (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{name}":'
            f" failed to resolve image: {name}: not found"
        )
        assert state(pod)["waiting"]["message"] == reason
        pod = await machine.until(key, lambda pod: _waits(pod, "ImagePullBackOff"))
        assert state(pod)["waiting"]["message"] == f'Back-off pulling image "{name}": ErrImagePull: {reason}'
    never = a_container("registry.invalid/x:1", imagePullPolicy="Never", command=["true"])
    never["metadata"]["name"] = "never"
    pod = await machine.until(await machine.create(never), lambda pod: _waits(pod, "ErrImageNeverPull"))
    said = 'Container image "registry.invalid/x:1" is not present with pull policy of Never'
    assert state(pod)["waiting"]["message"] == said


async def test_the_image_map_answers_where_no_registry_does(machine: Node) -> None:
    script = a_pod("echo $0", container={"image": "127.0.0.1:9/busybox:1"})
    pod = await machine.run(script)
    assert pod["status"]["containerStatuses"][0]["imageID"] == "tiphys-map://busybox"
    assert "served from this machine's programs" in (await events(machine, "ImageMapped"))["message"]


async def test_an_image_from_a_file(machine: Node, tmp_path: Path) -> None:
    files = ImageFiles([BUSYBOX], {"Cmd": ["/bin/cat", "/data/seed.txt"]}, "zstd")
    (entry,) = load(files.layout(tmp_path / "layout", "box:1"), Store(tmp_path / "store"))
    pod = await machine.run(a_container("box:1", imagePullPolicy="IfNotPresent"))
    assert await machine.log(_key(pod)) == "seed\n"
    row = pod["status"]["containerStatuses"][0]
    assert (row["image"], row["imageID"]) == ("docker.io/library/box:1", entry.config)


async def test_volumes_of_the_image_are_writable(tmp_path: Path) -> None:
    async with node("oci", tmp_path / "node") as machine:
        machine.images = partial(a_source, Store(tmp_path / "store"), PullSettings())
        await machine.start()
        config = {
            "Volumes": {"/data": {}},
            "Cmd": ["/bin/sh", "-c", "cat /data/seed.txt; echo x > /data/new && ls /data"],
        }
        load(ImageFiles([BUSYBOX], config).layout(tmp_path / "layout", "vol:1"), Store(tmp_path / "store"))
        pod = await machine.run(a_container("vol:1", securityContext={"readOnlyRootFilesystem": True}))
        assert await machine.log(_key(pod)) == "seed\nnew\nseed.txt\n", json.dumps(pod["status"])


def _key(pod: Object) -> Any:
    from tiphys.machinery.resources import key_of

    return key_of(pod)


def _waits(pod: Object, reason: str) -> bool:
    rows = (pod.get("status") or {}).get("containerStatuses") or ()
    return any((row["state"].get("waiting") or {}).get("reason") == reason for row in rows)
