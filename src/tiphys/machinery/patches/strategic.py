"""Strategic merge patch: a merge patch that knows which lists are sets of things and what their keys are.

    lists with patchStrategy merge   merged by patchMergeKey, or as sets of scalars; others are replaced
    $patch: replace | delete         in a map: replace or empty it; as an element: replace the list, delete the match
    $deleteFromPrimitiveList/F       remove these scalars from the list F
    $setElementOrder/F               the order of the list F after the merge
    $retainKeys                      in a map: drop every key that is not named here (unions)

Which field has which strategy comes from the Go types, as a ``Schema``. Behaviour and error texts follow apimachinery
``strategicpatch``; recorded answers in ``golden/kube`` (strategic-merge).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tiphys.lang.gofmt import sprint, type_name
from tiphys.machinery.equality import same
from tiphys.machinery.sharedmap import ABSENT

DIRECTIVE: Final = "$patch"
DELETE_SCALARS: Final = "$deleteFromPrimitiveList"
ORDER: Final = "$setElementOrder"
RETAIN: Final = "$retainKeys"

Object = dict[str, Any]


class StrategicMergeError(ValueError):
    """The patch cannot be carried out; the message is the original's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field merges. ``strategies`` of merge, replace, retainKeys; ``inner`` is the schema of its value or
    elements, None for scalars."""

    strategies: frozenset[str] = frozenset()
    merge_key: str = ""
    inner: Schema | None = None


class Schema(Protocol):
    """The fields of a type."""

    def rule(self, field: str) -> Rule:
        """Raises StrategicMergeError for a field that the type does not have."""
        ...


@dataclass(frozen=True, slots=True)
class MapSchema:
    """The schema of a Go map, which has values but no fields."""

    def rule(self, field: str) -> Rule:
        del field
        raise StrategicMergeError("merging an object in json but data type is not struct, instead is: map")


@dataclass(frozen=True, slots=True)
class Options:
    """``applies``: a patch to an object (nulls remove, directives are carried out); else a patch to a patch, which
    keeps nulls and directives for later."""

    applies: bool = True


def apply(document: Mapping[str, Any], patch: Mapping[str, Any], schema: Schema) -> Object:
    """The patched document. Raises StrategicMergeError."""
    return _merge_map(document, patch, schema, Options())


def combine(patches: Sequence[Mapping[str, Any]], schema: Schema) -> Object:
    """One patch with the effect of all, applied in order. Raises StrategicMergeError."""
    combined: Object = {}
    for patch in patches:
        combined = _merge_map(combined, patch, schema, Options(applies=False))
    return combined


def _merge_map(
    original: Mapping[str, Any], patch: Mapping[str, Any], schema: Schema | None, options: Options
) -> Object:
    if DIRECTIVE in patch:
        return _directed(patch)
    merged, todo = dict(original), dict(patch)
    _retain_keys(merged, todo, options)
    _order_lists(merged, todo, schema, options)
    for key, value in todo.items():
        is_deletion = key.startswith(DELETE_SCALARS)
        if is_deletion:
            if not options.applies:
                merged[key] = value
                continue
            key = _named(key, DELETE_SCALARS)
        _merge_member(merged, key, value, schema, options, is_deletion)
    return merged


def _merge_member(
    merged: Object, key: str, value: Any, schema: Schema | None, options: Options, is_deletion: bool
) -> None:
    if value is None:
        merged.pop(key, None)
        if options.applies:
            return
    if key not in merged:
        if not is_deletion:
            _set_fresh(merged, key, value, options)
        return
    held = merged[key]
    if isinstance(held, Mapping) and isinstance(value, Mapping):
        rule = _rule(schema, key)
        merged[key] = value if "replace" in rule.strategies else _merge_map(held, value, rule.inner, options)
    elif isinstance(held, list) and isinstance(value, list):
        rule = _rule(schema, key)
        merged[key] = _merge_or_replace(held, value, rule, options, is_deletion)
    elif not is_deletion:
        _set_fresh(merged, key, value, options)


def _merge_or_replace(held: list[Any], value: list[Any], rule: Rule, options: Options, is_deletion: bool) -> list[Any]:
    if "merge" in rule.strategies or is_deletion:
        return _merge_list(held, value, rule, options, is_deletion)
    return value


def _rule(schema: Schema | None, field: str) -> Rule:
    return (schema or MapSchema()).rule(field)


def _directed(patch: Mapping[str, Any]) -> Object:
    """A map that carries ``$patch``."""
    directive = patch[DIRECTIVE]
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != DIRECTIVE}
    if directive == "delete":
        return {}
    raise StrategicMergeError(f"unknown patch type: {sprint(directive)} in map: {sprint(dict(patch))}")


def _retain_keys(merged: Object, patch: Object, options: Options) -> None:
    """Carries out ``$retainKeys``: every key that the patch sets must be among them."""
    if RETAIN not in patch:
        return
    kept = patch.pop(RETAIN)
    if not options.applies:
        if not same(merged.setdefault(RETAIN, kept), kept):
            both = f"{sprint(merged[RETAIN])} and {sprint(kept)}"
            raise StrategicMergeError(
                f"{both} are not deep equal: this may happen when calculating the 3-way diff patch"
            )
        return
    if not isinstance(kept, list) or any(_must_be_kept(key, value) and key not in kept for key, value in patch.items()):
        raise StrategicMergeError("invalid patch format of retainKeys")
    for key in [key for key in merged if key not in kept]:
        del merged[key]


def _must_be_kept(key: str, value: Any) -> bool:
    return value is not None and not key.startswith((DELETE_SCALARS, ORDER))


# Lists


def _order_lists(merged: Object, patch: Object, schema: Schema | None, options: Options) -> None:
    """Merges the lists whose order ``$setElementOrder`` gives, and takes them out of the patch."""
    for key in [key for key in patch if key.startswith(ORDER)]:
        order = patch.pop(key)
        if not options.applies:
            _keep_order(merged, key, order)
        field = _named(key, ORDER)
        if not isinstance(order, list):
            raise StrategicMergeError(f"expected a []interface {{}}, but received a {type_name(order)}")
        in_original, in_patch = field in merged, field in patch
        held, value = merged.get(field), patch.get(field)
        for present, items in ((in_original, held), (in_patch, value)):
            if present and not isinstance(items, list):
                raise StrategicMergeError(f"expected a []interface {{}}, but received a {type_name(items)}")
        rule = _rule(schema, field)
        _check_order(value or [], order, rule.merge_key)
        if not in_original and not in_patch:
            continue
        if not in_original:
            result = list(value or [])
        elif not in_patch:
            result = list(held or [])
        else:
            result = _merge_or_replace(held or [], value or [], rule, options, is_deletion=False)
        server = _server_order(held or [], value or [], rule.merge_key)
        merged[field] = _arranged(result, order, server, rule.merge_key)
        patch.pop(field, None)


def _server_order(held: list[Any], patch: list[Any], merge_key: str) -> list[Any]:
    """The list that places are looked up in: the held one, where new elements stand in the slots of deleted ones.

    (The original deletes and appends in the array that it then asks.)
    """
    if not merge_key or any(item.get(DIRECTIVE) == "replace" for item in patch):
        return held
    gone = [_key_of(item, merge_key) for item in patch if item.get(DIRECTIVE) == "delete"]
    kept = [item for item in held if not any(same(item.get(merge_key), key) for key in gone)]
    known = [item.get(merge_key) for item in kept]
    new = [i for i in patch if DIRECTIVE not in i and not any(same(i.get(merge_key), key) for key in known)]
    return [*kept, *new][: len(held)]


def _keep_order(merged: Object, key: str, order: Any) -> None:
    if key in merged and not same(merged[key], order):
        raise StrategicMergeError("invalid patch format of setElementOrder list")
    merged[key] = order


def _check_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's elements must appear in the order list, in that order."""
    if merge_key:
        for at, item in enumerate(order):
            if not isinstance(item, Mapping):
                raise StrategicMergeError(f"value for key {at} is not a map")
        wanted = [_key_of(item, merge_key) for item in order]
    else:
        wanted = order
    if not patch or not order:
        return
    kept = [item for item in patch if not (isinstance(item, Mapping) and item.get(DIRECTIVE) == "delete")]
    remaining = iter(wanted)
    for item in kept:
        value = _key_of(item, merge_key) if merge_key else item
        if not any(same(candidate, value) for candidate in remaining):
            raise StrategicMergeError(
                f"The order in patch list:\n{sprint(patch)}\n doesn't match {ORDER} list:\n{sprint(order)}\n"
            )


