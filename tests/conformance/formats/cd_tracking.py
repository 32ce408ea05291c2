"""Tracking of resources by label and annotation: set, get, parse, remove, truncate, normalize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan import tracking

Given = Mapping[str, Any]


def ask(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    return answer(lambda: _OPS[given["op"]](given), tracking.TrackingError)


def _set(given: Given) -> Any:
    method, key, installation = given["method"], given.get("key", tracking.INSTANCE_LABEL), _installation(given)
    obj = tracking.tracked(given["object"], given["app"], given["namespace"], method, key, installation)
    return {"object": obj, "readBack": tracking.application_of(obj, method, key, installation)}


def _get(given: Given) -> Any:
    method, installation = given["method"], _installation(given)
    named = method in (tracking.ANNOTATION, tracking.BOTH)
    found = tracking.id_of(given["object"], installation) if named else None
    name = tracking.application_of(given["object"], method, installation=installation)
    return {"appName": name, "instance": _shown(found)}


def _parse(given: Given) -> Any:
    found = tracking.parse(given["value"])
    return {"value": _shown(found), "rebuilt": str(found)}


def _normalize(given: Given) -> Any:
    live = tracking.normalized(given["object"], given["live"], given["method"])
    return {"config": given["object"], "live": live}


def _installation(given: Given) -> str:
    return str(given.get("installationID", ""))


def _shown(found: tracking.TrackingId | None) -> Any:
    if found is None:
        return None
    names = ("ApplicationName", "Group", "Kind", "Namespace", "Name")
    return dict(zip(names, found, strict=True))


_OPS = {
    "set": _set,
    "get": _get,
    "parse": _parse,
    "remove": lambda given: {"object": tracking.untracked(given["object"], given["method"])},
    "truncate": lambda given: tracking.truncated(given["value"]),
    "normalize": _normalize,
}


def same(expected: Answer, got: Answer, row: Mapping[str, Any]) -> bool:
    return got == ({"error": row["error"]} if "error" in row else expected)


def recognised(given: Mapping[str, Any]) -> bool:
    if given.get("op") not in _OPS:
        return False
    return given.keys() == {"op", "value"} or {"object", "method"} <= given.keys()


FORMATS = (Format("cd tracking", lambda s: all_rows(s.rows, recognised), judge_named(ask, same)),)
