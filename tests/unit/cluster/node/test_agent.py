"""Whole pods on a real API server, under every runtime that works here."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import RUNTIMES, Node, a_pod, node, phase, state
from tiphys.cluster.node.network.attachments import HostNetwork
from tiphys.machinery.errors import BadRequest
from tiphys.machinery.podlife import Exit, Harvest, PodDirs, Staged
from tiphys.machinery.resources import CONFIG_MAPS, EVENTS, PODS, SECRETS, ObjectKey

Object = Mapping[str, Any]


@pytest.fixture(params=sorted(RUNTIMES))
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with node(request.param, tmp_path) as made:
        await made.start()
        yield made


@pytest.mark.parametrize(("code", "reason", "ends"), [(0, "Completed", "Succeeded"), (42, "Error", "Failed")])
async def test_a_pod_runs_to_its_end(here: Node, code: int, reason: str, ends: str) -> None:
    pod = await here.run(a_pod(f"echo hello; exit {code}"))
    ended = state(pod)["terminated"]
    assert (phase(pod), ended["exitCode"], ended["reason"]) == (ends, code, reason)
    assert pod["spec"]["nodeName"] == "node-1"
    assert pod["status"]["containerStatuses"][0]["imageID"] == "tiphys-map://busybox"
    assert await here.log(ObjectKey("default", "p")) == "hello\n"


async def test_a_long_step_shows_running(here: Node) -> None:
    key = await here.create(a_pod("sleep 1000"))
    pod = await here.until(key, lambda pod: phase(pod) == "Running")
    ready = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
    assert (ready["Ready"], ready["Initialized"], "running" in state(pod)) == ("True", "True", True)
    await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
    await here.gone(key)


async def test_deletion_asks_politely_first(here: Node) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    key = await here.create(a_pod(script, terminationGracePeriodSeconds=10))
    await here.until(key, lambda pod: phase(pod) == "Running")
    async with here.client.logs(key, follow="true") as chunks:
        assert await anext(aiter(chunks)) == b"up\n"
        await here.client.delete(PODS, key)
        assert b"".join([chunk async for chunk in chunks]).endswith(b"bye\n")
    await here.gone(key)


class Told(HostNetwork):
    """Knows what a pod had written when its Services were to lead to others."""

    def __init__(self, here: Node, key: ObjectKey) -> None:
        super().__init__()
        self.here, self.key = here, key
        self.logs: list[str] = []

    async def retire(self, uid: str) -> None:
        self.logs.append(await self.here.log(self.key))


async def test_services_lead_to_others_before_a_pod_is_asked_to_stop(tmp_path: Path) -> None:
    async with node("process", tmp_path) as here:
        network = here.network = Told(here, ObjectKey("default", "p"))
        await here.start()
        script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
        key = await here.create(a_pod(script, terminationGracePeriodSeconds=10))
        await here.until(key, lambda pod: phase(pod) == "Running")
        async with here.client.logs(key, follow="true") as chunks:
            assert await anext(aiter(chunks)) == b"up\n"
            await here.client.delete(PODS, key)
            await here.gone(key)
        assert network.logs == ["up\n"]


async def test_who_does_not_go_is_killed_after_the_grace_period(here: Node) -> None:
    key = await here.create(a_pod("trap '' TERM; while :; do sleep 0.02; done"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    await here.client.delete(PODS, key)
    await here.gone(key)


async def test_the_deadline_of_a_pod(here: Node) -> None:
    pod = await here.run(a_pod("sleep 1000", activeDeadlineSeconds=1, terminationGracePeriodSeconds=0))
    assert (phase(pod), pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"


async def test_init_containers_run_in_order_before_the_others(here: Node, tmp_path: Path) -> None:
    shared = tmp_path / "seen"
    shared.mkdir()
    volume = {"name": "v", "hostPath": {"path": str(shared)}}
    mount = {"volumeMounts": [{"name": "v", "mountPath": str(tmp_path / "mounted")}]}
    say = f"echo $HOSTNAME-x >> {tmp_path}/mounted/order"
    inits = [
        {"name": n, "image": "busybox", "command": ["sh", "-c", say.replace("$HOSTNAME-x", n)], **mount} for n in "ab"
    ]
    pod = await here.run(
        a_pod(say.replace("$HOSTNAME-x", "c"), initContainers=inits, volumes=[volume], container=mount)
    )
    assert phase(pod) == "Succeeded"
    assert (shared / "order").read_text() == "a\nb\nc\n"


async def test_a_failing_init_container_ends_the_pod(here: Node) -> None:
    init = {"name": "i", "image": "busybox", "command": ["sh", "-c", "exit 3"]}
    pod = await here.run(a_pod("echo never", initContainers=[init]))
    assert (phase(pod), state(pod, "i")["terminated"]["exitCode"]) == ("Failed", 3)
    assert state(pod)["waiting"]["reason"] == "PodInitializing"


async def test_restart_on_failure(here: Node, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    counter.mkdir()
    target = str(tmp_path / "mnt")
    container = {"volumeMounts": [{"name": "v", "mountPath": target}]}
    script = f"echo x >> {target}/n; test $(wc -l < {target}/n) -ge 2"
    volumes = [{"name": "v", "hostPath": {"path": str(counter)}}]
    pod = await here.run(a_pod(script, restartPolicy="OnFailure", volumes=volumes, container=container))
    (row,) = pod["status"]["containerStatuses"]
    assert (phase(pod), row["restartCount"]) == ("Succeeded", 1)
    assert row["lastState"] == {}  # an earlier life is forgotten at the end, as by a kubelet


async def test_environment_from_everywhere(here: Node) -> None:
    meta = {"namespace": "default"}
    await here.client.create(CONFIG_MAPS, {"metadata": {"name": "cm", **meta}, "data": {"a": "1", "b": "2"}})
    await here.client.create(SECRETS, {"metadata": {"name": "s", **meta}, "data": {"k": "czNjcjN0"}})
    env = [
        {"name": "A", "value": "x"},
        {"name": "B", "value": "$(A)-$(NOPE)-$$(A)"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}},
        {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['l']"}}},
        {"name": "G", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "a", "optional": True}}},
    ]
    container = {
        "env": env,
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
        "command": ["sh", "-c", 'echo "$B|$C|$D|$E|$F|${G-unset}|$P_a$P_b|$1"', "x", "$(A)"],
    }
    pod = await here.run(a_pod("", container=container, metadata={"labels": {"l": "v"}}))
    assert await here.log(ObjectKey("default", "p")) == "x-$(NOPE)-$(A)|1|s3cr3t|p|v|unset|12|x\n"
    assert phase(pod) == "Succeeded"


async def test_a_missing_reference_keeps_the_pod_waiting_until_it_comes(here: Node) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]
    key = await here.create(a_pod("echo $A", container={"env": env}))
    pod = await here.until(key, lambda pod: "waiting" in state(pod) if "containerStatuses" in pod["status"] else False)
    assert state(pod)["waiting"] == {"reason": "CreateContainerConfigError", "message": 'configmap "late" not found'}
    await here.client.create(CONFIG_MAPS, {"metadata": {"name": "late", "namespace": "default"}, "data": {"k": "v"}})
    assert phase(await here.ended(key)) == "Succeeded"


async def test_volumes(here: Node, tmp_path: Path) -> None:
    meta = {"namespace": "default"}
    await here.client.create(CONFIG_MAPS, {"metadata": {"name": "cm", **meta}, "data": {"a": "1", "b": "2"}})
    where = tmp_path / "mnt"
    volumes = [
        {"name": "e", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "cm", "items": [{"key": "a", "path": "deep/a", "mode": 0o400}]}},
        {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    mounts = [{"name": n, "mountPath": f"{where}/{n}"} for n in "ecd"]
    script = f"cd {where}; echo hi > e/x; cat e/x c/deep/a d/l; stat -L -c %a c/deep/a"
    pod = a_pod(script, volumes=volumes, container={"volumeMounts": mounts}, metadata={"labels": {"q": "ab"}})
    assert phase(await here.run(pod)) == "Succeeded"
    assert await here.log(ObjectKey("default", "p")) == 'hi\n1q="ab"400\n'
    assert here.runtime == "sandbox" or not where.exists()


async def test_an_unknown_image_is_said_and_waited_for(here: Node) -> None:
    key = await here.create(a_pod("true", container={"image": "example.com/mine:1"}))
    pod = await here.until(key, lambda pod: "waiting" in state(pod) if "containerStatuses" in pod["status"] else False)
    assert state(pod)["waiting"]["reason"] == "ErrImagePull"
    assert "image map has no entry" in state(pod)["waiting"]["message"]


async def test_a_program_that_does_not_exist(here: Node) -> None:
    pod = await here.run(a_pod("", container={"command": ["no-such-program"]}))
    ended = state(pod)["terminated"]
    assert (phase(pod), ended["exitCode"], ended["reason"]) == ("Failed", 128, "StartError")


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not here")
@pytest.mark.parametrize("shell", ["sh", "/bin/sh"])
async def test_the_shell_of_a_mapped_image(here: Node, shell: str) -> None:
    container = {"image": "argoproj/argosay:v2", "command": [shell, "-c"], "args": ['[[ "a b" == "a b" ]] && echo yes']}
    assert phase(await here.run(a_pod("", container=container))) == "Succeeded"


async def test_mapped_images_with_entrypoints(here: Node) -> None:
    container = {"image": "argoproj/argosay:v2", "args": ["echo", "hi from argosay"]}
    pod = a_pod("", container=container)
    del pod["spec"]["containers"][0]["command"]
    assert phase(await here.run(pod)) == "Succeeded"
    assert await here.log(ObjectKey("default", "p")) == "hi from argosay\n"
    async with asyncio.timeout(10), here.client.watch(EVENTS, "default") as events:
        told = await anext(event.object async for event in events if event.object["reason"] == "ImageMapped")
    assert "argosay" in told["message"]


async def test_a_killed_agents_containers_are_adopted(here: Node) -> None:
    key = await here.create(a_pod("echo one; while ! test -e /tmp/x$$; do sleep 0.3; break; done; echo two; exit 7"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    await here.kill()
    await here.start()
    pod = await here.ended(key)
    assert state(pod)["terminated"]["exitCode"] == 7
    assert await here.log(key) == "one\ntwo\n"


async def test_what_ended_while_no_agent_looked(here: Node) -> None:
    key = await here.create(a_pod("echo one; sleep 0.2; exit 6"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    assert here.agent is not None
    (container,) = here.agent.runtime.adopt(*_only_pod(here))
    await here.kill()
    await container.ended
    await here.start()
    assert state(await here.ended(key))["terminated"]["exitCode"] == 6


async def test_a_pod_deleted_behind_the_agents_back_leaves_nothing(here: Node) -> None:
    key = await here.create(a_pod("sleep 1000"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    assert here.agent is not None
    (container,) = here.agent.runtime.adopt(*_only_pod(here))
    await here.kill()
    await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
    await here.start()
    async with asyncio.timeout(10):
        assert (await container.ended).code == 137


async def test_logs_by_tail_limit_and_times(here: Node) -> None:
    key = ObjectKey("default", "p")
    await here.run(a_pod("for i in 1 2 3 4 5; do echo line $i; done; printf end"))
    assert await here.log(key, tailLines="2") == "line 5\nend"
    assert await here.log(key, limitBytes="10") == "line 1\nlin"
    assert await here.log(key, tailLines="0") == ""
    first, *_ = (await here.log(key, timestamps="true")).splitlines()
    assert first.split(" ", 1)[1] == "line 1" and first.startswith("20") and "Z " in first
    with pytest.raises(BadRequest, match='previous terminated container "c" in pod "p" not found'):
        await here.log(key, previous="true")


async def test_two_pods_that_want_one_path_take_turns(here: Node, tmp_path: Path) -> None:
    target = str(tmp_path / "same")
    volumes = [{"name": "e", "emptyDir": {}}]
    mounts = {"volumeMounts": [{"name": "e", "mountPath": target}]}
    script = f"ls {target} | wc -l; touch {target}/$HOSTNAME$$; sleep 0.1"
    pods = [a_pod(script, f"p{n}", volumes=volumes, container=mounts) for n in range(3)]
    ended = await asyncio.gather(*(here.run(pod) for pod in pods))
    assert [phase(pod) for pod in ended] == ["Succeeded"] * 3
    assert [(await here.log(ObjectKey("default", f"p{n}"))).strip() for n in range(3)] == ["0"] * 3


def _only_pod(here: Node) -> tuple[str, Path]:
    assert here.agent is not None
    (place,) = here.agent.pods_directory.iterdir()
    return place.name, place


class BrokenExtension:
    """Takes one pod, and has a bug."""

    def claims(self, pod: Object) -> bool:
        return bool(pod["metadata"]["name"] == "unlucky")

    async def stage(self, pod: Object, dirs: PodDirs) -> Staged:
        raise RecursionError("no end")

    async def collect(self, pod: Object, dirs: PodDirs, exits: Mapping[str, Exit]) -> Harvest:
        raise RecursionError("no end")


async def test_a_bug_that_one_pod_meets_stops_no_other(tmp_path: Path) -> None:
    async with node("process", tmp_path) as here:
        here.extensions = (BrokenExtension(),)
        await here.start()
        unlucky = a_pod("echo never")
        await here.create({**unlucky, "metadata": {**unlucky["metadata"], "name": "unlucky"}})
        async with asyncio.timeout(10), here.client.watch(EVENTS, "default") as events:
            async for event in events:
                if event.object["reason"] == "FailedSync":
                    assert event.object["message"] == "error determining status: no end"
                    break
        assert phase(await here.run(a_pod("echo hello"))) == "Succeeded"
