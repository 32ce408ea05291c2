"""Clients that people use from Python, unmodified, against ``tiphys up`` over HTTPS with the kubeconfig that it writes.

kubernetes (the official one), kr8s, lightkube, an operator on kopf as a process of its own, and Helm 4 through its SDK.
A module that is not installed skips its test; ``uv sync --group dev`` installs all.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tiphys.app.settings import Settings
from tiphys.app.up import detach, tiphys_command
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import DEPLOYMENTS, JOBS, PODS, key_of

pytestmark = [
    pytest.mark.e2e,
    # The clients' own warnings are theirs.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SECONDS_MAX = 60
NAMESPACE = "default"
FOREVER = "trap 'exit 0' TERM; echo up; while :; do sleep 0.2; done"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Sockets that a client left open are found here, not in the middle of somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that runs as long as this module's tests."""
    place = tmp_path_factory.mktemp("data")
    flags = ["--data-dir", str(place), "--listen", "127.0.0.1:0", "--runtime", "process", "--network", "host"]
    server = detach(Settings(data_dir=place), tiphys_command("up", *flags))
    try:
        yield str(server.kubeconfig)
    finally:
        # Pods outlive a server that ends, and what a failed test left would keep its mounts.
        asyncio.run(emptied(server.kubeconfig))
        os.kill(server.pid, signal.SIGTERM)
        os.waitpid(server.pid, 0)


async def emptied(kubeconfig: str) -> None:
    """Deletes what runs, and waits until it is gone."""
    transport = HttpTransport.from_kubeconfig(kubeconfig)
    try:
        client = Client(transport)
        for resource in (DEPLOYMENTS, JOBS, PODS):
            for one in (await client.list(resource, NAMESPACE))["items"]:
                with contextlib.suppress(NotFound):
                    await client.delete(resource, key_of(one), {"propagationPolicy": "Background"})
        async with asyncio.timeout(SECONDS_MAX):
            while (left := await client.list(PODS, NAMESPACE))["items"]:
                since = left["metadata"]["resourceVersion"]
                async with client.watch(PODS, NAMESPACE, resourceVersion=since) as events:
                    async for event in events:
                        if event.type == "DELETED":
                            break
    finally:
        await transport.close()


def pod(name: str, script: str = FOREVER, **labels: str) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", script]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": data,
    }


def test_kubernetes(kubeconfig: str) -> None:
    """create, patch (three kinds), list by pages, watch, logs, exec, delete of the official client."""
    pytest.importorskip("kubernetes", reason="the official client is not installed")
    from kubernetes import client, config, watch
    from kubernetes.stream import stream

    with config.new_client_from_config(kubeconfig) as api:
        core = client.CoreV1Api(api)
        for n in range(5):
            core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{n}", n=str(n)))
        with pytest.raises(client.ApiException) as refused:
            core.create_namespaced_config_map(NAMESPACE, config_map("page-0"))
        assert refused.value.status == 409
        core.patch_namespaced_config_map("page-0", NAMESPACE, {"data": {"more": "yes"}})
        core.patch_namespaced_config_map("page-0", NAMESPACE, [{"op": "remove", "path": "/data/n"}])
        assert core.read_namespaced_config_map("page-0", NAMESPACE).data == {"more": "yes"}
        names, token = [], None
        while token != "":
            page = core.list_namespaced_config_map(NAMESPACE, limit=2, _continue=token or None)
            names += [item.metadata.name for item in page.items]
            token = page.metadata._continue or ""
        assert {f"page-{n}" for n in range(5)} <= set(names)

        began = core.list_namespaced_pod(NAMESPACE).metadata.resource_version
        core.create_namespaced_pod(NAMESPACE, pod("asked", app="asked"))
        phases = []
        watching = watch.Watch()
        selected = {"label_selector": "app=asked", "resource_version": began, "timeout_seconds": SECONDS_MAX}
        for event in watching.stream(core.list_namespaced_pod, NAMESPACE, **selected):
            phases.append(event["object"].status.phase)
            if phases[-1] == "Running":
                watching.stop()
        assert phases[0] == "Pending" and phases[-1] == "Running"

        lines = watching.stream(core.read_namespaced_pod_log, "asked", NAMESPACE)
        assert next(iter(lines)) == "up"
        watching.stop()
        words = ["sh", "-c", "read it; echo got $it; echo bad >&2; exit 3"]
        open_streams = {"stdin": True, "stdout": True, "stderr": True, "tty": False, "_preload_content": False}
        session = stream(core.connect_get_namespaced_pod_exec, "asked", NAMESPACE, command=words, **open_streams)
        session.write_stdin("this\n")
        session.run_forever(timeout=SECONDS_MAX)
        assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("got this\n", "bad\n", 3)

        core.delete_namespaced_pod("asked", NAMESPACE)
        for event in watching.stream(core.list_namespaced_pod, NAMESPACE, **selected):
            if event["type"] == "DELETED":
                watching.stop()
        core.delete_collection_namespaced_config_map(NAMESPACE, field_selector="metadata.name=page-1")
        with pytest.raises(client.ApiException) as gone:
            core.read_namespaced_config_map("page-1", NAMESPACE)
        assert gone.value.status == 404


