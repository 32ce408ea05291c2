"""The stored object: merges, the patch of what changed, templates from elsewhere, what a second run starts from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.plan import merging, rerun
from tiphys.workflows.plan.canonical import POD_SPEC, SPEC, NotCanonical, canonical
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.throttle import Throttler, postpone
from tiphys.workflows.settings import Settings

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_lists_are_merged_by_the_names_of_their_items() -> None:
    base = {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}
    patch = {"containers": [{"name": "b", "image": "z"}], "hostNetwork": True}
    made = merging.merge(base, patch, POD_SPEC)
    assert {c["name"]: c["image"] for c in made["containers"]} == {"a": "x", "b": "z"}
    assert made["hostNetwork"] is True
    assert base["containers"][1]["image"] == "y", "what was merged into stays as it was"


def test_the_form_of_a_spec_is_that_of_go() -> None:
    assert canonical({"entrypoint": "main", "nosuch": 1}, SPEC) == {"entrypoint": "main", "arguments": {}}
    with pytest.raises(NotCanonical):
        canonical({"templates": "none"}, SPEC)


def test_defaults_of_the_controller_stand_behind_what_the_workflow_says() -> None:
    settings = Settings(workflow_defaults={"spec": {"entrypoint": "other", "ttlStrategy": {"secondsAfterSuccess": 5}}})
    cluster = Cluster({"entrypoint": "main", "templates": [container("main")]}, settings)
    cluster.decide()
    assert cluster.running_pods() == ["wf"]


def test_a_template_from_elsewhere_is_stored_as_it_was_when_first_used() -> None:
    source = {"spec": {"templates": [container("t")]}}
    step = {"name": "a", "templateRef": {"name": "lib", "template": "t"}, "withItems": [1, 2]}
    spec = {"entrypoint": "main", "parallelism": 1, "templates": [{"name": "main", "steps": [[step]]}]}
    cluster = Cluster(spec, workflow_templates={"lib": source})
    cluster.decide()
    assert list(cluster.workflow["status"]["storedTemplates"]) == ["namespaced/lib/t"]
    edited = container("t")
    edited["container"]["image"] = "other"
    cluster.lookup.workflow_templates["lib"] = {"spec": {"templates": [edited]}}
    cluster.reload()
    cluster.succeed("wf[0].a(0:1)")
    pod = cluster.lookup.live_pods[cluster.pod_of("wf[0].a(1:2)")]
    assert pod["spec"]["containers"][0]["image"] == "busybox"


def failed() -> dict[str, Any]:
    steps = [[{"name": "a", "template": "t"}], [{"name": "b", "template": "t"}]]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, container("t")]})
    cluster.decide()
    cluster.succeed("wf[0].a")
    cluster.fail("wf[1].b")
    return cluster.workflow


def test_a_retry_keeps_what_succeeded() -> None:
    made, pods = rerun.retry(failed(), NOW)
    phases = {n["displayName"]: n["phase"] for n in made["status"]["nodes"].values()}
    assert (made["status"].get("phase"), phases["a"], "b" in phases) == (None, "Succeeded", False)
    assert len(pods) == 1
    assert "workflows.argoproj.io/completed" not in made["metadata"]["labels"]


def test_only_what_has_failed_is_retried() -> None:
    cluster = Cluster({"entrypoint": "main", "templates": [container("main")]})
    cluster.decide()
    with pytest.raises(Problem, match="Cannot retry a workflow in phase Running"):
        rerun.retry(cluster.workflow, NOW)


def test_a_memoized_resubmission_skips_what_succeeded() -> None:
    made = rerun.resubmit({**failed(), "apiVersion": "argoproj.io/v1alpha1"}, NOW, memoized=True, suffix="again")
    phases = {n["displayName"]: n["phase"] for n in made["status"]["nodes"].values()}
    assert phases["a"] == "Skipped"
    assert made["metadata"]["name"].endswith("-again")


def queued(name: str, priority: int = 0) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": meta, "spec": {"priority": priority}}


def test_workflows_beyond_the_limit_wait_and_the_more_important_goes_first() -> None:
    throttle = Throttler(1, 0)
    first, low, high = queued("first"), queued("low"), queued("high", 5)
    throttle.add(first)
    assert throttle.lets_run(first)
    throttle.add(low)
    throttle.add(high)
    assert not throttle.lets_run(low) and not throttle.lets_run(high)
    throttle.remove("default/first")
    assert throttle.lets_run(high) and not throttle.lets_run(low)


def test_a_workflow_that_waits_says_so_once() -> None:
    patch = postpone(queued("low"))
    assert patch is not None
    assert patch["status"]["phase"] == "Pending"
    assert postpone({**queued("low"), **patch, "status": patch["status"]}) is None
