"""The spec that is executed: the workflow's own, or merged over a WorkflowTemplate's, over the controller's defaults.

    workflow ── workflowTemplateRef ── workflowDefaults      the first that says something wins

With a ``workflowTemplateRef`` the merged spec is frozen in ``status.storedWorkflowTemplateSpec``. A new workflow is
validated once, before anything else happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import name_rules
from tiphys.workflows.plan import globals as variables
from tiphys.workflows.plan import merging
from tiphys.workflows.plan.canonical import SPEC, NotCanonical, canonical, dumps
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.templates import TemplateContext, Templates, context_from
from tiphys.workflows.plan.text import evaluate, replace

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

POD_NAMES = "workflows.argoproj.io/pod-name-format"
TEMPLATE_LABEL = "workflows.argoproj.io/workflow-template"
CLUSTER_TEMPLATE_LABEL = "workflows.argoproj.io/cluster-workflow-template"
ALLOWED_BESIDE_REFERENCE = frozenset(
    (
        "arguments",
        "entrypoint",
        "shutdown",
        "suspend",
        "activeDeadlineSeconds",
        "priority",
        "ttlStrategy",
        "podGC",
        "volumeClaimGC",
        "archiveLogs",
        "workflowMetadata",
        "workflowTemplateRef",
        "metrics",
        "artifactGC",
    )
)


class SpecFailed(Problem):
    """The spec cannot be executed; ``phase`` is how the workflow ends (Failed or Error)."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase


def prepare(state: State) -> None:
    """Works out the spec, its templates and the workflow's variables. Raises `SpecFailed`."""
    try:
        raw = _executed(state)
        spec = canonical(raw, SPEC)
    except (Problem, NotCanonical) as err:
        raise SpecFailed("Error", str(err)) from err
    state.spec = spec
    state.stored_spec = spec if state.is_from_template else None
    context = context_from("local", "" if state.is_from_template else state.name, spec)
    state.templates = _templates(state, context)
    state.volumes = list(spec.get("volumes") or ())
    if not state.phase:
        _validate(state)
    try:
        variables.set_globals(state)
    except Problem as err:
        raise SpecFailed("Failed", f"failed to set global parameters: {err}") from err
    _substitute(state)
    if not state.phase:
        try:
            _add_metadata(state)
        except Problem as err:
            raise SpecFailed("Error", str(err)) from err


def _templates(state: State, context: TemplateContext) -> Templates:
    return Templates(context, state.lookup, state.stored_templates, state.spec.get("templateDefaults"))


def _executed(state: State) -> Mapping[str, Any]:
    own = state.workflow.get("spec") or {}
    reference = own.get("workflowTemplateRef")
    restricted = state.settings.template_referencing
    if reference is None:
        if restricted:
            raise Problem(
                "workflows must use workflowTemplateRef to be executed when the controller is in reference mode"
            )
        defaults = (state.settings.workflow_defaults or {}).get("spec") or {}
        _default_metadata(state)
        return merge_specs(defaults, own) if defaults else own
    state.is_from_template = True
    if restricted:
        _check_overrides(own, state.settings.user_override_allowlist)
    stored = state.status.get("storedWorkflowTemplateSpec")
    if stored is None or _is_outdated(own, stored):
        base = stored if stored is not None else _referenced(state, reference)
        if stored is None:
            _default_metadata(state)
        defaults = (state.settings.workflow_defaults or {}).get("spec")
        stored = canonical(join(own, base, defaults), SPEC)
        state.set_status(storedWorkflowTemplateSpec=stored)
    label = CLUSTER_TEMPLATE_LABEL if reference.get("clusterScope") else TEMPLATE_LABEL
    state.labels[label] = str(reference.get("name", ""))
    return dict(stored)


