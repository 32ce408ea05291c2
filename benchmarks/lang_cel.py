"""CEL: what one validation rule costs a write, and what a definition's rules cost when it is created.

"Warm" evaluates a compiled rule, which is what every write does; "compile" is once per schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._rows import Row, median_seconds
from tiphys.lang.cel import compile_expression, types
from tiphys.machinery.cel_library import environment
from tiphys.machinery.cel_rules import definition_faults, rules_of

RULE = "self.min <= self.max && self.items.all(i, i.name.startsWith('a') && i.size > 0)"
ITEMS = 20
_ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "size": {"type": "integer"}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "min": {"type": "integer"},
        "max": {"type": "integer"},
        "items": {"type": "array", "maxItems": 50, "items": _ITEM},
    },
    "x-kubernetes-validations": [{"rule": RULE}],
}
VALUE = {"min": 1, "max": 2, "items": [{"name": f"a{at}", "size": at + 1} for at in range(ITEMS)]}


def rows() -> Iterator[Row]:
    rules = rules_of(SCHEMA)
    assert rules is not None
    # The floor is the same rule written in Python.
    floor = micro(by_hand, 2_000)
    warm = micro(lambda: rules.faults(VALUE, "spec"), 500)
    yield Row(f"validation rule, {ITEMS} items, warm", "µs", warm, bar=60, aim=25, floor=floor)
    scope = environment().with_variables({"self": types.INT})
    program = compile_expression("self > 3 && self < 10", scope).program
    yield Row("comparison, warm", "µs", micro(lambda: program.evaluate({"self": 5}, 1_000), 2_000), bar=15, aim=4)
    yield Row("rules of a schema, compile", "µs", micro(lambda: rules_of(SCHEMA), 100), bar=5_000, aim=1_500)
    judged = micro(lambda: definition_faults(SCHEMA, "at"), 100)
    yield Row("rules of a definition, judged with costs", "µs", judged, bar=10_000, aim=3_000)


def by_hand() -> bool:
    items: Any = VALUE["items"]
    return VALUE["min"] <= VALUE["max"] and all(i["name"].startswith("a") and i["size"] > 0 for i in items)  # type: ignore[operator]


def micro(work: Callable[[], object], number: int) -> float:
    """Microseconds of one call."""
    return 1e6 * median_seconds(work, repeat=5, number=number)
