"""Writes a tree as CEL again, with as few parentheses as needed.

``parse(to_text(parse(x)))`` is the same tree: macros are shown as the calls they were.
"""

from __future__ import annotations

from tiphys.lang.cel.nodes import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select, StructNode
from tiphys.lang.cel.values import Uint

_BINARY = {
    "_||_": ("||", 1), "_&&_": ("&&", 2),
    "_<_": ("<", 3), "_<=_": ("<=", 3), "_>=_": (">=", 3), "_>_": (">", 3), "_==_": ("==", 3), "_!=_": ("!=", 3),
    "@in": ("in", 3), "_+_": ("+", 4), "_-_": ("-", 4), "_*_": ("*", 5), "_/_": ("/", 5), "_%_": ("%", 5),
}  # fmt: skip
_MEMBER = 7
_SPECIAL = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_text(node: Node) -> str:
    """The expression as text."""
    return _text(node, 0)


def _text(node: Node, least: int) -> str:
    node = node.origin or node
    text, level = _written(node)
    return f"({text})" if level < least else text


def _written(node: Node) -> tuple[str, int]:
    if isinstance(node, Literal):
        return _literal(node.value), _MEMBER
    if isinstance(node, Ident):
        return node.name, _MEMBER
    if isinstance(node, Select):
        field = f"{_text(node.operand, _MEMBER)}.{node.field}"
        return (f"has({field})" if node.is_test else field), _MEMBER
    if isinstance(node, Call):
        return _call(node)
    if isinstance(node, ListNode):
        items = (("?" if at in node.optional else "") + _text(e, 0) for at, e in enumerate(node.elements))
        return f"[{', '.join(items)}]", _MEMBER
    if isinstance(node, MapNode):
        pairs = (f"{'?' if e.is_optional else ''}{_text(e.key, 0)}: {_text(e.value, 0)}" for e in node.entries)
        return f"{{{', '.join(pairs)}}}", _MEMBER
    if isinstance(node, StructNode):
        parts = (f"{'?' if f.is_optional else ''}{f.name}: {_text(f.value, 0)}" for f in node.fields)
        return f"{node.name}{{{', '.join(parts)}}}", _MEMBER
    assert isinstance(node, Fold)
    raise ValueError("a loop that no macro made has no text")


def _call(node: Call) -> tuple[str, int]:
    name, args = node.function, node.args
    if name in _BINARY:
        sign, level = _BINARY[name]
        # Chains of && and || are trees of any shape and mean the same; all else groups to the left.
        right = level if level <= 2 else level + 1
        return f"{_text(args[0], level)} {sign} {_text(args[1], right)}", level
    if name == "_?_:_":
        return f"{_text(args[0], 1)} ? {_text(args[1], 1)} : {_text(args[2], 0)}", 0
    if name in ("!_", "-_"):
        operand = _text(args[0], _MEMBER)
        is_number = name == "-_" and isinstance(args[0], Literal)
        return name[0] + (f"({operand})" if is_number else operand), 6
    if name in ("_[_]", "_[?_]"):
        return f"{_text(args[0], _MEMBER)}[{'?' if '?' in name else ''}{_text(args[1], 0)}]", _MEMBER
    if name == "_?._":
        assert isinstance(args[1], Literal)
        return f"{_text(args[0], _MEMBER)}.?{args[1].value}", _MEMBER
    inner = f"{name}({', '.join(_text(a, 0) for a in args)})"
    return (inner if node.target is None else f"{_text(node.target, _MEMBER)}.{inner}"), _MEMBER


def _literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Uint):
        return f"{int(value)}u"
    if isinstance(value, bytes):
        return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
    if isinstance(value, str):
        return (
            '"' + "".join(_SPECIAL.get(c, c) if c.isprintable() or c in _SPECIAL else _escaped(c) for c in value) + '"'
        )
    text = repr(value)
    return f"{text}.0" if isinstance(value, float) and "." not in text and "e" not in text else text


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
