"""Numaflow and Numaplane: pipelines pause and go on, slowly or fast; a trial may be promoted by force."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.actions.action import Action, Object, annotate, annotation, get, label, put, without

_PLANE = "numaplane.numaproj.io/"
_STRATEGIES = "numaflow.numaproj.io/allowed-resume-strategies"
_RESUME_STRATEGY = "numaflow.numaproj.io/resume-strategy"
_PAUSE_ICON = "fa-solid fa-fw fa-pause"
_PLAY_ICON = "fa-solid fa-fw fa-play"
Path = tuple[str, ...]


def _is_promotable(obj: Object) -> bool:
    in_trial = label(obj, f"{_PLANE}upgrade-state") in ("in-progress", "trial")
    return in_trial and label(obj, f"{_PLANE}force-promote") != "true"


def _force_promote(display: str) -> Action:
    return Action(
        "force-promote",
        lambda call: put(call.object, ("metadata", "labels", f"{_PLANE}force-promote"), "true", missing=1),
        disabled=lambda obj: not _is_promotable(obj),
        display=display,
        icon="fa-solid fa-fw fa-forward",
    )


def _has_owner(obj: Object, kind: str) -> bool:
    return any(owner.get("kind") == kind for owner in get(obj, "metadata.ownerReferences", ()))


class _Pausing:
    """When something can be paused and how it may go on. ``spec`` is where the pipeline's spec lies in the object."""

    def __init__(self, spec: Path, metadata: Path, owner: str = "", expired_counts: bool = False) -> None:
        self.phase: Path = (*spec, "lifecycle", "desiredPhase")
        self.metadata = metadata
        self.owner = owner
        self.expired_counts = expired_counts

    def is_allowed(self, obj: Object) -> bool:
        if not self.owner or not _has_owner(obj, self.owner):
            return True
        return self.expired_counts and label(obj, f"{_PLANE}upgrade-state") == "recyclable-expired"

    def is_paused(self, obj: Object) -> bool:
        return bool(get(obj, ".".join(self.phase)) == "Paused")

    def ways(self, obj: Object) -> tuple[str, ...]:
        """How it may go on; gradually where nothing is said."""
        said = get(obj, ".".join(self.metadata), {}).get("annotations") or {}
        return {"fast": ("fast",), "slow, fast": ("fast", "gradual")}.get(said.get(_STRATEGIES, ""), ("gradual",))

    def pause(self) -> Action:
        return Action(
            "pause",
            lambda call: put(call.object, self.phase, "Paused", missing=1),
            disabled=lambda obj: not self.is_allowed(obj) or self.is_paused(obj),
            icon=_PAUSE_ICON,
        )

    def unpause(self, way: str, run: Any) -> Action:
        return Action(
            f"unpause-{way}",
            lambda call: run(put(call.object, self.phase, "Running")),
            disabled=lambda obj: not (self.is_allowed(obj) and self.is_paused(obj) and way in self.ways(obj)),
            display=f"Unpause ({way})",
            icon=_PLAY_ICON,
        )


def _with_strategy(name: str) -> Any:
    return lambda obj: put(obj, ("metadata", "annotations", _RESUME_STRATEGY), name, missing=1)


def _with_fast_resume(fast: bool) -> Any:
    return lambda obj: put(obj, ("spec", "strategy", "pauseResume", "fastResume"), fast, missing=2)


def _is_recyclable(obj: Object) -> bool:
    return label(obj, f"{_PLANE}upgrade-state") in ("recyclable", "recyclable-expired")


_VERTEX = _Pausing(("spec",), ("spec", "metadata"), "MonoVertexRollout")
_PIPELINE = _Pausing(("spec",), ("spec", "metadata"), "PipelineRollout", expired_counts=True)
_VERTEX_ROLLOUT = _Pausing(("spec", "monoVertex", "spec"), ("spec", "monoVertex", "metadata"))
_PIPELINE_ROLLOUT = _Pausing(("spec", "pipeline", "spec"), ("spec", "pipeline", "metadata"))

ACTIONS = {
    ("numaflow.numaproj.io", "InterStepBufferService"): (_force_promote(""),),
    ("numaflow.numaproj.io", "MonoVertex"): (
        _VERTEX.pause(),
        _VERTEX.unpause("fast", dict),
        _VERTEX.unpause("gradual", lambda obj: without(obj, ("spec", "replicas"))),
        _force_promote("Force Promote"),
    ),
    ("numaflow.numaproj.io", "Pipeline"): (
        _PIPELINE.pause(),
        _PIPELINE.unpause("fast", _with_strategy("fast")),
        _PIPELINE.unpause("gradual", _with_strategy("slow")),
        _force_promote("Force Promote"),
        Action(
            "delete",
            annotate(f"{_PLANE}marked-for-deletion", lambda _: "true"),
            disabled=lambda obj: not _is_recyclable(obj),
            display="Delete",
            icon="fa-solid fa-fw fa-trash",
        ),
    ),
    ("numaplane.numaproj.io", "MonoVertexRollout"): (
        _VERTEX_ROLLOUT.pause(),
        _VERTEX_ROLLOUT.unpause("fast", _with_fast_resume(True)),
        _VERTEX_ROLLOUT.unpause("gradual", _with_fast_resume(False)),
    ),
    ("numaplane.numaproj.io", "PipelineRollout"): (
        _PIPELINE_ROLLOUT.pause(),
        _PIPELINE_ROLLOUT.unpause("fast", _with_fast_resume(True)),
        _PIPELINE_ROLLOUT.unpause("gradual", _with_fast_resume(False)),
        Action(
            "allow-data-loss",
            annotate(f"{_PLANE}allow-data-loss", lambda _: "true"),
            disabled=lambda obj: get(obj, "status.upgradeInProgress") != "PipelinePauseAndDrain",
            display="Allow (Possible) Data Loss",
            icon="fa-solid fa-fw fa-unlock",
        ),
        Action(
            "disallow-data-loss",
            annotate(f"{_PLANE}allow-data-loss", lambda _: "false"),
            disabled=lambda obj: annotation(obj, f"{_PLANE}allow-data-loss") != "true",
            display="Disallow Data Loss",
            icon="fa-solid fa-fw fa-lock",
        ),
    ),
}
