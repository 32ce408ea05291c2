"""Several clusters, projects and their windows, settings, and plans that are only shown."""

import asyncio
import base64
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cd.controller.scenes import AUTOMATED, Scene, application, config_map, scene, sync_of
from tests.unit.client.servers import serving
from tiphys.app.cd import RegistryKinds
from tiphys.cd.caches import APP_PROJECTS
from tiphys.cd.clusters import ClusterSecret
from tiphys.cd.live import Scope
from tiphys.cd.preview import preview
from tiphys.cd.settings import ControllerSettings
from tiphys.client import kubeconfig
from tiphys.client.http import HttpTransport
from tiphys.client.kubeconfig import Cluster as Connection
from tiphys.client.kubeconfig import ExecPlugin
from tiphys.client.transport import Request
from tiphys.machinery.errors import Forbidden
from tiphys.machinery.resources import CONFIG_MAPS, NAMESPACES, SECRETS, ObjectKey, Resource
from tiphys.runtime.clock import SystemClock

RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLES = Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)


async def test_another_cluster_is_synced_by_its_secret(tmp_path: Path) -> None:
    async with serving("http", tmp_path) as other, scene(connect=lambda _cluster: other.transport) as it:
        it.sources.commit(config_map())
        destination = {"name": "other", "namespace": "default"}
        await it.create(syncPolicy=AUTOMATED, destination=destination)
        app = await it.until(lambda app: app["status"].get("conditions"))
        assert app["status"]["conditions"][0]["message"] == "there are no clusters with this name: other"
        await it.client.create(SECRETS, _secret("other", "https://other.example.com"))
        await it.synced()
        there = await other.get(CONFIG_MAPS, ObjectKey("default", "one"))
        assert there["data"] == {"a": "b"}
        assert await it.find(CONFIG_MAPS, "one") is None


async def test_a_cluster_whose_secret_goes_is_disconnected(tmp_path: Path) -> None:
    async with serving("http", tmp_path) as other:
        closed = asyncio.Event()

        class Closing(HttpTransport):
            async def close(self) -> None:
                closed.set()
                await super().close()

        def connect(_cluster: Any) -> HttpTransport:
            return Closing.from_kubeconfig(tmp_path / "kubeconfig")

        async with scene(connect=connect) as it:
            it.sources.commit(config_map())
            await it.client.create(SECRETS, _secret("other", "https://other.example.com"))
            await it.create(syncPolicy=AUTOMATED, destination={"name": "other", "namespace": "default"})
            await it.synced()
            assert (await other.get(CONFIG_MAPS, ObjectKey("default", "one")))["data"] and not closed.is_set()
            await it.client.delete(SECRETS, ObjectKey("argocd", "cluster-other"))
            await asyncio.wait_for(closed.wait(), 5)


async def test_a_secret_of_our_own_cluster_that_comes_later_is_used(tmp_path: Path) -> None:
    async with serving("http", tmp_path) as other, scene(connect=lambda _cluster: other.transport) as it:
        it.sources.commit(config_map())
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        await it.client.create(SECRETS, _secret("own", "https://kubernetes.default.svc"))

        async def is_there() -> bool:
            found = await other.list(CONFIG_MAPS, "default")
            return any(each["metadata"]["name"] == "one" for each in found["items"])

        await it.eventually(is_there)


@pytest.mark.parametrize(
    "config",
    ["no JSON", "[]", '{"tlsClientConfig": "x"}', '{"bearerToken": 5}', '{"execProviderConfig": {"args": "x"}}'],
)
def test_a_secret_of_the_wrong_shape_is_no_cluster(config: str) -> None:
    values = {"server": "https://other.example.com", "config": config}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    assert ClusterSecret.of({"data": data}) is None


