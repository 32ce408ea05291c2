"""Makes a program of a checked tree: closures that compute and count what they cost.

Costs are counted where cel-go counts them, because rules are refused by them: a name or a chain of selections one unit
and one per step, a call by its rule (`costs`), constants nothing. Three details follow from that: constant lists and
conversions of constants are computed here (and fail here, `ProgramError`); ``x in [constants]`` is free; and a plain
name as a branch of ``?:`` is free as well.

A closure takes the `Frame` and gives a value; failures are values, so that ``||`` and ``&&`` can do without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tiphys.lang.cel import costs
from tiphys.lang.cel.checker import Checked
from tiphys.lang.cel.declarations import Overload
from tiphys.lang.cel.errors import CostExceeded, ProgramError
from tiphys.lang.cel.nodes import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select
from tiphys.lang.cel.operators import NO_OVERLOAD, index, keys, lookup, shown
from tiphys.lang.cel.values import ABSENT, NONE, Failure, Optional, Record, conforms, type_name, type_of


class Frame:
    """One evaluation: the cost so far, its limit, and the variables of loops and of the environment."""

    __slots__ = ("cost", "limit", "slots")

    def __init__(self, limit: int, slots: list[Any]) -> None:
        self.cost, self.limit, self.slots = 0, limit, slots


Run = Callable[[Frame], Any]


class Evaluation(NamedTuple):
    """``value`` may be a `Failure`."""

    value: Any
    cost: int


class Program:
    """A compiled expression; it keeps nothing between evaluations."""

    def __init__(self, checked: Checked) -> None:
        compiler = _Compiler(checked)
        self._run = compiler.code(checked.root).run
        self._places = compiler.inputs
        self._slots = compiler.slots

    def evaluate(self, variables: Mapping[str, Any], cost_max: int) -> Evaluation:
        """The value and what it cost. Raises `CostExceeded` when that is more than ``cost_max``."""
        slots = [None] * self._slots
        for name, place in self._places.items():
            slots[place] = variables.get(name, Failure(f"no such attribute(s): {name}"))
        frame = Frame(cost_max, slots)
        value = self._run(frame)
        if frame.cost > cost_max:
            raise CostExceeded(frame.cost)
        return Evaluation(value, frame.cost)


class _Code:
    """Compiled: ``run`` with all costs. ``bare`` leaves out the unit of the name itself, for ``?:`` and indexes."""

    __slots__ = ("attribute", "constant", "is_constant", "run")

    def __init__(self, run: Run, attribute: _Attribute | None = None) -> None:
        self.run = run
        self.attribute = attribute
        self.is_constant = False
        self.constant: Any = None

    @classmethod
    def of(cls, value: Any) -> _Code:
        made = cls(lambda frame: value)
        made.is_constant, made.constant = True, value
        return made

    @property
    def bare(self) -> Run:
        return self.run if self.attribute is None else self.attribute.bare


class _Step:
    """``.name``, ``[key]`` and their optional forms: one step of a chain."""

    __slots__ = ("is_optional", "key")

    def __init__(self, key: Run, is_optional: bool) -> None:
        self.key, self.is_optional = key, is_optional

    def get(self, frame: Frame, value: Any) -> Any:
        key = self.key(frame)
        frame.cost += 1
        return key if type(key) is Failure else index(value, key)

    def find(self, frame: Frame, value: Any) -> Any:
        key = self.key(frame)
        if type(key) is Failure:
            return key
        found = lookup(value, key)
        if found is not ABSENT:
            frame.cost += 1
        return found


class _Attribute:
    """A name or value and the steps from there."""

    __slots__ = ("base", "charge", "steps")

    def __init__(self, base: Run, charge: int, steps: tuple[_Step, ...] = ()) -> None:
        self.base, self.charge, self.steps = base, charge, steps

    def code(self) -> _Code:
        bare, charge = self.bare, self.charge
        if not charge:
            return _Code(bare, self)

        def run(frame: Frame) -> Any:
            value = bare(frame)
            frame.cost += 1
            return value

        return _Code(run, self)

    @property
    def bare(self) -> Run:
        base, steps = self.base, self.steps
        if len(steps) == 1 and not steps[0].is_optional:
            return _field_reader(base, steps[0])
        return (lambda frame: _walk(frame, base(frame), steps)) if steps else base

    def plus(self, step: _Step) -> _Attribute:
        return _Attribute(self.base, self.charge, (*self.steps, step))

    def test(self, name: str) -> Run:
        """has(): everything but the name itself costs."""
        bare = self.bare

        def run(frame: Frame) -> Any:
            value = bare(frame)
            if type(value) is Failure:
                return value
            if type(value) is Optional:
                if not value.has_value:
                    return False
                value = value.value
            frame.cost += 1
            found = lookup(value, name)
            return found if type(found) is Failure else found is not ABSENT

        return run


def _field_reader(base: Run, step: _Step) -> Run:
    """`_walk` for the most usual chain, a single step."""
    get = step.get

    def run(frame: Frame) -> Any:
        value = base(frame)
        kind = type(value)
        if kind is Optional:
            return _walk(frame, value, (step,))
        return value if kind is Failure else get(frame, value)

    return run


def _walk(frame: Frame, value: Any, steps: tuple[_Step, ...]) -> Any:
    is_optional = False
    if type(value) is Optional:
        if not value.has_value:
            return value
        value, is_optional = value.value, True
    for step in steps:
        if type(value) is Failure:
            return value
        is_optional = is_optional or step.is_optional
        if is_optional:
            value = step.find(frame, value)
            if value is ABSENT:
                return NONE
        else:
            value = step.get(frame, value)
    return Optional(value) if is_optional and type(value) is not Failure else value


class _Compiler:
    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._scopes: list[dict[str, Run]] = []
        self.inputs: dict[str, int] = {}
        self.slots = 0

    def code(self, node: Node) -> _Code:
        if isinstance(node, Literal):
            return _Code.of(node.value)
        if id(node) in self._checked.constants:
            return _Code.of(self._checked.constants[id(node)])
        if isinstance(node, Ident) or (isinstance(node, Select) and id(node) in self._checked.names):
            return _Attribute(self._name(node), 1).code()
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListNode):
            return self._list(node)
        if isinstance(node, MapNode):
            return self._map(node)
        assert isinstance(node, Fold)
        return self._fold(node)

    def _slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def _name(self, node: Node) -> Run:
        name = self._checked.names.get(id(node))
        if name is None:
            assert isinstance(node, Ident)
            return next(scope[node.name] for scope in reversed(self._scopes) if node.name in scope)
        if name not in self.inputs:
            self.inputs[name] = self._slot()
        return _reader(self.inputs[name])

    def _attribute(self, node: Node) -> _Attribute:
        """A node as the start of a chain; what is no name becomes one by a unit of cost."""
        code = self.code(node)
        return code.attribute or _Attribute(code.run, 1)

    def _select(self, node: Select) -> _Code:
        base = self._attribute(node.operand)
        if node.is_test:
            return _Code(base.test(node.field))
        return base.plus(_constant_step(node.field)).code()

    def _list(self, node: ListNode) -> _Code:
        parts = [self.code(element) for element in node.elements]
        optional = node.optional
        runs = tuple((part.run, at in optional) for at, part in enumerate(parts))

        def run(frame: Frame) -> Any:
            found: list[Any] = []
            for part, is_optional in runs:
                value = part(frame)
                if type(value) is Failure:
                    frame.cost += costs.LIST_CREATION
                    return value
                if not is_optional:
                    found.append(value)
                elif type(value) is not Optional:
                    return Failure(f"cannot initialize optional list element from non-optional value {shown(value)}")
                elif value.has_value:
                    found.append(value.value)
            frame.cost += costs.LIST_CREATION
            return found

        return _folded(run) if all(part.is_constant for part in parts) else _Code(run)

    def _map(self, node: MapNode) -> _Code:
        parts = [(self.code(e.key), self.code(e.value), e.is_optional) for e in node.entries]
        runs = tuple((key.run, value.run, is_optional) for key, value, is_optional in parts)

        def run(frame: Frame) -> Any:
            found: dict[Any, Any] = {}
            frame.cost += costs.MAP_CREATION
            for key_of, value_of, is_optional in runs:
                key = key_of(frame)
                value = value_of(frame) if type(key) is not Failure else key
                if type(value) is Failure:
                    return value
                if is_optional:
                    if type(value) is not Optional:
                        return Failure(
                            f"cannot initialize optional entry '{shown(key)}' from non-optional value {shown(value)}"
                        )
                    if not value.has_value:
                        continue
                    value = value.value
                if not isinstance(key, str | int | float):
                    return Failure(f"unsupported key type: {type_name(type_of(key))}")
                found[key] = value
            return found

        return _folded(run) if all(k.is_constant and v.is_constant for k, v, _ in parts) else _Code(run)

    def _call(self, node: Call) -> _Code:
        function = self._checked.function(node)
        special = _SPECIAL.get(function)
        if special is not None:
            made = special(self, node)
            if made is not None:
                return made
        parts = [self.code(operand) for operand in self._checked.operands(node)]
        overloads = self._checked.overloads[id(node)]
        only = overloads[0].id if len(overloads) == 1 else ""
        apply = overloads[0].run if len(overloads) == 1 and not _is_dynamic(self._checked, node) else None
        call = apply or _dispatcher(function, overloads)
        code = _Code(_applied(call, tuple(part.run for part in parts), costs.rule(function, only)))
        if function in _CONVERSIONS and len(parts) == 1 and parts[0].is_constant:
            return _folded(code.run)
        return code

    def index(self, node: Call) -> _Code:
        base, key = self._attribute(node.args[0]), self.code(node.args[1])
        is_optional = node.function == "_[?_]"
        return base.plus(_Step(key.bare, is_optional)).code()

    def optional_field(self, node: Call) -> _Code:
        base = self._attribute(node.args[0])
        assert isinstance(node.args[1], Literal)
        return base.plus(_constant_step(node.args[1].value, is_optional=True)).code()

    def condition(self, node: Call) -> _Code:
        test, then, other = (self.code(arg) for arg in node.args)
        condition, yes, no = test.run, then.bare, other.bare

        def run(frame: Frame) -> Any:
            value = condition(frame)
            if value is True:
                return yes(frame)
            if value is False:
                return no(frame)
            return value if type(value) is Failure else NO_OVERLOAD

        return _Attribute(run, 0).code()

    def logical(self, node: Call) -> _Code:
        stops = node.function == "_||_"
        left, right = self.code(node.args[0]).run, self.code(node.args[1]).run

        def run(frame: Frame) -> Any:
            first = left(frame)
            if first is stops:
                return stops
            second = right(frame)
            if second is stops:
                return stops
            for value in (first, second):
                if type(value) is not bool:
                    return value if type(value) is Failure else NO_OVERLOAD
            return not stops

        return _Code(run)

    def goes_on(self, node: Call) -> _Code:
        """@not_strictly_false: loops go on past failures."""
        argument = self.code(node.args[0]).run

        def run(frame: Frame) -> bool:
            value = argument(frame)
            frame.cost += 1
            return value is not False

        return _Code(run)

    def or_else(self, node: Call) -> _Code | None:
        if not self._checked.is_member(node):
            return None
        assert node.target is not None
        left, right = self.code(node.target).run, self.code(node.args[0]).run
        unwraps = node.function == "orValue"

        def run(frame: Frame) -> Any:
            value = left(frame)
            if type(value) is not Optional:
                return value
            if not value.has_value:
                return right(frame)
            return value.value if unwraps else value

        return _Code(run)

    def membership(self, node: Call) -> _Code | None:
        """``x in [constants]``; None when it is anything else."""
        overloads = self._checked.overloads[id(node)]
        choices = self.code(node.args[1])
        if len(overloads) != 1 or overloads[0].id != "in_list" or not choices.is_constant:
            return None
        values = choices.constant
        if not values:
            return _Code.of(False)
        if not all(isinstance(value, bool | int | float | str) for value in values):
            return None
        item, known = self.code(node.args[0]).run, frozenset((type(v) is bool, v) for v in values)

        def run(frame: Frame) -> Any:
            value = item(frame)
            if type(value) is Failure:
                return value
            return isinstance(value, bool | int | float | str) and (type(value) is bool, value) in known

        return _Code(run)

    def _fold(self, node: Fold) -> _Code:
        if node.is_binding:
            return self._binding(node)
        over, init = self.code(node.range).run, self.code(node.init)
        accumulator, first = self._slot(), self._slot()
        second = self._slot() if node.second is not None else None
        start = _starter(init)
        self._scopes.append({node.accumulator: _reader(accumulator)})
        names = {node.first: _reader(first)}
        if node.second is not None and second is not None:
            names[node.second] = _reader(second)
        self._scopes.append(names)
        condition = self.code(node.condition)
        step = self._grown(node.step, accumulator) or self.code(node.step).run
        self._scopes.pop()
        result = self.code(node.result).run
        self._scopes.pop()
        goes_on = None if condition.is_constant else condition.run

        def run(frame: Frame) -> Any:
            values = over(frame)
            if type(values) is Failure:
                return values
            if not isinstance(values, list | dict | Record):
                return Failure(f"got '{type_name(type_of(values))}', expected iterable type")
            slots = frame.slots
            slots[accumulator] = start(frame)
            for one, other in _rounds(values, second is not None):
                slots[first] = one
                if second is not None:
                    slots[second] = other
                if goes_on is not None and goes_on(frame) is not True:
                    break
                slots[accumulator] = step(frame)
                if frame.cost > frame.limit:
                    raise CostExceeded(frame.cost)
            return result(frame)

        return _Code(run)

    def _binding(self, node: Fold) -> _Code:
        init = self.code(node.init).run
        slot = self._slot()

        def read(frame: Frame) -> Any:
            if frame.slots[slot] is ABSENT:
                frame.slots[slot] = init(frame)
            return frame.slots[slot]

        self._scopes.append({node.accumulator: read})
        body = self.code(node.result).run
        self._scopes.pop()

        def run(frame: Frame) -> Any:
            frame.slots[slot] = ABSENT
            return body(frame)

        return _Code(run)

    def _grown(self, node: Node, slot: int) -> Run | None:
        """``accumulator + [x]`` in place: the list is the loop's own, and copying it each round would be quadratic."""
        if not isinstance(node, Call):
            return None
        if node.function == "_?_:_":
            return self._grown_if(node, slot)
        is_growth = node.function == "_+_" and isinstance(node.args[0], Ident) and isinstance(node.args[1], ListNode)
        if not is_growth:
            return None
        own, addition = node.args
        assert isinstance(own, Ident) and isinstance(addition, ListNode)
        if not own.name.startswith("@") or len(addition.elements) != 1:
            return None
        item = self.code(addition.elements[0])
        price = 2 if item.is_constant else 2 + costs.LIST_CREATION
        value_of = item.run

        def run(frame: Frame) -> Any:
            found, value = frame.slots[slot], value_of(frame)
            frame.cost += price
            if type(found) is Failure:
                return found
            if type(value) is Failure:
                return value
            found.append(value)
            return found

        return run

    def _grown_if(self, node: Call, slot: int) -> Run | None:
        grown = self._grown(node.args[1], slot)
        if grown is None:
            return None
        condition = self.code(node.args[0]).run

        def run(frame: Frame) -> Any:
            value = condition(frame)
            if value is True:
                return grown(frame)
            if value is False:
                return frame.slots[slot]
            return value if type(value) is Failure else NO_OVERLOAD

        return run


