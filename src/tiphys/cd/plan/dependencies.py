"""Applications that wait for others: ``tiphys.argoproj.io/depends-on: one, namespace/another``.

A sync begins when each of them is Synced and Healthy. An application that waits for itself, also by way of others,
would wait for ever: that is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tiphys.cd.plan.objects import annotations_of, name_of, namespace_of
from tiphys.cd.plan.spec import parse_qualified
from tiphys.machinery.resources import ObjectKey

DEPENDS_ON: Final = "tiphys.argoproj.io/depends-on"

Find = Callable[[ObjectKey], Mapping[str, Any] | None]


class CircleError(ValueError):
    """Applications that wait for each other."""


def dependencies(app: Mapping[str, Any]) -> list[ObjectKey]:
    """The applications that this one waits for; those without a namespace live beside it."""
    texts = [text.strip() for text in str(annotations_of(app).get(DEPENDS_ON) or "").split(",")]
    found = (parse_qualified(text, namespace_of(app)) for text in texts if text)
    return [ObjectKey(namespace, name) for name, namespace in found]


def waits_for(app: Mapping[str, Any], find: Find) -> list[tuple[ObjectKey, str]]:
    """The applications that are not ready yet, and what each lacks. Raises CircleError."""
    _check_circles(app, find)
    return [(key, lack) for key in dependencies(app) if (lack := _lack(find(key)))]


def _lack(app: Mapping[str, Any] | None) -> str:
    if app is None:
        return "it does not exist"
    status = app.get("status") or {}
    sync, health = ((status.get(part) or {}).get("status") or "Unknown" for part in ("sync", "health"))
    return "" if (sync, health) == ("Synced", "Healthy") else f"it is {sync} and {health}"


def _check_circles(app: Mapping[str, Any], find: Find) -> None:
    start = ObjectKey(namespace_of(app), name_of(app))
    ways: list[tuple[ObjectKey, tuple[ObjectKey, ...]]] = [(key, (start, key)) for key in dependencies(app)]
    seen = {start}
    while ways:
        key, way = ways.pop()
        if key == start:
            raise CircleError("applications wait for each other: " + " → ".join(each.name for each in way))
        if key in seen:
            continue
        seen.add(key)
        ways += [(each, (*way, each)) for each in dependencies(find(key) or {})]