async def test_a_namespaced_cluster_is_looked_at_nowhere_else(tmp_path: Path) -> None:
    asked: list[Request] = []

    class Noting(HttpTransport):
        async def call(self, request: Request) -> Mapping[str, Any]:
            asked.append(request)
            return await super().call(request)

    def connect(_cluster: Any) -> HttpTransport:
        return Noting.from_kubeconfig(tmp_path / "kubeconfig")

    async with serving("http", tmp_path) as other, scene(connect=connect) as it:
        await other.create(NAMESPACES, {"metadata": {"name": "team"}})
        it.sources.commit(config_map())
        await it.client.create(SECRETS, _secret("other", "https://other.example.com", namespaces="team, default"))
        await it.create(syncPolicy=AUTOMATED, destination={"name": "other", "namespace": "team"})
        await it.synced()
        await other.patch(CONFIG_MAPS, ObjectKey("team", "one"), {"data": {"a": "changed"}})

        async def is_healed() -> bool:
            return bool((await other.get(CONFIG_MAPS, ObjectKey("team", "one")))["data"] == {"a": "b"})

        await it.eventually(is_healed, 30)
        listed = {each.namespace for each in asked if each.verb == "list" and each.resource == CONFIG_MAPS}
        assert listed == {"team", "default"}
        assert not [each for each in asked if each.verb == "list" and each.resource == NAMESPACES]
        await it.create("outside", destination={"name": "other", "namespace": "kube-system"})
        app = await it.until(lambda app: app["status"].get("conditions"), "outside")
        said = 'Failed to load live state: namespace "kube-system" for ConfigMap "one" is not managed'
        assert app["status"]["conditions"][0]["message"] == said


def test_what_a_namespaced_cluster_manages() -> None:
    namespaced, role = config_map(), {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}}
    inside = {**namespaced, "metadata": {"name": "one", "namespace": "a"}}
    for scope in (Scope(), Scope(("a",)), Scope(("a",), cluster_resources=True)):
        scope.check(inside)
    Scope(("a",), cluster_resources=True).check(role)
    with pytest.raises(
        Forbidden, match='cluster level PersistentVolume "pv" can not be managed when in namespaced mode'
    ):
        Scope(("a",)).check(role)


async def test_nothing_is_done_for_a_cluster_that_is_paused(tmp_path: Path) -> None:
    async with serving("http", tmp_path) as other, scene(connect=lambda _cluster: other.transport) as it:
        it.sources.commit(config_map())
        secret = _secret("other", "https://other.example.com")
        secret["metadata"]["annotations"] = {"argocd.argoproj.io/skip-reconcile": "true"}
        await it.client.create(SECRETS, secret)
        await it.create("here")
        await it.create(syncPolicy=AUTOMATED, destination={"name": "other", "namespace": "default"})
        await it.until(sync_of, "here")
        assert "sync" not in (await it.app()).get("status", {})
        await it.client.patch(SECRETS, ObjectKey("argocd", "cluster-other"), {"metadata": {"annotations": None}})
        await it.synced()


async def test_a_project_may_name_who_acts_on_another_cluster(tmp_path: Path) -> None:
    actors: set[str | None] = set()

    class Noting(HttpTransport):
        async def call(self, request: Request) -> Mapping[str, Any]:
            if request.verb not in ("get", "list"):
                actors.add(self.cluster.impersonate)
            return await super().call(request)

    def connect(cluster: Connection) -> HttpTransport:
        known = kubeconfig.load(tmp_path / "kubeconfig")
        return Noting(replace(known, impersonate=cluster.impersonate))

    enabled = {"application.sync.impersonation.enabled": "true"}
    async with serving("http", tmp_path) as other, scene(None, connect, **enabled) as it:
        it.sources.commit(config_map())
        await it.client.create(SECRETS, _secret("other", "https://other.example.com"))
        account = {"server": "https://other.*", "namespace": "def*", "defaultServiceAccount": "deployer"}
        await _project(it, "team", destinationServiceAccounts=[account])
        await it.create(project="team", destination={"name": "other", "namespace": "default"})
        await it.sync()
        app = await it.until(lambda app: (app["status"].get("operationState") or {}).get("finishedAt"), seconds=30)
        # The account has no rights there, which the cluster says.
        message = app["status"]["operationState"]["syncResult"]["resources"][0]["message"]
        assert 'User "system:serviceaccount:default:deployer" cannot' in message
        rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
        await other.create(CLUSTER_ROLES, {"metadata": {"name": "all"}, "rules": [rule]})
        binding = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"}}
        subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": "default"}
        named = {"metadata": {"name": "all"}, "subjects": [subject], **binding}
        await other.create(CLUSTER_ROLE_BINDINGS, named)
        await it.sync()
        await it.synced()
        assert actors == {"system:serviceaccount:default:deployer"}
        await it.create("nobody", destination={"name": "other", "namespace": "default"})
        await it.sync("nobody")
        app = await it.until(lambda app: (app["status"].get("operationState") or {}).get("finishedAt"), "nobody")
        assert "no matching service account found" in app["status"]["operationState"]["message"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"execProviderConfig": {"command": "login", "args": ["a"], "env": {"X": "y"}, "apiVersion": "v1beta1"}},
            ExecPlugin("login", ("a",), {"X": "y"}, "v1beta1"),
        ),
        (
            {"awsAuthConfig": {"clusterName": "c", "roleARN": "arn:r"}},
            ExecPlugin(
                "aws",
                ("eks", "get-token", "--cluster-name", "c", "--role-arn", "arn:r"),
                {},
                "client.authentication.k8s.io/v1beta1",
            ),
        ),
    ],
)
def test_programs_that_know_the_credentials(config: dict[str, Any], expected: ExecPlugin) -> None:
    found = ClusterSecret.of(_secret("eks", "https://eks.example.com", config | {"proxyUrl": "http://p:3128"}))
    assert found is not None
    assert found.connection().credentials.exec == expected
    assert found.connection().proxy == "http://p:3128"


