"""The sentences about an application, and applications that wait for each other."""

from typing import Any

import pytest

from tiphys.cd.plan.dependencies import CircleError, waits_for
from tiphys.cd.plan.explaining import explained
from tiphys.cd.plan.health import resource_health
from tiphys.machinery.resources import ObjectKey


def test_the_chain_leads_down_to_the_cause() -> None:
    resources = [
        {"version": "v1", "kind": "ConfigMap", "namespace": "ns", "name": "gone", "status": "OutOfSync"},
        {"group": "apps", "version": "v1", "kind": "ReplicaSet", "namespace": "ns", "name": "web", "status": "Synced"},
    ]
    status = {"sync": {"status": "OutOfSync"}, "health": {"status": "Degraded"}, "resources": resources}
    replicas = _object("apps/v1", "ReplicaSet", "web", spec={"replicas": 1})
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    container = {"name": "main", "state": {"waiting": waiting}}
    pod_status = {"phase": "Pending", "containerStatuses": [container]}
    pod = _object("v1", "Pod", "web-1", owner="web", spec={"restartPolicy": "Always"}, status=pod_status)
    app = _object("argoproj.io/v1alpha1", "Application", "app", status=status)
    assert list(explained(app, [replicas, pod], resource_health)) == [
        "app is OutOfSync and Degraded",
        "  it was never synced: nobody asked for it, and it has no automated sync policy that lets it",
        "  ConfigMap ns/gone is OutOfSync: it differs from Git",
        "  ConfigMap ns/gone is Missing",
        "  ReplicaSet ns/web is Progressing: Waiting for rollout to finish: 0 out of 1 new replicas are available...",
        "    Pod ns/web-1 is Degraded: no such image",
    ]


def test_applications_that_wait_for_each_other_are_told() -> None:
    apps = {name: _waiting(name, other) for name, other in (("a", "b"), ("b", "c"), ("c", "a"))}
    with pytest.raises(CircleError, match="a → b → c → a"):
        waits_for(apps["a"], lambda key: apps.get(key.name))


def test_what_is_waited_for_is_named() -> None:
    app = _waiting("a", "b, other/c")
    assert waits_for(app, lambda _key: None) == [
        (ObjectKey("ns", "b"), "it does not exist"),
        (ObjectKey("other", "c"), "it does not exist"),
    ]


def _waiting(name: str, others: str) -> dict[str, Any]:
    app = _object("argoproj.io/v1alpha1", "Application", name)
    app["metadata"]["annotations"] = {"tiphys.argoproj.io/depends-on": others}
    return app


def _object(api_version: str, kind: str, name: str, *, owner: str = "", **fields: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "ns", "uid": name}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
