"""Expressions, tags, conditions and loops: what one decision of a workflow spends on its languages.

"Warm" means that the text was seen before, which is the rule: a template is run for every step, a ``when`` for every
item. "First" reads the text anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson

from benchmarks._rows import Row, median_seconds
from tiphys.lang import depends, items, tags
from tiphys.lang.expr import Program, compile, environment
from tiphys.lang.govaluate import should_execute
from tiphys.lang.govaluate.when import condition

WHEN = '"{}" == heads && (5 > 3 || Failed in (Failed, Error))'
EXPRESSION = "steps.flip.outputs.result == 'heads' && len(filter(items, .price > 10)) >= 1 ? 'go' : 'stop'"
SUBSTITUTIONS = 10_000
MANIFEST_BYTES = 20_000


def rows() -> Iterator[Row]:
    yield from conditions()
    yield from expressions()
    yield from substitutions()
    yield from loops()


def conditions() -> Iterator[Row]:
    when = WHEN.format("heads")
    yield Row("when, warm", "µs", micro(lambda: should_execute(when), 5_000), bar=20, aim=5)
    texts = iter([WHEN.format(number) for number in range(20_000)])
    yield Row("when, first time", "µs", micro(lambda: condition(next(texts)).run(), 1_000), bar=200, aim=60)
    tasks: dict[str, dict[str, Any]] = {name: {} for name in "ABC"}
    logic = depends.rewrite({"depends": "A && (B.Succeeded || C.Failed)"}, tasks)
    states = {name: depends.State("Succeeded") for name in tasks}
    yield Row("depends, warm", "µs", micro(lambda: depends.decide(logic, states), 2_000), bar=100, aim=30)


def expressions() -> Iterator[Row]:
    scope = {"steps.flip.outputs.result": "heads", "items": [{"price": price} for price in range(20)]}
    env, program = environment(scope), compile(EXPRESSION)
    # The floor is the same decision written in Python.
    floor = micro(lambda: by_hand(env), 2_000)
    yield Row("expression, warm", "µs", micro(lambda: program.run(env), 2_000), bar=40, aim=12, floor=floor)
    yield Row("expression, first time", "µs", micro(lambda: Program(EXPRESSION).run(env), 200), bar=2_000, aim=500)


def by_hand(env: dict[str, Any]) -> str:
    heads = env["steps"]["flip"]["outputs"]["result"] == "heads"
    return "go" if heads and len([one for one in env["items"] if one["price"] > 10]) >= 1 else "stop"


def substitutions() -> Iterator[Row]:
    text, scope = manifest()
    each = median_seconds(lambda: tags.replace(text, scope, allow_unresolved=False), repeat=7, number=500)
    name = f"substitutions into {MANIFEST_BYTES // 1000} KB"
    yield Row(name, "per s", 1 / each, bar=5_000, aim=20_000, more_is_better=True)
    floor = median_seconds(lambda: orjson.dumps(orjson.loads(text)), repeat=7, number=500)
    yield Row(f"{name}, to one orjson round trip", "s", each, bar=3, aim=1, floor=floor)
    many = median_seconds(lambda: [tags.replace(text, scope, allow_unresolved=False) for _ in range(SUBSTITUTIONS)], 1)
    yield Row(f"{SUBSTITUTIONS} {name}", "s", many, bar=2, aim=0.5)


def manifest() -> tuple[str, dict[str, str]]:
    """A template of about 20 KB with a tag in every tenth line, as JSON."""
    scope = {f"inputs.parameters.p{number}": f"value-{number}" for number in range(40)}
    lines = [
        f"echo line {number} "
        + (f"{{{{inputs.parameters.p{number // 10 % 40}}}}}" if number % 10 == 0 else "plain text")
        for number in range(1_000)
    ]
    source = "\n".join(lines)[: MANIFEST_BYTES - 200].rsplit("\n", 1)[0]
    return json.dumps({"name": "t", "script": {"image": "python", "source": source}}), scope


def loops() -> Iterator[Row]:
    argument = {"parameters": [{"name": "p", "value": "{{item}}"}]}
    task = {"name": "a", "template": "t", "arguments": argument, "withItems": list(range(10_000))}
    each = median_seconds(lambda: items.expand_task(task, {"workflow.name": "w"}), repeat=3)
    floor = median_seconds(lambda: [orjson.loads(orjson.dumps(argument)) for _ in range(10_000)], repeat=3)
    yield Row("10000 items into tasks", "s", each, bar=60, aim=15, floor=floor)


def micro(work: Any, number: int) -> float:
    """Microseconds of one call."""
    return 1e6 * median_seconds(work, repeat=7, number=number)
