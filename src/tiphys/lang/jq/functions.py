"""The builtin functions of values: everything that needs no filter as an argument.

Each takes the input and the arguments' values and gives one value or raises `Failure` with gojq's message.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson

from tiphys.lang import goregexp
from tiphys.lang.gofmt import quote as go_quote
from tiphys.lang.jq import times, values
from tiphys.lang.jq.errors import Failure, Halt, JqLimitError, RaisedFailure
from tiphys.lang.jq.values import compare, described, encode, is_number, preview, sort_key, to_int, type_name

Function = Callable[..., Any]


def _wrong(name: str, value: Any, *arguments: Any) -> Failure:
    shown = f"({'; '.join(map(preview, arguments))})" if arguments else ""
    return Failure(f"{name}{shown} cannot be applied to: {described(value)}")


def _text(name: str, value: Any, *arguments: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, *arguments)
    return value


def _list(name: str, value: Any, *arguments: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, value, *arguments)
    return value


def _items(value: Any) -> list[Any] | None:
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)]
    return value if isinstance(value, list) else None


def _float(name: str, value: Any) -> float:
    if not is_number(value):
        raise _wrong(name, value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


# Any value


def _length(value: Any) -> Any:
    if value is None:
        return 0
    if is_number(value):
        return abs(value)
    if isinstance(value, bool):
        raise _wrong("length", value)
    return len(value)


def _keys(value: Any) -> list[Any]:
    if isinstance(value, list):
        return list(range(len(value)))
    if not isinstance(value, dict):
        raise _wrong("keys", value)
    return sorted(value)


def _has(value: Any, key: Any) -> bool:
    if isinstance(value, list) and is_number(key):
        return 0 <= to_int(key) < len(value)
    if isinstance(value, dict) and isinstance(key, str):
        return key in value
    if value is None:
        return False
    raise _wrong("has", value, key)


def _sum(items: Iterable[Any]) -> Any:
    """Adds up; strings and arrays are collected first, so that it takes linear time."""
    total: Any = None
    texts: list[str] = []
    for item in items:
        if isinstance(item, str) and (total is None or texts):
            texts.append(item)
            total = ""
            continue
        if texts and item is not None:
            total, texts = "".join(texts), []
        if isinstance(item, list) and isinstance(total, list) and total is not item:
            total = [*total, *item] if len(total) < 1024 else _extended(total, item)
        elif item is not None:
            total = list(item) if total is None and isinstance(item, list) else values.add(total, item)
    return "".join(texts) if texts else total


def _extended(total: list[Any], more: list[Any]) -> list[Any]:
    total.extend(more)  # a list of our own by now
    if len(total) > values.SIZE_MAX:
        raise JqLimitError(f"array of more than {values.SIZE_MAX} elements")
    return total


def _add(value: Any) -> Any:
    items = _items(value)
    if items is None:
        raise _wrong("add", value)
    return _sum(items)


def _to_number(value: Any) -> Any:
    if is_number(value):
        return value
    text = _text("tonumber", value)
    if not re.fullmatch(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text):
        raise Failure(f"tonumber cannot be applied to {preview(value)}: invalid number")
    return values.number_from(text)


def _to_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    if isinstance(value, str):
        raise Failure(f"toboolean cannot be applied to {preview(value)}: invalid boolean")
    raise _wrong("toboolean", value)


def _to_string(value: Any) -> str:
    return value if isinstance(value, str) else encode(value)


def _from_json(value: Any) -> Any:
    text = _text("fromjson", value)
    try:
        return _exact(text)
    except orjson.JSONDecodeError as err:
        raise Failure(f"fromjson cannot be applied to {preview(value)}: {_json_problem(text, err)}") from err


def _exact(text: str) -> Any:
    """Parsed JSON; integers beyond 64 bits keep their digits."""
    value = orjson.loads(text)
    if re.search(r"[0-9]{19}", text):
        import json

        return json.loads(text)
    return value


def _json_problem(text: str, err: orjson.JSONDecodeError) -> str:
    if not text.strip():
        return "EOF"
    at = min(err.pos, len(text) - 1)
    if err.pos >= len(text):
        return "unexpected EOF"
    place = "looking for beginning of value" if not text[:at].strip() else f"at position {at}"
    return f"invalid character {_character(text[at])} {place}"


def _character(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'"


def _contains(left: Any, right: Any, depth: int = 0) -> bool:
    if depth > 200:
        raise JqLimitError("value nested too deep")
    if isinstance(left, str) and isinstance(right, str):
        return right in left
    if isinstance(left, list) and isinstance(right, list):
        return all(any(_is_contained(item, wanted, depth) for item in left) for wanted in right)
    if isinstance(left, dict) and isinstance(right, dict):
        return all(key in left and _is_contained(left[key], wanted, depth) for key, wanted in right.items())
    if (is_number(left) and is_number(right)) or (type(left) is type(right) and left == right):
        return bool(left == right)
    raise _wrong("contains", left, right)


def _is_contained(left: Any, right: Any, depth: int) -> bool:
    try:
        return _contains(left, right, depth + 1)
    except Failure:
        return False


def _error(value: Any, *argument: Any) -> Any:
    raised = argument[0] if argument else value
    raise RaisedFailure(raised, raised if isinstance(raised, str) else encode(raised))


def _halt_error(value: Any, *code: Any) -> Any:
    if code and not is_number(code[0]):
        raise _wrong("halt_error", code[0])
    raise Halt(f"halt error: {value if isinstance(value, str) else encode(value)}")


def _halt(_value: Any) -> Any:
    raise Halt("halt error: null")


# Strings


def _explode(value: Any) -> list[Any]:
    return [ord(character) for character in _text("explode", value)]


def _implode(value: Any) -> str:
    codes = _list("implode", value)
    if not all(map(is_number, codes)):
        raise _wrong("implode", value)
    return "".join(chr(c) if 0 <= c <= 0x10FFFF and not 0xD800 <= c < 0xE000 else "\ufffd" for c in map(to_int, codes))


def _split(value: Any, separator: Any) -> list[Any]:
    return values.split(_text("split", value), _text("split", separator))


def _join(value: Any, separator: Any) -> Any:
    items = _items(value)
    if items is None:
        raise _wrong("join", value, separator)
    if not items:
        return ""
    spread: list[Any] = []
    for number, item in enumerate(items):
        spread += ["" if number == 0 else separator]
        spread += [encode(item) if is_number(item) or isinstance(item, bool) else item]
    return _sum(spread)


def _two_texts(name: str, apply: Callable[[str, str], Any]) -> Function:
    def function(value: Any, argument: Any) -> Any:
        if not isinstance(value, str) or not isinstance(argument, str):
            raise _wrong(name, value, argument)
        return apply(value, argument)

    return function


def _trimmed(name: str, apply: Callable[[str, str], str]) -> Function:
    return lambda value: apply(_text(name, value), _SPACE)


_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_LOWER: Final = {code: code + 32 for code in range(65, 91)}
_UPPER: Final = {code: code - 32 for code in range(97, 123)}


def _searched(name: str, pick: Callable[[list[Any]], Any]) -> Function:
    """indices, index and rindex: of a string in a string, a value or a run of values in an array."""

    def function(value: Any, wanted: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            return pick(values.indices(value, wanted if isinstance(wanted, list) else [wanted]))
        if not isinstance(value, str) or not isinstance(wanted, str):
            raise _wrong(name, value, wanted)
        return pick(_occurrences(value, wanted))

    return function


def _occurrences(text: str, wanted: str) -> list[Any]:
    found: list[Any] = []
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        found.append(at)
        at = text.find(wanted, at + 1)
    return found


def _match(value: Any, pattern: Any, flags: Any) -> list[Any]:
    compiled, text = _regexp("match", value, pattern, flags)
    found = _all_matches(compiled, text, "g" in (flags or ""))
    return [_match_object(compiled, match) for match in found]


def _test(value: Any, pattern: Any, flags: Any) -> bool:
    compiled, text = _regexp("test", value, pattern, flags)
    return compiled.search(text) is not None


def _regexp(name: str, value: Any, pattern: Any, flags: Any) -> tuple[Any, str]:
    if not isinstance(value, str) or not isinstance(pattern, str) or not (flags is None or isinstance(flags, str)):
        raise _wrong(name, value, pattern, flags)
    if set(flags or "") - set("gim"):
        raise Failure(f"unsupported regular expression flag: {go_quote(flags or '')}")
    prefix = ("(?s)" if "m" in (flags or "") else "") + ("(?i)" if "i" in (flags or "") else "")
    try:
        return goregexp.compile_pattern(prefix + pattern), value
    except goregexp.RegexpError as err:
        raise Failure(f"invalid regular expression {go_quote(prefix + pattern)}: {err}") from err


def _all_matches(compiled: Any, text: str, is_global: bool) -> list[Any]:
    """Go's FindAll: an empty match right after another match does not count."""
    found: list[Any] = []
    at, last_end = 0, -1
    while at <= len(text):
        match = compiled.search(text, at)
        if match is None:
            break
        if match.end() > match.start() or match.start() != last_end:
            found.append(match)
            if not is_global:
                break
        last_end = match.end()
        at = match.end() + (match.end() == match.start())
        if len(found) > 100_000:
            raise JqLimitError("more than 100000 matches")
    return found


