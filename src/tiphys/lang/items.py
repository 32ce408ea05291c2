"""withItems, withParam and withSequence: what the items are, what they are called, and a step or task for each.

    parse_item(text) → Item              one JSON value, its text kept (1.50 stays 1.50)
    expand_sequence(spec) → [Item]       withSequence
    loops(holder) → bool                 of a step or task
    items_of(holder) → [Item] | None     of a step or task; None when it does not loop
    expand_step(step, scope), expand_task(task, scope) → [dict]

Expansion replaces tags in the JSON of the whole step, with ``item`` and, for maps, ``item.<key>`` added to the scope.
A step whose ``when`` is already false needs nothing resolved: what is missing stays. A task keeps its withItems, a step
loses them, as in the original. Nothing is executed or looked up here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from tiphys.lang import gojson, names
from tiphys.lang.gofmt import bad_verb, quote
from tiphys.lang.gojson_read import syntax_error
from tiphys.lang.gotext import TRIMMED
from tiphys.lang.govaluate import GovaluateError, should_execute
from tiphys.lang.govalues import parse_int
from tiphys.lang.sprig import Sources
from tiphys.lang.tags import compile

ITEMS_MAX = 1_000_000
"""Items of one step or task; more are refused before any is made."""

Kind = Literal["number", "string", "bool", "map", "list"]

_WITH = ("withItems", "withParam", "withSequence")
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*+")|[ \t\r\n]+')
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_HTML_CHARACTERS = re.compile("[<>&\u2028\u2029]")


class ItemError(ValueError):
    """Items that cannot be read, counted or named; the message is the original's."""


@dataclass(frozen=True)
class Item:
    """One item: ``json`` is its compact JSON with Go's escapes for HTML, digits and escapes as written."""

    json: str
    kind: Kind = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", _kind(self.json))

    @property
    def text(self) -> str:
        """What it is called: the JSON, of strings without the quotes (but with the escapes)."""
        inner = self.json[1:-1] if self.json.startswith('"') else self.json
        return inner.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&")

    def variables(self) -> dict[str, str]:
        """What the item adds to the scope: ``item``, and ``item.<key>`` of a map."""
        match self.kind:
            case "string":
                return {"item": _string_value(self.json)}
            case "map":
                members = self.members()
                inner = ",".join(f"{gojson.dumps(key)}:{one.json}" for key, one in sorted(members.items()))
                return {f"item.{key}": one.text for key, one in members.items()} | {"item": f"{{{inner}}}"}
        return {"item": self.json if self.kind == "list" else self.text}

    def label(self) -> str:
        """What stands for it in the name of its node: ``b:2,c:3`` for maps, ``[1 2]`` for lists."""
        match self.kind:
            case "map":
                return ",".join(sorted(f"{key}:{one.text}" for key, one in self.members().items()))
            case "list":
                return f"[{' '.join(one.text for one in self.elements())}]"
        return self.text

    def elements(self) -> list[Item]:
        """The elements of a list; none of null."""
        return [Item(text) for text in _elements(self.json)] if self.json != "null" else []

    def members(self) -> dict[str, Item]:
        """The members of a map, of keys written twice the last."""
        return {key: Item(text) for key, text in _members(self.json)}


def parse_item(text: str) -> Item:
    """The item that some JSON is. Raises ItemError with the decoder's words."""
    problem = syntax_error(text)
    if problem:
        raise ItemError(problem)
    return Item(_compact(text))


