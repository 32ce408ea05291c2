"""Trees as text: what parses to the same tree again.

Parentheses are written where binding would change otherwise. Numbers are in their shortest form, strings in double
quotes. For messages, tests and tools that show or store expressions; nothing in running a program needs it.
"""

from __future__ import annotations

from tiphys.lang.expr.nodes import (
    Array,
    Binary,
    Builtin,
    Call,
    Chain,
    Conditional,
    Constant,
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
    spine,
)
from tiphys.lang.expr.parser import BINARY, COMPARISONS, NEGATABLE
from tiphys.lang.gofmt import plain_decimal, shortest_digits

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def show(tree: Node) -> str:
    """The text of a tree as the parser makes it (folded trees may hold values that have no text)."""
    match tree:
        case Literal(value=value):
            return _literal(value)
        case Nil():
            return "nil"
        case Identifier(name=name):
            return name
        case Pointer(name=name):
            return f"#{name}"
        case Unary(op="not", operand=Binary(op=op) as inner) if op in NEGATABLE:
            return f"{_operand(inner.left)} not {op} {_operand(inner.right)}"
        case Unary(op=op, operand=operand):
            return f"{op} {_operand(operand)}" if op == "not" else f"{op}{_operand(operand)}"
        case Binary():
            return _binary(tree)
        case Conditional():
            return _conditional(tree)
        case Sequence(parts=parts):
            return "; ".join(_statement(part) for part in parts)
        case Let(name=name, value=value, body=body):
            return f"let {name} = {_statement(value)}; {show(body)}"
    return _part(tree)


def _part(node: Node) -> str:
    match node:
        case Chain(inner=inner):
            return show(inner)
        case Member():
            return _member(node)
        case Slice(base=base, start=start, stop=stop):
            return f"{_base(base)}[{show(start) if start else ''}:{show(stop) if stop else ''}]"
        case Call(callee=callee, arguments=arguments):
            return f"{show(callee)}({_list(arguments)})"
        case Builtin(name=name, arguments=arguments):
            return f"{name}({_list(arguments)})"
        case Predicate(body=body):
            return f"{{{show(body)}}}"
        case Array(items=items):
            return f"[{_list(items)}]"
        case Map(pairs=pairs):
            return "{" + ", ".join(f"{_key(key)}: {_statement(value)}" for key, value in pairs) + "}"
        case Constant(value=value):
            return f"<{value!r}>"
    raise AssertionError(f"no such node: {node!r}")


def _literal(value: bool | int | float | str | bytes) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(_character(one) for one in value)}"'
    if isinstance(value, bytes):
        return "b'" + "".join(f"\\x{byte:02x}" for byte in value) + "'"
    if isinstance(value, int):
        return str(value)
    sign, digits, exponent = shortest_digits(value)
    text = plain_decimal(digits, exponent) if -20 < exponent < 20 else f"{digits[0]}.{digits[1:] or '0'}e{exponent}"
    return sign + (text if "." in text else f"{text}.0")


def _character(character: str) -> str:
    point = ord(character)
    if 0xD800 <= point <= 0xDFFF:
        return "\\ufffd"
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\u{{{point:x}}}"


def _is_simple(node: Node) -> bool:
    """Whether it stands as an operand without parentheses."""
    return not isinstance(node, Unary | Binary | Conditional | Let | Sequence)


def _operand(node: Node) -> str:
    return show(node) if _is_simple(node) else f"({show(node)})"


def _statement(node: Node) -> str:
    """Where a whole expression may stand, but no further statement."""
    return f"({show(node)})" if isinstance(node, Let | Sequence) else show(node)


def _list(nodes: list[Node]) -> str:
    return ", ".join(_statement(node) for node in nodes)


def _binary(node: Binary) -> str:
    """A chain keeps its form: the left side stands bare only where it binds at least as tightly."""
    first, chain = spine(node)
    text, before = _operand(first), None
    for one in chain:
        if before is not None and not _continues(before, one.op):
            text = f"({text})"
        text = f"{text} {one.op} {_operand(one.right)}"
        before = one.op
    return text


def _continues(before: str, op: str) -> bool:
    if "??" in (before, op) or before in COMPARISONS or op in COMPARISONS:
        return before == op == "??"
    (tightness, rightwards), (following, _) = BINARY[before], BINARY[op]
    return following < tightness or (following == tightness and not rightwards)


def _conditional(node: Conditional) -> str:
    if node.ternary:
        return f"{_operand(node.condition)} ? {_operand(node.then)} : {_operand(node.otherwise)}"
    return f"if {_statement(node.condition)} {{ {show(node.then)} }} else {{ {show(node.otherwise)} }}"


def _base(node: Node) -> str:
    """What a postfix may follow: numbers, bools and nil take none as they are."""
    bare = _is_simple(node) and not isinstance(node, Nil)
    if isinstance(node, Literal):
        bare = isinstance(node.value, str | bytes)
    return show(node) if bare else f"({show(node)})"


def _member(node: Member) -> str:
    base, dot = _base(node.base), "?." if node.optional else "."
    # A name would join the chain before it, an index does not.
    joins = isinstance(node.base, Chain)
    if not joins and isinstance(node.key, Literal) and isinstance(node.key.value, str) and _is_name(node.key.value):
        return f"{base}{dot}{node.key.value}"
    return f"{base}{dot if node.optional else ''}[{_statement(node.key)}]"


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier()


def _key(node: Node) -> str:
    if isinstance(node, Literal) and isinstance(node.value, str):
        return _literal(node.value)
    return f"({show(node)})"
