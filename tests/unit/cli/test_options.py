"""Small readers of the command line: durations, assignments, kinds, label selectors."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import click
import pytest

from tiphys.cli import kinds, listing, options
from tiphys.machinery.resources import CLUSTER_WORKFLOW_TEMPLATES, CONFIG_MAPS, WORKFLOW_TEMPLATES


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("7", 7), ("250ms", 0.25)])
def test_durations(text: str, seconds: float) -> None:
    assert options.Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["soon", "", "-5s", "0", "3d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        options.Duration().convert(text, None, None)


def test_assignments() -> None:
    assert options.Assignment().convert("a=b=c", None, None) == ("a", "b=c")
    assert options.Assignment().convert("a=", None, None) == ("a", "")
    for wrong in ("a", "=b", ""):
        with pytest.raises(click.BadParameter):
            options.Assignment().convert(wrong, None, None)


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("Pod", "pods"), ("Ingress", "ingresses"), ("NetworkPolicy", "networkpolicies"), ("Endpoints", "endpoints")],
)
def test_plurals(kind: str, plural: str) -> None:
    assert kinds.plural(kind) == plural


def test_resources_of_objects() -> None:
    argo = "argoproj.io/v1alpha1"
    assert kinds.resource_of({"apiVersion": argo, "kind": "WorkflowTemplate"}) == WORKFLOW_TEMPLATES
    assert kinds.resource_of({"apiVersion": argo, "kind": "ClusterWorkflowTemplate"}) == CLUSTER_WORKFLOW_TEMPLATES
    assert kinds.resource_of({"apiVersion": "v1", "kind": "ConfigMap"}) == CONFIG_MAPS


def test_a_definition_among_the_objects_says_how_its_kind_is_written() -> None:
    definition = {"spec": {"group": "x.y", "names": {"kind": "Foo", "plural": "fooz"}, "scope": "Cluster"}}
    resource = kinds.resource_of({"apiVersion": "x.y/v1", "kind": "Foo"}, [definition])
    assert (resource.plural, resource.namespaced) == ("fooz", False)


def test_flags_become_a_label_selector() -> None:
    text = listing.label_selector("a=b", status=["Failed", "Error"], running=True)
    assert text == "a=b,workflows.argoproj.io/phase in (Failed,Error),workflows.argoproj.io/completed!=true"


def test_ago() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert options.ago(now, "1d") == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(click.UsageError):
        options.ago(now, "yesterday")


def test_symbols_need_an_encoding_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert not options.look(latin, no_color=False, no_utf8=False).utf8
    assert options.look(io.TextIOWrapper(io.BytesIO(), "utf-8"), no_color=False, no_utf8=False).utf8
