"""Parser of the jq language.

    query    = "def" name ["(" parameter (";" parameter)* ")"] ":" query ";" query
             | query "|" query | query "," query | expr "as" patterns "|" query | "label" $x "|" query | expr
    expr     = expr op expr | postfix          from weak to strong: //  = |= += …  or  and  == < …  + -  * / %
    postfix  = term (".name" | "." string | "[" … "]" | "?")*
    term     = "." | ".." | literal | call | $x | "{" … "}" | "[" … "]" | "+" postfix | "-" postfix | @format [string]
             | "if" … "end" | "try" postfix ["catch" postfix] | "reduce" … | "foreach" … | "break" $x | "(" query ")"

``//`` groups to the right, comparisons and updates do not group at all. A binding takes the whole expression before
``as``: ``1 + 2 as $x | …`` binds 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, Final

from tiphys.lang import gojson
from tiphys.lang.jq import syntax
from tiphys.lang.jq.errors import JqSyntaxError
from tiphys.lang.jq.lexing import Token, tokens
from tiphys.lang.jq.syntax import Node, Pattern
from tiphys.lang.jq.values import number_from

LENGTH_MAX: Final = 64 * 1024
DEPTH_MAX: Final = 100
"""Brackets, operators and definitions within each other."""
TREE_DEPTH_MAX: Final = 250
"""The same for the tree, where chains such as ``.a.b.c`` or ``1 + 2 + 3`` count too; pipes and commas need little."""


@lru_cache(maxsize=256)
def parse(source: str) -> Node:
    """The syntax tree of a filter. Raises `JqSyntaxError`."""
    if len(source) > LENGTH_MAX:
        raise JqSyntaxError(f"filter of {len(source)} characters is longer than {LENGTH_MAX}")
    found = tokens(source)
    if len(found) == 1:
        raise JqSyntaxError('missing query (try ".")')
    node = _Parser(found).program()
    _check_depth(node)
    return node


def _check_depth(root: Node) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > TREE_DEPTH_MAX:
            raise JqSyntaxError(f"nested deeper than {TREE_DEPTH_MAX}")
        level = [part for node in level for part in _parts(node)]


def _parts(node: Any) -> Iterator[Any]:
    """What a node or a tuple of nodes holds: nodes, tuples, names."""
    if isinstance(node, tuple):
        yield from (part for part in node if not isinstance(part, str))
    elif is_dataclass(node) and not isinstance(node, syntax.Constant):
        values = (getattr(node, one.name) for one in fields(node))
        yield from (value for value in values if value is not None and not isinstance(value, str))


def _balanced(kind: type[syntax.Pipe] | type[syntax.Comma], nodes: Sequence[Node]) -> Node:
    """Pipes and commas are associative, so that a long chain needs no deep tree."""
    if len(nodes) == 1:
        return nodes[0]
    half = (len(nodes) + 1) // 2
    return kind(_balanced(kind, nodes[:half]), _balanced(kind, nodes[half:]))


_KEYWORDS: Final = frozenset(
    {"or", "and", "module", "import", "include", "def", "as", "label", "break", "null", "true", "false"}
    | {"if", "then", "elif", "else", "end", "try", "catch", "reduce", "foreach"}
)
# strength, and whether the same strength may follow on the right or left side
_OPERATORS: Final[dict[str, tuple[int, str]]] = {
    "//": (1, "right"),
    **dict.fromkeys(("=", "|=", "+=", "-=", "*=", "/=", "%=", "//="), (2, "none")),
    "or": (3, "left"),
    "and": (4, "left"),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), (5, "none")),
    **dict.fromkeys(("+", "-"), (6, "left")),
    **dict.fromkeys(("*", "/", "%"), (7, "left")),
}
_TRUE, _FALSE, _NULL = syntax.Constant(True), syntax.Constant(False), syntax.Constant(None)


class _Parser:
    def __init__(self, found: tuple[Token, ...]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0

    def program(self) -> Node:
        if self._peek().source in ("import", "include", "module"):
            named = self._tokens[self._at + 1]
            raise JqSyntaxError(f"cannot load module: {named.source or self._peek().source}")
        node = self._query()
        if self._peek().kind != "end":
            raise self._unexpected()
        return node

    # Tokens

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _skip(self, source: str) -> bool:
        token = self._peek()
        if token.source != source or token.kind not in ("operator", "word"):
            return False
        self._at += 1
        return True

    def _expect(self, source: str) -> None:
        if not self._skip(source):
            raise self._unexpected()

    def _unexpected(self) -> JqSyntaxError:
        token = self._peek()
        if token.kind == "end" and not token.source:
            return JqSyntaxError("unexpected EOF")
        return JqSyntaxError(f"unexpected token {gojson.dumps(token.source, escape_html=False)}")

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise JqSyntaxError(f"nested deeper than {DEPTH_MAX}")

    # Queries

    def _query(self, *, with_comma: bool = True) -> Node:
        """Everything up to what cannot follow. Chains of pipes and commas are read in loops, not by recursion."""
        self._enter()
        pipes: list[Node] = []
        while True:
            pipes.append(self._commas() if with_comma else self._expression(1))
            if not self._skip("|"):
                break
        self._depth -= 1
        return _balanced(syntax.Pipe, pipes)

    def _commas(self) -> Node:
        nodes = [self._binding()]
        while self._skip(","):
            nodes.append(self._binding())
        return _balanced(syntax.Comma, nodes)

    def _binding(self) -> Node:
        if self._skip("def"):
            return self._definition()
        if self._skip("label"):
            name = self._variable()
            self._expect("|")
            return syntax.Label(name, self._query())
        node = self._expression(1)
        if not self._skip("as"):
            return node
        patterns = [self._pattern()]
        while self._skip("?//"):
            patterns.append(self._pattern())
        self._expect("|")
        return syntax.Bind(node, tuple(patterns), self._query())

    def _definition(self) -> Node:
        name = self._take()
        if name.kind != "word" or name.text in _KEYWORDS:
            self._at -= name.kind != "end"
            raise self._unexpected()
        parameters: list[str] = []
        if self._skip("("):
            parameters.append(self._parameter())
            while self._skip(";"):
                parameters.append(self._parameter())
            self._expect(")")
        self._expect(":")
        body = self._query()
        self._expect(";")
        if self._peek().kind == "end" and not self._peek().source:
            raise JqSyntaxError('missing query (try ".")')
        return syntax.Define(name.text, tuple(parameters), body, self._query())

    def _parameter(self) -> str:
        token = self._peek()
        if token.kind == "variable" or (token.kind == "word" and token.text not in _KEYWORDS):
            return self._take().text
        raise self._unexpected()

    def _variable(self) -> str:
        if self._peek().kind != "variable":
            raise self._unexpected()
        return self._take().text

    # Expressions

    def _expression(self, weakest: int) -> Node:
        self._enter()
        left = self._postfix()
        barred = 0  # an operator that does not group was used at this strength
        while True:
            token = self._peek()
            strength, grouping = (
                _OPERATORS.get(token.source, (0, "")) if token.kind in ("operator", "word") else (0, "")
            )
            if strength < weakest or strength == 0:
                break
            if strength == barred:
                raise self._unexpected()
            self._at += 1
            right = self._expression(strength if grouping == "right" else strength + 1)
            left = _operation(token.source, left, right)
            barred = strength if grouping == "none" else 0
        self._depth -= 1
        return left

    def _postfix(self) -> Node:
        node = self._term()
        is_suffix = False
        while (token := self._peek()).kind in ("field", "operator"):
            if token.source == "?":
                self._at += 1
                node, is_suffix = _optional(node) if is_suffix else syntax.Try(node, None), False
                continue
            if token.kind == "field":
                self._at += 1
                node = syntax.Index(node, syntax.Constant(token.text))
            elif token.source == "[":
                node = self._brackets(node)
            elif token.source == ".":
                self._at += 1
                node = syntax.Index(node, self._string()) if self._peek().kind == "string" else self._brackets(node)
            else:
                break
            is_suffix = True
        return node

    def _brackets(self, target: Node) -> Node:
        self._expect("[")
        if self._skip("]"):
            return syntax.Iterate(target)
        if self._skip(":"):
            end = self._query()
            self._expect("]")
            return syntax.Slice(target, None, end)
        key = self._query()
        if self._skip("]"):
            return syntax.Index(target, key)
        self._expect(":")
        if self._skip("]"):
            return syntax.Slice(target, key, None)
        end = self._query()
        self._expect("]")
        return syntax.Slice(target, key, end)

    def _term(self) -> Node:
        token = self._peek()
        if token.kind == "end":
            raise self._unexpected()
        if token.kind == "string":
            return self._string()
        self._at += 1
        if token.kind == "number":
            return syntax.Constant(number_from(token.text))
        if token.kind == "field":
            return syntax.Index(syntax.Identity(), syntax.Constant(token.text))
        if token.kind == "variable":
            return syntax.Call(token.text)
        if token.kind == "format":
            return self._string(token.text) if self._peek().kind == "string" else syntax.Format(token.text)
        reader = _TERMS.get(token.source)
        if reader is not None:
            return reader(self)
        if token.kind == "word" and token.text not in _KEYWORDS:
            return syntax.Call(token.text, self._arguments())
        self._at -= 1
        raise self._unexpected()

    def _arguments(self) -> tuple[Node, ...]:
        if not self._skip("("):
            return ()
        arguments = [self._query()]
        while self._skip(";"):
            arguments.append(self._query())
        self._expect(")")
        return tuple(arguments)

    def _dot(self) -> Node:
        following = self._peek()
        if following.kind == "string":
            return syntax.Index(syntax.Identity(), self._string())
        return self._brackets(syntax.Identity()) if following.source == "[" else syntax.Identity()

    def _string(self, format: str = "") -> Node:
        parts: list[str | Node] = []
        for part in self._take().parts:
            parts.append(part if isinstance(part, str) else _interpolated(part, self._depth))
        if all(isinstance(part, str) for part in parts):
            return syntax.Constant("".join(part for part in parts if isinstance(part, str)))
        return syntax.Text(tuple(parts), format)

    def _array(self) -> Node:
        if self._skip("]"):
            return syntax.Array(None)
        body = self._query()
        self._expect("]")
        return syntax.Array(body)

    def _parenthesis(self) -> Node:
        node = self._query()
        self._expect(")")
        return node

    def _sign(self) -> Node:
        is_minus = self._tokens[self._at - 1].source == "-"
        self._enter()
        operand = self._postfix()
        self._depth -= 1
        if (
            isinstance(operand, syntax.Constant)
            and isinstance(operand.value, (int, float))
            and operand.value is not True
        ):
            return syntax.Constant(-operand.value if is_minus else operand.value)
        return syntax.Pipe(operand, syntax.Call("_negate" if is_minus else "_plus"))

    def _object(self) -> Node:
        pairs: list[tuple[Node, Node]] = []
        while not self._skip("}"):
            pairs.append(self._pair())
            if not self._skip(","):
                self._expect("}")
                break
        return syntax.Object(tuple(pairs))

    def _pair(self) -> tuple[Node, Node]:
        token = self._peek()
        if self._skip("("):
            key = self._parenthesis()
            self._expect(":")
            return key, self._query(with_comma=False)
        if token.kind == "string":
            key = self._string()
        elif token.kind == "variable":
            self._at += 1
            if not self._skip(":"):
                return syntax.Constant(token.text[1:]), syntax.Call(token.text)
            return syntax.Call(token.text), self._query(with_comma=False)
        elif token.kind == "word":
            self._at += 1
            key = syntax.Constant(token.text)
        else:
            raise self._unexpected()
        if self._skip(":"):
            return key, self._query(with_comma=False)
        return key, syntax.Index(syntax.Identity(), key)

    def _if(self) -> Node:
        self._enter()
        condition = self._query()
        self._expect("then")
        then = self._query()
        otherwise: Node = syntax.Identity()
        if self._skip("elif"):
            otherwise = self._if()
            self._depth -= 1
            return syntax.If(condition, then, otherwise)
        if self._skip("else"):
            otherwise = self._query()
        self._expect("end")
        self._depth -= 1
        return syntax.If(condition, then, otherwise)

    def _try(self) -> Node:
        self._enter()
        body = self._postfix()
        handler = self._postfix() if self._skip("catch") else None
        self._depth -= 1
        return syntax.Try(body, handler)

    def _loop_head(self) -> tuple[Node, Pattern, list[Node]]:
        source = self._expression(1)
        self._expect("as")
        pattern = self._pattern()
        self._expect("(")
        parts = [self._query()]
        while self._skip(";"):
            parts.append(self._query())
        self._expect(")")
        return source, pattern, parts

    def _reduce(self) -> Node:
        source, pattern, parts = self._loop_head()
        if len(parts) != 2:
            raise JqSyntaxError('unexpected token ")"' if len(parts) < 2 else 'unexpected token ";"')
        return syntax.Reduce(source, pattern, *parts)

    def _foreach(self) -> Node:
        source, pattern, parts = self._loop_head()
        if len(parts) not in (2, 3):
            raise JqSyntaxError('unexpected token ")"' if len(parts) < 2 else 'unexpected token ";"')
        extract = parts[2] if len(parts) == 3 else syntax.Identity()
        return syntax.Foreach(source, pattern, parts[0], parts[1], extract)

    # Patterns

    def _pattern(self) -> Pattern:
        self._enter()
        token = self._peek()
        pattern: Pattern
        if token.kind == "variable":
            self._at += 1
            pattern = syntax.VariablePattern(token.text)
        elif self._skip("["):
            items = [self._pattern()]
            while self._skip(","):
                items.append(self._pattern())
            self._expect("]")
            pattern = syntax.ArrayPattern(tuple(items))
        elif self._skip("{"):
            entries = [self._pattern_entry()]
            while self._skip(","):
                entries.append(self._pattern_entry())
            self._expect("}")
            pattern = syntax.ObjectPattern(tuple(entries))
        else:
            raise self._unexpected()
        self._depth -= 1
        return pattern

    def _pattern_entry(self) -> tuple[Node, str, Pattern | None]:
        token = self._peek()
        if self._skip("("):
            key: Node = self._parenthesis()
        elif token.kind == "string":
            key = self._string()
        elif token.kind == "variable":
            self._at += 1
            named = syntax.Constant(token.text[1:])
            return named, token.text, self._pattern() if self._skip(":") else None
        elif token.kind == "word":
            self._at += 1
            key = syntax.Constant(token.text)
        else:
            raise self._unexpected()
        self._expect(":")
        return key, "", self._pattern()


_TERMS: Final[dict[str, Callable[[_Parser], Node]]] = {
    ".": _Parser._dot,
    "..": lambda _parser: syntax.Call("recurse"),
    "null": lambda _parser: _NULL,
    "true": lambda _parser: _TRUE,
    "false": lambda _parser: _FALSE,
    "{": _Parser._object,
    "[": _Parser._array,
    "(": _Parser._parenthesis,
    "+": _Parser._sign,
    "-": _Parser._sign,
    "if": _Parser._if,
    "try": _Parser._try,
    "reduce": _Parser._reduce,
    "foreach": _Parser._foreach,
    "break": lambda parser: syntax.Break(parser._variable()),
}


def _optional(node: Node) -> Node:
    """``term.suffix?``: only the suffix's errors are dropped, and its key is evaluated on the term's value."""
    if not isinstance(node, (syntax.Index, syntax.Slice, syntax.Iterate)):
        return syntax.Try(node, None)
    return syntax.Pipe(node.target, syntax.Try(replace(node, target=syntax.Identity()), None))


def _interpolated(found: tuple[Token, ...], depth: int) -> Node:
    parser = _Parser(found)
    parser._depth = depth
    return parser.program()


def _operation(operator: str, left: Node, right: Node) -> Node:
    if operator == "//":
        return syntax.Alternative(left, right)
    if operator == "or":
        return syntax.If(left, _TRUE, syntax.If(right, _TRUE, _FALSE))
    if operator == "and":
        return syntax.If(left, syntax.If(right, _TRUE, _FALSE), _FALSE)
    if _OPERATORS[operator][0] == 2:
        return syntax.Update(operator, left, right)
    return syntax.Binary(operator, left, right)