def _merge_list(original: list[Any], patch: list[Any], rule: Rule, options: Options, is_deletion: bool) -> list[Any]:
    if not original and not patch:
        return original
    if not _elements_are_maps(original, patch):
        if is_deletion and options.applies:
            return [item for item in original if not any(same(item, gone) for gone in patch)]
        merged, keyed = _unique([*original, *patch]), ""
    else:
        keyed = rule.merge_key
        if not keyed:
            raise StrategicMergeError("cannot merge lists without merge key for type")
        original, patch = _carry_out_elements(original, patch, keyed)
        merged = _merge_elements(original, patch, rule, options)
    return _arranged(merged, patch, original, keyed)


def _elements_are_maps(original: list[Any], patch: list[Any]) -> bool:
    """All elements of both lists must be of one kind; says whether that is "map"."""
    kinds = {_kind(item) for item in (*original, *patch)}
    if len(kinds) > 1:
        raise StrategicMergeError(f"list element types are not identical: [{sprint(original)} {sprint(patch)}]")
    return kinds == {"map"}


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "map"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def _carry_out_elements(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """Carries out elements that carry ``$patch``; returns what then is left of both lists."""
    plain: list[Any] = []
    replaces = False
    for item in patch:
        directive = item.get(DIRECTIVE)
        if DIRECTIVE not in item:
            plain.append(item)
        elif directive == "delete":
            gone = _key_of(item, merge_key)
            original = [held for held in original if not same(held.get(merge_key), gone)]
        elif directive == "replace":
            replaces = True
        elif directive == "merge":
            raise StrategicMergeError("merging lists cannot yet be specified in the patch")
        else:
            raise StrategicMergeError(f"unknown patch type: {sprint(directive)} in map: {sprint(dict(item))}")
    return (plain, []) if replaces else (original, plain)


def _merge_elements(original: list[Any], patch: list[Any], rule: Rule, options: Options) -> list[Any]:
    merged = list(original)
    for item in patch:
        wanted = _key_of(item, rule.merge_key)
        at = next((n for n, held in enumerate(merged) if same(held.get(rule.merge_key), wanted)), None)
        if at is None:
            merged.append(item)
        else:
            merged[at] = _merge_map(merged[at], item, rule.inner, options)
    return merged


def _arranged(merged: list[Any], patch_order: list[Any], server_order: list[Any], merge_key: str) -> list[Any]:
    """The patch's elements in its order, the others in the server's, woven together as the server had them."""

    def key(item: Any) -> Any:
        return _key_of(item, merge_key) if merge_key else item

    def place(item: Any, order: list[Any]) -> int:
        wanted = key(item)
        return next((n for n, other in enumerate(order) if same(key(other), wanted)), -1)

    mine = sorted((i for i in merged if place(i, patch_order) >= 0), key=lambda i: place(i, patch_order))
    others = sorted((i for i in merged if place(i, patch_order) < 0), key=lambda i: place(i, server_order))
    woven: list[Any] = []
    while mine and others:
        left, right = place(others[0], server_order), place(mine[0], server_order)
        woven.append(others.pop(0) if left >= 0 and right >= 0 and left < right else mine.pop(0))
    return [*woven, *mine, *others]


def _key_of(item: Mapping[str, Any], merge_key: str) -> Any:
    if merge_key not in item:
        raise StrategicMergeError(f"map: {sprint(dict(item))} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _unique(items: list[Any]) -> list[Any]:
    """Each scalar once, where it stands last."""
    found: list[Any] = []
    for item in reversed(items):
        if not any(same(item, other) for other in found):
            found.append(item)
    return found[::-1]


def _named(key: str, prefix: str) -> str:
    """The field behind ``prefix/``."""
    head, slash, field = key.partition("/")
    if head != prefix or not slash or not field:
        raise StrategicMergeError(f"invalid {prefix} directive: {key}")
    return field


def _set_fresh(merged: Object, key: str, value: Any, options: Options) -> None:
    """A value where there was none, or one of another kind: directives and nulls have nothing to work on."""
    fresh = _fresh(value) if options.applies else value
    if fresh is not ABSENT:
        merged[key] = fresh


def _fresh(value: Any) -> Any:
    """The value without nulls and without maps that carry ``$patch`` (ABSENT).

    As in the original the other directives stay; they are unknown fields to whoever reads the object.
    """
    if isinstance(value, Mapping):
        if DIRECTIVE in value:
            return ABSENT
        members = {key: _fresh(member) for key, member in value.items() if member is not None}
        return {key: member for key, member in members.items() if member is not ABSENT}
    if isinstance(value, list):
        return [item for item in map(_fresh, value) if item is not ABSENT]
    return value
