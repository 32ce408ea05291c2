"""Applications on a cluster of its own process, driven by kubectl: they heal, roll, move and come back.

Real processes run the containers (the ``process`` runtime), a simulated node takes what is drained.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.embedded import KUBECTL, Driven
from tiphys.app.datadir import ServerInfo
from tiphys.app.settings import Settings
from tiphys.app.up import detach, tiphys_command

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not KUBECTL, reason="kubectl is not on this machine")]


class Cluster(Driven):
    def __init__(self, place: Path) -> None:
        self.place = place
        self.server = self.start()

    def start(self) -> ServerInfo:
        flags = ["--data-dir", str(self.place), "--listen", "127.0.0.1:0", "--runtime", "process"]
        flags += ["--simulated-nodes", "1"]
        self.server = detach(Settings(data_dir=self.place), tiphys_command("up", *flags))
        return self.server

    def kill(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        os.waitpid(self.server.pid, 0)

    def pods(self, app: str) -> list[dict[str, Any]]:
        return self.items("pods", "-l", f"app={app}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    here = Cluster(tmp_path_factory.mktemp("cluster"))
    here.kubectl("cordon", "simulated-1")  # what pretends to run is for one test only
    yield here
    here.kubectl("delete", "deployments,statefulsets,jobs,pods", "--all", "--grace-period=0", "--force")
    here.kill()


def workload(kind: str, name: str, replicas: int, command: list[str], **extra: Any) -> str:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "tiphys"},
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "busybox", "command": command}],
        },
    }
    selector = {"matchLabels": {"app": name}}
    spec = {"replicas": replicas, "selector": selector, "template": template, **extra}
    return json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def test_a_deployment_rolls_pauses_undoes_and_scales(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", 3, ["sleep", "1000"]))
    assert "successfully rolled out" in cluster.kubectl("rollout", "status", "deployment/web")
    cluster.kubectl("set", "env", "deployment/web", "VERSION=2")
    assert "successfully rolled out" in cluster.kubectl("rollout", "status", "deployment/web")
    assert {env(pod) for pod in running(cluster, "web")} == {"2"}

    cluster.kubectl("rollout", "pause", "deployment/web")
    cluster.kubectl("set", "env", "deployment/web", "VERSION=3")
    cluster.wait("paused", lambda: condition(cluster, "web", "Progressing") == "DeploymentPaused")
    assert {env(pod) for pod in running(cluster, "web")} == {"2"}
    cluster.kubectl("rollout", "resume", "deployment/web")
    cluster.kubectl("rollout", "status", "deployment/web")
    assert {env(pod) for pod in running(cluster, "web")} == {"3"}

    cluster.kubectl("rollout", "undo", "deployment/web")
    cluster.kubectl("rollout", "status", "deployment/web")
    assert {env(pod) for pod in running(cluster, "web")} == {"2"}

    cluster.kubectl("scale", "deployment/web", "--replicas=1")
    cluster.wait("scaled", lambda: len(cluster.pods("web")) == 1)
    cluster.kubectl("delete", "deployment/web")
    cluster.wait("collected", lambda: not cluster.pods("web") and not cluster.items("rs", "-l", "app=web"))


def test_a_deleted_pod_is_replaced_and_a_dead_container_restarts(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "heals", 1, ["sleep", "1000"]))
    cluster.kubectl("rollout", "status", "deployment/heals")
    before = cluster.pods("heals")[0]["metadata"]["name"]
    cluster.kubectl("delete", "pod", before)
    cluster.wait("replaced", lambda: [name(p) for p in running(cluster, "heals")] not in ([], [before]))
    cluster.kubectl("delete", "deployment/heals", "--wait=false")

    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "dies", 1, ["sh", "-c", "sleep 0.2; exit 3"]))
    cluster.wait("restarted", lambda: restarts(cluster, "dies") >= 1)
    state = cluster.pods("dies")[0]["status"]["containerStatuses"][0]
    assert state["lastState"]["terminated"]["exitCode"] == 3
    cluster.wait("backing off", lambda: "CrashLoopBackOff" in waiting(cluster, "dies"))
    cluster.kubectl("delete", "deployment/dies", "--wait=false")


def test_a_drained_node_s_pods_move_as_the_budget_lets_them(cluster: Cluster) -> None:
    manifest = json.loads(workload("Deployment", "moves", 2, ["sleep", "1000"]))
    del manifest["spec"]["template"]["spec"]["nodeSelector"]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.kubectl("rollout", "status", "deployment/moves")
    assert {pod["spec"]["nodeName"] for pod in cluster.pods("moves")} == {"tiphys"}
    cluster.kubectl("create", "pdb", "moves", "--selector=app=moves", "--min-available=1")
    cluster.kubectl("uncordon", "simulated-1")
    cluster.kubectl("drain", "tiphys", "--ignore-daemonsets", "--force", "--pod-selector=app=moves")
    cluster.wait("moved", lambda: {p["spec"].get("nodeName") for p in running(cluster, "moves")} == {"simulated-1"})
    cluster.kubectl("uncordon", "tiphys")
    cluster.kubectl("cordon", "simulated-1")
    cluster.kubectl("delete", "deployment/moves", "pdb/moves", "--wait=false")


def test_a_stateful_set_keeps_names_and_volumes_over_a_kill_of_the_cluster(cluster: Cluster) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    manifest = json.loads(
        workload("StatefulSet", "db", 2, ["sh", "-c", "echo $$$$ >> $PLACE/log; exec sleep 1000"], serviceName="db")
    )
    manifest["spec"]["volumeClaimTemplates"] = [claim]
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["volumeMounts"] = [{"name": "data", "mountPath": "/var/tmp/tiphys-test-db"}]
    container["env"] = [{"name": "PLACE", "value": "/var/tmp/tiphys-test-db"}]
    manifest["spec"]["replicas"] = 1
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    cluster.kubectl("rollout", "status", "statefulset/db")
    volume = cluster.get("pvc", "data-db-0")["spec"]["volumeName"]
    cluster.kubectl("delete", "pod", "db-0")
    cluster.wait("again", lambda: [name(pod) for pod in running(cluster, "db")] == ["db-0"])
    assert cluster.get("pvc", "data-db-0")["spec"]["volumeName"] == volume

    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "stays", 1, ["sleep", "1000"]))
    cluster.kubectl("rollout", "status", "deployment/stays")

    # as when the machine goes down: the server and what ran in the pod are gone
    log = Path(cluster.get("pv", volume)["spec"]["hostPath"]["path"]) / "log"
    cluster.kill()
    began = log.read_text().split()
    os.kill(int(began[-1]), signal.SIGKILL)
    cluster.start()
    cluster.wait("begun again", lambda: len(log.read_text().split()) > len(began) >= 2)
    cluster.wait("back", lambda: [name(pod) for pod in running(cluster, "db")] == ["db-0"])
    assert cluster.get("pvc", "data-db-0")["status"]["phase"] == "Bound"
    cluster.kubectl("rollout", "status", "deployment/stays")
    cluster.kubectl("delete", "statefulset/db", "deployment/stays", "--wait=false")


def test_jobs_run_to_their_end(cluster: Cluster) -> None:
    cluster.kubectl("create", "job", "sums", "--image=busybox", "--", "sh", "-c", "echo $((40 + 2))")
    cluster.kubectl("wait", "--for=condition=complete", "job/sums", "--timeout=30s")
    assert cluster.kubectl("logs", "job/sums").strip() == "42"
    cluster.kubectl("create", "cronjob", "each-minute", "--image=busybox", "--schedule=* * * * *", "--", "true")
    cluster.kubectl("create", "job", "now", "--from=cronjob/each-minute")
    cluster.kubectl("wait", "--for=condition=complete", "job/now", "--timeout=30s")
    cluster.kubectl("delete", "job/sums", "job/now", "cronjob/each-minute")


def name(pod: dict[str, Any]) -> str:
    found: str = pod["metadata"]["name"]
    return found


def env(pod: dict[str, Any]) -> str:
    found = pod["spec"]["containers"][0].get("env") or [{}]
    return str(found[0].get("value"))


def running(cluster: Cluster, app: str) -> list[dict[str, Any]]:
    pods = cluster.pods(app)
    return [p for p in pods if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]]


def condition(cluster: Cluster, deployment: str, kind: str) -> str:
    conditions = cluster.get("deployment", deployment)["status"].get("conditions") or []
    return next((c["reason"] for c in conditions if c["type"] == kind), "")


def waiting(cluster: Cluster, app: str) -> list[str]:
    rows = [row for pod in cluster.pods(app) for row in pod["status"].get("containerStatuses") or ()]
    return [(row["state"].get("waiting") or {}).get("reason", "") for row in rows]


def restarts(cluster: Cluster, app: str) -> int:
    rows = [row for pod in cluster.pods(app) for row in pod["status"].get("containerStatuses") or ()]
    return sum(int(row["restartCount"]) for row in rows)
