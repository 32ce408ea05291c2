"""Strategic merges into pods: ``podSpecPatch`` of workflow and template, and the controller's container defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.workflows.plan import arguments, merging
from tiphys.workflows.plan.canonical import CONTAINER, POD_SPEC, NotCanonical, canonical
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.pods.build import Draft


def merge_container(defaults: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """A container over the controller's defaults for main containers."""
    return merging.merge(defaults, container, CONTAINER)


def apply_patches(draft: Draft) -> None:
    """Applies the patches: the workflow's, then the template's. Raises `Problem`."""
    state, template = draft.state, draft.template
    for patch in (state.spec.get("podSpecPatch"), template.get("podSpecPatch")):
        if not patch:
            continue
        with_patch = {**template, "podSpecPatch": patch}
        local = {"pod.name": draft.pod["metadata"]["name"]}
        try:
            processed = arguments.process(state, with_patch, {}, local)
        except Problem as err:
            raise Problem("Failed to substitute the PodSpecPatch variables") from err
        draft.pod["spec"] = patched(draft.spec, str(processed.get("podSpecPatch") or ""))


def patched(spec: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A pod's spec with a patch (YAML) merged in. Raises `Problem`."""
    try:
        wanted = canonical_patch(_read(text))
    except (ValueError, NotCanonical) as err:
        raise Problem("Error applying PodSpecPatch") from err
    made: dict[str, Any] = canonical(merging.merge(spec, wanted, POD_SPEC), POD_SPEC)
    return made


def _read(text: str) -> Any:
    """YAML, but what starts as a JSON object must be one. Raises ValueError."""
    return orjson.loads(text) if text.lstrip().startswith("{") else merging.read_yaml(text)


def canonical_patch(patch: Any) -> dict[str, Any]:
    """A patch must be an object that could be a pod's spec."""
    if not isinstance(patch, dict):
        raise ValueError("expected an object")
    canonical({key: value for key, value in patch.items() if key != "containers"}, POD_SPEC)
    return patch
