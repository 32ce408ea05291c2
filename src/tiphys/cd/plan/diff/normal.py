"""Differences that mean nothing, whatever the user says: of Secrets, aggregated roles, endpoints, and empty lists."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tiphys.cd.plan.diff.endpoints import ordered_subsets
from tiphys.cd.plan.objects import Object, gvk_of, without
from tiphys.cd.plan.typed import misfit

_SECRET = "k8s.io.api.core.v1.Secret"
_ENDPOINTS = "k8s.io.api.core.v1.Endpoints"


def normal(obj: Object, *, ignores_aggregated_roles: bool = False) -> Object:
    """The object without them; ``creationTimestamp`` is dropped too, which exports set to null."""
    obj = without(obj, "metadata", "creationTimestamp")
    match gvk_of(obj):
        case ("", _, "Secret"):
            return normal_secret(obj)
        case ("rbac.authorization.k8s.io", _, "ClusterRole" | "Role"):
            return _role(obj, ignores_aggregated_roles)
        case ("", _, "Endpoints"):
            return _endpoints(obj)
    return obj


def normal_secret(obj: Object) -> Object:
    """``stringData`` becomes ``data``; null values become empty ones. Other objects stay as they are."""
    gvk = gvk_of(obj)
    if gvk.group or gvk.kind != "Secret":
        return obj
    plain = obj.get("stringData")
    if isinstance(plain, Mapping):
        data = obj.get("data")
        held = dict(data) if isinstance(data, Mapping) else {}
        # What is no text is taken over as it is: the apply then says that it is wrong.
        held |= {key: _encoded(value) for key, value in plain.items()}
        obj = {**{name: value for name, value in obj.items() if name != "stringData"}, "data": held}
    data = obj.get("data")
    if not isinstance(data, Mapping) or misfit(obj, _SECRET) is not None:
        return obj
    return {**obj, "data": {key: _as_written(value) for key, value in data.items()}}


def _as_written(value: Any) -> str:
    """Base64 as Go writes it: reading overlooks line breaks."""
    text = "".join((value or "").split("\n")).replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except ValueError:
        return str(value)


def _encoded(value: Any) -> Any:
    return base64.b64encode(value.encode()).decode() if isinstance(value, str) else value


def _role(obj: Object, ignores_aggregated: bool) -> Object:
    """Rules of an aggregated role are written by a controller; an empty list of rules is none."""
    aggregated = ignores_aggregated and isinstance(obj.get("aggregationRule"), Mapping)
    return {**obj, "rules": None} if aggregated or obj.get("rules") == [] else obj


def _endpoints(obj: Object) -> Object:
    """Subsets in the order in which the endpoints controller writes them."""
    subsets = obj.get("subsets")
    if not isinstance(subsets, list) or misfit(obj, _ENDPOINTS) is not None:
        return obj
    return {**obj, "subsets": ordered_subsets(subsets)}