_SPECIAL: dict[str, Callable[[_Compiler, Call], _Code | None]] = {
    "_[_]": _Compiler.index,
    "_[?_]": _Compiler.index,
    "_?._": _Compiler.optional_field,
    "_?_:_": _Compiler.condition,
    "_&&_": _Compiler.logical,
    "_||_": _Compiler.logical,
    "@not_strictly_false": _Compiler.goes_on,
    "@in": _Compiler.membership,
    "or": _Compiler.or_else,
    "orValue": _Compiler.or_else,
}
_CONVERSIONS = frozenset(["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"])


def _reader(slot: int) -> Run:
    return lambda frame: frame.slots[slot]


def _constant_step(key: Any, *, is_optional: bool = False) -> _Step:
    return _Step(lambda frame: key, is_optional)


def _starter(init: _Code) -> Run:
    """The first accumulator; a container must be a new one each time, since it grows in place."""
    if init.is_constant and isinstance(init.constant, list):
        return lambda frame: []
    if init.is_constant and isinstance(init.constant, dict):
        return lambda frame: {}
    return init.run


def _rounds(values: Any, is_pair: bool) -> Any:
    if isinstance(values, list):
        return enumerate(values) if is_pair else ((value, None) for value in values)
    if is_pair:
        return [(key, lookup(values, key)) for key in keys(values)]
    return [(key, None) for key in keys(values)]


