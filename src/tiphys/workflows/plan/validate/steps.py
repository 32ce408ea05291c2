"""Templates of steps: groups one after another, the steps of a group side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan.canonical import dumps, has_tags
from tiphys.workflows.plan.validate.arguments import check_arguments
from tiphys.workflows.plan.validate.callers import Given
from tiphys.workflows.plan.validate.names import step_name_faults
from tiphys.workflows.plan.validate.problem import Invalid, Place
from tiphys.workflows.plan.validate.resolution import Base, Template
from tiphys.workflows.plan.validate.variables import Scope, item_names

if TYPE_CHECKING:
    from tiphys.workflows.plan.validate.templates import Validation


def check_steps(run: Validation, template: Template, base: Base, scope: Scope, place: Place) -> None:
    """Raises `Invalid` for the first fault; adds to ``scope`` what later steps and the outputs may use."""
    check_not_leaf(template)
    seen: set[str] = set()
    for number, group in enumerate(template["steps"]):
        for index, step in enumerate(group or ()):
            at = Place(f"{place.path}.steps[{number}][{index}]", place.template, place.source)
            name = step.get("name", "")
            try:
                _check_name(f"templates.{template.get('name', '')}.steps[{number}]", name, seen)
                seen.add(name)
                _check_step(run, template.get("name", ""), number, step, base, scope, at)
            except Invalid as err:
                raise err.within("", "", at) from None


def check_not_leaf(template: Template) -> None:
    if template.get("activeDeadlineSeconds") is not None:
        what = f"templates.{template.get('name', '')}.activeDeadlineSeconds is only valid for leaf templates"
        raise Invalid(what, "activeDeadlineSeconds")


def _check_name(at: str, name: str, seen: set[str]) -> None:
    if not name:
        raise Invalid(f"{at}.name is required", "name")
    if name in seen:
        raise Invalid(f"{at}.name '{name}' is not unique", "name")
    faults = step_name_faults(name)
    if faults:
        raise Invalid(f"{at}.name '{name}' is invalid: {';'.join(faults)}", "name")


def _check_step(
    run: Validation, template_name: str, number: int, step: dict[str, Any], base: Base, scope: Scope, at: Place
) -> None:
    name = step["name"]
    label = f"templates.{template_name}.steps[{number}].{name}"
    scope.names.add(f"steps.{name}.status")
    try:
        scope.names |= item_names(step)
    except Invalid as err:
        raise err.within(f"{label} ") from None
    arguments = step.get("arguments") or {}
    try:
        check_arguments(f"{label}.arguments.", arguments, allow_empty=False)
    except Invalid as err:
        raise err.within("", "arguments") from None
    called = _call(run, label, step, base, at)
    if has_exit_hook(step):
        run.add_outputs(called, "steps", name, scope, aggregate=False)
    check_hooks(step.get("hooks"), label)
    try:
        if has_tags(step):
            scope.check(dumps(step), inline_inputs(step))
    except Invalid as err:
        raise err.within(f"templates.{template_name}.steps ") from None
    run.add_outputs(called, "steps", name, scope, aggregate=is_loop(step))
    _call(run, label, step, base, at, arguments)


def _call(
    run: Validation,
    label: str,
    step: dict[str, Any],
    base: Base,
    at: Place,
    arguments: dict[str, Any] | None = None,
) -> Template | None:
    try:
        return run.call(step, base, run.anything() if arguments is None else Given(arguments), at)
    except Invalid as err:
        raise err.within(f"{label} ") from None


def is_loop(holder: dict[str, Any]) -> bool:
    """Whether outputs are collected into lists; a sequence's are not (upstream)."""
    return bool(holder.get("withItems") or holder.get("withParam"))


def has_exit_hook(holder: dict[str, Any]) -> bool:
    return bool(holder.get("onExit")) or "exit" in (holder.get("hooks") or {})


def check_hooks(hooks: dict[str, Any] | None, label: str) -> None:
    """Every hook but ``exit`` says when it fires. Raises `Invalid`."""
    for name, hook in (hooks or {}).items():
        if name != "exit" and not hook.get("expression"):
            raise Invalid(f"{label}.{name} Expression required", f"hooks.{name}")


def inline_inputs(holder: dict[str, Any]) -> set[str]:
    """The input variables of an inline template, which may be used in the step or task itself."""
    inputs = (holder.get("inline") or {}).get("inputs") or {}
    return {f"inputs.parameters.{parameter['name']}" for parameter in inputs.get("parameters") or ()}
