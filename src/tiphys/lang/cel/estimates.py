"""The rules of `estimate` for single functions, by name or overload; one unit for what is not here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tiphys.lang.cel.estimate import (
    FORMAT_LENGTH_MAX,
    FORMAT_REGEX_MAX,
    ONE,
    UNBOUNDED,
    ZERO,
    Estimated,
    Operand,
    Range,
)
from tiphys.lang.cel.nodes import Literal

if TYPE_CHECKING:
    from tiphys.lang.cel.estimate import _Estimator

Args = Sequence[Operand]
Rule = Callable[["_Estimator", Operand | None, Args], Estimated | None]


def estimated(by: _Estimator, function: str, overload: str, target: Operand | None, args: Args) -> Estimated:
    """What a call costs beside its arguments. A rule that does not fit the form of the call says nothing."""
    rule = _FUNCTIONS.get(f"{function}/{overload}") or _FUNCTIONS.get(function)
    found = rule(by, target, args) if rule is not None else None
    if found is None:
        rule = _OVERLOADS.get(overload)
        found = rule(by, target, args) if rule is not None else None
    return found or Estimated(ONE)


def _walk_list(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    """isSorted and its kin: each element once, and its text."""
    if target is None:
        return None
    items = by.items(target)
    if items is None:
        return Estimated(by.size(target).scaled(0.1))
    each = ONE
    if items.type.kind in ("string", "bytes"):
        each = each.plus(by.size(items).scaled(0.1))
    return Estimated(by.size(target).times(each))


def _same_text(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None:
        return None
    size = by.size(target)
    return Estimated(size.scaled(0.1), size)


def _parsed(factor: float, keeps_size: bool = False) -> Rule:
    def rule(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
        if not args:
            return None
        size = by.size(args[0])
        return Estimated(size.scaled(factor), size if keeps_size else None)

    return rule


def _replace(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None or len(args) < 2:
        return None
    size, old, new = by.size(target), by.size(args[0]), by.size(args[1])
    most, most_kept = _replaced(size.most, old.least, grows=new.most > old.least)
    least, least_kept = _replaced(size.least, old.most, grows=new.least < old.most)
    result = Range(least, most).times(new).plus(Range(least_kept, most_kept))
    return Estimated(size.scaled(0.2), result)


def _replaced(size: int, old: int, *, grows: bool) -> tuple[int, int]:
    """How often something is replaced, and how much of the text stays, at one end of the range."""
    if old == 0:
        return (size + 1 if size < UNBOUNDED else size), size
    if not grows:
        return 0, size
    return math.ceil(float(size) / float(old)), 0


def _split(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None:
        return None
    size = by.size(target)
    most = size.most
    limit = args[1].node if len(args) > 1 else None
    if isinstance(limit, Literal) and type(limit.value) is int:
        most = limit.value % (1 << 64)
    return Estimated(size.scaled(0.2), Range(0, most))


def _join(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None:
        return None
    count, size = by.size(target), ZERO
    items = by.items(target)
    if items is not None:
        size = count.times(by.size(items))
    if args:
        separators = Range(max(count.least - 1, 0), max(count.most - 1, 0))
        size = size.plus(by.size(args[0]).times(separators))
    return Estimated(size.scaled(0.1), size)


def _find(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None or not args:
        return None
    size = by.size(target)
    return Estimated(_pattern(size, by.size(args[0])), Range(0, size.most))


def _pattern(text: Range, pattern: Range) -> Range:
    return text.plus(ONE).scaled(0.1).times(pattern.scaled(0.25))


def _matches(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None or len(args) != 1:
        return None
    return Estimated(_pattern(target.size or by_any(), args[0].size or by_any()))


def by_any() -> Range:
    return Range(0, UNBOUNDED)


def _contains(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if target is None or len(args) != 1:
        return None
    text, part = target.size or by_any(), args[0].size or by_any()
    return Estimated(text.scaled(0.1).times(part.scaled(0.1)))


_ADDRESS = Range(4, 16)


def _contains_address(is_cidr: bool, is_text: bool) -> Rule:
    def rule(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
        if not args:
            return None
        cost = _ADDRESS.plus(_ADDRESS).scaled(0.1)
        if is_cidr:
            cost = cost.plus(_ADDRESS.scaled(0.1)).plus(ONE)
        return Estimated(cost.plus(by.size(args[0]).scaled(0.1)) if is_text else cost)

    return rule


def _validate(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if not args:
        return None
    return Estimated(by.size(args[0]).scaled(0.1).scaled(FORMAT_REGEX_MAX * 0.25))


def _equality_of_types(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    if len(args) != 2 or args[0].type != args[1].type:
        return None
    name = args[0].type.name
    if name in ("net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"):
        return Estimated(ONE)
    if name == "kubernetes.NamedFormat":
        return Estimated(Range(1, FORMAT_LENGTH_MAX).scaled(0.1))
    if name == "kubernetes.URL":
        return Estimated(Range(1, args[1].size.most if args[1].size is not None else 1).scaled(0.1))
    return None


def _equality(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    most = min((arg.size or by_any()).most for arg in args)
    return Estimated(Range(1 if most else 0, most).scaled(0.1))


def _sets(factor: int) -> Rule:
    def rule(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
        return Estimated(by.size(args[0]).times(by.size(args[1])).scaled(factor).plus(ONE))

    return rule


def _text_to_bytes(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    size = args[0].size or by_any()
    return Estimated(size.scaled(0.1), Range(size.least, size.most * 4 % (1 << 64)))


def _bytes_to_text(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    size = args[0].size or by_any()
    return Estimated(size.scaled(0.1), Range(size.least // 4, size.most))


def _quote(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    size = args[0].size or by_any()
    return Estimated(size.scaled(0.1), Range(size.least + 2, (size.most * 2 + 2) % (1 << 64)))


def _of_argument(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    return Estimated((args[0].size or by_any()).scaled(0.1))


def _of_target(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    return None if target is None else Estimated((target.size or by_any()).scaled(0.1))


def _in_list(by: _Estimator, target: Operand | None, args: Args) -> Estimated | None:
    return Estimated((args[1].size or by_any()).scaled(1))


_FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk_list),
    "url": _parsed(0.1, keeps_size=True),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _same_text),
    "replace": _replace,
    "split": _split,
    "join": _join,
    **dict.fromkeys(("find", "findAll"), _find),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver", "ip"), _parsed(0.1)),
    "ip/cidr_ip": lambda by, target, args: Estimated(ONE),
    "ip.isCanonical": _parsed(0.2),
    "containsIP": _contains_address(is_cidr=False, is_text=False),
    "containsIP/cidr_contains_ip_string": _contains_address(is_cidr=False, is_text=True),
    "containsCIDR": _contains_address(is_cidr=True, is_text=False),
    "containsCIDR/cidr_contains_cidr_string": _contains_address(is_cidr=True, is_text=True),
    "validate": _validate,
    "_==_": _equality_of_types,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}
_OVERLOADS: dict[str, Rule] = {
    "string_format": _of_target,
    "string_to_bytes": _text_to_bytes,
    "bytes_to_string": _bytes_to_text,
    "strings_quote": _quote,
    **dict.fromkeys(("starts_with_string", "ends_with_string"), _of_argument),
    "in_list": _in_list,
    "matches_string": _matches,
    "contains_string": _contains,
    **dict.fromkeys(("equals", "not_equals"), _equality),
    **{
        f"{name}_{kind}": _equality
        for name in ("less", "less_equals", "greater", "greater_equals")
        for kind in ("string", "bytes")
    },
}
