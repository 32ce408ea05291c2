"""Parsing expressions: a Pratt parser.

    sequence    := expression { ";" expression } [ ";" ]
    expression  := "let" name "=" expression ";" sequence
                 | "if" expression "{" sequence "}" "else" ( "{" sequence "}" | if … )
                 | operand { operator operand } [ "?" expression ":" expression | "?" ":" expression ]
    operand     := ( "not" | "!" | "-" | "+" ) operand | "(" sequence ")" postfix | "#" [ name ] postfix | "." postfix
                 | literal | name | name "(" arguments ")" | "::" name "(" arguments ")"
                 | "[" [ expression { "," expression } [ "," ] ] "]" | "{" [ key ":" expression { "," … } ] "}"
    postfix     := { "." name [ "(" arguments ")" ] | "?." name … | "[" … "]" | "?.[" … "]" | "[" from ":" to "]" }
    predicate   := "{" sequence "}" | expression          (the second argument of filter, map, all, …)

Operators by how tightly they bind: ``|`` 0 (pipe: the left side becomes the first argument of the call on the right),
``or ||`` 10, ``and &&`` 15, comparisons ``in matches contains startsWith endsWith`` 20, ``..`` 25, ``+ -`` 30,
``* / %`` 60, ``** ^`` 100 (right), ``??`` 500; ``not !`` 50, signs 90. ``a < b < c`` means ``a < b && b < c``.

The grammar depends on the environment in one way: a variable named like a builtin hides it, so that ``filter(x)`` is
then an ordinary call. Literals take no postfix except strings. Everything is bounded: characters, nodes, nesting.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from tiphys.lang.expr import lexer
from tiphys.lang.expr.errors import ExprError
from tiphys.lang.expr.lexer import BRACKET, EOF, IDENTIFIER, OPERATOR, Lexer
from tiphys.lang.expr.nodes import (
    Array,
    Binary,
    Builtin,
    Call,
    Chain,
    Conditional,
    Identifier,
    Let,
    Literal,
    Map,
    Member,
    Nil,
    Node,
    Pointer,
    Predicate,
    Sequence,
    Slice,
    Unary,
)
from tiphys.lang.expr.numerals import NumeralError, number
from tiphys.lang.gofmt import quote
from tiphys.lang.gotext import from_utf8

NODES_MAX = 10_000
"""Nodes of a program (the original's default)."""

NESTING_MAX = 48
"""Brackets, calls, signs and branches inside each other. The original has no limit of its own."""

DEPTH_MAX = 160
"""Nodes below each other in the tree, chains of operators counted once: member chains and what nests in them."""

BINARY: dict[str, tuple[int, bool]] = {
    "|": (0, False),
    **dict.fromkeys(("or", "||"), (10, False)),
    **dict.fromkeys(("and", "&&"), (15, False)),
    **dict.fromkeys(("==", "!=", "<", ">", ">=", "<="), (20, False)),
    **dict.fromkeys(("in", "matches", "contains", "startsWith", "endsWith"), (20, False)),
    "..": (25, False),
    **dict.fromkeys(("+", "-"), (30, False)),
    **dict.fromkeys(("*", "/", "%"), (60, False)),
    **dict.fromkeys(("**", "^"), (100, True)),
    "??": (500, False),
}
"""Operator → (how tightly it binds, whether it associates to the right)."""

UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
COMPARISONS = frozenset(("<", ">", ">=", "<="))
NEGATABLE = frozenset(("contains", "matches", "startsWith", "endsWith", "in"))

# What the arguments of a builtin with a predicate are: e(xpression), p(redicate), E and P where it may be left out.
PREDICATES = {
    **dict.fromkeys(("all", "none", "any", "one", "filter", "map", "find", "findIndex"), "ep"),
    **dict.fromkeys(("findLast", "findLastIndex", "groupBy"), "ep"),
    **dict.fromkeys(("count", "sum"), "eP"),
    **dict.fromkeys(("sortBy", "reduce"), "epE"),
}

BUILTINS = frozenset(PREDICATES) | {
    "len", "type", "abs", "ceil", "floor", "round", "int", "float", "string", "trim", "trimPrefix", "trimSuffix",
    "upper", "lower", "split", "splitAfter", "replace", "repeat", "join", "indexOf", "lastIndexOf", "hasPrefix",
    "hasSuffix", "max", "min", "mean", "median", "toJSON", "fromJSON", "toBase64", "fromBase64", "now", "duration",
    "date", "timezone", "first", "last", "get", "take", "keys", "values", "toPairs", "fromPairs", "reverse", "uniq",
    "concat", "flatten", "sort", "bitand", "bitor", "bitxor", "bitnand", "bitshl", "bitshr", "bitushr", "bitnot",
}  # fmt: skip

_N = TypeVar("_N", bound=Node)


def parse(source: str, hidden: Collection[str] = ()) -> Node:
    """The tree of ``source``. ``hidden`` names the builtins that variables hide. Raises ExprError (compile)."""
    return _Parser(source, hidden).parse()


class _Parser:
    def __init__(self, source: str, hidden: Collection[str]) -> None:
        self.source = source
        self.hidden = hidden
        self.lexer = Lexer(source)
        self.stash: list[lexer.Token] = []
        self.kind, self.value, self.at = self.lexer.next()
        self.count = 0
        self.nesting = 0
        self.predicates = 0

    def parse(self) -> Node:
        node = self._sequence()
        if self.kind != EOF:
            raise self._unexpected()
        return node

    # Tokens.

    def _next(self) -> None:
        if self.stash:
            self.kind, self.value, self.at = self.stash.pop()
        elif self.kind == EOF:
            raise self._error("unexpected end of expression")
        else:
            self.kind, self.value, self.at = self.lexer.next()

    def _is(self, kind: str, value: str) -> bool:
        return self.value == value and self.kind == kind

    def _expect(self, kind: str, value: str) -> None:
        if self.value != value or self.kind != kind:
            raise self._unexpected()
        self._next()

    def _expect_name(self) -> tuple[str, int]:
        if self.kind != IDENTIFIER:
            raise self._unexpected()
        found = self.value, self.at
        self._next()
        return found

    def _error(self, message: str, at: int | None = None) -> ExprError:
        return ExprError(message, kind="compile", source=self.source, at=self.at if at is None else at)

    def _unexpected(self) -> ExprError:
        return self._error(f"unexpected token {self._shown()}")

    def _shown(self) -> str:
        value = from_utf8(lexer.bytes_of(self.value)) if self.kind == lexer.BYTES else self.value
        return f"{self.kind}({quote(value)})" if value else self.kind

    # Nodes.

    def _new(self, node: _N, *below: Node | None) -> _N:
        self.count += 1
        if self.count > NODES_MAX:
            raise self._error("compilation failed: expression exceeds maximum allowed nodes")
        for one in below:
            if one is not None and one.depth >= node.depth:
                node.depth = one.depth + 1
        if node.depth > DEPTH_MAX:
            raise self._error(f"expression is nested too deeply (at most {DEPTH_MAX} levels)")
        return node

    def _binary(self, op: str, left: Node, right: Node, at: int) -> Binary:
        node = self._new(Binary(op, left, right, at=at), right)
        if isinstance(left, Binary):
            node.depth = max(node.depth, left.depth)
        else:
            node.depth = max(node.depth, left.depth + 1)
        return node

    def _nested(self, read: Callable[[], Node]) -> Node:
        self.nesting += 1
        if self.nesting > NESTING_MAX:
            raise self._error(f"expression is nested too deeply (at most {NESTING_MAX} levels)")
        node = read()
        self.nesting -= 1
        return node

    # The grammar, from the loosest to the tightest.

    def _sequence(self) -> Node:
        return self._nested(self._parts)

    def _parts(self) -> Node:
        parts = [self._expression(0)]
        while self._is(OPERATOR, ";"):
            self._next()
            if self.kind == EOF:
                break
            parts.append(self._expression(0))
        if len(parts) == 1:
            return parts[0]
        return self._new(Sequence(parts, at=parts[0].at), *parts)

    def _inner(self) -> Node:
        return self._nested(lambda: self._expression(0))

    def _expression(self, precedence: int) -> Node:
        if precedence == 0 and self.kind == OPERATOR:
            if self.value == "let":
                return self._let()
            if self.value == "if":
                return self._if()
        left = self._operand()
        before = ""
        while self.kind == OPERATOR:
            negation = self._negation(precedence)
            if self.value == "not":
                break
            binding = BINARY.get(self.value)
            if binding is None or binding[0] < precedence:
                break
            op, at = self.value, self.at
            self._next()
            left = self._combined(left, op, at, binding, before)
            if negation is not None and op != "|" and op not in COMPARISONS:
                left = self._new(Unary("not", left, at=at), left)
            before = op
        return self._conditional(left) if precedence == 0 else left

    def _negation(self, precedence: int) -> int | None:
        """Steps over the "not" of "not in" and the like; leaves it where the operator binds too loosely."""
        if self.value != "not":
            return None
        held = (self.kind, self.value, self.at)
        self._next()
        if self.value not in NEGATABLE:
            raise self._unexpected()
        if BINARY[self.value][0] >= precedence:
            return held[2]
        self.stash.append((self.kind, self.value, self.at))
        self.kind, self.value, self.at = held
        return None

    def _combined(self, left: Node, op: str, at: int, binding: tuple[int, bool], before: str) -> Node:
        if op == "|":
            name, place = self._expect_name()
            return self._call(name, place, [left])
        if before == "??" and op != "??":
            raise self._error(
                f"Operator ({op}) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses.", at
            )
        precedence, rightwards = binding
        if op in COMPARISONS:
            return self._comparison(left, op, at, precedence)
        if rightwards:
            return self._binary(op, left, self._nested(lambda: self._expression(precedence)), at)
        return self._binary(op, left, self._expression(precedence + 1), at)

    def _comparison(self, left: Node, op: str, at: int, precedence: int) -> Node:
        whole: Node | None = None
        while True:
            right = self._expression(precedence + 1)
            one = self._binary(op, left, right, at)
            whole = one if whole is None else self._binary("&&", whole, one, at)
            if self.kind != OPERATOR or self.value not in COMPARISONS:
                return whole
            left, op, at = right, self.value, self.at
            self._next()

    def _let(self) -> Node:
        self._next()
        name, at = self._expect_name()
        self._expect(OPERATOR, "=")
        value = self._inner()
        self._expect(OPERATOR, ";")
        body = self._sequence()
        return self._new(Let(name, value, body, at=at), value, body)

    def _if(self) -> Node:
        self._next()
        condition = self._inner()
        then = self._block()
        self._expect(OPERATOR, "else")
        otherwise = self._nested(self._if) if self._is(OPERATOR, "if") else self._block()
        # The original gives this node no place, so messages about it point at the start.
        node = Conditional(condition, then, otherwise, ternary=False)
        node.depth = max(condition.depth, then.depth, otherwise.depth) + 1
        return node

    def _block(self) -> Node:
        self._expect(BRACKET, "{")
        node = self._sequence()
        self._expect(BRACKET, "}")
        return node

    def _conditional(self, node: Node) -> Node:
        while self._is(OPERATOR, "?"):
            self._next()
            if self._is(OPERATOR, ":"):
                self._next()
                then, otherwise = node, self._inner()
            else:
                then = self._inner()
                self._expect(OPERATOR, ":")
                otherwise = self._inner()
            node = self._new(Conditional(node, then, otherwise, at=self.at), node, then, otherwise)
        return node

    def _operand(self) -> Node:
        kind, value, at = self.kind, self.value, self.at
        if kind == OPERATOR:
            if value in UNARY:
                self._next()
                operand = self._nested(lambda: self._expression(UNARY[value]))
                return self._postfix(self._new(Unary(value, operand, at=at), operand))
            if self.predicates and value in ("#", "."):
                return self._postfix(self._pointer(value, at))
            if value == "::":
                self._next()
                name, place = self._expect_name()
                return self._postfix(self._call(name, place, [], hideable=False))
        elif kind == BRACKET and value == "(":
            self._next()
            inner = self._sequence()
            self._expect(BRACKET, ")")
            return self._postfix(inner)
        return self._secondary(kind, value, at)

    def _pointer(self, value: str, at: int) -> Node:
        name = ""
        if value == "#":
            self._next()
            if self.kind == IDENTIFIER:
                name = self.value
                self._next()
        return self._new(Pointer(name, at=at))

    def _secondary(self, kind: str, value: str, at: int) -> Node:
        if kind == IDENTIFIER:
            self._next()
            if value in ("true", "false"):
                return self._new(Literal(value == "true", at=at))
            if value == "nil":
                return self._new(Nil(at=at))
            if self._is(BRACKET, "("):
                return self._postfix(self._call(value, at, []))
            return self._postfix(self._new(Identifier(value, at=at)))
        if kind == lexer.NUMBER:
            self._next()
            return self._number(value, at)
        if kind == lexer.STRING:
            self._next()
            return self._postfix(self._new(Literal(value, at=at)))
        if kind == lexer.BYTES:
            self._next()
            return self._postfix(self._new(Literal(lexer.bytes_of(value), at=at)))
        if kind == BRACKET and value == "[":
            return self._postfix(self._array(at))
        if kind == BRACKET and value == "{":
            return self._postfix(self._map(at))
        raise self._unexpected()

    def _number(self, text: str, at: int) -> Node:
        try:
            return self._new(Literal(number(text), at=at))
        except NumeralError as err:
            raise self._error(str(err)) from None

    def _array(self, at: int) -> Node:
        items = self._list("[", "]")
        return self._new(Array(items, at=at), *items)

    def _list(self, opening: str, closing: str) -> list[Node]:
        """Expressions between brackets, separated by commas; one may follow the last."""
        self._expect(BRACKET, opening)
        items: list[Node] = []
        while not self._is(BRACKET, closing):
            if items:
                self._expect(OPERATOR, ",")
                if self._is(BRACKET, closing):
                    break
            items.append(self._inner())
        self._next()
        return items

    def _map(self, at: int) -> Node:
        self._next()
        pairs: list[tuple[Node, Node]] = []
        while not self._is(BRACKET, "}"):
            if pairs:
                self._expect(OPERATOR, ",")
                if self._is(BRACKET, "}"):
                    break
                if self._is(OPERATOR, ","):
                    raise self._unexpected()
            key = self._key()
            self._expect(OPERATOR, ":")
            value = self._inner()
            self.count += 1  # the pair counts as a node
            pairs.append((key, value))
        self._next()
        return self._new(Map(pairs, at=at), *(one for pair in pairs for one in pair))

    def _key(self) -> Node:
        if self.kind in (lexer.NUMBER, lexer.STRING, IDENTIFIER):
            key = self._new(Literal(self.value, at=self.at))
            self._next()
            return key
        if self._is(BRACKET, "("):
            return self._inner()
        raise self._error(
            "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses "
            f"(unexpected token {self._shown()})"
        )

    # Calls.

    def _call(self, name: str, at: int, arguments: list[Node], *, hideable: bool = True) -> Node:
        if name in BUILTINS and not (hideable and name in self.hidden):
            shape = PREDICATES.get(name)
            arguments += self._list("(", ")") if shape is None else self._predicate_arguments(shape[len(arguments) :])
            return self._new(Builtin(name, arguments, at=at), *arguments)
        callee = self._new(Identifier(name, at=at))
        arguments += self._list("(", ")")
        return self._new(Call(callee, arguments, at=at), callee, *arguments)

    def _predicate_arguments(self, shape: str) -> list[Node]:
        self._expect(BRACKET, "(")
        arguments: list[Node] = []
        for index, kind in enumerate(shape):
            if self._is(BRACKET, ")"):
                if kind.isupper():
                    break
                raise self._error(f"expected at least {len(shape)} arguments")
            if index:
                self._expect(OPERATOR, ",")
            arguments.append(self._inner() if kind in "eE" else self._nested(self._predicate))
        if self._is(OPERATOR, ","):
            self._next()
        self._expect(BRACKET, ")")
        return arguments

    def _predicate(self) -> Node:
        at = self.at
        self.predicates += 1
        if self._is(BRACKET, "{"):
            body = self._block()
        else:
            body = self._expression(0)
            if self._is(OPERATOR, ";"):
                raise self._error("wrap predicate with brackets { and }")
        self.predicates -= 1
        return self._new(Predicate(body, at=at), body)

    # What may follow an operand.

    def _postfix(self, node: Node) -> Node:
        while True:
            if self.kind == BRACKET and self.value == "[":
                node = self._index(node, optional=False)
            elif self.kind == OPERATOR and self.value in (".", "?."):
                optional = self.value == "?."
                self._next()
                if optional and self._is(BRACKET, "["):
                    node = self._index(node, optional=True)
                else:
                    node = self._property(node, optional)
            else:
                return node

    def _property(self, node: Node, optional: bool) -> Node:
        kind, name, at = self.kind, self.value, self.at
        self._next()
        if kind != IDENTIFIER and not (kind == OPERATOR and name[0].isalpha()):
            raise self._error("expected name")
        key = self._new(Literal(name, at=at))
        chained = isinstance(node, Chain)
        base = node.inner if isinstance(node, Chain) else node
        member = self._new(Member(base, key, optional, at=at), base, key)
        found: Node = member
        if self._is(BRACKET, "("):
            member.called = True
            arguments = self._list("(", ")")
            found = self._new(Call(member, arguments, at=at), member, *arguments)
        return self._new(Chain(found, at=at), found) if chained or optional else found

    def _index(self, node: Node, *, optional: bool) -> Node:
        at = self.at
        self._next()
        start = None if self._is(OPERATOR, ":") else self._inner()
        if self._is(OPERATOR, ":"):
            self._next()
            stop = None if self._is(BRACKET, "]") else self._inner()
            found: Node = self._new(Slice(node, start, stop, at=at), node, start, stop)
        else:
            assert start is not None
            found = self._new(Member(node, start, optional, at=at), node, start)
            if optional:
                found = self._new(Chain(found, at=at), found)
        self._expect(BRACKET, "]")
        return found
