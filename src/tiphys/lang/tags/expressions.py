"""Expression tags: ``{{=…}}``, replaced by what the expression gives, as JSON.

The rules about what may stay unresolved are the original's, and they are not simple: a name that the scope lacks lets
the tag wait unless it must be there; then every failure is one, also a wrong type. When nothing is missing and
something must be there, failures are errors. A syntax error always is. Names that only exist later (``retries``,
``workflow.status`` …) make the tag wait even where the expression would give something without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from tiphys.lang.expr import ExprError, Program, environment
from tiphys.lang.expr import compile as compile_expression
from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.jsontext import marshal
from tiphys.lang.expr.nodes import Binary, Identifier, Literal, Member, Node, children
from tiphys.lang.expr.parser import parse
from tiphys.lang.gofmt import quote, quote_inner
from tiphys.lang.gojson_read import JsonSyntaxError, loads
from tiphys.lang.sprig import Sources
from tiphys.lang.tags.errors import TagError
from tiphys.lang.tags.output import Output

PLACEHOLDER = "__argo__internal__placeholder-"
"""How values begin that validation puts where the real ones come later; with them around, expressions may fail."""

_LATE = frozenset(
    (
        "item",
        "retries",
        "lastRetry.exitCode",
        "lastRetry.status",
        "lastRetry.duration",
        "lastRetry.message",
        "workflow.status",
        "workflow.failures",
    )
)
_CACHED_NAMES = 2_048


class Names:
    """A scope as expressions see it: what they read of it, nested, is made when it is first needed."""

    def __init__(self, scope: Mapping[str, Any], sources: Sources | None = None) -> None:
        self.scope = scope
        self.sources = sources
        self._env: dict[str, Any] = {}
        self._roots: frozenset[str] | None = frozenset()

    def env(self, program: Program) -> dict[str, Any]:
        """The environment for ``program``; one for all programs that read the same."""
        roots = program.roots
        if not self._env or (self._roots is not None and (roots is None or not self._roots.issuperset(roots))):
            self._roots = None if roots is None else self._roots.union(roots) if self._roots is not None else None
            self._env = environment(self.scope, self._roots, sources=self.sources)
        return self._env

    def has(self, name: str, program: Program) -> bool:
        """Whether the dotted ``name`` leads to something, even nil."""
        current: Any = self.env(program)
        if name in current:
            return True
        for part in name.split("."):
            if not isinstance(current, dict) or part not in current:
                return False
            current = current[part]
        return True

    def holds_placeholders(self) -> bool:
        return any(isinstance(value, str) and value.startswith(PLACEHOLDER) for value in _texts(self.scope))


def _texts(value: Any) -> list[Any]:
    found: list[Any] = []
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, Mapping):
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
        else:
            found.append(one)
    return found


def unescape_html(text: str) -> str:
    """Undoes what Go's JSON does to <, > and &."""
    return text.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&")


def insert(out: Output, tag: str, names: Names, strict: Callable[[str], bool] | None) -> None:
    """Writes what replaces ``{{=tag}}``. Raises TagError for what fails and may not wait."""
    written = unescape_html(tag)
    try:
        source = _unescaped(written)
    except JsonSyntaxError as err:
        raise TagError(f"failed to unmarshall JSON expression: {err}") from err
    try:
        wanted, program = _identifiers(source), compile_expression(source)
    except ExprError as err:
        if names.holds_placeholders():
            return out.keep(f"{{{{={written}}}}}")
        raise _failed(err) from err
    missing = [name for name in wanted if not names.has(name, program)]
    for name in missing:
        if strict is not None and strict(name):
            raise TagError(f"failed to evaluate expression: {name} is missing")
    may_wait = bool(missing) or strict is None
    if may_wait and not _LATE.isdisjoint(missing):
        out.keep(f"{{{{={written}}}}}")
        return
    _insert_value(out, written, program, names, may_wait)


def _insert_value(out: Output, written: str, program: Program, names: Names, may_wait: bool) -> None:
    try:
        now = names.sources.now() if names.sources is not None else None
        value = program.run(names.env(program), now=now)
    except ExprError as err:
        if may_wait or names.holds_placeholders():
            return out.keep(f"{{{{={written}}}}}")
        raise _failed(err) from err
    if value is None:
        if may_wait or names.holds_placeholders():
            return out.keep(f"{{{{={written}}}}}")
        raise TagError(f"failed to evaluate expression {quote(written)}")
    try:
        text = marshal(value)
    except Panic as panic:
        if may_wait:
            return out.keep(f"{{{{={written}}}}}")
        raise TagError(f"failed to marshal evaluated expression: {panic}") from panic
    if len(text) > 1 and text[0] == text[-1] == '"':
        return out.keep(text[1:-1])
    return out.insert(quote_inner(text))


def _failed(err: ExprError) -> TagError:
    return TagError(f"failed to evaluate expression: {err}")


def _unescaped(text: str) -> str:
    """The expression without the escapes that it has as part of a JSON string."""
    if "\\" not in text and '"' not in text and text.isprintable():
        return text
    value = loads(f'"{text}"')
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=_CACHED_NAMES)
def _identifiers(source: str) -> tuple[str, ...]:
    """The names an expression needs: identifiers and dotted paths, but not the paths that ``??`` or ``?.`` guard."""
    tree = parse(source)
    guarded = _guarded(tree)
    found: dict[str, None] = {}
    for node in _post_order(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, Identifier):
            found[node.name] = None
        elif isinstance(node, Member) and (path := _path(node)) is not None:
            found[path] = None
    return tuple(found)


def _guarded(tree: Node) -> set[int]:
    guarded: set[int] = set()
    for node in _post_order(tree):
        if isinstance(node, Binary) and node.op == "??":
            guarded.update(id(one) for one in _post_order(node.left) if isinstance(one, Member))
        elif isinstance(node, Member) and node.optional and isinstance(node.base, Member):
            guarded.add(id(node.base))
    return guarded


def _post_order(tree: Node) -> list[Node]:
    found: list[Node] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(children(node))
    found.reverse()
    return found


def _path(node: Member) -> str | None:
    parts: list[str] = []
    current: Node = node
    while isinstance(current, Member):
        if current.optional or not isinstance(current.key, Literal) or not isinstance(current.key.value, str):
            return None
        parts.append(current.key.value)
        current = current.base
    if not isinstance(current, Identifier):
        return None
    return ".".join([current.name, *reversed(parts)])
