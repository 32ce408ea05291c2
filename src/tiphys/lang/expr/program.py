"""Programs: parse once, check and build once per shape of the environment, run often.

The language checks types against the environment's actual values (``x + 1`` does not compile while x is a string), so
a program is built for a *shape*: the types of the variables it names. A Program keeps the last shapes it met, the
module keeps the last programs; both are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tiphys.lang.expr import compiler, folding
from tiphys.lang.expr.checker import check
from tiphys.lang.expr.errors import ExprError, Panic
from tiphys.lang.expr.frame import Code, Frame
from tiphys.lang.expr.nodes import Builtin, Call, Identifier, Let, Literal, Member, Node, children
from tiphys.lang.expr.parser import BUILTINS, parse
from tiphys.lang.expr.types import Type, type_of
from tiphys.lang.gofmt import sprint_s
from tiphys.lang.gosize import TooBig, refuse_size
from tiphys.lang.moments import Time

_CACHED_PROGRAMS = 2_048
_CACHED_LENGTH_MAX = 8_192
_CACHED_SHAPES = 16

Shape = tuple[Type | None, ...]


class Program:
    """An expression that parses. ``run`` may still raise a compile error: types are only known with an environment."""

    __slots__ = ("_built", "_names", "_tree", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._tree: Node | None = parse(source)
        self._names = tuple(_names(self._tree))
        self._built: dict[Shape, tuple[Code, int]] = {}

    @property
    def roots(self) -> tuple[str, ...] | None:
        """The only variables that ``run`` looks at; None when it may look at all."""
        return None if "$env" in self.source else self._names

    def run(self, env: Mapping[str, Any], *, now: Time | None = None) -> Any:
        """The value of the expression. ``now`` is what ``now()`` answers.

        ``env`` holds plain values (see :mod:`tiphys.lang.expr.values`); names that it lacks are unknown. Raises
        ExprError, of kind "compile" where the original's Compile fails and "run" where its Run does.
        """
        code, variables = self._code(env)
        try:
            value = code(Frame(env, variables, now))
            refuse_size(value)
        except Panic as panic:
            raise ExprError(panic.message, kind="run", source=self.source, at=panic.at or 0) from None
        except TooBig as err:
            raise ExprError(str(err), kind="run", source=self.source) from None
        except RecursionError:
            raise ExprError("recursion depth exceeded", kind="run", source=self.source) from None
        return value

    def check(self, env: Mapping[str, Any]) -> None:
        """Raises what ``run`` would raise before running."""
        self._code(env)

    def _code(self, env: Mapping[str, Any]) -> tuple[Code, int]:
        shape = tuple([type_of(env[name]) if name in env else None for name in self._names])
        built = self._built.get(shape)
        if built is None:
            built = self._build(env, shape)
            if len(self._built) >= _CACHED_SHAPES:
                self._built.pop(next(iter(self._built)))
            self._built[shape] = built
        return built

    def _build(self, env: Mapping[str, Any], shape: Shape) -> tuple[Code, int]:
        hidden = [name for name in self._names if name in env and name in BUILTINS]
        tree, self._tree = self._tree, None  # checking and folding write into the tree, so each shape needs its own
        if tree is None or hidden:
            tree = parse(self.source, hidden)
        names = {name: found for name, found in zip(self._names, shape, strict=True) if found is not None}
        if hidden:  # another grammar, maybe other names
            names |= {name: type_of(env[name]) for name in _names(tree) if name in env}
        check(tree, names, self.source)
        return compiler.build(folding.fold(tree, self.source), self.source)


def compile(source: str) -> Program:
    """The program for ``source``, short ones from a cache. Raises ExprError (compile) for what does not parse."""
    return _cached(source) if len(source) <= _CACHED_LENGTH_MAX else Program(source)


_cached = lru_cache(maxsize=_CACHED_PROGRAMS)(Program)


def evaluate(source: str, env: Mapping[str, Any], *, now: Time | None = None) -> Any:
    """The value of ``source`` in ``env``. Raises ExprError."""
    return compile(source).run(env, now=now)


def eval_bool(source: str, env: Mapping[str, Any], *, now: Time | None = None) -> bool:
    """The value of a condition (depends, hooks, stop strategies). Raises ExprError, also for other results."""
    try:
        result = compile(source).run(env, now=now)
    except ExprError as err:
        if err.kind == "compile":
            raise
        raise ExprError(f"unable to evaluate expression '{source}': {err}", kind="run") from err
    if not isinstance(result, bool):
        raise ExprError(f"unable to cast expression result '{sprint_s(result)}' to bool", kind="run")
    return result


def _names(tree: Node) -> dict[str, None]:
    """Every name whose presence or type in the environment may matter, in order."""
    found: dict[str, None] = {}
    stack = [tree]
    while stack:
        node = stack.pop()
        match node:
            case Identifier(name=name) | Let(name=name):
                found[name] = None
            case Builtin(name=name):
                found[name] = None
                _add_key(found, node.arguments)
            case Member(base=Identifier(name="$env"), key=Literal(value=str(name))):
                found[name] = None
            case Call():
                pass
        stack.extend(children(node))
    return found


def _add_key(found: dict[str, None], arguments: list[Node]) -> None:
    """The key of ``get($env, "key")``."""
    match arguments:
        case [Identifier(name="$env"), Literal(value=str(name))]:
            found[name] = None
