"""Pods that mean harm, one by one, under every runtime that isolates: refused or bounded, with a clear message."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import Node, Object, a_pod, node, phase, state
from tiphys.cluster.node import volumes
from tiphys.cluster.node.hostpaths import HostPaths
from tiphys.cluster.node.runtime import ConfigError, Launch
from tiphys.cluster.node.runtimes.process import DEFAULT_PATH
from tiphys.machinery.resources import EVENTS, PODS, SECRETS, SERVICE_ACCOUNTS, ObjectKey

EMPTY = [{"name": "e", "emptyDir": {}}]


@pytest.fixture(params=["sandbox", "oci"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with node(request.param, tmp_path / "node") as made:
        await made.start()
        yield made


async def waits(here: Node, pod: dict[str, Any], reason: str) -> str:
    """The message with which the pod's container waits."""
    key = await here.create(pod)
    seen = await here.until(key, lambda p: _waiting(p).get("reason") == reason)
    await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
    return str(_waiting(seen)["message"])


def _waiting(pod: Object) -> Object:
    rows = (pod.get("status") or {}).get("containerStatuses") or ()
    waiting: Object = (rows[0]["state"].get("waiting") or {}) if rows else {}
    return waiting


async def says(here: Node, script: str, **spec: Any) -> str:
    pod = await here.run(a_pod(script, **spec))
    return await here.log(ObjectKey("default", pod["metadata"]["name"]))


# Sub-paths.


async def test_a_sub_path_cannot_climb_out_of_its_volume(here: Node) -> None:
    mount = {"name": "e", "mountPath": "/x", "subPathExpr": "$(UP)"}
    container = {"volumeMounts": [mount], "env": [{"name": "UP", "value": "../../../../etc"}]}
    said = await waits(here, a_pod("true", volumes=EMPTY, container=container), "CreateContainerConfigError")
    assert said == "unable to provision SubPath `../../../../etc`: must not contain '..'"


async def test_a_link_that_an_init_container_left_does_not_lead_out(here: Node) -> None:
    mounts = [{"name": "e", "mountPath": "/e"}]
    init = [{"name": "i", "image": "busybox", "command": ["sh", "-c", "ln -s /etc /e/out"], "volumeMounts": mounts}]
    container = {"volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": "out"}]}
    pod = a_pod("ls /x", volumes=EMPTY, initContainers=init, container=container)
    said = await waits(here, pod, "CreateContainerConfigError")
    assert "leads out of its volume" in said


def test_a_chain_of_links_is_followed_to_its_end(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    (volume / "a").mkdir(parents=True)
    (volume / "a/up").symlink_to("..")
    (volume / "b").symlink_to("a/up/../../secret")
    mounts = {"name": "c", "volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": "b"}]}
    with pytest.raises(ConfigError, match="leads out of its volume"):
        volumes.container_mounts(mounts, {"e": volume}, {})


def test_directories_of_a_sub_path_are_made_as_open_as_the_volume(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    volume.mkdir()
    volume.chmod(0o777)
    container = {"name": "c", "volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": "a/b"}]}
    (mount,) = volumes.container_mounts(container, {"e": volume}, {})
    facts = mount.source.stat()
    assert mount.source == volume / "a/b"
    assert (facts.st_mode & 0o777, mount.identity) == (0o777, (facts.st_dev, facts.st_ino))


async def test_a_link_that_takes_the_place_of_a_sub_path_is_not_mounted(here: Node, tmp_path: Path) -> None:
    """Another container of the pod exchanges it after it was looked at, and before it is mounted."""
    (tmp_path / "v/sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("hunter2")
    container = {"name": "c", "volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": "sub"}]}
    mounts = tuple(volumes.container_mounts(container, {"e": tmp_path / "v"}, {}))
    assert here.agent is not None
    words = ("sh", "-c", "ls /x; cat /x/secret")
    (tmp_path / "pod").mkdir()
    honest = Launch("u", "c", 0, tmp_path / "pod/c.0", words, {"PATH": DEFAULT_PATH}, mounts=mounts)
    (tmp_path / "v/sub/own").touch()
    await here.agent.runtime.start(honest).ended
    assert "own\n" in (tmp_path / "pod/c.0.log").read_text()
    (tmp_path / "v/sub").rename(tmp_path / "v/before")
    (tmp_path / "v/sub").symlink_to(tmp_path / "outside")
    end = await here.agent.runtime.start(replace(honest, attempt=1, place=tmp_path / "pod/c.1")).ended
    said = (tmp_path / "pod/c.1.log").read_text() + end.message
    assert end.code != 0
    assert "what is mounted at /x was exchanged" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(("sub_path", "path"), [("", "/x/out/new"), ("out", "/x/new"), ("out", "/x")])
