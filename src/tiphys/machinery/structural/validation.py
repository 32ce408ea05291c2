"""Is a value what its schema allows? The messages are the API server's (kube-openapi ``validate``).

validate(value, schema, "spec") -> faults, in the order of the schema
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
import re2

from tiphys.lang.gofmt import format_float
from tiphys.machinery.equality import same
from tiphys.machinery.structural.formats import fits

Schema = Mapping[str, Any]
FAULTS_MAX: Final = 64
INT_OR_STRING: Final = "x-kubernetes-int-or-string"


class Fault(NamedTuple):
    """``reason`` as in ``details.causes`` (FieldValueInvalid …); ``message`` without the field."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def validate(value: Any, schema: Schema, path: str) -> list[Fault]:
    """All that is wrong, at most ``FAULTS_MAX``."""
    found: list[Fault] = []
    for fault in _faults(value, schema, path):
        found.append(fault)
        if len(found) >= FAULTS_MAX:
            break
    return found


def list_faults(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    """Elements of sets and keyed lists that stand twice."""
    if isinstance(value, Mapping):
        properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, member in value.items():
            inner = properties.get(key, others if isinstance(others, Mapping) else None)
            if inner is not None:
                yield from list_faults(member, inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield from _repeated(value, schema, path)
        items = schema.get("items")
        if isinstance(items, Mapping):
            for at, item in enumerate(value):
                yield from list_faults(item, items, f"{path}[{at}]")


def unchanged(fault: Fault, new: Any, old: Any) -> bool:
    """Whether the fault was there before: the value at its place is the same. (Judgements of whole lists are not told
    apart: a changed list is judged anew.)"""
    place = _steps(fault.field)
    before, after = _at(old, place), _at(new, place)
    if fault.reason == "FieldValueRequired":
        return same(_at(old, place[:-1]), _at(new, place[:-1])) and before is after is _NOWHERE
    return before is not _NOWHERE and same(before, after)


_NOWHERE: Final = object()


def _steps(field: str) -> list[str | int]:
    return [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|([^.\[\]]+)", field)]


def _at(value: Any, steps: Sequence[str | int]) -> Any:
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else _NOWHERE
        else:
            value = value.get(step, _NOWHERE) if isinstance(value, Mapping) else _NOWHERE
    return value


def _repeated(value: list[Any], schema: Schema, path: str) -> Iterator[Fault]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    if kind not in ("set", "map"):
        return
    seen: list[Any] = []
    reported: list[Any] = []
    for at, item in enumerate(value):
        identity = (
            {key: item.get(key) for key in keys if key in item} if kind == "map" and isinstance(item, Mapping) else item
        )
        if any(same(identity, other) for other in seen):
            if not any(same(identity, other) for other in reported):
                reported.append(identity)
                yield Fault(f"{path}[{at}]", "FieldValueDuplicate", f"Duplicate value: {_json(identity)}")
        else:
            seen.append(identity)


def _faults(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    if value is None and schema.get("nullable"):
        yield from _enum(value, schema, path)
        return
    yield from _type(value, schema, path)
    yield from _combined(value, schema, path)
    if isinstance(value, str):
        yield from _string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    elif isinstance(value, Mapping):
        yield from _object(value, schema, path)
    yield from _enum(value, schema, path)


def _type(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    if schema.get(INT_OR_STRING):
        wanted, ok = "integer,string", _kind(value) in ("integer", "string")
    else:
        wanted = schema.get("type") or ""
        kind = _kind(value)
        ok = not wanted or kind == wanted or (wanted == "number" and kind == "integer")
    if not ok:
        shown = _json(_kind(value))
        message = f"Invalid value: {shown}: {_in_body(path)} must be of type {wanted}: {shown}"
        yield Fault(path, "FieldValueTypeInvalid", message)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer" if -(2**63) <= value < 2**63 else "number"
        case float():
            return "integer" if value.is_integer() and abs(value) < 2**63 else "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _string(value: str, schema: Schema, path: str) -> Iterator[Fault]:
    least, most = schema.get("minLength"), schema.get("maxLength")
    if least is not None and len(value) < least:
        yield _invalid(path, value, f"should be at least {least} chars long")
    if most is not None and len(value) > most:
        yield Fault(path, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")
    pattern = schema.get("pattern")
    if pattern and not _matches(pattern, value):
        yield _invalid(path, value, f"should match '{pattern}'")
    name = schema.get("format")
    if name and not fits(str(name), value):
        yield _invalid(path, value, f"must be of type {name}: {_json(value)}")


def _number(value: float, schema: Schema, path: str) -> Iterator[Fault]:
    step = schema.get("multipleOf")
    if step:
        quotient = value / step
        if not math.isclose(quotient, round(quotient), rel_tol=0, abs_tol=1e-9):
            yield _invalid(path, value, f"should be a multiple of {_number_text(step)}")
    most, least = schema.get("maximum"), schema.get("minimum")
    if most is not None and (value > most or (schema.get("exclusiveMaximum") and value == most)):
        word = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield _invalid(path, value, f"should be {word} {_number_text(most)}")
    if least is not None and (value < least or (schema.get("exclusiveMinimum") and value == least)):
        word = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield _invalid(path, value, f"should be {word} {_number_text(least)}")


def _list(value: list[Any], schema: Schema, path: str) -> Iterator[Fault]:
    items = schema.get("items")
    if isinstance(items, Mapping):
        for at, item in enumerate(value):
            yield from _faults(item, items, f"{path}[{at}]")
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is not None and len(value) < least:
        yield _invalid(path, len(value), f"should have at least {least} items")
    if most is not None and len(value) > most:
        yield _too_many(path, len(value), most)
    if schema.get("uniqueItems") and any(same(a, b) for n, a in enumerate(value) for b in value[:n]):
        yield _invalid(path, value, "shouldn't contain duplicates")


def _object(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Fault]:
    least, most = schema.get("minProperties"), schema.get("maxProperties")
    if least is not None and len(value) < least:
        yield _invalid(path, len(value), f"should have at least {least} properties")
    if most is not None and len(value) > most:
        yield _too_many(path, len(value), most)
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    for key in schema.get("required") or ():
        if key not in value:
            yield Fault(f"{path}.{key}" if path else key, "FieldValueRequired", "Required value")
    for key in sorted(value):
        inner = properties.get(key, others if isinstance(others, Mapping) else None)
        if inner is not None:
            yield from _faults(value[key], inner, f"{path}.{key}" if path else key)


def _enum(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    choices = schema.get("enum")
    # Null is never among the choices, not even where it is listed.
    if choices and (value is None or not any(same(value, choice) for choice in choices)):
        supported = ", ".join(_json(choice if isinstance(choice, str) else _text(choice)) for choice in choices)
        message = f"Unsupported value: {_json(value)}: supported values: {supported}"
        yield Fault(path, "FieldValueNotSupported", message)


def _combined(value: Any, schema: Schema, path: str) -> Iterator[Fault]:
    """allOf, anyOf, oneOf, not: whole judgements, told without a field of their own."""
    one_of, any_of, all_of = (schema.get(name) or () for name in ("oneOf", "anyOf", "allOf"))
    if any_of and not any(not validate(value, each, path) for each in any_of):
        yield _whole(f"{_json(path)} must validate at least one schema (anyOf)")
        yield from _best(value, any_of, path)
    if one_of:
        valid = sum(not validate(value, each, path) for each in one_of)
        if valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            yield _whole(f"{_json(path)} must validate one and only one schema (oneOf). {found}")
            if not valid:
                yield from _best(value, one_of, path)
    if all_of:
        failing = [fault for each in all_of for fault in validate(value, each, path)]
        if failing:
            yield from failing
            yield _whole(f"{_json(path)} must validate all the schemas (allOf)")
    negated = schema.get("not")
    if negated is not None and not validate(value, negated, path):
        yield _whole(f"{_json(path)} must not validate the schema (not)")


def _best(value: Any, schemas: Sequence[Schema], path: str) -> Iterator[Fault]:
    """The faults of the alternative that came nearest (the first with the fewest)."""
    yield from min((validate(value, each, path) for each in schemas), key=len)


def _whole(message: str) -> Fault:
    return Fault("<nil>", "FieldValueInvalid", f'Invalid value: "": {message}')


def _invalid(path: str, value: Any, text: str) -> Fault:
    return Fault(path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {_in_body(path)} {text}")


def _too_many(path: str, count: int, most: int) -> Fault:
    return Fault(path, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")


def _in_body(path: str) -> str:
    return f"{path} in body"


def _shown(value: Any) -> str:
    return _number_text(value) if isinstance(value, float | int) and not isinstance(value, bool) else _json(value)


def _number_text(value: float) -> str:
    if isinstance(value, int) and abs(value) < 10**17:
        return str(value)
    return format_float(float(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value, default=dict).decode()


def _matches(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(text) is not None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    """The pattern in Go's dialect; None for one that cannot be read (then nothing is refused)."""
    try:
        return re2.compile(pattern)
    except re2.error:
        return None