def _match_object(compiled: Any, match: Any) -> dict[str, Any]:
    names = {number: name for name, number in compiled.groupindex.items()}
    captures = [_capture(match, number, names.get(number)) for number in range(1, compiled.groups + 1)]
    whole = {"offset": match.start(), "length": match.end() - match.start(), "string": match.group()}
    return {**whole, "captures": captures}


def _capture(match: Any, number: int, name: str | None) -> dict[str, Any]:
    start, end = match.span(number)
    if start < 0:
        return {"name": name, "offset": -1, "length": 0, "string": None}
    return {"name": name, "offset": start, "length": end - start, "string": match.group(number)}


def _captures(value: Any) -> dict[str, Any]:
    return {each["name"]: each["string"] for each in value if each["name"] is not None}


# Arrays


def _flatten(value: Any, *depth: Any) -> list[Any]:
    items = _items(value)
    if items is None:
        raise _wrong("flatten", value)
    levels = _float("flatten", depth[0]) if depth else -1.0
    if depth and not levels >= 0:
        raise Failure(f"flatten depth should not be negative: {preview(levels)}")
    flat: list[Any] = []
    todo = [(item, levels) for item in reversed(items)]
    while todo:
        item, left = todo.pop()
        if isinstance(item, list) and left != 0:
            todo += [(inner, left - 1) for inner in reversed(item)]
        else:
            flat.append(item)
    return flat