def test_what_is_staged_in_a_volume_is_not_put_through_links(tmp_path: Path, sub_path: str, path: str) -> None:
    (tmp_path / "v/inner").mkdir(parents=True)
    (tmp_path / "v/in").symlink_to("inner")
    (tmp_path / "v/out").symlink_to(tmp_path)
    mounts = [{"name": "e", "mountPath": "/x", "subPath": sub_path}]
    assert volumes.path_in_volume(path, mounts, {"e": tmp_path / "v"}) is None
    mounts = [{"name": "e", "mountPath": "/x"}]
    assert volumes.path_in_volume("/x/in/a/b", mounts, {"e": tmp_path / "v"}) == tmp_path / "v/inner/a/b"
    assert volumes.path_in_volume("/x", mounts, {"e": tmp_path / "v"}) == tmp_path / "v"


# Host paths, where a node has a list.


@pytest.fixture
async def shown(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Node, Path]]:
    """A node that shows pods one directory, and that."""
    (tmp_path / "shown").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("hunter2")
    async with node(request.param, tmp_path / "node") as made:
        made.host_paths = HostPaths.of(str(tmp_path / "shown"))
        await made.start()
        yield made, tmp_path / "shown"


def with_host_path(path: Path, script: str, name: str = "p") -> dict[str, Any]:
    container = {"volumeMounts": [{"name": "h", "mountPath": "/h"}]}
    return a_pod(script, name=name, volumes=[{"name": "h", "hostPath": {"path": str(path)}}], container=container)


async def told(here: Node, pod: dict[str, Any], reason: str) -> str:
    """The message of the pod's first event of this reason."""
    await here.create(pod)
    async with asyncio.timeout(60), here.client.watch(EVENTS, "default") as events:
        async for event in events:
            about = event.object.get("involvedObject") or {}
            if about.get("name") == pod["metadata"]["name"] and event.object["reason"] == reason:
                return str(event.object["message"])
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("shown", ["oci", "process", "sandbox"], indirect=True)
async def test_a_host_path_that_is_not_shown_is_refused(shown: tuple[Node, Path]) -> None:
    here, place = shown
    refused = f'MountVolume.SetUp failed for volume "h" : hostPath {place.parent}/outside'
    said = await told(here, with_host_path(place.parent / "outside", "cat /h/secret"), "FailedMount")
    assert said == f"{refused} is not in what this node shows to pods: {place}"
    (place / "way").symlink_to(place.parent / "outside")
    said = await told(here, with_host_path(place / "way", "cat /h/secret", "link"), "FailedMount")
    assert f"hostPath {place}/way (which is {place.parent}/outside) is not in what" in said


@pytest.mark.parametrize("shown", ["oci", "sandbox"], indirect=True)
async def test_what_is_shown_can_be_written(shown: tuple[Node, Path]) -> None:
    here, place = shown
    (place / "own").mkdir()
    assert phase(await here.run(with_host_path(place / "own", "echo x > /h/file"))) == "Succeeded"
    assert (place / "own/file").read_text() == "x\n"


def test_a_host_path_that_was_exchanged_since_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "shown/own/sub").mkdir(parents=True)
    (tmp_path / "outside/sub").mkdir(parents=True)
    place = HostPaths.of(str(tmp_path / "shown")).prepare({"path": f"{tmp_path}/shown/own"})
    for sub_path in ("", "sub"):
        container = {"name": "c", "volumeMounts": [{"name": "h", "mountPath": "/h", "subPath": sub_path}]}
        (mount,) = volumes.container_mounts(container, {"h": place}, {}, watched=frozenset("h"))
        facts = (place / sub_path).stat()
        assert mount.identity == (facts.st_dev, facts.st_ino)
        place.rename(tmp_path / "shown/before")
        place.symlink_to(tmp_path / "outside")
        with pytest.raises(ConfigError, match="was exchanged for something else meanwhile"):
            volumes.container_mounts(container, {"h": place}, {}, watched=frozenset("h"))
        place.unlink()
        (tmp_path / "shown/before").rename(place)


@pytest.mark.parametrize(("text", "allowed"), [("", ()), ("/a, /b", ("/a", "/b")), ("/", ("/",))])
def test_lists_of_host_paths(text: str, allowed: tuple[str, ...]) -> None:
    found = HostPaths.of(text)
    assert (tuple(map(str, found.allowed)), found.bounded) == (allowed, text != "/")
    with pytest.raises(ValueError, match="must be absolute paths, got 'a'"):
        HostPaths.of("a")


# What it can see.


async def test_nothing_of_the_machines_owner_is_seen(here: Node) -> None:
    script = (
        "ls -A /home /root /var/run /run 2>/dev/null; ls /var/run/docker.sock /run/containerd 2>&1 | grep -v 'No such'"
    )
    seen = await says(here, script)
    own = {entry for place in ("/home", "/root") for entry in os.listdir(place) if entry not in ("app",)}
    assert not own & set(seen.split()), seen
    assert "docker.sock" not in seen
    assert "containerd" not in seen


