"""withItems, withParam and withSequence: one step or task becomes many, as `tiphys.lang.items` has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.lang import items, tags
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.text import Values

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


def expand(state: State, holder: Mapping[str, Any], scope: Values) -> list[dict[str, Any]]:
    """The copies of a loop, in order. Raises `Problem`: what an item has not got will not come later either."""
    try:
        return items.expand_step(holder, dict(state.values(scope)))
    except (items.ItemError, tags.TagError) as err:
        raise Problem(str(err)) from err