def _extreme(name: str, sign: int) -> Function:
    """min, max and their ``_by`` forms: of equal ones min takes the first, max the last."""

    def function(value: Any, *keys: Any) -> Any:
        items = _list(name, value, *keys)
        by = _keys_for(name, items, keys)
        best = None
        for number in range(len(items)):
            # the first of equal smallest ones, the last of equal largest ones
            if (
                best is None
                or compare(by[best], by[number]) * sign > 0
                or (sign < 0 and compare(by[best], by[number]) == 0)
            ):
                best = number
        return None if best is None else items[best]

    return function


def _keys_for(name: str, items: list[Any], keys: tuple[Any, ...]) -> list[Any]:
    if not keys:
        return items
    by = _list(name, keys[0])
    if len(by) != len(items):
        raise Failure(f"{name}({preview(by)}) cannot be applied to {preview(items)}: length mismatch")
    return by


def _grouped(name: str, value: Any, keys: tuple[Any, ...]) -> list[tuple[Any, list[Any]]]:
    items = _list(name, value, *keys)
    by = _keys_for(name, items, keys)
    groups: list[tuple[Any, list[Any]]] = []
    for number in sorted(range(len(items)), key=lambda n: sort_key(by[n])):
        if groups and compare(groups[-1][0], by[number]) == 0:
            groups[-1][1].append(items[number])
        else:
            groups.append((by[number], [items[number]]))
    return groups


def _sorted(name: str) -> Function:
    return lambda value, *keys: [item for _, group in _grouped(name, value, keys) for item in group]


def _unique(name: str) -> Function:
    return lambda value, *keys: [group[0] for _, group in _grouped(name, value, keys)]


def _transpose(value: Any) -> list[Any]:
    rows = _list("transpose", value)
    if not all(isinstance(row, list) for row in rows):
        raise _wrong("transpose", value)
    width = max(map(len, rows), default=0)
    if width * len(rows) > values.SIZE_MAX:
        raise JqLimitError("array too large")
    return [[row[column] if column < len(row) else None for row in rows] for column in range(width)]


