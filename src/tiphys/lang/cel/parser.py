"""Reads CEL, by precedence climbing.

    expr    = or ["?" or ":" expr]
    or      = and {"||" and}                and    = rel {"&&" rel}
    rel     = sum {("<" | "<=" | ">=" | ">" | "==" | "!=" | "in") sum}
    sum     = product {("+" | "-") product} product = unary {("*" | "/" | "%") unary}
    unary   = "!" {"!"} member | "-" {"-"} member | member
    member  = primary {"." ["?"] IDENT ["(" [args] ")"] | "[" ["?"] expr "]"}
    primary = ["."] IDENT ["(" [args] ")"] | "(" expr ")" | "[" [elements] "]" | "{" [entries] "}"
            | ["."] IDENT {"." IDENT} "{" [fields] "}" | literal

Macros are expanded at once (`macros`). This does not look at types.
"""

from __future__ import annotations

from tiphys.lang.cel import macros
from tiphys.lang.cel.errors import CompileError, Issue
from tiphys.lang.cel.lexer import Token, tokens
from tiphys.lang.cel.nodes import Call, Entry, Field, Ident, ListNode, Literal, MapNode, Node, Select, StructNode
from tiphys.lang.cel.nodes import qualified_name as name_of
from tiphys.lang.cel.values import INT_MAX, INT_MIN, Uint

DEPTH_MAX = 100
"""Deepest tree: compiling recurses. cel-go stops at 250."""
NESTING_MAX = 60
"""Deepest nesting of brackets, each of which costs the reader several calls."""

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "package",
        "namespace",
        "null",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)
_LEVELS = (
    ({"<": "_<_", "<=": "_<=_", ">=": "_>=_", ">": "_>_", "==": "_==_", "!=": "_!=_", "in": "@in"}),
    ({"+": "_+_", "-": "_-_"}),
    ({"*": "_*_", "/": "_/_", "%": "_%_"}),
)
_PRECEDENCE = {text: (level, name) for level, names in enumerate(_LEVELS) for text, name in names.items()}
_EXPECTED = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)


