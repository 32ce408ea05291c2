"""What a strict reading of a patch objects to, before it is carried out."""

from tiphys.api.decode import Repeated
from tiphys.cluster.apiserver.patching import shown_in_messages, strictly


def test_unknown_members_of_operations() -> None:
    patch = [{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/b", "value": 2, "bar": 3}]
    assert strictly("application/json-patch+json", patch) == (('json patch unknown field "[1].bar"',), patch)


def test_keys_that_stand_twice_are_told_once() -> None:
    twice = Repeated({"replicas": 2})
    twice.repeated = ("replicas",)
    faults, patch = strictly("application/strategic-merge-patch+json", {"spec": twice})
    assert faults == ('duplicate field "spec.replicas"',)
    assert strictly("application/strategic-merge-patch+json", patch) == ((), {"spec": {"replicas": 2}})


def test_strategic_patches_are_shown_as_go_prints_them() -> None:
    assert shown_in_messages("application/strategic-merge-patch+json", {"spec": {"foo": 1}}) == "map[spec:map[foo:1]]"
    assert shown_in_messages("application/merge-patch+json", {"spec": {"foo": 1}}) == ""