def _bsearch(value: Any, wanted: Any) -> int:
    items = _list("bsearch", value, wanted)
    at = bisect_left(items, sort_key(wanted), key=sort_key)
    return at if at < len(items) and compare(items[at], wanted) == 0 else -at - 1


def _reverse(value: Any) -> list[Any]:
    return _list("reverse", value)[::-1]


# Paths


def getpath(value: Any, path: Any) -> Any:
    """See `values.get_path`."""
    try:
        return values.get_path(value, _list("getpath", path) if isinstance(path, list) else _no_path(value, path))
    except TypeError:
        raise _wrong("getpath", value, path) from None
    except Failure as err:
        if not isinstance(path, list):
            raise
        raise Failure(f"getpath({preview(path)}) cannot be applied to {preview(value)}: {err}") from err


def _no_path(value: Any, path: Any) -> list[Any]:
    raise _wrong("getpath", value, path)


def _setpath(value: Any, path: Any, new: Any) -> Any:
    if not isinstance(path, list):
        raise _wrong("setpath", value, path)
    try:
        return values.set_path(value, path, new)
    except Failure as err:
        shown = f"setpath({preview(path)}; {preview(new)})"
        raise Failure(f"{shown} cannot be applied to {preview(value)}: {err}") from err


def _delpaths(value: Any, paths: Any) -> Any:
    if not isinstance(paths, list):
        raise _wrong("delpaths", value, paths)
    try:
        for path in paths:
            if not isinstance(path, list):
                raise Failure(f"expected an array but got: {described(path)}")
        return values.delete_paths(value, paths) if paths else value
    except Failure as err:
        raise Failure(f"delpaths({preview(paths)}) cannot be applied to {preview(value)}: {err}") from err


# Numbers


def check_range(bounds: Iterable[Any]) -> None:
    for bound in bounds:
        if not is_number(bound):
            raise _wrong("range", bound)


def _math(name: str, function: Callable[..., float]) -> Function:
    """A function of one float; what has no result is NaN, what is too large an infinity, as in C."""
    return lambda value: _computed(function, _float(name, value))


def _math_of(name: str, function: Callable[..., float]) -> Function:
    """A function of its arguments; the input does not count."""
    return lambda _value, *arguments: _computed(function, *(_float(name, argument) for argument in arguments))


def _computed(function: Callable[..., float], *arguments: float) -> float:
    try:
        return float(function(*arguments))
    except ValueError:
        return math.nan
    except (OverflowError, ZeroDivisionError):
        return math.inf


def _rounded(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value) if abs(value) < 2**52 else value


