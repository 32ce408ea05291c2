"""Numaflow and Numaplane: pipelines, vertices, buffers, and their rollouts."""

from __future__ import annotations

from collections.abc import Sequence

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    degraded,
    generation,
    healthy,
    mapping,
    progressing,
    said,
    status_of,
    unknown,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_RESULT = "numaplane.numaproj.io/progressive-result-state"


def _flow(name: str, paused: Sequence[str] = (), subresources: str = "", is_upgraded: bool = True) -> Check:
    """A part of a data flow: nothing may be False in its conditions. ``subresources`` is what is said then, "" for the
    words of the last such condition."""

    def check(obj: Object) -> Health:
        waiting, status = progressing(f"Waiting for {name} status"), status_of(obj)
        if obj.get("status") is None or generation(obj) != status.get("observedGeneration"):
            return waiting
        wrong = [one for one in conditions_of(status) if one.get("status") == "False"]
        labels = mapping(mapping(obj.get("metadata")).get("labels"))
        if status.get("phase") == "Failed":
            return degraded(str(status.get("message") or ""))
        if is_upgraded and labels.get(_RESULT) == "failed":
            return degraded("Failed progressive upgrade")
        if wrong:
            return degraded(subresources or said(wrong[-1]))
        if status.get("phase") in paused:
            return healthy(f"{name} is paused")
        return healthy(f"{name} is healthy") if status.get("phase") == "Running" else waiting

    return check


def _rollout(unsure: str, child_failed: str = "", paused: str = "", is_progressive: bool = True) -> Check:
    """A rollout and its child. ``child_failed`` is the reason for which it counts as degraded, "" for all but being
    under way; ``paused`` is the condition under which it rests."""

    def check(obj: Object) -> Health:
        status = status_of(obj)
        if obj.get("status") is None or generation(obj) != status.get("observedGeneration"):
            return progressing("Not yet reconciled")
        found = conditions_of(status)
        has_failed = is_progressive and any(
            one.get("type") == "ProgressiveUpgradeSucceeded" and one.get("status") == "False" for one in found
        )
        is_updating = bool(status.get("upgradeInProgress")) or status.get("phase") == "Pending"
        if is_updating and not has_failed:
            return progressing("Update in progress")
        children = [one for one in found if one.get("type") == "ChildResourcesHealthy"]
        if any(one.get("status") == "False" and one.get("reason") == "Progressing" for one in children):
            return progressing("Child Progressing")
        if status.get("phase") == "Failed":
            return degraded(str(status.get("message") or ""))
        for one in found:
            if (
                one in children
                and one.get("status") == "False"
                and one.get("reason") == (child_failed or one.get("reason"))
            ):
                return degraded(said(one))
            if is_progressive and one.get("type") == "ProgressiveUpgradeSucceeded" and one.get("status") == "False":
                return degraded("Progressive upgrade failed")
        for one in found:
            if paused and one.get("type") == paused and one.get("status") == "True":
                return healthy(said(one))
        if any(one.get("status") == "True" for one in children):
            return healthy("Healthy")
        return unknown(unsure)

    return check


CHECKS: dict[tuple[str, str], Check] = {
    ("numaflow.numaproj.io", "InterStepBufferService"): _flow("InterStepBufferService"),
    ("numaflow.numaproj.io", "MonoVertex"): _flow("MonoVertex", ("Paused",), "Subresources are unhealthy"),
    ("numaflow.numaproj.io", "Pipeline"): _flow("Pipeline", ("Paused", "Pausing"), "Subresources are unhealthy"),
    ("numaflow.numaproj.io", "Vertex"): _flow("Vertex", ("Paused",), is_upgraded=False),
    ("numaplane.numaproj.io", "ISBServiceRollout"): _rollout("Unknown status", "ISBSvcFailed"),
    ("numaplane.numaproj.io", "MonoVertexRollout"): _rollout(
        "Unknown MonoVertex status", "MonoVertexFailed", "MonoVertexPausingOrPaused"
    ),
    ("numaplane.numaproj.io", "NumaflowControllerRollout"): _rollout("Unknown status", is_progressive=False),
    ("numaplane.numaproj.io", "PipelineRollout"): _rollout(
        "Unknown Pipeline status", "PipelineFailed", "PipelinePausingOrPaused"
    ),
}
