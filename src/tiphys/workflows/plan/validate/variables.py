"""Which ``{{variables}}`` may be used where, and the check that a text uses no other.

A `Scope` belongs to one template while it is validated. Names ending in ``*`` stand for names that only the run
decides. Expressions (``{{=…}}``) are not looked into: as upstream, lint leaves them to the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tiphys.lang import tags
from tiphys.workflows.plan.validate.names import PLACEHOLDER, holds_parameter
from tiphys.workflows.plan.validate.problem import Invalid

CHECKED_PREFIXES = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
"""Only variables that begin like this are checked; others are taken for somebody else's text."""

ALWAYS_ALLOWED = (
    "outputs.",
    "workflow.creationTimestamp",
    "workflow.scheduledTime",
    "workflow.duration",
    "tasks.name",
    "steps.name",
    "node.name",
)
ANY_ITEM = "item.*"
ANY_OUTPUT_PARAMETER = "workflow.outputs.parameters.*"
ANY_OUTPUT_ARTIFACT = "workflow.outputs.artifacts.*"


@dataclass
class Placeholders:
    """Values for what is known only at run time, each different."""

    _numbers: Iterator[int] = field(default_factory=count)

    def next(self) -> str:
        return f"{PLACEHOLDER}{next(self._numbers)}"


@dataclass
class Scope:
    """The names that a template may use: its own, and (``globals``) those of the workflow, which are shared."""

    globals: dict[str, str]
    template_only: bool
    names: set[str] = field(default_factory=set)

    def check(self, text: str, extra: Collection[str] = ()) -> None:
        """Raises `Invalid` for the first variable in ``text`` (JSON) that cannot be resolved."""
        for tag in simple_tags(text):
            name = tag.strip()
            if not name.startswith(CHECKED_PREFIXES) or name in self.names or name in self.globals or name in extra:
                continue
            if not self._is_allowed(name, extra):
                raise Invalid(f"failed to resolve {{{{{tag}}}}}")

    def _is_allowed(self, name: str, extra: Collection[str]) -> bool:
        if name.startswith(ALWAYS_ALLOWED):
            return True
        if name.startswith("item."):
            return self._has(ANY_ITEM, extra)
        if name.startswith("workflow.outputs.parameters."):
            return self._has(ANY_OUTPUT_PARAMETER, extra)
        if name.startswith("workflow.outputs.artifacts."):
            return self._has(ANY_OUTPUT_ARTIFACT, extra)
        return self.template_only and name.startswith("workflow.parameters")

    def _has(self, name: str, extra: Collection[str]) -> bool:
        return name in self.names or name in self.globals or name in extra


def simple_tags(text: str) -> list[str]:
    """The tags of a text that are no expressions, in order. Raises `Invalid` for one that is never closed."""
    try:
        return tags.tags(text)
    except tags.TagError as err:
        raise Invalid(str(err)) from None


def item_names(holder: dict[str, Any]) -> set[str]:
    """The ``item`` variables of a step or task with a loop. Raises `Invalid` where loops contradict each other."""
    items, param, sequence = holder.get("withItems"), holder.get("withParam"), holder.get("withSequence")
    if sum((bool(items), bool(param), sequence is not None)) > 1:
        raise Invalid("only one of withItems, withParam, withSequence can be specified")
    if items:
        return {name for item in items for name in _names_of_item(item)}
    if param:
        return {"item", ANY_ITEM}
    if sequence is None:
        return set()
    if "count" in sequence and "end" in sequence:
        raise Invalid("only one of count or end can be defined in withSequence", "withSequence")
    return {"item"}


def _names_of_item(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        yield from (f"item.{key}" for key in item)
    elif isinstance(item, list) or item is None:  # null is an empty list, as upstream
        yield from (f"item.[{index}]" for index in range(len(item or ())))
    else:
        yield "item"


def output_names(template: dict[str, Any] | None, *, aggregate: bool, has_result: bool) -> set[str]:
    """What others may use of a step or task, without its own name before it. ``template`` is None if unknown."""
    found = {"id", "startedAt", "finishedAt", "hostNodeName"}
    if template is None:
        return found
    if template.get("daemon"):
        found.add("ip")
    if has_result or (aggregate and "containerSet" in template):
        found |= {"outputs.result", "exitCode"}
    outputs = template["outputs"]
    found |= {f"outputs.parameters.{parameter['name']}" for parameter in outputs.get("parameters") or ()}
    found |= {f"outputs.artifacts.{artifact['name']}" for artifact in outputs.get("artifacts") or ()}
    if aggregate:
        found.add("outputs.parameters")
    return found


def global_output_names(template: dict[str, Any] | None) -> tuple[set[str], set[str]]:
    """Outputs lifted to the workflow by ``globalName``: (names that are fixed, names that stand for any)."""
    fixed: set[str] = set()
    any_name: set[str] = set()
    outputs = template["outputs"] if template else {}
    for kind, marker in (("parameters", ANY_OUTPUT_PARAMETER), ("artifacts", ANY_OUTPUT_ARTIFACT)):
        for output in outputs.get(kind) or ():
            name = output.get("globalName")
            if name and holds_parameter(name):
                any_name.add(marker)
            elif name:
                fixed.add(f"workflow.outputs.{kind}.{name}")
    return fixed, any_name
