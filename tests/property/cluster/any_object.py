"""Objects that may come from anywhere: after their type's schema mostly, now and then with nothing or with something
else in a place. One seed, one object.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

Schema = Mapping[str, Any]

_DEPTH_MAX: Final = 9
# How often there is nothing, or something of another type, in a place: some objects are all right.
_SPOILED: Final = ((0.0, 0.0), (0.02, 0.0), (0.05, 0.03), (0.2, 0.1))
_TEXTS: Final = (
    "", "a", "web", "a-b", "A", "a/b", "a.b/c", "*", "1", "80", "10Mi", "100m", "-5", "1e9", "50%", "150%", "http",
    "TCP", "Always", "Never", "Exists", "In", "v1", "apps/v1", "Pod", "default", "kube-system", "1.2.3.4", "::1",
    "10.0.0.0/8", "2026-01-01T00:00:00Z", "* * * * *", "$(A)", "self.a > 1", "/x", "/", "..", "é", "\x00", "a" * 70,
    "YQ==", "{", "&", "%s", "None", "ClusterIP", "ExternalName", "IPv4", "RollingUpdate", "object", "string", "array",
)  # fmt: skip
_NUMBERS: Final = (0, 1, 2, 3, 80, 443, 30000, 65536, -1, 1000, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63))
_PARAMETERS: Final = (
    "allowWatchBookmarks", "continue", "dryRun", "fieldManager", "fieldSelector", "fieldValidation", "force",
    "gracePeriodSeconds", "includeObject", "labelSelector", "limit", "orphanDependents", "propagationPolicy",
    "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
_VALUES: Final = (
    "true", "false", "All", "Strict", "Exact", "NotOlderThan", "Background", "Orphan", "metadata.name=x", "a in (b,c)",
    "!a", "a=b,c!=d", "spec.nodeName!=", "é=é", "eyJ2IjoxfQ", "eyJydiI6MSwic3RhcnQiOiIifQ", "null", "1.5", "9" * 40,
)  # fmt: skip
_OTHERS: Final[tuple[Any, ...]] = (
    None,
    "",
    "x",
    0,
    -1,
    1.5,
    1e300,
    True,
    [],
    {},
    [None],
    [{}],
    {"": None},
    {"a": {"b": []}},
    [[]],
)


class AnyObject:
    """``definitions`` are the schemas that others refer to by ``#/components/schemas/NAME``."""

    def __init__(self, definitions: Mapping[str, Schema], seed: int) -> None:
        self._definitions = definitions
        self._rng = random.Random(seed)
        self._nothing, self._other = self._rng.choice(_SPOILED)

    def of(self, schema: Schema, depth: int = 0) -> Any:
        chance = self._rng.random()
        if depth and chance < self._nothing:
            return None
        if depth and chance < self._nothing + self._other:
            return self._rng.choice(_OTHERS)
        schema = self._resolved(schema)
        if schema.get("x-kubernetes-int-or-string"):
            return self._rng.choice(self._rng.choice((_TEXTS, _NUMBERS)))
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                count = self._rng.choice((0, 1, 1, 1, 2)) if depth < _DEPTH_MAX else 0
                return [self.of(schema.get("items") or {}, depth + 1) for _ in range(count)]
            case "string":
                return self._rng.choice(self._words(schema))
            case "integer" | "number":
                return self._rng.choice(_NUMBERS)
            case "boolean":
                return self._rng.random() < 0.5
        return self._rng.choice(_OTHERS)

    def query(self) -> dict[str, str]:
        """Parameters of a request, most of them wrong."""
        names = self._rng.sample(_PARAMETERS, self._rng.randint(0, 3))
        return {name: self._rng.choice((*_TEXTS, *_VALUES)) for name in names}

    def patch(self, obj: Any) -> list[dict[str, Any]]:
        """A JSON patch for an object: places that it has, and some that it has not."""
        paths = [*_paths(obj), "/nowhere", "/a/b", "", "/spec/-"]
        ops = ("add", "remove", "replace", "move", "copy", "test")
        return [
            {
                "op": self._rng.choice(ops),
                "path": self._rng.choice(paths),
                "from": self._rng.choice(paths),
                "value": self._rng.choice(_OTHERS),
            }
            for _ in range(self._rng.randint(1, 3))
        ]

    def _words(self, schema: Schema) -> Sequence[Any]:
        known = schema.get("enum")
        return known if known and self._rng.random() < 0.8 else _TEXTS

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(_DEPTH_MAX):
            inner = schema.get("allOf") or ()
            reference = schema.get("$ref") or (inner[0].get("$ref") if inner else None)
            if not reference:
                break
            schema = self._definitions[reference.rpartition("/")[2]]
        return schema

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if depth >= _DEPTH_MAX:
            return found
        properties, required = schema.get("properties") or {}, schema.get("required") or ()
        often = min(0.9, 4 / max(len(properties), 1))
        for name, inner in properties.items():
            if self._rng.random() < (0.9 if name in required or depth == 0 else often):
                found[name] = self.of(inner, depth + 1)
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping):
            for _ in range(self._rng.choice((0, 1, 1, 2))):
                found[self._rng.choice(_TEXTS)] = self.of(others, depth + 1)
        return found


def _paths(value: Any, prefix: str = "") -> list[str]:
    members: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    found = [prefix] if prefix else []
    for key, member in members:
        found += _paths(member, f"{prefix}/{str(key).replace('~', '~0').replace('/', '~1')}")
    return found
