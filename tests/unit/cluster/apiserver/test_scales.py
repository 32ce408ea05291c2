"""Server-side apply of a Scale, and what it leaves of its object's owners."""

from typing import Any

import pytest

from tiphys.cluster.apiserver import scales
from tiphys.cluster.apiserver.ownership import UntypedPatch
from tiphys.machinery.errors import Conflict

STEPS = ("spec", "replicas")
CREATOR: dict[str, Any] = {
    "manager": "creator",
    "operation": "Update",
    "apiVersion": "apps/v1",
    "time": "2024-01-01T00:00:00Z",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}},
}


def scale(replicas: int) -> dict[str, Any]:
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}}


def test_replicas_of_another_are_a_conflict() -> None:
    with pytest.raises(Conflict, match=r'conflict with "creator" using autoscaling/v1: \.spec\.replicas'):
        scales.applied(scale(2), [CREATOR], scale(4), STEPS, "me", "2024-01-02T00:00:00Z", force=False)


def test_force_takes_the_replicas_and_leaves_the_rest() -> None:
    after = scales.applied(scale(2), [CREATOR], scale(4), STEPS, "me", "2024-01-02T00:00:00Z", force=True)
    assert after["spec"] == {"replicas": 4}
    mine, creator = scales.owners_of_object([CREATOR], after, STEPS, "apps/v1")
    assert creator == CREATOR | {"fieldsV1": {"f:spec": {"f:paused": {}}}}
    assert (mine["manager"], mine["apiVersion"], mine["subresource"]) == ("me", "apps/v1", "scale")
    assert mine["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert "time" not in mine


def test_the_wrong_shape_is_told() -> None:
    patch = scale(4) | {"spec": {"nope": 1}}
    with pytest.raises(UntypedPatch, match="autoscaling/v1, Kind=Scale"):
        scales.applied(scale(2), [CREATOR], patch, STEPS, "me", "2024-01-02T00:00:00Z", force=True)
