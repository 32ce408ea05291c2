"""What real processes use: ``kubectl top``, and an autoscaler that scales out on load and in again."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_network import reaches
from tiphys.app.compose import compose
from tiphys.app.settings import Settings
from tiphys.client import kubeconfig
from tiphys.machinery.resources import DEPLOYMENTS, ObjectKey, Resource

pytestmark = [pytest.mark.e2e]
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
WEB = ObjectKey("default", "web")
# Works while the file is there.
WORK = 'while :; do if [ -e "$FLAG" ]; then :; else sleep 0.2; fi; done'


def deployment(flag: Path) -> dict[str, Any]:
    container = {
        "name": "work",
        "image": "busybox",
        "command": ["sh", "-c", WORK],
        "env": [{"name": "FLAG", "value": str(flag)}],
        "resources": {"requests": {"cpu": "100m", "memory": "8Mi"}},
    }
    idle = {"name": "idle", "image": "busybox", "command": ["sleep", "1000"], "resources": container["resources"]}
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container, idle]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


def autoscaler() -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": 50}
    quickly = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 2,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "behavior": {"scaleUp": quickly, "scaleDown": quickly},
    }
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


def has_ready(count: int) -> Any:
    def wanted(found: Mapping[str, Any]) -> bool:
        status = found.get("status") or {}
        return status.get("readyReplicas", 0) == count == found["spec"]["replicas"]

    return wanted


async def kubectl(file: Path, *words: str) -> list[list[str]]:
    process = await asyncio.create_subprocess_exec(
        "kubectl", *words, env=os.environ | {"KUBECONFIG": str(file)}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return [line.split() for line in out.decode().splitlines()]


def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder / "data", listen="127.0.0.1:0", runtime="process", images="map", network="host")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
async def test_kubectl_top_shows_what_processes_use(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    async with compose(settings(tmp_path), daemon=True) as parts:
        assert parts.served is not None
        file = tmp_path / "kubeconfig"
        kubeconfig.write(file, parts.served.kubeconfig)
        await parts.client.create(DEPLOYMENTS, deployment(flag))
        await reaches(parts.client, DEPLOYMENTS, WEB, has_ready(1))
        head, row = await kubectl(file, "top", "pod", "-l", "app=web")
        assert head == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
        assert int(row[1].removesuffix("m")) > 100
        assert row[2].endswith("Mi")
        head, *rows = await kubectl(file, "top", "pod", row[0], "--containers")
        assert head == ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
        used = {name: int(cpu.removesuffix("m")) for _, name, cpu, _ in rows}
        assert used["work"] > 100 > 50 > used["idle"]
        head, node = await kubectl(file, "top", "node")
        assert head[:2] == ["NAME", "CPU(cores)"]
        assert node[0] == "tiphys"
        assert int(node[1].removesuffix("m")) > 0
        head, listed = await kubectl(file, "get", "pods.metrics.k8s.io")
        assert (head, listed[0]) == (["NAME", "CPU", "MEMORY", "WINDOW"], row[0])
        assert not (await parts.client.list(POD_METRICS, "default", labelSelector="app=other"))["items"]
        await parts.client.delete(DEPLOYMENTS, WEB)
        await parts.node.end_all()


async def test_an_autoscaler_follows_real_load_out_and_in(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    async with compose(settings(tmp_path), daemon=True) as parts:
        await parts.client.create(DEPLOYMENTS, deployment(flag))
        await parts.client.create(AUTOSCALERS, autoscaler())
        await reaches(parts.client, DEPLOYMENTS, WEB, has_ready(2))
        flag.unlink()
        await reaches(parts.client, DEPLOYMENTS, WEB, has_ready(1))
        held = await parts.client.get(AUTOSCALERS, WEB)
        assert held["status"]["currentMetrics"][0]["resource"]["name"] == "cpu"
        await parts.client.delete(AUTOSCALERS, WEB)
        await parts.client.delete(DEPLOYMENTS, WEB)
        await parts.node.end_all()
