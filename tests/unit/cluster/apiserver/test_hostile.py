"""Requests that mean harm, over HTTP: each is refused or bounded in time and memory, and the server goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.unit.cluster.apiserver.test_http import JSON, Caller, calling
from tiphys.cluster.apiserver.http import bodies

MAPS = "/api/v1/namespaces/default/configmaps"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SECONDS_MAX = 10.0


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Checks at the end that the server still answers."""
    began = time.monotonic()
    async with calling() as caller:
        yield caller
        assert (await caller(MAPS))[0] == 200
    assert time.monotonic() - began < SECONDS_MAX


async def make(call: Caller, **data: str) -> None:
    assert (await call(MAPS, {"metadata": {"name": "c"}, "data": data}))[0] == 201


async def patch(call: Caller, body: Any, kind: str = "application/json-patch+json") -> tuple[int, Any]:
    return await call(f"{MAPS}/c", body, method="PATCH", Content_Type=kind)


async def test_a_body_of_a_hundred_megabytes_is_not_read(call: Caller) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            yield b" " * (1 << 20)
            sent += 1

    url = f"{call.url}{MAPS}"
    headers = {"Authorization": "Bearer admin", "Content-Type": JSON}
    try:
        async with call._session.post(url, data=endless(), headers=headers) as answer:
            assert answer.status == 413
    except aiohttp.ClientError:
        pass  # The connection may be closed before all is sent.
    assert sent < 100