async def test_other_pods_are_not_seen(here: Node) -> None:
    victim = a_pod("sleep 1000", name="victim", container={"env": [{"name": "PASSWORD", "value": "hunter2"}]})
    token = {"serviceAccountToken": {"path": "token"}}
    victim["spec"]["serviceAccountName"] = "someone"
    await here.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "someone", "namespace": "default"}})
    victim["spec"]["volumes"] = [{"name": "t", "projected": {"sources": [token]}}]
    victim["spec"]["containers"][0]["volumeMounts"] = [{"name": "t", "mountPath": "/t"}]
    key = await here.create(victim)
    uid = (await here.until(key, lambda pod: phase(pod) == "Running"))["metadata"]["uid"]
    assert here.agent is not None
    place = here.agent.pods_directory
    (secret,) = {file.read_text() for file in (place / uid).rglob("token")}
    script = f"cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep hunter2; ls {place} 2>&1; ps"
    script += f"; cat /proc/[0-9]*/mountinfo; cat {place}/{uid}/volumes/t/token; cat /proc/[0-9]*/root/t/token"
    seen = await says(here, script, name="spy")
    assert "hunter2" not in seen
    assert secret not in seen
    assert f"pods/{uid}/volumes" not in seen.replace(f"{place}/{uid}/volumes/t/token", "")  # nor a mount of it
    assert "sleep 1000" not in seen
    assert "No such file" in seen
    await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
    await here.gone(key)


async def test_secrets_are_readable_by_nobody_else_on_the_machine(here: Node) -> None:
    secret = {"metadata": {"name": "s", "namespace": "default"}, "stringData": {"k": "hunter2"}}
    await here.client.create(SECRETS, secret)
    mounts = {"volumeMounts": [{"name": "s", "mountPath": "/s"}]}
    volume = [{"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}}]
    key = await here.create(a_pod("cat /s/k; sleep 1000", volumes=volume, container=mounts))
    await here.until(key, lambda pod: phase(pod) == "Running")
    assert here.agent is not None
    files = [p for p in here.agent.pods_directory.rglob("k") if p.is_file()]
    assert files
    assert all(p.stat().st_mode & 0o077 == 0 for p in files)
    await here.client.delete(PODS, key, {"gracePeriodSeconds": 1})
    await here.gone(key)
    assert not [p for p in here.agent.pods_directory.rglob("k") if p.is_file()]


# What it can use up.


async def test_much_output_is_kept_whole_and_costs_no_memory_of_ours(here: Node) -> None:
    megabytes = 100
    pod = await here.run(a_pod(f"head -c {megabytes}000000 /dev/zero | tr '\\0' 'x'; echo; echo end"))
    assert phase(pod) == "Succeeded"
    length = 0
    async with here.client.logs(ObjectKey("default", "p")) as chunks:
        async for chunk in chunks:
            length += len(chunk)
            assert len(chunk) < 4 << 20
    assert length == megabytes * 1_000_000 + len("\nend\n")
    assert (await here.log(ObjectKey("default", "p"), tailLines="1")) == "end\n"


async def test_who_ignores_sigterm_is_killed(here: Node) -> None:
    script = "trap '' TERM INT HUP; while :; do sleep 0.02; done"
    key = await here.create(a_pod(script, terminationGracePeriodSeconds=1))
    await here.until(key, lambda pod: phase(pod) == "Running")
    await here.client.delete(PODS, key)
    await here.gone(key)


@pytest.mark.slow
async def test_a_fork_bomb_under_limits_is_its_own_problem(here: Node) -> None:
    """Within a limit on memory there is one on processes; the machine and the other pods go on."""
    limits = {"resources": {"limits": {"memory": "64Mi", "cpu": "200m"}}}
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000"
    key = await here.create(a_pod(bomb, name="bomb", container=limits, terminationGracePeriodSeconds=0))
    await here.until(key, lambda pod: phase(pod) in ("Running", "Failed", "Succeeded"))
    assert phase(await here.run(a_pod("echo still here", name="other"))) == "Succeeded"
    async with asyncio.timeout(60):
        await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
        await here.gone(key)


async def test_too_much_memory_is_the_kernels_end(here: Node) -> None:
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    assert here.agent is not None
    pod = await here.run(a_pod("x=x; while :; do x=$x$x; done", container=limits))
    end = state(pod)["terminated"]
    assert end["exitCode"] != 0
    assert end["reason"] in ("OOMKilled", "Error")


async def test_a_termination_message_is_bounded_and_no_link(here: Node) -> None:
    pod = await here.run(a_pod("head -c 9000000 /dev/zero | tr '\\0' x > /dev/termination-log", name="long"))
    assert len(state(pod)["terminated"]["message"]) == 4096
    link = "rm -f /tmp/m; ln -s /etc/shadow /tmp/m; ln -s /proc/1/environ /tmp/n"
    for number, path in enumerate(("/tmp/m", "/tmp/n", "/tmp", "/dev/zero")):
        container = {"terminationMessagePath": path}
        pod = await here.run(a_pod(link, name=f"link{number}", container=container))
        assert "root:" not in state(pod)["terminated"].get("message", "")
