"""The given example apps on the embedded cluster: they become Available and answer, inside and from outside.

Plain manifests and kustomizations go through ``kubectl apply``, Helm and Jsonnet are rendered by the CD renderer first.
Each app has a namespace of its own in one cluster. Why they answer without a registry: ``embedded.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.embedded import APPS, Cluster, Repository, fetched, needs_all
from tiphys.app.cd import Place, source_renderer
from tiphys.cd.rendering import Wanted
from tiphys.cd.sources.credentials import Credentials
from tiphys.runtime.clock import SystemClock

pytestmark = needs_all

Applied = Callable[[Cluster, str, Path], None]


def plain(cluster: Cluster, app: str, place: Path) -> None:
    cluster.kubectl("apply", "-n", app, "-f", str(APPS / app))


def created(cluster: Cluster, app: str, place: Path) -> None:
    """``kubectl apply`` refuses objects with only a ``generateName``."""
    cluster.kubectl("create", "-n", app, "-f", str(APPS / app))


def kustomized(cluster: Cluster, app: str, place: Path) -> None:
    cluster.kubectl("apply", "-n", app, "-k", str(APPS / app))


def rendered(cluster: Cluster, app: str, place: Path) -> None:
    cluster.kubectl("apply", "-n", app, "-f", "-", stdin=json.dumps(asyncio.run(targets(app, place))))


async def targets(app: str, place: Path) -> dict[str, Any]:
    repository = Repository(place / app)
    source = {"repoURL": repository.url, "path": app}
    wanted = Wanted(app, app, "default", [source])
    async with source_renderer(
        Place(place / "kept"), SystemClock(), lambda url, project, to_write=False: Credentials()
    ) as renderer:
        found = await renderer.render(wanted)
    assert found.problem == "", found.problem
    return {"apiVersion": "v1", "kind": "List", "items": list(found.targets)}


SERVED: dict[str, tuple[Applied, str]] = {
    "guestbook": (plain, "guestbook-ui"),
    "kustomize-guestbook": (kustomized, "kustomize-guestbook-ui"),
    "pre-post-sync": (kustomized, "pre-post-sync-kustomize-guestbook-ui"),
    "helm-guestbook": (rendered, "helm-guestbook"),
    "jsonnet-guestbook": (rendered, "jsonnet-guestbook-ui"),
    "helm-hooks": (created, "frontend"),
}
"""How each app is applied, and its Service."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    place = tmp_path_factory.mktemp("apps")
    with Cluster(place / "cluster") as here:
        for app, (apply, _) in SERVED.items():
            here.kubectl("create", "namespace", app)
            apply(here, app, place / "sources")
        yield here


@pytest.mark.parametrize("app", SERVED)
def test_an_example_app_is_available_and_answers(cluster: Cluster, app: str) -> None:
    service = SERVED[app][1]
    cluster.wait("available", lambda: is_available(cluster, app))
    pods = [pod["metadata"]["name"] for pod in cluster.items("pods", "-n", app) if "ready" in states(pod)]
    assert mapped(cluster, app) <= {"tiphys-map://web-stand-in", "tiphys-map://alpine"}

    address = cluster.get("service", service, "-n", app)["spec"]["clusterIP"]
    cluster.wait("the Service", lambda: fetched(f"http://{address}/") in pods)

    cluster.kubectl("patch", "service", service, "-n", app, "-p", '{"spec":{"type":"NodePort"}}')
    port = cluster.get("service", service, "-n", app)["spec"]["ports"][0]["nodePort"]
    cluster.wait("the NodePort", lambda: fetched(f"http://127.0.0.1:{port}/") in pods)


@pytest.mark.parametrize("app", SERVED)
def test_an_ingress_leads_to_it(cluster: Cluster, app: str) -> None:
    cluster.wait("available", lambda: is_available(cluster, app))
    pods = [pod["metadata"]["name"] for pod in cluster.items("pods", "-n", app)]
    cluster.apply(ingress(app, SERVED[app][1]))
    cluster.wait("the Ingress", lambda: fetched(f"http://{outside(cluster, app)}/", f"{app}.example") in pods)


@pytest.mark.parametrize("app", SERVED)
def test_another_pod_finds_it_by_its_name(cluster: Cluster, app: str) -> None:
    """The pod that asks is another app's, through its own stand-in."""
    other = "helm-guestbook" if app != "helm-guestbook" else "guestbook"
    cluster.wait("available", lambda: is_available(cluster, other) and is_available(cluster, app))
    asks = cluster.get("service", SERVED[other][1], "-n", other)["spec"]["clusterIP"]
    pods = [pod["metadata"]["name"] for pod in cluster.items("pods", "-n", app)]
    for name in (f"{SERVED[app][1]}.{app}", f"{SERVED[app][1]}.{app}.svc.cluster.local"):
        cluster.wait(name, lambda name=name: fetched(f"http://{asks}/fetch/{name}/") in pods)  # type: ignore[misc]


def test_jobs_of_the_apps_end_well(cluster: Cluster) -> None:
    for app in ("helm-hooks", "pre-post-sync"):
        cluster.kubectl("wait", "-n", app, "--for=condition=complete", "jobs", "--all", "--timeout=50s")


def is_available(cluster: Cluster, app: str) -> bool:
    found = cluster.items("deployments,replicasets", "-n", app)
    return bool(found) and all((o.get("status") or {}).get("availableReplicas") == o["spec"]["replicas"] for o in found)


def states(pod: dict[str, Any]) -> list[str]:
    rows = pod["status"].get("containerStatuses") or ()
    return ["ready" for row in rows if row["ready"]]


def mapped(cluster: Cluster, app: str) -> set[str]:
    rows = [r for pod in cluster.items("pods", "-n", app) for r in pod["status"].get("containerStatuses") or ()]
    return {row["imageID"] for row in rows if row["imageID"]}


def ingress(app: str, service: str) -> dict[str, Any]:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {"ingressClassName": "tiphys", "rules": [{"host": f"{app}.example", "http": {"paths": paths}}]}
    metadata = {"name": "web", "namespace": app}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def outside(cluster: Cluster, app: str) -> str:
    """The address that the Ingress's status shows."""
    status = cluster.get("ingress", "web", "-n", app).get("status") or {}
    rows = (status.get("loadBalancer") or {}).get("ingress") or [{}]
    return str(rows[0].get("ip") or "127.0.0.2:1")
