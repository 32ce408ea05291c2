"""The parts of an action, and edits of nested objects that leave the original as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]
Path = Sequence[str]


class ActionError(ValueError):
    """The action cannot be run on this object; the text says why and names the field."""


@dataclass(frozen=True)
class Impact:
    """``operation`` is patch (the object itself, changed) or create."""

    operation: str
    resource: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """What an action gets: the object, its parameters by name, and the moment."""

    object: Object
    parameters: Mapping[str, str]
    now: datetime

    @property
    def stamp(self) -> str:
        """The moment as annotations hold it."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def number(self, name: str) -> int | float:
        """A parameter that must be a number. Raises `ActionError`."""
        text = self.parameters.get(name)
        if text is None:
            raise ActionError(f"parameter {name} is required")
        try:
            value = float(text)
        except ValueError:
            raise ActionError(f"invalid number: {text}") from None
        return int(value) if value.is_integer() else value


Run = Callable[[Call], "list[Impact] | dict[str, Any]"]
Test = Callable[[Object], bool]


def never(_: Object) -> bool:
    return False


def always(_: Object) -> bool:
    return True


@dataclass(frozen=True)
class Action:
    """``run`` answers the changed object or a list of impacts. An action that is not ``shown`` may still be run."""

    name: str
    run: Run
    shown: Test = always
    disabled: Test = never
    display: str = ""
    icon: str = ""
    parameters: Sequence[str] = ()

    def described(self, obj: Object) -> dict[str, Any]:
        """As the API lists it: empty fields left out."""
        fields = {
            "name": self.name,
            "disabled": self.disabled(obj),
            "iconClass": self.icon,
            "displayName": self.display,
            "params": [{"name": name} for name in self.parameters],
        }
        return {name: value for name, value in fields.items() if value}


def get(obj: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path, the default where something on the way is missing."""
    for step in path.split("."):
        if not isinstance(obj, Mapping) or obj.get(step) is None:
            return default
        obj = obj[step]
    return obj


def annotation(obj: Object, name: str) -> Any:
    return get(obj, "metadata.annotations", {}).get(name)


def label(obj: Object, name: str) -> Any:
    return get(obj, "metadata.labels", {}).get(name)


def put(obj: Object, path: Path, value: Any, *, missing: int = 0) -> dict[str, Any]:
    """A copy with a value at a path. Maps are made where at most the last ``missing`` of the path's maps are not there.

    Raises `ActionError` naming the field that is missing.
    """
    return _changed(obj, path, 0, missing, lambda held: {**held, path[-1]: value})


def without(obj: Object, path: Path) -> dict[str, Any]:
    """A copy without the value at a path; the same where there is none."""
    if get(obj, ".".join(path[:-1]), None if len(path) > 1 else {}) is None:
        return dict(obj)
    return _changed(obj, path, 0, 0, lambda held: {key: held[key] for key in held if key != path[-1]})


def _changed(
    obj: Object, path: Path, level: int, missing: int, change: Callable[[Object], dict[str, Any]]
) -> dict[str, Any]:
    if level == len(path) - 1:
        return change(obj)
    inner = obj.get(path[level])
    if not isinstance(inner, Mapping):
        if inner is not None or len(path) - 1 - level > missing:
            raise ActionError(f"{'.'.join(path[: level + 1])}: the object has no such field")
        inner = {}
    return {**obj, path[level]: _changed(inner, path, level + 1, missing, change)}


def annotate(name: str, value: Callable[[Call], str]) -> Run:
    """Sets an annotation of the object."""
    return lambda call: put(call.object, ("metadata", "annotations", name), value(call), missing=1)


def set_to(value: Any, *path: str) -> Run:
    """Sets a field."""
    return lambda call: put(call.object, path, value)


def lift(*path: str) -> Run:
    """Sets a field to false where it is true."""
    return lambda call: put(call.object, path, False) if get(call.object, ".".join(path)) else dict(call.object)