async def test_a_body_that_never_ends_gives_up_its_seat(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS_MAX", 0.05)
    answered = asyncio.Event()

    async def unfinished() -> AsyncIterator[bytes]:
        yield b"{"
        await answered.wait()

    headers = {"Authorization": "Bearer admin", "Content-Type": JSON}
    async with call._session.post(f"{call.url}{MAPS}", data=unfinished(), headers=headers) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (504, "Timeout")
    answered.set()


WRONG: tuple[Any, ...] = (
    [1], 5, "x", {"spec": "x"}, {"metadata": "x"}, {"target": 5}, {"deleteOptions": "x"}, {"preconditions": "x"},
    {"gracePeriodSeconds": "x"}, {"spec": {"expirationSeconds": "x"}}, {"spec": {"boundObjectRef": "x"}},
    {"spec": {"user": "a", "groups": 5, "resourceAttributes": {}}}, {"spec": {"resourceAttributes": "x"}},
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/namespaces/default/serviceaccounts/it/token"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"),
        ("POST", "/api/v1/namespaces/default/pods/it/binding"),
        ("POST", "/api/v1/namespaces/default/pods/it/eviction"),
        ("PUT", "/apis/apps/v1/namespaces/default/deployments/it/scale"),
        ("PATCH", "/apis/apps/v1/namespaces/default/deployments/it/scale"),
        ("PUT", "/api/v1/namespaces/default/pods/it/ephemeralcontainers"),
        ("PUT", "/api/v1/namespaces/default/finalize"),
        ("DELETE", "/api/v1/namespaces/default/pods/it"),
        ("DELETE", MAPS),
    ],
)
async def test_bodies_of_a_wrong_shape(call: Caller, method: str, path: str) -> None:
    meta, labels = {"name": "it"}, {"a": "b"}
    pod = {"containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    await call("/api/v1/namespaces/default/serviceaccounts", {"metadata": meta})
    await call("/api/v1/namespaces/default/pods", {"metadata": meta, "spec": pod})
    deployment = {"metadata": meta, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    assert (await call("/apis/apps/v1/namespaces/default/deployments", deployment))[0] == 201
    for body in WRONG:
        kind = "application/merge-patch+json" if method == "PATCH" else JSON
        status, answer = await call(path, body, method=method, Content_Type=kind)
        assert status < 500, (body, answer)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_deep_json_in_every_place(call: Caller, opening: bytes) -> None:
    deep = opening * 100_000 + (b"1" if opening != b"[" else b"")
    deep += (b"]" if opening == b"[" else b"}") * 100_000
    await make(call)
    kinds = ["application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json"]
    for kind in [*kinds, "application/apply-patch+yaml"]:
        status, _ = await patch(call, b'{"metadata":{"annotations":' + deep + b"}}", kind)
        assert 400 <= status < 500, kind
    status, _ = await call(f"{MAPS}/c", b'{"propagationPolicy":' + deep + b"}", method="DELETE", Content_Type=JSON)
    assert 400 <= status < 500


async def test_yaml_that_laughs(call: Caller) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = "\n".join(["apiVersion: v1", "kind: ConfigMap", "metadata: {name: lol}", *lines]).encode()
    status, _ = await call(MAPS, text, Content_Type="application/yaml")
    assert 400 <= status < 500


async def test_json_patches_that_double(call: Caller) -> None:
    """Each operation copies all there is: 2**30 keys if nobody counts."""
    await make(call, a="x" * 1_000)
    copies = [{"op": "copy", "from": "/data", "path": f"/data/k{n}"} for n in range(30)]
    status, refusal = await patch(call, copies)
    assert 400 <= status < 500, refusal
    annotated = [{"op": "copy", "from": "/metadata", "path": f"/metadata/k{n}"} for n in range(60)]
    status, refusal = await patch(call, annotated)
    assert 400 <= status < 500, refusal


async def test_a_json_patch_that_digs(call: Caller) -> None:
    await make(call)
    paths = ["/metadata/annotations", *("/metadata/annotations" + "/a" * n for n in range(1, 600))]
    status, refusal = await patch(call, [{"op": "add", "path": path, "value": {}} for path in paths])
    assert 400 <= status < 500, refusal


async def test_a_json_patch_of_too_many_operations(call: Caller) -> None:
    await make(call)
    many = [{"op": "add", "path": "/metadata/labels", "value": {}}] * 10_001
    status, refusal = await patch(call, many)
    assert (status, refusal["reason"]) == (413, "RequestEntityTooLarge")


def definition(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": name, "singular": name, "kind": name.title(), "listKind": f"{name.title()}List"}
    spec = {"group": "bomb.io", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"{name}.bomb.io"}, "spec": spec}


def under_spec(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": schema}}


async def test_rules_that_cost_too_much_are_refused(call: Caller) -> None:
    numbers = {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}}
    rule = "self.all(a, a.all(b, b.all(c, self.all(d, d.all(e, e.all(f, f != c + 1))))))"
    bomb = under_spec(numbers | {"x-kubernetes-validations": [{"rule": rule}]})
    status, refusal = await call(DEFINITIONS, definition("cels", bomb))
    assert (status, refusal["reason"]) == (422, "Invalid")
    assert "estimated rule cost" in refusal["message"]


async def test_a_rule_of_great_depth(call: Caller) -> None:
    rule = "(" * 5_000 + "true" + ")" * 5_000
    deep = under_spec({"type": "integer", "x-kubernetes-validations": [{"rule": rule}]})
    assert (await call(DEFINITIONS, definition("deeps", deep)))[0] == 422


@pytest.mark.parametrize("pattern", ["(a+)+$", "(" * 2_000 + "a" + ")" * 2_000, "a{1000}{1000}{1000}"])
async def test_patterns_that_explode(call: Caller, pattern: str) -> None:
    """Matching is linear in time; a pattern that cannot be had in bounded memory is refused with the definition."""
    schema = under_spec({"type": "object", "properties": {"s": {"type": "string", "pattern": pattern}}})
    status, _ = await call(DEFINITIONS, definition("regs", schema))
    assert status in (201, 422)
    if status == 201:
        text = "a" * 50_000 + "!"
        made = {"apiVersion": "bomb.io/v1", "kind": "Regs", "metadata": {"name": "r"}, "spec": {"s": text}}
        status, _ = await call("/apis/bomb.io/v1/namespaces/default/regs", made)
        assert status in (201, 422)


async def test_a_schema_of_great_depth(call: Caller) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"x": schema}}
    assert (await call(DEFINITIONS, definition("nests", under_spec(schema))))[0] in (201, 400, 422)


async def test_selectors_without_end(call: Caller) -> None:
    query = "labelSelector=" + "a,".join(["x%20in%20(" + "b," * 500 + "c)"] * 4)
    status, _ = await call(f"{MAPS}?{query}")
    assert 200 <= status < 500


async def test_watches_that_nobody_reads(call: Caller) -> None:
    """Writers do not wait for them."""
    connections = []
    port = int(call.url.rpartition(":")[2])
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        head = f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        connections.append((reader, writer))
    await make(call, a="")
    for n in range(200):
        merge = {"data": {"a": str(n) + "x" * 10_000}}
        assert (await patch(call, merge, "application/merge-patch+json"))[0] == 200
    for _, writer in connections:
        writer.transport.abort()