async def test_settings_that_say_the_same_stay_the_same() -> None:
    """What was rendered under them is known by them."""
    async with scene(None, HttpTransport, **{"application.instanceLabelKey": "example.com/app"}) as it:
        await it.create()
        await it.until(sync_of)
        before = it.controller.caches.settings
        assert it.controller.caches.read_settings() is False and it.controller.caches.settings is before


async def test_a_window_that_denies_holds_auto_sync_back() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        window = {"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["*"]}
        await _project(it, "quiet", syncWindows=[window])
        await it.create(project="quiet", syncPolicy=AUTOMATED)
        app = await it.until(lambda app: sync_of(app) == "OutOfSync")
        assert "operation" not in app
        await it.sync()
        app = await it.until(lambda app: (app["status"].get("operationState") or {}).get("message"))
        assert app["status"]["operationState"]["message"] == "Sync operation blocked by sync window"
        await it.client.patch(APP_PROJECTS, ObjectKey("argocd", "quiet"), {"spec": {"syncWindows": None}})
        await it.synced()


async def test_a_project_that_does_not_permit_a_kind() -> None:
    async with scene() as it:
        it.sources.commit(config_map())
        await _project(it, "strict", namespaceResourceBlacklist=[{"group": "", "kind": "ConfigMap"}])
        await it.create(project="strict")
        await it.sync()
        app = await it.until(lambda app: (app["status"].get("operationState") or {}).get("finishedAt"))
        message = app["status"]["operationState"]["message"]
        assert "resource :ConfigMap is not permitted in project strict" in message
        assert await it.find(CONFIG_MAPS, "one") is None


async def test_a_preview_shows_and_does_nothing() -> None:
    async with scene() as it:
        it.sources.commit(config_map("one"), config_map("two"))
        await it.create(syncPolicy=AUTOMATED)
        await it.synced()
        it.sources.commit(config_map("two", a="changed"), config_map("three"))
        kinds: Any = RegistryKinds(it.server.registry)
        clock, settings = SystemClock(), ControllerSettings()
        app = application(syncPolicy=AUTOMATED)
        found = await preview(app, it.client, kinds, it.sources, settings, clock=clock, rng=random.Random(1))
        assert {(step.key.name, step.does) for step in found.steps} == {
            ("one", "prune"),
            ("two", "change"),
            ("three", "create"),
        }
        assert await it.find(CONFIG_MAPS, "three") is None


def _secret(name: str, server: str, config: Any = None, **more: str) -> dict[str, Any]:
    values = {"name": name, "server": server, "config": json.dumps(config or {"bearerToken": "t"}), **more}
    labels = {"argocd.argoproj.io/secret-type": "cluster"}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"metadata": {"name": f"cluster-{name}", "namespace": "argocd", "labels": labels}, "data": data}


async def _project(it: Scene, name: str, **spec: Any) -> None:
    usual = {"sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}]}
    await it.client.create(APP_PROJECTS, {"metadata": {"name": name, "namespace": "argocd"}, "spec": usual | spec})
