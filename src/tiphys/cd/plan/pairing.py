"""Which live object belongs to which target.

Hooks and ignorable objects leave the list of targets; what is left over of the live objects is extra. Where it is not
known whether a kind has namespaces, both keys are tried: a live object that is not found would be pruned.
Source: gitops-engine pkg/sync/reconcile.go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tiphys.cd.plan.markers import is_hook, is_ignorable
from tiphys.cd.plan.objects import Object, ResourceKey, gvk_of, key_of, metadata_of, name_of, namespace_of

IsNamespaced = Callable[[str, str], bool | None]
"""Says of a group and kind whether it has namespaces; None: not known."""


@dataclass(frozen=True)
class Pairing:
    """``pairs`` are targets with their live objects (None: to be made), then live objects without a target."""

    pairs: Sequence[tuple[Object | None, Object | None]]
    hooks: Sequence[Object]


def paired(
    targets: Sequence[Object], live: Mapping[ResourceKey, Object], namespace: str, is_namespaced: IsNamespaced
) -> Pairing:
    """``namespace`` is that of targets which name none."""
    wanted = [obj for obj in targets if not is_ignorable(obj)]
    hooks = [obj for obj in wanted if is_hook(obj)]
    plain = [obj for obj in wanted if not is_hook(obj)]
    left = _without_doubles(plain, live)
    pairs: list[tuple[Object | None, Object | None]] = []
    for target in plain:
        key = next((key for key in _keys(target, namespace, is_namespaced) if key in left), None)
        pairs.append((target, left.pop(key) if key is not None else None))
    pairs += [(None, extra) for extra in left.values()]
    return Pairing(pairs, hooks)


def _keys(target: Object, namespace: str, is_namespaced: IsNamespaced) -> list[ResourceKey]:
    gvk = gvk_of(target)
    known = is_namespaced(gvk.group, gvk.kind)
    keys = []
    if known is not False:
        keys.append(ResourceKey(gvk.group, gvk.kind, namespace_of(target) or namespace, name_of(target)))
    if known is not True:
        keys.append(ResourceKey(gvk.group, gvk.kind, "", name_of(target)))
    return keys


def _without_doubles(targets: Sequence[Object], live: Mapping[ResourceKey, Object]) -> dict[ResourceKey, Object]:
    """One object may be served in several groups: of those with one uid, what is in Git stays, and at least one."""
    in_git = {key_of(target) for target in targets}
    by_uid: defaultdict[str, list[ResourceKey]] = defaultdict(list)
    for key, obj in live.items():
        if metadata_of(obj).get("uid"):
            by_uid[str(metadata_of(obj)["uid"])].append(key)
    left = dict(live)
    for doubles in by_uid.values():
        count = len(doubles)
        for key in doubles:
            if count > 1 and key not in in_git:
                del left[key]
                count -= 1
    return left