def item_of(value: object) -> Item:
    """The item for a decoded value, as withItems holds them."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Item(_escape_html(text))


def loops(holder: Mapping[str, Any]) -> bool:
    """Whether a step or task has one of the three fields; no items and no text are none, as in the original."""
    return bool(holder.get("withItems")) or bool(holder.get("withParam")) or holder.get("withSequence") is not None


def items_of(holder: Mapping[str, Any]) -> list[Item] | None:
    """The items of a step or task, or None when it does not loop. Raises ItemError."""
    if not loops(holder):
        return None
    if holder.get("withItems"):
        return [item_of(value) for value in holder["withItems"]]
    if holder.get("withParam"):
        return _param_items(str(holder["withParam"]))
    return expand_sequence(holder["withSequence"])


def expand_sequence(spec: Mapping[str, Any]) -> list[Item]:
    """The strings that withSequence counts through, upwards or downwards, printed by its format. Raises ItemError."""
    start = _integer(spec["start"]) if spec.get("start") is not None else 0
    if spec.get("end") is not None:
        end = _integer(spec["end"])
    elif spec.get("count") is not None:
        count = _integer(spec["count"])
        if count == 0:
            return []
        end = start + count - 1
    else:
        raise ItemError("neither end nor count was specified in withSequence")
    if abs(end - start) >= ITEMS_MAX:
        raise ItemError(f"withSequence has more than {ITEMS_MAX} items")
    template = str(spec.get("format") or "%d")
    numbers = range(start, end + 1) if start <= end else range(start, end - 1, -1)
    if template == "%d":
        return [Item(f'"{number}"') for number in numbers]
    return [parse_item(f'"{format_number(template, number)}"') for number in numbers]


def expand_step(
    step: Mapping[str, Any], scope: Mapping[str, Any], *, sources: Sources | None = None
) -> list[dict[str, Any]]:
    """A step for each item, without the fields that made them. Raises ItemError and TagError."""
    items = _items_or_skip(step)
    if items is None:
        raise ItemError("expandStep() was called with withItems and withParam empty")
    return _expanded({key: value for key, value in step.items() if key not in _WITH}, items, scope, sources)


def expand_task(
    task: Mapping[str, Any], scope: Mapping[str, Any], *, sources: Sources | None = None
) -> list[dict[str, Any]]:
    """A task for each item; a task that does not loop as it is. Raises ItemError and TagError."""
    items = _items_or_skip(task)
    if items is None:
        return [dict(task)]
    kept = {key: task[key] for key in _WITH if key in task}
    if "{{" in gojson.dumps(kept):
        return _expanded(dict(task), items, scope, sources)
    # Their text is the same for every item and can be most of the task: it is shared, not copied n times.
    bare = {key: value for key, value in task.items() if key not in _WITH}
    return [one | kept for one in _expanded(bare, items, scope, sources)]


def _items_or_skip(holder: Mapping[str, Any]) -> list[Item] | None:
    try:
        return items_of(holder)
    except ItemError:
        if _will_not_run(holder, if_unclear=False):
            return []
        raise


def _will_not_run(holder: Mapping[str, Any], *, if_unclear: bool) -> bool:
    try:
        return not should_execute(str(holder.get("when") or ""))
    except GovaluateError:
        return if_unclear


def _expanded(
    holder: Mapping[str, Any], items: list[Item], scope: Mapping[str, Any], sources: Sources | None
) -> list[dict[str, Any]]:
    template = compile(gojson.dumps(holder))
    skipped = _will_not_run(holder, if_unclear=False)
    base = {key: value for key, value in scope.items() if value is not None} if skipped else dict(scope)
    made: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        name = node_name(str(holder.get("name") or ""), index, item)
        if template.has_tags:
            text = template.replace(base | item.variables(), allow_unresolved=skipped, sources=sources)
            one = _decoded(text)
        else:
            one = dict(holder)
        # The original puts these two back as they were; their tags were resolved before or are resolved later.
        made.append(one | {"name": name} | ({"template": holder["template"]} if "template" in holder else {}))
    return made


def _decoded(text: str) -> dict[str, Any]:
    try:
        decoded: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        problem = syntax_error(text)
        if problem:
            raise ItemError(problem) from None
        decoded = json.loads(text)
    return decoded


def node_name(name: str, index: int, item: Item) -> str:
    """``name(index:item)``, parentheses of the item left out. Raises ItemError where the index cannot be read back."""
    try:
        return names.item_node_name(name, index, item.label())
    except ValueError as err:
        raise ItemError(str(err)) from err


def _param_items(text: str) -> list[Item]:
    problem = syntax_error(text)
    compact = "" if problem else _compact(text)
    if not problem and compact == "null":
        return []
    if not problem and not compact.startswith("["):
        found = {"{": "object", '"': "string", "t": "bool", "f": "bool"}.get(compact[0], "number")
        problem = f"json: cannot unmarshal {found} into Go value of type []v1alpha1.Item"
    if problem:
        shown = text.strip(TRIMMED)
        raise ItemError(f"withParam value could not be parsed as a JSON list: {shown}: {problem}")
    return [Item(one) for one in _elements(compact)]


def _integer(value: object) -> int:
    text = str(value)
    try:
        return parse_int(text)
    except ValueError as err:
        raise ItemError(f"strconv.Atoi: parsing {quote(text)}: {err}") from None


# JSON as text.


def _kind(text: str) -> Kind:
    first = text[0]
    if first in "-0123456789":
        # A number beyond float64 is none for the original, which then takes it for a string.
        return "number" if abs(float(text)) != float("inf") else "string"
    kinds: dict[str, Kind] = {'"': "string", "{": "map", "[": "list", "n": "list"}
    return kinds.get(first, "bool")


def _string_value(text: str) -> str:
    if not text.startswith('"'):
        return ""
    value: str = json.loads(text)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not value.isascii() else value


def _compact(text: str) -> str:
    return _escape_html(_STRING_OR_SPACE.sub(lambda match: match.group(1) or "", text))


def _escape_html(text: str) -> str:
    return _HTML_CHARACTERS.sub(lambda match: _HTML[match.group()], text)


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


def _elements(text: str) -> list[str]:
    """The texts between the commas of a compact list."""
    found: list[str] = []
    at = 1
    while at < len(text) - 1:
        end = _DECODER.raw_decode(text, at)[1]
        found.append(text[at:end])
        if len(found) > ITEMS_MAX:
            raise ItemError(f"more than {ITEMS_MAX} items")
        at = end + 1
    return found


def _members(text: str) -> list[tuple[str, str]]:
    """The keys of a compact map with the texts of their values."""
    found: list[tuple[str, str]] = []
    at = 1
    while at < len(text) - 1:
        key, end = _DECODER.raw_decode(text, at)
        start = end + 1
        end = _DECODER.raw_decode(text, start)[1]
        found.append((str(key), text[start:end]))
        at = end + 1
    return found


# Go's Sprintf with one int, which is all that withSequence's format gets.

_VERB = re.compile(r"%([-+# 0]*)(\d*)(\.\d*)?(?:%|(.)|$)", re.DOTALL)


def format_number(template: str, number: int) -> str:
    """``fmt.Sprintf(template, number)``, ``%!d(MISSING)`` for a second verb, ``%!(EXTRA int=1)`` for none."""
    used = False

    def shown(match: re.Match[str]) -> str:
        nonlocal used
        verb = match.group(4)
        if verb is None:
            return "%" if match.group().endswith("%") and len(match.group()) > 1 else "%!(NOVERB)"
        if used:
            return f"%!{verb}(MISSING)"
        used = True
        return _verb(verb, match.group(1), int(match.group(2) or 0), match.group(3), number)

    text = _VERB.sub(shown, template)
    return text if used else f"{text}%!(EXTRA int={number})"


_BASES = {"d": "d", "v": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_WIDTH_MAX = 1_000


def _verb(verb: str, flags: str, width: int, precision: str | None, number: int) -> str:
    width = min(width, _WIDTH_MAX)
    if verb in _BASES:
        return _padded(_digits(verb, flags, width, precision, number), flags, width)
    if verb in ("c", "q", "U"):
        return _padded(_as_rune(verb, number), flags.replace("0", ""), width)
    return bad_verb(verb, number)


def _digits(verb: str, flags: str, width: int, precision: str | None, number: int) -> str:
    sign = "-" if number < 0 else "+" if "+" in flags else " " if " " in flags else ""
    digits = format(abs(number), _BASES[verb])
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    prefix = "0o" if verb == "O" else prefix
    if precision is not None:
        least = min(int(precision[1:] or 0), _WIDTH_MAX)
        digits = "" if least == 0 and number == 0 else digits.rjust(least, "0")
    elif "0" in flags and "-" not in flags:
        digits = digits.rjust(width - len(sign), "0")
    return sign + prefix + digits


def _as_rune(verb: str, number: int) -> str:
    valid = 0 <= number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    if verb == "U":
        return f"U+{number:04X}"
    character = chr(number) if valid else "\ufffd"
    return character if verb == "c" else f"'{quote(character)[1:-1]}'"


def _padded(text: str, flags: str, width: int) -> str:
    return text.ljust(width) if "-" in flags else text.rjust(width)


__all__ = [
    "ITEMS_MAX",
    "Item",
    "ItemError",
    "expand_sequence",
    "expand_step",
    "expand_task",
    "item_of",
    "items_of",
    "loops",
    "node_name",
    "parse_item",
]