def test_kr8s(kubeconfig: str) -> None:
    """Objects with methods: create, patch, label, wait, logs, exec, scale, delete."""
    pytest.importorskip("kr8s", reason="kr8s is not installed")
    import kr8s
    from kr8s.objects import ConfigMap, Deployment, Pod

    api = kr8s.api(kubeconfig=kubeconfig)
    held = ConfigMap(config_map("kr8s", a="1"), api=api)
    held.create()
    held.patch({"data": {"b": "2"}})
    held.label(team="red")
    found = list(api.get("configmaps", namespace=NAMESPACE, label_selector={"team": "red"}))
    assert [dict(one.data) for one in found] == [{"a": "1", "b": "2"}]

    runs = Pod(pod("kr8s"), api=api)
    runs.create()
    runs.wait("condition=Ready", timeout=SECONDS_MAX)
    assert next(iter(runs.logs(follow=True))) == "up"
    assert runs.exec(["echo", "hello"]).stdout == b"hello\n"

    template = {"metadata": {"labels": {"app": "kr8s"}}, "spec": pod("x")["spec"] | {"restartPolicy": "Always"}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "kr8s"}}, "template": template}
    web = Deployment({"metadata": {"name": "kr8s", "namespace": NAMESPACE}, "spec": spec}, api=api)
    web.create()
    web.wait("condition=Available", timeout=SECONDS_MAX)
    web.scale(2)
    web.wait("jsonpath='{.status.readyReplicas}'=2", timeout=SECONDS_MAX)
    assert len(web.pods()) == 2
    for one in (web, runs, held):
        one.delete()
        one.wait("delete", timeout=SECONDS_MAX)
        assert not one.exists()


