"""What built-in kinds demand of their objects; the texts are those of recorded refusals (kube-live)."""

from typing import Any

import pytest

from tiphys.cluster.apiserver.rules import complaints


def found(key: str, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    return [(c.field, c.message) for c in complaints(key, {"metadata": {"name": "x"}, **obj}, old)]


def pod(**container: Any) -> dict[str, Any]:
    """A pod with its defaults, and one container with more."""
    full = {
        "name": "c",
        "image": "a",
        "imagePullPolicy": "Always",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    return {"spec": {**DEFAULTS, "containers": [full | container]}}


DEFAULTS = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30}


FIELD = {"apiVersion": "v1", "fieldPath": "metadata.name"}


@pytest.mark.parametrize(
    ("container", "field", "message"),
    [
        ({"image": ""}, "image", "Required value"),
        ({"image": " a"}, "image", 'Invalid value: " a": must not have leading or trailing whitespace'),
        ({"volumeMounts": [{"name": "v", "mountPath": "/a"}]}, "volumeMounts[0].name", 'Not found: "v"'),
        (
            {"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": FIELD}}]},
            "env[0].valueFrom",
            'Invalid value: "": may not be specified when `value` is not empty',
        ),
        (
            {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}},
            "resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ({"livenessProbe": {"successThreshold": 1}}, "livenessProbe", "Required value: must specify a handler type"),
    ],
)
def test_a_wrong_container_is_refused(container: dict[str, Any], field: str, message: str) -> None:
    assert found("pods", pod(**container)) == [(f"spec.containers[0].{field}", message)]


def test_a_good_pod_is_taken_and_one_without_containers_is_not() -> None:
    assert found("pods", pod()) == []
    assert found("pods", {"spec": DEFAULTS}) == [("spec.containers", "Required value")]


def test_what_did_not_change_is_not_judged_again() -> None:
    wrong = {"metadata": {"name": "x"}, "spec": {}}
    assert found("pods", wrong, wrong) == []


def test_an_immutable_config_map_keeps_its_data() -> None:
    old = {"metadata": {"name": "x"}, "data": {"a": "1"}, "immutable": True}
    text = "Forbidden: field is immutable when `immutable` is set"
    assert found("configmaps", old | {"data": {"a": "2"}}, old) == [("data", text)]