def _whole(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: math.copysign(function(value), value) if math.isfinite(value) else value


def _significand(value: float) -> float:
    return math.frexp(value)[0] * 2


def _logb(value: float) -> float:
    if value == 0:
        return -math.inf
    return math.frexp(value)[1] - 1.0 if math.isfinite(value) else abs(value)


def _frexp(value: Any) -> list[Any]:
    return list(math.frexp(_float("frexp", value)))


def _modf(value: Any) -> list[Any]:
    number = _float("modf", value)
    if math.isinf(number):
        return [math.copysign(0, number), number]
    fraction, whole = math.modf(number)
    return [fraction, whole]


def _isnan(value: Any) -> bool:
    return value is not None and math.isnan(_float("isnan", value))


def _is(check: Callable[[float], bool]) -> Function:
    return lambda value: is_number(value) and check(_float("", value))


def _is_normal(value: float) -> bool:
    return math.isfinite(value) and abs(value) >= 2.2250738585072014e-308


def _larger(left: float, right: float) -> float:
    return right if math.isnan(left) else left if math.isnan(right) else max(left, right)


def _smaller(left: float, right: float) -> float:
    return right if math.isnan(left) else left if math.isnan(right) else min(left, right)


def _log(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: -math.inf if value == 0 else function(value)


def _nextafter(left: float, right: float) -> float:
    return math.nextafter(left, right)


# Formats


def _html(value: Any) -> str:
    text = _to_string(value)
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&apos;"), ('"', "&quot;")):
        text = text.replace(plain, escaped)
    return text


def _uri(value: Any) -> str:
    return quote(_to_string(value), safe="-_.~", errors="replace")


def _urid(value: Any) -> str:
    text = _to_string(value)
    if (wrong := re.search("%(?![0-9a-fA-F]{2}).{0,2}", text)) is not None:
        raise Failure(f"@urid cannot be applied to {preview(value)}: invalid URL escape {go_quote(wrong.group())}")
    return unquote(text, errors="replace")


def _base64(value: Any) -> str:
    return base64.b64encode(_to_string(value).encode("utf-8", "replace")).decode()


def _base64d(value: Any) -> str:
    text = _to_string(value).partition("=")[0]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as err:
        wrong = re.search(r"[^A-Za-z0-9+/]", text)
        at = wrong.start() if wrong else len(text) // 4 * 4
        raise Failure(
            f"@base64d cannot be applied to {preview(value)}: illegal base64 data at input byte {at}"
        ) from err


def _row(kind: str, separator: str, escape: Callable[[str], str]) -> Function:
    def function(value: Any) -> str:
        items = [value] if kind == "sh" and not isinstance(value, list) else value
        return separator.join(map(cell, _list("@" + kind, items)))

    def cell(value: Any) -> str:
        if isinstance(value, (list, dict)):
            raise Failure(f"@{kind} cannot format an array including: {described(value)}")
        if isinstance(value, str):
            return escape(value)
        return "" if value is None and kind != "sh" else encode(value)

    return function


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""').replace("\0", "\\0") + '"'


def _tsv_cell(text: str) -> str:
    return text.translate({9: "\\t", 13: "\\r", 10: "\\n", 92: "\\\\", 0: "\\0"})


def _sh_cell(text: str) -> str:
    return "'" + text.replace("'", "'\\''").replace("\0", "\\0") + "'"


_FORMATS: Final[dict[str, Function]] = {
    "@text": _to_string,
    "@json": encode,
    "@html": _html,
    "@uri": _uri,
    "@urid": _urid,
    "@csv": _row("csv", ",", _csv_cell),
    "@tsv": _row("tsv", "\t", _tsv_cell),
    "@sh": _row("sh", " ", _sh_cell),
    "@base64": _base64,
    "@base64d": _base64d,
}


def formatter(name: str) -> Function:
    """The function of a format; of one that does not exist, a function that says so."""
    return _FORMATS.get(name) or (lambda _value: _no_format(name))


def _no_format(name: str) -> Any:
    raise Failure(f"format not defined: {name}")


def _format(value: Any, name: Any) -> Any:
    return formatter("@" + _text("format", name))(value)


NATIVES: Final[dict[tuple[str, int], Function]] = {
    ("abs", 0): lambda value: abs(value) if is_number(value) else _not_applicable("abs", value),
    ("length", 0): _length,
    ("utf8bytelength", 0): lambda value: len(_text("utf8bytelength", value).encode("utf-8", "replace")),
    ("keys", 0): _keys,
    ("has", 1): _has,
    ("add", 0): _add,
    ("toboolean", 0): _to_boolean,
    ("tonumber", 0): _to_number,
    ("tostring", 0): _to_string,
    ("type", 0): type_name,
    ("reverse", 0): _reverse,
    ("contains", 1): _contains,
    ("inside", 1): lambda value, container: _contains(container, value),
    ("indices", 1): _searched("indices", lambda found: found),
    ("index", 1): _searched("index", lambda found: found[0] if found else None),
    ("rindex", 1): _searched("rindex", lambda found: found[-1] if found else None),
    ("startswith", 1): _two_texts("startswith", str.startswith),
    ("endswith", 1): _two_texts("endswith", str.endswith),
    ("ltrimstr", 1): _two_texts("ltrimstr", str.removeprefix),
    ("rtrimstr", 1): _two_texts("rtrimstr", str.removesuffix),
    ("trimstr", 1): _two_texts("trimstr", lambda text, part: text.removeprefix(part).removesuffix(part)),
    ("ltrim", 0): _trimmed("ltrim", str.lstrip),
    ("rtrim", 0): _trimmed("rtrim", str.rstrip),
    ("trim", 0): _trimmed("trim", str.strip),
    ("explode", 0): _explode,
    ("implode", 0): _implode,
    ("split", 1): _split,
    ("join", 1): _join,
    ("ascii_downcase", 0): lambda value: _text("ascii_downcase", value).translate(_LOWER),
    ("ascii_upcase", 0): lambda value: _text("ascii_upcase", value).translate(_UPPER),
    ("tojson", 0): encode,
    ("fromjson", 0): _from_json,
    ("format", 1): _format,
    ("_plus", 0): lambda value: value if is_number(value) else _no_sign("plus", value),
    ("_negate", 0): lambda value: -value if is_number(value) else _no_sign("negate", value),
    ("_match", 2): _match,
    ("test", 2): _test,
    ("_captures", 0): _captures,
    ("flatten", 0): _flatten,
    ("flatten", 1): _flatten,
    ("min", 0): _extreme("min", 1),
    ("max", 0): _extreme("max", -1),
    ("_min_by", 1): _extreme("min_by", 1),
    ("_max_by", 1): _extreme("max_by", -1),
    ("sort", 0): _sorted("sort"),
    ("_sort_by", 1): _sorted("sort_by"),
    ("unique", 0): _unique("unique"),
    ("_unique_by", 1): _unique("unique_by"),
    ("_group_by", 1): lambda value, keys: [group for _, group in _grouped("group_by", value, (keys,))],
    ("transpose", 0): _transpose,
    ("bsearch", 1): _bsearch,
    ("setpath", 2): _setpath,
    ("delpaths", 1): _delpaths,
    ("gmtime", 0): times.gmtime,
    ("localtime", 0): times.gmtime,
    ("mktime", 0): times.mktime,
    ("strftime", 1): times.strftime,
    ("strflocaltime", 1): times.strftime,
    ("strptime", 1): times.strptime,
    ("env", 0): lambda _value: {},
    ("builtins", 0): lambda _value: _builtin_names(),
    ("error", 0): _error,
    ("error", 1): _error,
    ("halt", 0): _halt,
    ("halt_error", 0): _halt_error,
    ("halt_error", 1): _halt_error,
    ("infinite", 0): lambda _value: math.inf,
    ("nan", 0): lambda _value: math.nan,
    ("isnan", 0): _isnan,
    ("isfinite", 0): _is(lambda value: not math.isinf(value)),
    ("isinfinite", 0): _is(math.isinf),
    ("isnormal", 0): _is(_is_normal),
    ("frexp", 0): _frexp,
    ("modf", 0): _modf,
}


def _not_applicable(name: str, value: Any) -> Any:
    raise _wrong(name, value)


def _no_sign(verb: str, value: Any) -> Any:
    raise Failure(f"cannot {verb}: {described(value)}")


def _builtin_names() -> list[Any]:
    from tiphys.lang.jq import library

    names = {*NATIVES, *library.definitions()}
    return sorted(f"{name}/{arity}" for name, arity in names if name[0] != "_")


_OF_ONE: Final[dict[str, Callable[..., float]]] = {
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")},
    **{
        name: getattr(math, name) for name in ("asinh", "acosh", "atanh", "sqrt", "exp", "expm1", "fabs", "erf", "erfc")
    },
    **{name: getattr(math, name) for name in ("lgamma", "gamma", "cbrt", "exp2")},
    "tgamma": math.gamma,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "trunc": _whole(math.trunc),
    "round": _whole(_rounded),
    "rint": _whole(round),
    "nearbyint": _whole(round),
    "significand": _significand,
    "logb": _logb,
    "log": _log(math.log),
    "log2": _log(math.log2),
    "log10": _log(math.log10),
    "log1p": lambda value: -math.inf if value == -1 else math.log1p(value),
    "exp10": lambda value: math.pow(10, value),
}
_OF_TWO: Final[dict[str, Callable[..., float]]] = {
    "atan2": math.atan2,
    "copysign": math.copysign,
    "drem": math.remainder,
    "fdim": lambda left, right: max(left - right, 0.0),
    "fmax": _larger,
    "fmin": _smaller,
    "fmod": math.fmod,
    "hypot": math.hypot,
    "nextafter": _nextafter,
    "nexttoward": _nextafter,
    "remainder": math.remainder,
    "ldexp": lambda left, right: math.ldexp(left, to_int(right)),
    "scalb": lambda left, right: math.ldexp(left, to_int(right)),
    "scalbln": lambda left, right: math.ldexp(left, to_int(right)),
    "pow": math.pow,
}
NATIVES.update({(name, 0): _math(name, function) for name, function in _OF_ONE.items()})
NATIVES.update({(name, 2): _math_of(name, function) for name, function in _OF_TWO.items()})
NATIVES["fma", 3] = _math_of("fma", lambda a, b, c: a * b + c)