def test_lightkube(kubeconfig: str) -> None:
    """Server-side apply by two managers, a conflict and force; a watch from a version on; a custom resource."""
    pytest.importorskip("lightkube", reason="lightkube is not installed")
    import lightkube
    from lightkube import ApiError, KubeConfig
    from lightkube.generic_resource import create_namespaced_resource
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap

    settings = KubeConfig.from_file(kubeconfig)
    first = lightkube.Client(settings, field_manager="first")
    second = lightkube.Client(settings, field_manager="second")

    def wanted(**data: str) -> Any:
        return ConfigMap(metadata=ObjectMeta(name="light", namespace=NAMESPACE), data=data)

    made = first.apply(wanted(a="1", b="1"))
    second.apply(wanted(c="2"))
    with pytest.raises(ApiError) as refused:
        second.apply(wanted(a="2"))
    assert refused.value.status.code == 409
    assert 'conflict with "first"' in refused.value.status.message
    second.apply(wanted(a="2"), force=True)
    first.apply(wanted(b="1"))
    final = first.get(ConfigMap, "light", namespace=NAMESPACE)
    assert final.data == {"a": "2", "b": "1"}
    assert {entry.manager for entry in final.metadata.managedFields} == {"first", "second"}
    first.delete(ConfigMap, "light", namespace=NAMESPACE)

    seen = []
    since = made.metadata.resourceVersion
    named = {"metadata.name": "light"}
    for event, one in first.watch(ConfigMap, namespace=NAMESPACE, fields=named, resource_version=since):
        seen.append((event, one.data))
        if event == "DELETED":
            break
    assert seen[0] == ("MODIFIED", {"a": "1", "b": "1", "c": "2"})
    assert seen[-1] == ("DELETED", {"a": "2", "b": "1"})

    workflows = create_namespaced_resource("argoproj.io", "v1alpha1", "Workflow", "workflows")
    step = {"name": "main", "container": {"image": "busybox", "command": ["true"]}}
    body = {"metadata": {"generateName": "light-"}, "spec": {"entrypoint": "main", "templates": [step]}}
    submitted = first.create(workflows(body), namespace=NAMESPACE)
    name = submitted.metadata.name
    for _, one in first.watch(workflows, namespace=NAMESPACE, fields={"metadata.name": name}):
        if (one.status or {}).get("phase") in ("Succeeded", "Failed", "Error"):
            assert one.status["phase"] == "Succeeded"
            break


OPERATOR = """
import kopf

@kopf.on.create("example.com", "v1", "boxes")
async def created(spec, **_):
    return {"size": spec["size"]}

@kopf.on.update("example.com", "v1", "boxes", field="spec.size")
async def changed(old, new, patch, **_):
    patch.status["resized"] = f"{old} to {new}"

@kopf.on.delete("example.com", "v1", "boxes")
async def removed(name, **_):
    print(f"removed {name}", flush=True)
"""


def box_definition() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boxes.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "boxes", "singular": "box", "kind": "Box", "listKind": "BoxList"},
            "versions": [version],
        },
    }


@contextmanager
def operator(place: Path, kubeconfig: str) -> Iterator[Path]:
    """``kopf run`` as a process of its own; yields the file with what it says."""
    program, said = place / "operator.py", place / "said.txt"
    program.write_text(textwrap.dedent(OPERATOR))
    words = [sys.executable, "-m", "kopf", "run", str(program), "--standalone", "-n", NAMESPACE]
    with said.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "KUBECONFIG": kubeconfig}
        )
        try:
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_a_kopf_operator(kubeconfig: str, tmp_path: Path) -> None:
    """Handlers of creation, update and deletion; the operator's finalizer holds the object until it is done."""
    pytest.importorskip("kopf", reason="kopf is not installed")
    pytest.importorskip("lightkube", reason="lightkube, which plays the user, is not installed")
    import lightkube
    from lightkube import KubeConfig
    from lightkube.generic_resource import create_namespaced_resource
    from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
    from lightkube.types import PatchType

    user = lightkube.Client(KubeConfig.from_file(kubeconfig))
    user.create(CustomResourceDefinition.from_dict(box_definition()))
    boxes = create_namespaced_resource("example.com", "v1", "Box", "boxes")

    def until(since: str, done: Any) -> Any:
        began = time.monotonic()
        watching = user.watch(boxes, namespace=NAMESPACE, resource_version=since, server_timeout=5)
        for event, one in watching:
            if done(event, one):
                return one
            assert time.monotonic() - began < SECONDS_MAX, said.read_text()
        raise AssertionError("the watch ended")

    with operator(tmp_path, kubeconfig) as said:
        made = user.create(boxes({"metadata": {"name": "b", "namespace": NAMESPACE}, "spec": {"size": 1}}))
        known = until(made.metadata.resourceVersion, lambda _, one: (one.status or {}).get("created") == {"size": 1})
        assert known.metadata.finalizers == ["kopf.zalando.org/KopfFinalizerMarker"]
        user.patch(boxes, "b", {"spec": {"size": 2}}, namespace=NAMESPACE, patch_type=PatchType.MERGE)
        since = known.metadata.resourceVersion
        until(since, lambda _, one: (one.status or {}).get("resized") == "1 to 2")
        user.delete(boxes, "b", namespace=NAMESPACE)
        until(since, lambda event, _: event == "DELETED")
    assert "removed b" in said.read_text()


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: small\nversion: 0.1.0\n",
    "values.yaml": "replicas: 1\ncolour: blue\n",
    "templates/config.yaml": """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: {{ .Release.Name }}-config}
        data: {colour: {{ .Values.colour }}}
    """,
    "templates/web.yaml": """
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: {{ .Release.Name }}-web}
        spec:
          replicas: {{ .Values.replicas }}
          selector: {matchLabels: {app: {{ .Release.Name }}}}
          template:
            metadata: {labels: {app: {{ .Release.Name }}}}
            spec:
              terminationGracePeriodSeconds: 1
              containers:
              - name: c
                image: busybox
                command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    """,
    "templates/service.yaml": """
        apiVersion: v1
        kind: Service
        metadata: {name: {{ .Release.Name }}-web}
        spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
    """,
    "templates/hook.yaml": """
        apiVersion: batch/v1
        kind: Job
        metadata:
          name: {{ .Release.Name }}-before
          annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
        spec:
          template:
            spec:
              restartPolicy: Never
              containers: [{name: c, image: busybox, command: ["true"]}]
    """,
    "templates/tests/test.yaml": """
        apiVersion: v1
        kind: Pod
        metadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test}}
        spec:
          restartPolicy: Never
          containers: [{name: c, image: busybox, command: [sh, -c, "echo tested {{ .Values.colour }}"]}]
    """,
}


