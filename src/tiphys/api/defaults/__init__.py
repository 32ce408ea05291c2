"""What the API server fills in: the built-in kinds' defaults, version by version.

    defaulted(obj)     decoded as its Go type, defaulted, encoded again
    stored(obj)        that, after the trip through the server's internal type: what is really kept
    empty(version, kind)   the zero object, against which a first write is compared

A defaulting function takes the object in normal form (``tiphys.api.decode``; never shared) and changes it in place, as
the original's ``SetDefaults_*`` do; source: Kubernetes 1.34 ``pkg/apis/*/v*/defaults.go``, judged by ``golden/kube``
(defaulting).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.api import decode, kube_messages
from tiphys.api.defaults import apps, batch, core, internal, others

Object = dict[str, Any]
Defaulter = Callable[[Object], None]

_DEFAULTERS: dict[str, Defaulter] = core.DEFAULTERS | apps.DEFAULTERS | batch.DEFAULTERS | others.DEFAULTERS


def defaulted(obj: Object) -> Object:
    """``obj`` as the server would read it. Raises ``decode.DecodeError`` for values of a wrong type, KeyError for a
    kind that is not built in."""
    api_version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    return _settled(api_version, kind, obj, apply)


def stored(obj: Object) -> Object:
    """As ``defaulted``, and what the conversion to the internal type and back adds. Same errors."""

    def settle(api_version: str, kind: str, normal: Object) -> None:
        apply(api_version, kind, normal)
        internal.convert(kind, normal)

    return _settled(str(obj.get("apiVersion", "")), str(obj.get("kind", "")), obj, settle)


def empty(api_version: str, kind: str) -> Object:
    """The zero object of a kind. Raises KeyError for a kind that is not built in."""
    return _settled(api_version, kind, {"apiVersion": api_version, "kind": kind}, lambda *_: None)


def _settled(api_version: str, kind: str, obj: Object, settle: Callable[[str, str, Object], None]) -> Object:
    found = kube_messages.message_of(api_version, kind)
    if found is None:
        raise KeyError(f"{api_version}/{kind}")
    normal: Object = decode.decode(found.name, obj).value
    settle(api_version, kind, normal)
    encoded: Object = decode.pruned(found.name, normal)
    return encoded


def apply(api_version: str, kind: str, normal: Object) -> None:
    """Fills in the defaults of one object (or of each item of a list) in place."""
    if kind.endswith("List") and isinstance(normal.get("items"), list):
        for item in normal["items"]:
            apply(api_version, kind.removesuffix("List"), item)
        return
    if defaulter := _DEFAULTERS.get(f"{api_version}/{kind}"):
        defaulter(normal)
