"""The given example apps kept as a local Git repository says: synced, healed, changed, broken, rolled back, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.embedded import Cluster, Repository, fetched, needs_all

pytestmark = needs_all

APPLICATIONS = (
    "guestbook", "kustomize-guestbook", "helm-guestbook", "jsonnet-guestbook", "helm-hooks", "pre-post-sync",
)  # fmt: skip
"""Healthy only where its Service of type LoadBalancer gets an address."""
FINALIZER = "resources-finalizer.argocd.argoproj.io"
RELEASED = "tests.example/released"
SETTINGS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "argocd-cm", "namespace": "argocd"},
    "data": {
        "resource.customizations.health.argoproj.io_Application": """
hs = {status = "Progressing", message = ""}
if obj.status ~= nil and obj.status.health ~= nil then hs.status = obj.status.health.status end
return hs
"""
    },
}
"""With these a wave of applications waits until they are Healthy, as the original's documentation says it."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("git") / "apps")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, repository: Repository) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("gitops") / "cluster") as here:
        here.kubectl("create", "namespace", "argocd")
        here.apply(SETTINGS)
        here.apply(*(application(name, repository) for name in APPLICATIONS))
        yield here


def application(name: str, repository: Repository) -> dict[str, Any]:
    """An Application that keeps itself as Git says, in a namespace of its own."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "finalizers": [FINALIZER]},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url, "path": name, "targetRevision": "master"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": name},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true"],
            },
        },
    }


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_app_reaches_synced_and_healthy(cluster: Cluster, name: str) -> None:
    settles(cluster, name, "Synced", "Healthy")
    head, row = cluster.kubectl("get", "app", name, "-n", "argocd").splitlines()
    assert head.split() == ["NAME", "SYNC", "STATUS", "HEALTH", "STATUS"]
    assert row.split() == [name, "Synced", "Healthy"]
    address = cluster.items("services", "-n", name)[0]["spec"]["clusterIP"]
    cluster.wait("the Service", lambda: fetched(f"http://{address}/"))


def test_drift_is_healed(cluster: Cluster) -> None:
    settles(cluster, "guestbook", "Synced", "Healthy")
    cluster.kubectl("scale", "deployment/guestbook-ui", "-n", "guestbook", "--replicas=2")
    cluster.wait("healed", lambda: replicas(cluster) == 1)
    cluster.kubectl("delete", "service", "guestbook-ui", "-n", "guestbook")
    cluster.wait("made again", lambda: cluster.get("service", "guestbook-ui", "-n", "guestbook"))


def test_a_commit_is_applied_and_a_rollback_takes_it_back(cluster: Cluster, repository: Repository) -> None:
    settles(cluster, "guestbook", "Synced", "Healthy")
    file = repository.place / "guestbook" / "guestbook-ui-deployment.yaml"
    file.write_text(file.read_text().replace("replicas: 1", "replicas: 2"))
    good = repository.commit("Two of them")
    refresh(cluster, "guestbook")
    settles(cluster, "guestbook", "Synced", "Healthy", good)
    assert replicas(cluster) == 2

    file.write_text(file.read_text().replace("gb-frontend:v5", "no-such-image:v5"))
    file.write_text(file.read_text().replace("spec:\n  replicas", "spec:\n  progressDeadlineSeconds: 2\n  replicas", 1))
    bad = repository.commit("An image that there is not")
    refresh(cluster, "guestbook")
    settles(cluster, "guestbook", "Synced", "Degraded", bad)

    cluster.kubectl("patch", "app", "guestbook", "-n", "argocd", "--type=merge", "-p", '{"spec":{"syncPolicy":null}}')
    operate(cluster, "guestbook", good)
    settles(cluster, "guestbook", "OutOfSync", "Healthy")
    history = cluster.get("app", "guestbook", "-n", "argocd")["status"]["history"]
    assert [row["revision"] for row in history][-3:] == [good, bad, good]


def test_deletion_removes_everything(cluster: Cluster) -> None:
    settles(cluster, "kustomize-guestbook", "Synced", "Healthy")
    cluster.kubectl("delete", "app", "kustomize-guestbook", "-n", "argocd")
    assert not cluster.items("deployments,services", "-n", "kustomize-guestbook")


def settles(cluster: Cluster, name: str, sync: str, health: str, revision: str = "") -> None:
    def holds() -> bool:
        status = cluster.get("app", name, "-n", "argocd").get("status") or {}
        found = status.get("sync") or {}
        states = found.get("status"), (status.get("health") or {}).get("status")
        return states == (sync, health) and found.get("revision", "").startswith(revision)

    cluster.wait(f"{name} {sync} {health}", holds, lambda: json.dumps(cluster.get("app", name, "-n", "argocd")))


def refresh(cluster: Cluster, name: str) -> None:
    cluster.kubectl("annotate", "app", name, "-n", "argocd", "argocd.argoproj.io/refresh=normal", "--overwrite")


def operate(cluster: Cluster, name: str, revision: str) -> None:
    patch = json.dumps({"operation": {"sync": {"revision": revision, "prune": True}}})
    cluster.kubectl("patch", "app", name, "-n", "argocd", "--type=merge", "-p", patch)


def replicas(cluster: Cluster) -> int:
    return int(cluster.get("deployment", "guestbook-ui", "-n", "guestbook")["spec"]["replicas"])


def test_an_app_of_apps_comes_up_in_order(cluster: Cluster, repository: Repository) -> None:
    for wave, name in enumerate(("first", "second")):
        child = application(name, repository)
        child["metadata"]["annotations"] = {"argocd.argoproj.io/sync-wave": str(wave)}
        child["spec"]["source"]["path"] = "helm-guestbook"
        (repository.place / "children").mkdir(exist_ok=True)
        (repository.place / "children" / f"{name}.json").write_text(json.dumps(child))
    repository.commit("An app of apps")
    parent = application("parent", repository)
    parent["spec"]["source"]["path"] = "children"
    parent["spec"]["destination"]["namespace"] = "argocd"
    cluster.apply(parent)
    settles(cluster, "parent", "Synced", "Healthy")
    settles(cluster, "first", "Synced", "Healthy")
    settles(cluster, "second", "Synced", "Healthy")
    first, second = (cluster.get("app", name, "-n", "argocd") for name in ("first", "second"))
    assert first["status"]["operationState"]["finishedAt"] <= second["metadata"]["creationTimestamp"]
    cluster.kubectl("delete", "app", "parent", "-n", "argocd")
    assert not cluster.items("deployments", "-n", "first") and not cluster.items("deployments", "-n", "second")


def test_a_wave_waits_until_the_one_before_is_healthy(cluster: Cluster, repository: Repository) -> None:
    pod = {
        "readinessGates": [{"conditionType": RELEASED}],
        "containers": [{"name": "web", "image": "gcr.io/google-samples/gb-frontend:v5"}],
        "terminationGracePeriodSeconds": 0,
    }
    labels = {"app": "held"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    held = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "held"}, "spec": spec}
    after = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "after"}}
    folder = repository.place / "waves"
    folder.mkdir()
    for wave, manifest in enumerate((held, after)):
        manifest["metadata"] |= {"annotations": {"argocd.argoproj.io/sync-wave": str(wave)}}  # type: ignore[operator]
        (folder / f"{wave}.json").write_text(json.dumps(manifest))
    repository.commit("Two waves")
    cluster.apply(application("waves", repository))
    # All is there that wave 1 could wait for, but for our word.
    cluster.wait("the pod of wave 0", lambda: conditions(cluster).get("ContainersReady") == "True")
    settles(cluster, "waves", "OutOfSync", "Progressing")
    assert not cluster.get("configmap", "after", "-n", "waves")
    assert cluster.get("app", "waves", "-n", "argocd")["status"]["operationState"]["phase"] == "Running"

    name = cluster.items("pods", "-n", "waves")[0]["metadata"]["name"]
    release = json.dumps({"status": {"conditions": [{"type": RELEASED, "status": "True"}]}})
    cluster.kubectl("patch", "pod", name, "-n", "waves", "--subresource=status", "-p", release)
    settles(cluster, "waves", "Synced", "Healthy")
    assert cluster.get("configmap", "after", "-n", "waves")
    cluster.kubectl("delete", "app", "waves", "-n", "argocd")


def conditions(cluster: Cluster) -> dict[str, str]:
    pods = cluster.items("pods", "-n", "waves")
    return {row["type"]: row["status"] for pod in pods for row in pod["status"].get("conditions") or ()}


def test_an_app_goes_to_another_cluster(cluster: Cluster, repository: Repository, tmp_path: Path) -> None:
    with Cluster(tmp_path / "second", network="loopback", runtime="process") as second:
        told = second.kubectl("config", "view", "--raw", "--minify", "-o", "json")
        config = json.loads(told)
        at, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        tls = {"caData": at["certificate-authority-data"]}
        tls |= {"certData": user["client-certificate-data"], "keyData": user["client-key-data"]}
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": "second",
                    "namespace": "argocd",
                    "labels": {"argocd.argoproj.io/secret-type": "cluster"},
                },
                "stringData": {
                    "name": "second",
                    "server": at["server"],
                    "config": json.dumps({"tlsClientConfig": tls}),
                },
            }
        )
        (repository.place / "settings").mkdir()
        (repository.place / "settings" / "one.yaml").write_text(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
        )
        repository.commit("Settings")
        app = application("settings", repository)
        app["spec"]["destination"] = {"name": "second", "namespace": "elsewhere"}
        cluster.apply(app)
        settles(cluster, "settings", "Synced", "Healthy")
        assert second.get("configmap", "one", "-n", "elsewhere")
        assert not cluster.get("namespace", "elsewhere")
        cluster.kubectl("delete", "app", "settings", "-n", "argocd")
        assert not second.get("configmap", "one", "-n", "elsewhere")
