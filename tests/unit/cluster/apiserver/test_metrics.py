"""/metrics: what was asked is counted under the names and labels of kube-apiserver; only for who may read it."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from tests.unit.cluster.apiserver.test_http import RBAC, Caller, calling
from tiphys.cluster.apiserver.http.metrics import Metrics
from tiphys.cluster.apiserver.http.paths import parse
from tiphys.cluster.apiserver.registry import builtin
from tiphys.cluster.apiserver.store import Store

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with calling() as caller:
        yield caller


async def rows(call: Caller, name: str) -> dict[str, float]:
    """Labels → value of one metric, without the component."""
    status, text = await call("/metrics")
    assert status == 200
    found = re.findall(rf"^{name}\{{(.*?)\}} (\S+)$", text, re.M)
    return {labels.replace(',component="apiserver"', ""): float(value) for labels, value in found}


async def test_requests_are_counted_by_what_they_were_for(call: Caller) -> None:
    await call(MAPS, {"metadata": {"name": "a"}})
    await call(f"{MAPS}?dryRun=All", {"metadata": {"name": "b"}})
    await call(MAPS)
    await call(f"{MAPS}/none")
    await call("/made/up")
    place = 'group="",version="v1",resource="configmaps",subresource=""'
    counted = await rows(call, "apiserver_request_total")
    assert counted[f'verb="POST",dry_run="",{place},scope="resource",code="201"'] == 1
    assert counted[f'verb="POST",dry_run="All",{place},scope="resource",code="201"'] == 1
    assert counted[f'verb="LIST",dry_run="",{place},scope="namespace",code="200"'] == 1
    assert counted[f'verb="GET",dry_run="",{place},scope="resource",code="404"'] == 1
    nothing = 'verb="GET",dry_run="",group="",version="",resource="",subresource="",scope="",code="404"'
    assert counted[nothing] == 1
    lasted = await rows(call, "apiserver_request_duration_seconds_count")
    assert lasted[f'verb="LIST",dry_run="",{place},scope="namespace"'] == 1
    within = await rows(call, "apiserver_request_duration_seconds_bucket")
    assert within[f'verb="LIST",dry_run="",{place},scope="namespace",le="+Inf"'] == 1


async def test_what_is_stored_and_watched(call: Caller) -> None:
    await call(MAPS, {"metadata": {"name": "a"}})
    assert (await rows(call, "apiserver_storage_objects"))['resource="configmaps"'] == 1
    assert (await rows(call, "apiserver_resource_objects"))['group="apps",resource="deployments"'] == 0
    labels = 'verb="WATCH",group="",version="v1",resource="configmaps",subresource="",scope="namespace"'
    watch = asyncio.create_task(call(f"{MAPS}?watch=true&timeoutSeconds=20"))
    async with asyncio.timeout(60):
        while (await rows(call, "apiserver_longrunning_requests")).get(labels) != 1:
            pass
        while (await rows(call, "apiserver_watch_events_total")).get(
            'group="",version="v1",resource="configmaps"'
        ) != 1:
            pass
    watch.cancel()
    await asyncio.wait([watch])
    async with asyncio.timeout(60):
        while (await rows(call, "apiserver_longrunning_requests"))[labels] != 0:
            pass
    place = labels.removeprefix('verb="WATCH",')
    counted = await rows(call, "apiserver_request_total")
    assert counted[f'verb="WATCH",dry_run="",{place},code="200"'] == 1


async def test_a_defect_is_counted_as_one(call: Caller) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("a defect")

    call.server.verbs.admission.append(break_down)
    assert (await call(MAPS, {"metadata": {"name": "a"}}))[0] == 500
    counted = await rows(call, "apiserver_request_total")
    assert [labels[-10:] for labels in counted if "configmaps" in labels] == ['code="500"']


async def test_who_may_read_them(call: Caller) -> None:
    assert (await call("/metrics", user="alice"))[0] == 403
    assert (await call("/metrics", user=""))[0] == 403
    rule = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    await call(f"{RBAC}/clusterroles", {"metadata": {"name": "reader"}, "rules": [rule]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}
    bound = {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [subject]}
    await call(f"{RBAC}/clusterrolebindings", bound)
    assert (await call("/metrics", user="alice"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "query", "media", "verb", "scope"),
    [
        ("PATCH", f"{MAPS}/a", {}, "application/apply-patch+yaml", "APPLY", "resource"),
        ("PATCH", f"{MAPS}/a", {}, "application/merge-patch+json", "PATCH", "resource"),
        ("DELETE", MAPS, {}, "", "DELETECOLLECTION", "namespace"),
        ("HEAD", "/api/v1/nodes", {}, "", "LIST", "cluster"),
        ("GET", "/api/v1/watch/nodes", {}, "", "WATCH", "cluster"),
        ("GET", "/api/v1/nodes", {"watch": "True"}, "", "WATCH", "cluster"),
        ("GET", "/api/v1/nodes", {"watch": ""}, "", "WATCH", "cluster"),
        ("GET", "/api/v1/nodes", {"watch": "false"}, "", "LIST", "cluster"),
        ("GET", "/api/v1/namespaces/d/pods/p/exec", {}, "", "CONNECT", "resource"),
        ("BREW", MAPS, {}, "", "other", "namespace"),
    ],
)
def test_verbs(method: str, path: str, query: dict[str, str], media: str, verb: str, scope: str) -> None:
    asked = Metrics(Store(), builtin({})).begin(method, parse(path), query, media)
    assert (asked.verb, asked.place[4]) == (verb, scope)


def test_what_clients_make_up_is_no_label() -> None:
    metrics = Metrics(Store(), builtin({}))
    for number in range(100):
        for path in (f"/apis/g{number}/v1/things", f"{MAPS}/a/sub{number}", f"/x{number}"):
            metrics.end(metrics.begin("GET", parse(path), {}, ""), 404, 0.1)
    lines = [line for line in metrics.text().splitlines() if line.startswith("apiserver_request_total{")]
    assert len(lines) == 1