def small_chart(place: Path) -> Path:
    for name, text in CHART.items():
        file = place / "small" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return place / "small"


@pytest.mark.parametrize("wait", ["watcher", "legacy"])
def test_helm(kubeconfig: str, tmp_path: Path, wait: str) -> None:
    """install, upgrade, rollback, test and uninstall with --wait, in both of Helm 4's ways to wait."""
    pytest.importorskip("helm_python", reason="the Helm 4 SDK is not installed (group dev)")
    pytest.importorskip("lightkube", reason="lightkube, which looks at the cluster, is not installed")
    import helm_python
    import lightkube
    from lightkube import ApiError, KubeConfig
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap

    chart, name, seconds = small_chart(tmp_path), f"tiny-{wait}", SECONDS_MAX
    looks = lightkube.Client(KubeConfig.from_file(kubeconfig))

    def state() -> tuple[str, int]:
        web = looks.get(Deployment, f"{name}-web", namespace=NAMESPACE)
        held = looks.get(ConfigMap, f"{name}-config", namespace=NAMESPACE)
        assert web.status.availableReplicas == web.spec.replicas, "it did not wait"
        return held.data["colour"], web.spec.replicas

    with helm_python.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as helm:
        helm.check_reachable()
        assert helm.install(chart, name, wait=wait, timeout=seconds)["status"] == "deployed"
        assert state() == ("blue", 1)
        helm.upgrade(chart, name, {"replicas": 2, "colour": "red"}, wait=wait, timeout=seconds)
        assert state() == ("red", 2)
        helm.rollback(name, wait=wait, timeout=seconds)
        assert state() == ("blue", 1)
        tested = helm.test(name, logs=True, timeout=seconds)
        assert "tested blue" in tested["logs"]
        revisions = [(entry.get("version", entry.get("revision")), entry["status"]) for entry in helm.history(name)]
        assert [status for _, status in revisions] == ["superseded", "superseded", "deployed"]
        helm.uninstall(name, wait=wait, timeout=seconds)
        assert helm.list() == []
    with pytest.raises(ApiError):
        looks.get(Deployment, f"{name}-web", namespace=NAMESPACE)
