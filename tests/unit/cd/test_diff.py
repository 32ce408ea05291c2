"""What the recorded comparisons do not show: bounds, sharing, nothing changed in place."""

from __future__ import annotations

import copy

from tiphys.cd.plan.diff import Comparator, Ignores
from tiphys.cd.plan.objects import Object

DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "ns"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
        },
    },
}


def test_objects_are_not_changed() -> None:
    target, live = copy.deepcopy(DEPLOYMENT), copy.deepcopy(DEPLOYMENT)
    ignores = Ignores.of([{"group": "apps", "kind": "*", "jsonPointers": ["/spec/replicas"]}])
    Comparator(ignores).compare(target, live)
    assert (target, live) == (DEPLOYMENT, DEPLOYMENT)


def test_defaults_of_the_server_are_no_difference() -> None:
    spec = DEPLOYMENT["spec"]
    live = {**DEPLOYMENT, "spec": {**spec, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}}
    assert not Comparator().compare(DEPLOYMENT, live).is_modified


def test_an_endless_expression_is_skipped() -> None:
    ignores = Ignores.of([{"group": "apps", "kind": "Deployment", "jqPathExpressions": ["range(infinite)"]}])
    live = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 3}}
    assert Comparator(ignores).compare(DEPLOYMENT, live).is_modified


def test_an_expression_sees_no_environment() -> None:
    ignores = Ignores.of([{"group": "apps", "kind": "Deployment", "jqPathExpressions": [".spec | select(env.PATH)"]}])
    assert Comparator(ignores).compare(DEPLOYMENT, {**DEPLOYMENT, "spec": {}}).is_modified