def _folded(run: Run) -> _Code:
    value = run(Frame(1 << 62, []))
    if type(value) is Failure:
        raise ProgramError(value.message)
    return _Code.of(value)


def _is_dynamic(checked: Checked, node: Call) -> bool:
    """Whether an argument's type is only known when it runs."""
    return any(checked.type(operand).kind == "dyn" for operand in checked.operands(node))


def _dispatcher(function: str, overloads: tuple[Overload, ...]) -> Callable[..., Any]:
    if function in ("_==_", "_!=_"):
        return overloads[0].run

    def call(*values: Any) -> Any:
        for overload in overloads:
            if all(map(conforms, values, overload.args)):
                return overload.run(*values)
        if function.startswith("_") or function.endswith("_"):
            return NO_OVERLOAD
        given = ", ".join(type_name(type_of(value)) for value in values)
        return Failure(f"no such overload: {function}({given})")

    return call


def _applied(call: Callable[..., Any], parts: tuple[Run, ...], rule: costs.Cost | int) -> Run:
    if len(parts) == 1:
        return _applied_one(call, parts[0], rule)
    if len(parts) == 2:
        return _applied_two(call, *parts, rule)

    def run(frame: Frame) -> Any:
        values = []
        for part in parts:
            value = part(frame)
            if type(value) is Failure:
                return value
            values.append(value)
        result = call(*values)
        _charge(frame, rule, tuple(values), result)
        return result

    return run


def _applied_one(call: Callable[..., Any], part: Run, rule: costs.Cost | int) -> Run:
    def run(frame: Frame) -> Any:
        value = part(frame)
        result = value if type(value) is Failure else call(value)
        _charge(frame, rule, (value,), result)
        return result

    return run


def _applied_two(call: Callable[..., Any], left: Run, right: Run, rule: costs.Cost | int) -> Run:
    def run(frame: Frame) -> Any:
        first, second = left(frame), right(frame)
        if type(first) is Failure:
            result: Any = first
        elif type(second) is Failure:
            result = second
        else:
            result = call(first, second)
        if type(rule) is int:
            frame.cost += rule
        else:
            _charge(frame, rule, (first, second), result)
        return result

    return run


def _charge(frame: Frame, rule: costs.Cost | int, values: tuple[Any, ...], result: Any) -> None:
    frame.cost += rule if isinstance(rule, int) else rule(values, result)
    if frame.cost > frame.limit:
        raise CostExceeded(frame.cost)
