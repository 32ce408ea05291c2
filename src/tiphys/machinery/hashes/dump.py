"""A pod template as Go prints the struct that it is decoded into (go-spew with sorted keys, no pointers, no methods).

    struct  = "{" field ":" value {" " field ":" value} "}"        every field, in the order of the Go type
    value   = "(" type ")" content                                 in a list only the content
    content = "<nil>" | text | number | "true" | "false" | struct | "[" content* "]" | "map[" key ":" content … "]"

It exists only to be hashed. ``pod_template.json`` has the structs (name, JSON name, type, and the release that brought
the field where it is newer than 1.34), taken from the types of the Go module k8s.io/api by ``tools/pod_template.go``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple

Write = Callable[[Any, list[str]], None]

_DIGITS_MAX: Final = 18
"""A quantity of more digits than this is kept as a big decimal."""
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_ZERO_TIME: Final = "{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}"


def pod_template_text(template: Mapping[str, Any], release: str = "1.35") -> str:
    """The dump of a PodTemplateSpec given as JSON values."""
    out = ["(v1.PodTemplateSpec)"]
    _writer("v1.PodTemplateSpec", release)(template, out)
    return "".join(out)


class _Field(NamedTuple):
    head: str
    json_name: str
    write: Write


@lru_cache(maxsize=1)
def _facts() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("pod_template.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


@lru_cache(maxsize=1024)
def _writer(kind: str, release: str) -> Write:
    """How the content of a value of this Go type is written; None stands for an absent one."""
    if kind.startswith("*"):
        return _pointer(_writer(kind[1:], release))
    if kind.startswith("[]"):
        return _list(_writer(kind[2:], release))
    if kind in _SPECIAL:
        return _SPECIAL[kind]
    if kind == "v1.ResourceList":
        return _map(_quantity)
    if kind.startswith("map["):
        return _map(_writer(kind.partition("]")[2], release))
    if kind in _facts()["structs"]:
        return _struct(kind, release)
    if kind in ("int32", "int64"):
        return _integer(int(kind[3:]))
    return _scalar("false" if kind == "bool" else "")


def _struct(kind: str, release: str) -> Write:
    fields: list[_Field] = []

    def fill() -> None:
        for name, json_name, type_name, *since in _facts()["structs"][kind]:
            if not since or _number(release) >= _number(since[0]):
                fields.append(_Field(f"{name}:({type_name})", json_name, _writer(type_name, release)))

    def write(value: Any, out: list[str]) -> None:
        if not fields:
            fill()
        gap = "{"
        for field in fields:
            out.append(gap)
            out.append(field.head)
            # An embedded struct has no JSON name: its fields lie in the object itself.
            field.write(value if not field.json_name else value.get(field.json_name) if value else None, out)
            gap = " "
        out.append("}")

    return write


def _pointer(inner: Write) -> Write:
    def write(value: Any, out: list[str]) -> None:
        if value is None:
            out.append("<nil>")
        else:
            inner(value, out)

    return write


def _list(inner: Write) -> Write:
    def write(value: Any, out: list[str]) -> None:
        if value is None:
            out.append("<nil>")
            return
        gap = "["
        for each in value:
            out.append(gap)
            inner(each, out)
            gap = " "
        out.append("]" if value else "[]")

    return write


def _map(inner: Write) -> Write:
    def write(value: Any, out: list[str]) -> None:
        if value is None:
            out.append("<nil>")
            return
        gap = "map["
        for key in sorted(value):
            out.append(f"{gap}{key}:")
            inner(value[key], out)
            gap = " "
        out.append("]" if value else "map[]")

    return write


def _scalar(zero: str) -> Write:
    def write(value: Any, out: list[str]) -> None:
        if value is None:
            out.append(zero)
        else:
            out.append(str(value).lower() if isinstance(value, bool) else str(value))

    return write


def _integer(bits: int) -> Write:
    highest = (1 << (bits - 1)) - 1

    def write(value: Any, out: list[str]) -> None:
        out.append(str(max(-highest - 1, min(highest, int(value or 0)))))

    return write


def _time(value: Any, out: list[str]) -> None:
    # Templates carry no times; one that does is hashed by its text, which is as good as Go's internals.
    out.append(_ZERO_TIME if value is None else f"{{Time:(time.Time){value}}}")


def _int_or_string(value: Any, out: list[str]) -> None:
    is_text = isinstance(value, str)
    number, text = (0, value) if is_text else (value or 0, "")
    out.append(f"{{Type:(intstr.Type){int(is_text)} IntVal:(int32){number} StrVal:(string){text}}}")


def _quantity(value: Any, out: list[str]) -> None:
    amount, scale, text, form, big = _amount(value)
    out.append(f"{{i:(resource.int64Amount){{value:(int64){amount} scale:(resource.Scale){scale}}}")
    out.append(f" d:(resource.infDecAmount){{Dec:(*inf.Dec){big}}} s:(string){text} Format:(resource.Format){form}}}")


def _amount(value: Any) -> tuple[int, int, str, str, str]:
    """A quantity as Go holds it: amount, scale, the text kept, its format, and the big decimal where one is needed."""
    text = "" if value is None else str(value)
    if text in ("", "0"):
        return 0, 0, text, "DecimalSI" if text else "", "<nil>"
    number = text.lstrip("+-")
    digits = number[: len(number) - len(number.lstrip("0123456789."))]
    suffix = number[len(digits) :]
    whole, _, fraction = digits.partition(".")
    shifted = (whole.lstrip("0") or "0") + fraction  # leading zeros do not count
    unscaled = -int(shifted) if text.startswith("-") else int(shifted)
    if suffix in _BINARY:
        bits = _BINARY[suffix]
        if fraction or 15 - len(shifted) - bits * 3 // 10 - 1 < 0:
            return 0, 0, "", "BinarySI", _decimal(unscaled << bits, len(fraction))
        return unscaled << bits, 0, text if int(shifted) & 7 else "", "BinarySI", "<nil>"
    form = "DecimalSI" if suffix in _DECIMAL else "DecimalExponent"
    scale = (_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])) - len(fraction)
    if len(shifted) > _DIGITS_MAX or scale < -9:
        return 0, 0, "", form, _decimal(unscaled, -scale)
    # The text is kept where Go's quick test takes it for canonical.
    kept = scale % 3 == 0 and not shifted.endswith("000") and not shifted.startswith("0")
    return unscaled, scale, text if kept else "", form, "<nil>"


def _decimal(unscaled: int, scale: int) -> str:
    words, rest = [], abs(unscaled)
    while rest:
        words.append(str(rest & 0xFFFFFFFFFFFFFFFF))
        rest >>= 64
    sign = "true" if unscaled < 0 else "false"
    listed = f"[{' '.join(words)}]" if words else "<nil>"
    return f"{{unscaled:(big.Int){{neg:(bool){sign} abs:(big.nat){listed}}} scale:(inf.Scale){scale}}}"


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


_SPECIAL: Final[Mapping[str, Write]] = {
    "v1.Time": _time,
    "intstr.IntOrString": _int_or_string,
    "resource.Quantity": _quantity,
    "v1.ManagedFieldsEntry": _scalar(""),
}
