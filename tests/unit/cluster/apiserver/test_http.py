"""The HTTP side: who may what, how answers look, what is refused. Over plain TCP; certificates are tested elsewhere."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.unit.client.servers import api_server
from tiphys.api import protobuf
from tiphys.cluster.apiserver.http.handler import HttpHandler
from tiphys.cluster.apiserver.http.identity import Authenticator, StaticTokens
from tiphys.cluster.apiserver.http.rbac import Rbac
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.users import AUTHENTICATED, MASTERS, User

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
JSON = "application/json"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ARGO = "/apis/argoproj.io/v1alpha1"


class Caller:
    """Asks as one of the users whose token is their name."""

    def __init__(self, session: aiohttp.ClientSession, url: str, server: ApiServer) -> None:
        self.server = server
        self._session = session
        self.url = url

    async def __call__(
        self, path: str, body: Any = None, *, user: str = "admin", method: str = "", **headers: str
    ) -> tuple[int, Any]:
        method = method or ("GET" if body is None else "POST")
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        if user:
            named["Authorization"] = f"Bearer {user}"
        url = URL(self.url + path, encoded=True)
        sent = {"data": BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        async with self._session.request(method, url, headers=named, **sent) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()


@asynccontextmanager
async def calling(path: Path | None = None) -> AsyncIterator[Caller]:
    tokens = StaticTokens()
    tokens.add("admin", User("admin", (MASTERS,)))
    tokens.add("alice", User("alice", ("devs",)))
    async with api_server(path) as server:
        handler = HttpHandler(server, Authenticator([tokens, server.tokens]), Rbac(server.store))
        runner = web.ServerRunner(web.Server(handler, handler_cancellation=True))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                yield Caller(session, f"http://127.0.0.1:{runner.addresses[0][1]}", server)
        finally:
            await runner.cleanup()


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with calling() as caller:
        yield caller


def role(name: str, *verbs: str, resource: str = "configmaps", group: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "rules": [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}],
    }


def binding(name: str, role_name: str, user: str = "alice", kind: str = "Role") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role_name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    }


async def test_health_and_version_are_open(call: Caller) -> None:
    assert await call("/healthz", user="") == (200, "ok")
    status, version = await call("/version/", user="")
    assert (status, version["major"]) == (200, "1")


async def test_a_server_whose_disk_takes_no_writes_is_not_ready(tmp_path: Path) -> None:
    async with calling(tmp_path / "cluster.db") as call:
        assert await call("/readyz") == (200, "ok")
        call.server.store._writer._journal._db.execute("PRAGMA query_only=ON")
        assert (await call("/api/v1/namespaces", {"metadata": {"name": "n"}}))[0] == 503
        status, text = await call("/readyz")
        assert status == 500
        assert {"[-]etcd failed: reason withheld", "[-]etcd-readiness failed: reason withheld", "[+]ping ok"} <= set(
            text.splitlines()
        )
        assert 'kubernetes_healthcheck{name="etcd",type="readyz"} 0' in (await call("/metrics/slis"))[1]


async def test_paths_are_given_by_their_verb(call: Caller) -> None:
    """Whoever is known may read what there is, and do nothing else to it."""
    assert (await call("/apis", user="alice"))[0] == 200
    status, refusal = await call("/apis", {}, user="alice")
    assert (status, refusal["message"]) == (403, 'forbidden: User "alice" cannot post path "/apis"')


async def test_everything_that_the_root_lists_is_answered(call: Caller) -> None:
    _, root = await call("/")
    assert {"/livez/ping", "/readyz/informer-sync", "/healthz/poststarthook/rbac/bootstrap-roles"} <= set(root["paths"])
    for path in root["paths"]:
        if path != "/metrics":
            assert (await call(path))[0] == 200, path


async def test_every_document_of_the_schema_index_is_there(call: Caller) -> None:
    index = json.loads((await call("/openapi/v3"))[1])["paths"]
    assert {"version", "apis", "apis/apps", "apis/apps/v1", "openid/v1/jwks"} <= index.keys()
    assert "apis/argoproj.io" not in index
    for name in ("version", "apis", "apis/batch"):
        _, document = await call(index[name]["serverRelativeURL"])
        assert [*document["paths"]] == [f"/{name}/"]


async def test_what_says_to_be_of_another_kind_is_read_as_that_first(call: Caller) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    wrong = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "data": {"a": "3"}}
    why = "illegal base64 data at input byte 0"
    status, refusal = await call(maps, wrong)
    assert (status, refusal["message"]) == (400, f'Secret in version "v1" cannot be handled as a ConfigMap: {why}')
    await call(maps, {"metadata": {"name": "c"}, "data": {"a": "3"}})
    status, refusal = await call(
        f"{maps}/c", b'{"kind":"Secret"}', method="PATCH", Content_Type="application/merge-patch+json"
    )
    assert status == 422
    assert refusal["message"].endswith(why)


PROTOBUF = "application/vnd.kubernetes.protobuf"


async def test_who_takes_nothing_but_protobuf_gets_it_for_built_in_kinds(call: Caller) -> None:
    maps, headers = "/api/v1/namespaces/default/configmaps", {"Authorization": "Bearer admin", "Accept": PROTOBUF}
    await call(maps, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    async with aiohttp.ClientSession(call.url, headers=headers) as session:
        async with session.get(f"{maps}/c") as answer:
            assert answer.content_type == PROTOBUF
            assert protobuf.decode(await answer.read())["data"] == {"a": "1"}
        async with session.get(maps) as answer:
            listed = protobuf.decode(await answer.read())
            assert (listed["kind"], [each["data"] for each in listed["items"]]) == ("ConfigMapList", [{"a": "1"}])
        async with session.get(f"{maps}?watch=1") as answer:
            assert answer.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
            length = await answer.content.readexactly(4)
            event = protobuf.decode_watch_event(
                length + await answer.content.readexactly(int.from_bytes(length, "big"))
            )
            assert (event[0], event[1]["data"]) == ("ADDED", {"a": "1"})
        for path in ("workflows", "workflows?watch=1"):
            async with session.get(f"/apis/argoproj.io/v1alpha1/namespaces/default/{path}") as answer:
                assert answer.status == 406
    both = {"Authorization": "Bearer admin", "Accept": f"{PROTOBUF},application/json"}
    async with aiohttp.ClientSession(call.url, headers=both) as session, session.get(maps) as answer:
        assert answer.content_type == "application/json"


async def test_a_new_node_gets_no_pods_until_it_is_ready(call: Caller) -> None:
    status, node = await call("/api/v1/nodes", {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "1"}}})
    assert (status, node["status"]["allocatable"]) == (201, {"cpu": "1"})
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_an_unknown_token_is_refused_and_none_is_anonymous(call: Caller) -> None:
    assert (await call("/api/v1/pods", user="mallory"))[0] == 401
    status, refusal = await call("/api/v1/pods", user="")
    assert status == 403
    assert refusal["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope'
    )


async def test_roles_give_what_they_say_where_they_are_bound(call: Caller) -> None:
    assert (await call("/api/v1/namespaces/default/configmaps", user="alice"))[0] == 403
    await call(f"{RBAC}/namespaces/default/roles", role("reader", "get", "list"))
    await call(f"{RBAC}/namespaces/default/rolebindings", binding("b", "reader"))
    assert (await call("/api/v1/namespaces/default/configmaps", user="alice"))[0] == 200
    assert (await call("/api/v1/namespaces/kube-system/configmaps", user="alice"))[0] == 403
    created = await call("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "x"}}, user="alice")
    assert created[0] == 403


async def test_nobody_grants_more_than_he_has(call: Caller) -> None:
    manager = role("manager", "get", "create", "patch", resource="*", group="rbac.authorization.k8s.io")
    await call(f"{RBAC}/namespaces/default/roles", manager)
    await call(f"{RBAC}/namespaces/default/rolebindings", binding("b", "manager"))
    roles = f"{RBAC}/namespaces/default/roles"
    status, refusal = await call(roles, role("evil", "delete", resource="secrets"), user="alice")
    assert status == 403
    assert 'Resources:["secrets"], Verbs:["delete"]' in refusal["message"]
    bound = binding("evil", "admin", kind="ClusterRole")
    assert (await call(f"{RBAC}/namespaces/default/rolebindings", bound, user="alice"))[0] == 403
    own = role("fine", "get", resource="*", group="rbac.authorization.k8s.io")
    assert (await call(roles, own, user="alice"))[0] == 201
    patch = b'{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}'
    merge = {"Content_Type": "application/merge-patch+json"}
    assert (await call(f"{roles}/fine", patch, user="alice", method="PATCH", **merge))[0] == 403


async def test_nobody_gathers_the_rules_of_others(call: Caller) -> None:
    """A role that is bound to its writer must not become the sum of all roles by a patch."""
    roles = f"{RBAC}/clusterroles"
    own = role("own", "get", "create", "patch", "update", resource="clusterroles", group="rbac.authorization.k8s.io")
    await call(roles, own)
    await call(f"{RBAC}/clusterrolebindings", binding("b", "own", kind="ClusterRole"))
    gathering = {"clusterRoleSelectors": [{"matchLabels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}]}
    merge = {"Content_Type": "application/merge-patch+json"}
    patch = {"aggregationRule": gathering}
    assert (await call(f"{roles}/own", patch, user="alice", method="PATCH", **merge))[0] == 403
    whole = {"metadata": {"name": "other"}, "aggregationRule": gathering}
    assert (await call(roles, whole, user="alice"))[0] == 403
    apply = {"Content_Type": "application/apply-patch+yaml"}
    named = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "own"}}
    path = f"{roles}/own?fieldManager=a&force=true"
    assert (await call(path, named | patch, user="alice", method="PATCH", **apply))[0] == 403
    assert (await call("/api/v1/secrets", user="alice"))[0] == 403
    # Nor may one that gathers be changed: what its rules were held back for would be lost.
    assert (await call(roles, whole))[0] == 201
    plain = {"aggregationRule": None}
    assert (await call(f"{roles}/other", plain, user="alice", method="PATCH", **merge))[0] == 403


async def test_acting_as_somebody_needs_the_right_to(call: Caller) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    status, review = await call(path, {}, Impersonate_User="bob", Impersonate_Group="ops")
    assert (status, review["status"]["userInfo"]) == (201, {"username": "bob", "groups": ["ops", AUTHENTICATED]})
    assert (await call(path, {}, user="alice", Impersonate_User="bob"))[0] == 403
    assert (await call(path, {}, Impersonate_Group="ops"))[0] == 400


async def test_access_reviews(call: Caller) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    question = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}}
    assert (await call(path, question))[1]["status"] == {"allowed": True}
    assert (await call(path, question, user="alice"))[1]["status"] == {"allowed": False}


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/pods",
        "/api/v1/namespaces/default/../kube-system/secrets",
        "/api/v1/namespaces/default%2Fx/pods",
        "/api/v1/namespaces//pods",
        "/api/v1/namespaces/./pods",
        "/api/v1/namespaces/default/%2e%2e/kube-system/secrets",
        "/api/v1/namespaces/default/pods/..%2f..%2fkube-system%2fsecrets",
        "/api/v1/namespaces/default/secrets/%00",
        "/apis//apps/v1/deployments",
        "/api/../metrics",
        "/metrics/../api/v1/secrets",
        "//metrics",
    ],
)
async def test_confusing_paths_name_nothing(call: Caller, path: str) -> None:
    status, text = await call(path)
    assert (status, text) == (404, "404 page not found\n")


async def test_bodies_are_bounded(call: Caller) -> None:
    status, refusal = await call(
        "/api/v1/namespaces/default/configmaps", b'"' + b"x" * 3_200_000 + b'"', Content_Type=JSON
    )
    assert (status, refusal["reason"]) == (413, "RequestEntityTooLarge")
    deep = b'{"metadata":{"name":"x"},"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await call("/api/v1/namespaces/default/configmaps", deep, Content_Type=JSON))[0] == 400


async def test_tables_say_their_columns(call: Caller) -> None:
    await call("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}})
    status, table = await call("/api/v1/namespaces/default/configmaps", Accept=TABLE)
    assert (status, table["kind"]) == (200, "Table")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"] == ["c", 2, "0s"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_discovery_in_both_forms(call: Caller) -> None:
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    _, document = await call("/apis", Accept=aggregated)
    groups = [item["metadata"]["name"] for item in document["items"]]
    assert {"apps", "batch", "argoproj.io"} <= set(groups)
    _, plain = await call("/apis/argoproj.io/v1alpha1")
    assert {"workflows", "applications", "rollouts", "sensors"} <= {r["name"] for r in plain["resources"]}


async def test_openapi_declares_field_validation(call: Caller) -> None:
    index = json.loads((await call("/openapi/v3"))[1])
    _, document = await call(index["paths"]["apis/apps/v1"]["serverRelativeURL"])
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert "replicas" in document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]


async def test_unknown_and_repeated_fields(call: Caller) -> None:
    path = "/api/v1/namespaces/default/configmaps?fieldValidation=Strict"
    body = b'{"metadata":{"name":"c"},"data":{"a":"1","a":"2"},"nope":1}'
    status, refusal = await call(path, body, Content_Type=JSON)
    assert status == 400
    assert 'duplicate field "data.a"' in refusal["message"]
    assert 'unknown field "nope"' in refusal["message"]


async def test_server_side_apply_tells_of_conflicts(call: Caller) -> None:
    path = "/api/v1/namespaces/default/configmaps/c"
    apply = {"Content_Type": "application/apply-patch+yaml"}
    body = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: '%d'}}"
    status, created = await call(f"{path}?fieldManager=one", body % 1, method="PATCH", **apply)
    assert (status, created["metadata"]["managedFields"][0]["manager"]) == (201, "one")
    status, refusal = await call(f"{path}?fieldManager=two", body % 2, method="PATCH", **apply)
    assert (status, refusal["details"]["causes"][0]["field"]) == (409, ".data.a")
    status, forced = await call(f"{path}?fieldManager=two&force=true", body % 2, method="PATCH", **apply)
    assert (status, forced["data"]) == (200, {"a": "2"})


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/default/configmaps", f"{ARGO}/namespaces/default/workflowtemplates"]
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_owners_that_are_replaced_by_none_are_forgotten(call: Caller, path: str, method: str) -> None:
    _, made = await call(path, {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {}})
    assert made["metadata"]["managedFields"]
    if method == "PATCH":
        patch = b'[{"op": "replace", "path": "/metadata/managedFields", "value": []}]'
        answer = await call(f"{path}/x", patch, method=method, Content_Type="application/json-patch+json")
    else:
        answer = await call(f"{path}/x", made | {"metadata": made["metadata"] | {"managedFields": []}}, method=method)
    assert (answer[0], answer[1]["metadata"].get("managedFields")) == (200, None)