def _is_outdated(own: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    return (
        bool(own.get("entrypoint") and not stored.get("entrypoint"))
        or bool(own.get("suspend")) != bool(stored.get("suspend"))
        or (own.get("shutdown") or "") != (stored.get("shutdown") or "")
    )


def _referenced(state: State, reference: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(reference.get("name", ""))
    if reference.get("clusterScope"):
        obj, kind = state.lookup.cluster_workflow_template(name), "clusterworkflowtemplate"
    else:
        obj, kind = state.lookup.workflow_template(name), "workflowtemplate"
    if obj is None:
        raise Problem(f'{kind}.argoproj.io "{name}" not found')
    return obj.get("spec") or {}


def _default_metadata(state: State) -> None:
    meta = (state.settings.workflow_defaults or {}).get("metadata") or {}
    for own, given in ((state.labels, meta.get("labels")), (state.annotations, meta.get("annotations"))):
        for key, value in (given or {}).items():
            own.setdefault(key, value)


def _check_overrides(own: Mapping[str, Any], allowed: frozenset[str]) -> None:
    names = sorted(key for key, value in own.items() if value and key not in ALLOWED_BESIDE_REFERENCE | allowed)
    gc = own.get("artifactGC") or {}
    nested = {"podSpecPatch": "PodSpecPatch", "serviceAccountName": "ServiceAccountName", "podMetadata": "PodMetadata"}
    names += [f"ArtifactGC.{shown}" for key, shown in nested.items() if gc.get(key)]
    if names:
        shown_names = " ".join(name[:1].upper() + name[1:] for name in names)
        raise Problem(
            f"fields [{shown_names}] are not permitted when using workflowTemplateRef "
            "with templateReferencing restriction"
        )


def merge_specs(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` over ``base``: strategic, except for hooks and labelsFrom, of which each comes whole."""
    hooks = {**(base.get("hooks") or {}), **(own.get("hooks") or {})}
    labels_from = {
        **((base.get("workflowMetadata") or {}).get("labelsFrom") or {}),
        **((own.get("workflowMetadata") or {}).get("labelsFrom") or {}),
    }
    made = merging.merge(_without(base), _without(own), SPEC)
    if hooks:
        made["hooks"] = hooks
    if labels_from:
        made["workflowMetadata"] = {**(made.get("workflowMetadata") or {}), "labelsFrom": labels_from}
    return made


def _without(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in spec.items() if key != "hooks" and value is not None}
    if (metadata := made.get("workflowMetadata")) is not None:
        made["workflowMetadata"] = {key: value for key, value in metadata.items() if key != "labelsFrom"}
    return made


def join(own: Mapping[str, Any], base: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> dict[str, Any]:
    """A workflow's spec over its template's over the defaults; each argument from the first that has it."""
    made = merge_specs(base, own)
    if defaults:
        made = merge_specs(defaults, made)
    made.pop("suspend", None)
    if own.get("suspend") is not None:
        made["suspend"] = own["suspend"]
    arguments = dict(made.get("arguments") or {})
    for kind, choose in (("parameters", _with_value), ("artifacts", _any)):
        items = arguments.get(kind)
        if items:
            first, second = choose(own, kind), choose(base, kind)
            arguments[kind] = [_preferred(item, first, second, kind) for item in items]
    if arguments:
        made["arguments"] = arguments
    return made


def _preferred(item: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any], kind: str) -> Any:
    if kind == "parameters" and not _has_value(item):
        return item
    name = str(item.get("name"))
    chosen = first.get(name) or second.get(name)
    if chosen is None:
        return item
    if kind == "artifacts":
        return _artifact_over(item, chosen)
    return chosen


def _artifact_over(base: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    from tiphys.workflows.plan.artifacts import location_kind

    kind = location_kind(chosen)
    if not kind or location_kind(base) != kind:
        return dict(chosen)
    return {**chosen, kind: {**base[kind], **chosen[kind]}}


def _with_value(spec: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {item["name"]: item for item in (spec.get("arguments") or {}).get(kind) or () if _has_value(item)}


def _any(spec: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {item["name"]: item for item in (spec.get("arguments") or {}).get(kind) or ()}


def _has_value(item: Mapping[str, Any]) -> bool:
    return any(item.get(key) is not None for key in ("value", "default", "valueFrom"))


def _validate(state: State) -> None:
    problem = state.validate()
    if problem is not None:
        raise SpecFailed("Failed", f"invalid spec: {problem}")


def _substitute(state: State) -> None:
    """Fills workflow variables into everything but the templates (they are filled in when used)."""
    rest = {key: value for key, value in state.spec.items() if key != "templates"}
    text = dumps(rest)
    if "{{" in text:
        made: dict[str, Any] = orjson.loads(replace(text, state.globals))
        made["templates"] = state.spec.get("templates")
        state.spec = made


def _add_metadata(state: State) -> None:
    """``workflowMetadata``: labels and annotations of the workflow itself, some from expressions."""
    added = state.spec.get("workflowMetadata")
    if not added:
        return
    for key, value in (added.get("labels") or {}).items():
        if errors := name_rules.label_value(value):
            raise Problem(f'invalid label value "{value}" for label "{key}": {";".join(errors)}')
        state.labels[key] = value
        state.set_global(f"workflow.labels.{key}", value)
    for key, value in (added.get("annotations") or {}).items():
        state.annotations[key] = value
        state.set_global(f"workflow.annotations.{key}", value)
    for key, source in (added.get("labelsFrom") or {}).items():
        expression = source.get("expression", "")
        try:
            value = evaluate(expression, state.globals)
        except Problem as err:
            raise Problem(f'failed to evaluate label "{key}" expression "{expression}": {err}') from err
        if not isinstance(value, str):
            kind = type(value).__name__
            raise Problem(
                f'failed to evaluate label "{key}" expression "{expression}" evaluted to {kind} but must be a string'
            )
        if errors := name_rules.label_value(value):
            shown = ";".join(errors)
            raise Problem(f'invalid label value "{value}" for label "{key}" and expression "{expression}": {shown}')
        state.labels[key] = value
        state.set_global(f"workflow.labels.{key}", value)
    state.updated = True
    _substitute(state)
