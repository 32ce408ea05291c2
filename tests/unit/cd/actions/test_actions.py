"""Actions where no recording looks: the object given stays as it was, wrong input says what is wrong."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from tiphys.cd.plan.actions import ActionError, discover, run

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"template": {"spec": {}}},
}


def test_the_object_is_not_changed() -> None:
    before = copy.deepcopy(DEPLOYMENT)
    impact = run(DEPLOYMENT, "restart", {}, NOW)[0]
    assert before == DEPLOYMENT
    annotations = impact.resource["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/restartedAt": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(("given", "words"), [({}, "parameter replicas is required"), ({"replicas": "x"}, "number: x")])
def test_scaling_needs_a_number(given: dict[str, str], words: str) -> None:
    with pytest.raises(ActionError, match=words):
        run(DEPLOYMENT, "scale", given, NOW)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ActionError, match="Deployment has no action fly"):
        run(DEPLOYMENT, "fly", {}, NOW)
    with pytest.raises(ActionError, match=r"spec\.template: the object has no such field"):
        run({**DEPLOYMENT, "spec": {}}, "restart", {}, NOW)
    assert discover({"apiVersion": "v1", "kind": "ConfigMap"}) == []


def test_an_application_toggles_its_automation() -> None:
    app: dict[str, Any] = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "spec": {}}
    assert [one["displayName"] for one in discover(app)] == ["Enable Auto-Sync"]
    app = run(app, "toggle-auto-sync", {}, NOW)[0].resource
    assert app["spec"]["syncPolicy"]["automated"]["enabled"] is True
    assert [one["displayName"] for one in discover(app)] == ["Disable Auto-Sync"]
    assert run(app, "toggle-auto-sync", {}, NOW)[0].resource["spec"]["syncPolicy"]["automated"]["enabled"] is False