CORE, WORKFLOWS = "/api/v1/namespaces/default", "/apis/argoproj.io/v1alpha1/namespaces/default/workflows"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{CORE}/secrets", {"metadata": {"name": "a"}, "data": {"a": "é"}}),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            {"metadata": {"name": "a.b.c"}, "spec": {"versions": None}},
        ),
        ("/api/v1/namespaces", {"metadata": {}}),
        ("/apis/batch/v1/namespaces/default/jobs", {"metadata": {}, "spec": {}}),
        (WORKFLOWS, {"metadata": {"name": "a", "labels": 5}}),
        (WORKFLOWS, {"metadata": {"name": "a", "labels": {"a": 5}}}),
        (WORKFLOWS, {"metadata": {"name": "a", "ownerReferences": [5]}}),
        (WORKFLOWS, {"metadata": {"name": "a", "managedFields": "x"}}),
    ],
)
async def test_objects_that_were_found_to_be_our_failure(call: Caller, path: str, body: dict[str, Any]) -> None:
    status, told = await call(path, body)
    assert status in (400, 422), told


async def test_a_map_of_bytes_without_bytes_is_taken(call: Caller) -> None:
    assert (await call(f"{CORE}/configmaps", {"metadata": {"name": "a"}, "binaryData": {"a": None}}))[0] == 201


@pytest.mark.parametrize("patch", [{"labels": -1}, {"managedFields": "x"}, {"resourceVersion": 5}, {"uid": []}])
async def test_patches_of_metadata_with_another_type(call: Caller, patch: dict[str, Any]) -> None:
    for path, part in ((f"{CORE}/configmaps", "data"), (WORKFLOWS, "spec")):
        assert (await call(path, {"metadata": {"name": "m"}, part: {}}))[0] == 201
        status, told = await call(
            f"{path}/m", {"metadata": patch}, method="PATCH", Content_Type="application/merge-patch+json"
        )
        assert status in (400, 409, 422), told


@pytest.mark.parametrize("token", ["é", "%F0%9F%98%80", "a", "!!!!", "eyJ2IjoxfQ", "bnVsbA"])
async def test_tokens_of_pages_that_were_never_given(call: Caller, token: str) -> None:
    status, told = await call(f"{CORE}/configmaps?continue={token}")
    assert status == 400, told


async def test_a_token_is_worth_nothing_in_another_namespace(call: Caller) -> None:
    """Neither reads nor tokens of other accounts, however the path or the body names them."""
    bind = "/apis/rbac.authorization.k8s.io/v1/namespaces/own/rolebindings"
    for name in ("own", "foreign"):
        await call("/api/v1/namespaces", {"metadata": {"name": name}})
        await call(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "robot"}})
        await call(f"/api/v1/namespaces/{name}/secrets", {"metadata": {"name": "s"}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": "own"}
    bound = {"metadata": {"name": "b"}, "roleRef": role, "subjects": [subject]}
    assert (await call(bind, bound))[0] == 201
    status, issued = await call("/api/v1/namespaces/own/serviceaccounts/robot/token", {})
    assert status == 201
    robot = issued["status"]["token"]
    assert (await call("/api/v1/namespaces/own/secrets", user=robot))[0] == 200
    foreign = "/api/v1/namespaces/foreign"
    for path, body in (
        (f"{foreign}/secrets", None),
        (f"{foreign}/secrets/s", None),
        ("/api/v1/secrets", None),
        (f"{foreign}/serviceaccounts/robot/token", {}),
        (f"{foreign}/configmaps", {"metadata": {"name": "a", "namespace": "own"}}),
    ):
        assert (await call(path, body, user=robot))[0] == 403, path
    astray = {"metadata": {"name": "a", "namespace": "foreign"}}
    assert (await call("/api/v1/namespaces/own/configmaps", astray, user=robot))[0] == 400
    grant = bound | {"metadata": {"name": "b", "namespace": "foreign"}}
    assert (await call(bind.replace("/own/", "/foreign/"), grant, user=robot))[0] == 403
    await call("/api/v1/namespaces/own/serviceaccounts/robot", method="DELETE")
    assert (await call("/api/v1/namespaces/own/secrets", user=robot))[0] == 401