def parse(source: str) -> Node:
    """The tree of an expression. Raises `CompileError`."""
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokens(source)
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        found = self._expression()
        token = self._next
        if token.kind != "end":
            is_last = self._tokens[self._at + 1].kind == "end"
            word = "extraneous" if is_last else "mismatched"
            raise self._error(token.offset, f"Syntax error: {word} input '{token.text}' expecting <EOF>")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _is(self, text: str) -> bool:
        token = self._tokens[self._at]
        return token.kind == "op" and token.text == text

    def _take(self, text: str) -> bool:
        if self._is(text):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> Token:
        token = self._next
        if not self._take(text):
            raise self._error(token.offset, f"Syntax error: mismatched input '{token.text}' expecting '{text}'")
        return token

    def _error(self, offset: int, message: str) -> CompileError:
        return CompileError(self._source, [Issue(offset, message)])

    def _bounded(self, node: Node) -> Node:
        if node.depth > DEPTH_MAX:
            raise self._error(-1, f"expression recursion limit exceeded: {DEPTH_MAX}")
        return node

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self._error(-1, f"expression recursion limit exceeded: {NESTING_MAX}")
        found = self._disjunction()
        if self._is("?"):
            offset = self._next.offset
            self._at += 1
            then = self._disjunction()
            self._expect(":")
            found = self._bounded(Call(offset, "_?_:_", (found, then, self._expression())))
        self._depth -= 1
        return found

    def _disjunction(self) -> Node:
        """Both levels of logic in one call, to nest deeper."""
        terms: list[Node] = []
        offsets: list[int] = []
        while True:
            factors, ands = [self._binary(0)], list[int]()
            while self._is("&&"):
                ands.append(self._next.offset)
                self._at += 1
                factors.append(self._binary(0))
            terms.append(_balanced("_&&_", factors, ands))
            if not self._is("||"):
                return self._bounded(_balanced("_||_", terms, offsets))
            offsets.append(self._next.offset)
            self._at += 1

    def _binary(self, level: int) -> Node:
        found = self._unary()
        while True:
            token = self._next
            place = _PRECEDENCE.get(token.text) if token.kind == "op" else None
            if place is None or place[0] < level:
                return found
            self._at += 1
            found = self._bounded(Call(token.offset, place[1], (found, self._binary(place[0] + 1))))

    def _unary(self) -> Node:
        token = self._next
        if token.kind == "op" and token.text in ("!", "-") and not self._is_negative_number():
            count = 0
            while self._is(token.text) and not (token.text == "-" and self._is_negative_number() and not count):
                self._at += 1
                count += 1
            operand = self._member()
            if count % 2 == 0:
                return operand
            return self._bounded(Call(token.offset, "!_" if token.text == "!" else "-_", (operand,)))
        return self._member()

    def _is_negative_number(self) -> bool:
        return self._is("-") and self._tokens[self._at + 1].kind == "number"

    def _member(self) -> Node:
        found = self._primary()
        while True:
            token = self._next
            if self._take("."):
                found = self._bounded(self._selection(found, token))
            elif self._take("["):
                function = "_[?_]" if self._take("?") else "_[_]"
                index = self._expression()
                self._expect("]")
                found = self._bounded(Call(token.offset, function, (found, index)))
            elif self._is("{") and (name := name_of(found)) is not None:
                found = self._bounded(self._struct(name))
            else:
                return found

    def _selection(self, operand: Node, dot: Token) -> Node:
        is_optional = self._take("?")
        name = self._next
        if name.kind != "ident":
            raise self._error(name.offset, f"Syntax error: no viable alternative at input '.{name.text}'")
        self._at += 1
        if is_optional:
            return Call(dot.offset, "_?._", (operand, Literal(name.offset, name.text)))
        if self._is("("):
            return self._call(name.text, operand)
        return Select(dot.offset, operand, name.text)

    def _call(self, name: str, target: Node | None) -> Node:
        offset = self._expect("(").offset
        call = Call(offset, name, self._arguments(")"), target)
        expand = macros.lookup(call)
        if expand is None:
            return self._bounded(call)
        try:
            made = expand(call)
        except macros.MacroError as err:
            raise self._error(err.offset, str(err)) from None
        made.origin = call
        return self._bounded(made)

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        if self._take(closing):
            return ()
        while True:
            found.append(self._expression())
            if not self._take(","):
                break
        self._expect(closing)
        return tuple(found)

    def _primary(self) -> Node:
        token = self._next
        self._at += 1
        if token.kind == "literal":
            return Literal(token.offset, token.value)
        if token.kind == "number":
            return self._number(token, token.offset, 1)
        if token.kind == "ident":
            return self._identifier(token, token.text)
        if token.kind == "op":
            if token.text == "(":
                found = self._expression()
                self._expect(")")
                return found
            if token.text == "[":
                return self._list(token)
            if token.text == "{":
                return self._map(token)
            if token.text == "-" and self._next.kind == "number":
                self._at += 1
                return self._number(self._tokens[self._at - 1], token.offset, -1)
            if token.text == "." and self._next.kind == "ident":
                self._at += 1
                return self._identifier(token, "." + self._tokens[self._at - 1].text)
        self._at -= 1
        raise self._error(token.offset, f"Syntax error: mismatched input '{token.text}' expecting {self._expected()}")

    def _expected(self) -> str:
        """What may begin an expression here; behind a call's parenthesis its end may stand as well."""
        before = self._tokens[max(self._at - 2, 0) : self._at]
        opens_call = len(before) == 2 and before[0].kind == "ident" and before[1].text == "("
        return _EXPECTED.replace("'(', ", "'(', ')', ") if opens_call else _EXPECTED

    def _number(self, token: Token, offset: int, sign: int) -> Node:
        value = token.value
        if isinstance(value, Uint):
            if sign < 0:
                raise self._error(offset, "no such overload: -uint literal")
            return Literal(offset, value)
        value = value * sign
        if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
            raise self._error(offset, "invalid int literal")
        return Literal(offset, value)

    def _identifier(self, token: Token, name: str) -> Node:
        if self._is("("):
            return self._call(name, None)
        if name in RESERVED:
            raise self._error(token.offset, f"reserved identifier: {name}")
        return Ident(token.offset, name)

    def _list(self, opening: Token) -> Node:
        elements: list[Node] = []
        optional: set[int] = set()
        while not self._is("]"):
            if self._take("?"):
                optional.add(len(elements))
            elements.append(self._expression())
            if not self._take(","):
                break
        self._expect("]")
        return self._bounded(ListNode(opening.offset, tuple(elements), frozenset(optional)))

    def _map(self, opening: Token) -> Node:
        entries: list[Entry] = []
        while not self._is("}"):
            is_optional = self._take("?")
            key = self._expression()
            self._expect(":")
            entries.append(Entry(key, self._expression(), is_optional))
            if not self._take(","):
                break
        self._expect("}")
        return self._bounded(MapNode(opening.offset, tuple(entries)))

    def _struct(self, name: str) -> Node:
        opening = self._expect("{")
        fields: list[Field] = []
        while not self._is("}"):
            is_optional = self._take("?")
            token = self._next
            if token.kind != "ident":
                raise self._error(token.offset, f"Syntax error: mismatched input '{token.text}' expecting IDENTIFIER")
            self._at += 1
            colon = self._expect(":")
            fields.append(Field(token.text, self._expression(), is_optional, colon.offset))
            if not self._take(","):
                break
        self._expect("}")
        return StructNode(opening.offset, name, tuple(fields))


def _balanced(function: str, terms: list[Node], offsets: list[int]) -> Node:
    """Terms of a long ``&&`` or ``||`` as a balanced tree, as cel-go builds it: the depth stays logarithmic."""
    if len(terms) == 1:
        return terms[0]
    middle = len(offsets) // 2
    left = _balanced(function, terms[: middle + 1], offsets[:middle])
    right = _balanced(function, terms[middle + 1 :], offsets[middle + 1 :])
    return Call(offsets[middle], function, (left, right))
