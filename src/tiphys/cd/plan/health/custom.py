"""Users' own health checks: Lua scripts of the configuration (``resource.customizations.health.<group_kind>``).

An exact kind beats a pattern. A script that returns nothing says nothing (an empty status); one that returns anything
but a known status makes the health Unknown, one that fails is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from tiphys.cd.plan.health.verdict import HEALTH_ORDER, Health, HealthError, HealthStatus
from tiphys.cd.plan.objects import Object, gvk_of
from tiphys.lang import globs, lua

_SCRIPT: Final = "health.lua"
_OPEN_LIBRARIES: Final = "health.lua.useOpenLibs"


@dataclass(frozen=True)
class CustomHealth:
    """A check by the overrides of the configuration; ``now`` is the time that scripts see."""

    overrides: Mapping[str, Mapping[str, Any]]
    now: datetime

    def __call__(self, obj: Object) -> Health | None:
        """None where no script is meant for the kind. Raises HealthError."""
        override = self._override(obj)
        if override is None:
            return None
        try:
            returned = lua.run(
                override[_SCRIPT], {"obj": obj, "actionParams": {}}, self.now,
                open_libraries=bool(override.get(_OPEN_LIBRARIES)),
            )  # fmt: skip
        except lua.LuaError as err:
            raise HealthError(str(err)) from err
        return _verdict(returned)

    def _override(self, obj: Object) -> Mapping[str, Any] | None:
        gvk = gvk_of(obj)
        key = f"{gvk.group}/{gvk.kind}" if gvk.group else gvk.kind
        exact = self.overrides.get(key)
        if exact is not None and exact.get(_SCRIPT):
            return exact
        fitting = (o for pattern, o in self.overrides.items() if o.get(_SCRIPT) and globs.fits(pattern, key))
        return next(fitting, None)


def _verdict(returned: lua.Returned) -> Health:
    if returned.kind == "nil" or returned.value == []:
        return Health("")
    if returned.kind != "table":
        raise HealthError(f"expect table output from Lua script, not {returned.kind}")
    if not isinstance(returned.value, dict):
        return Health("")
    status, message = returned.value.get("status", ""), returned.value.get("message", "")
    for name, value in (("status", status), ("message", message)):
        if not isinstance(value, str):
            kind = "number" if isinstance(value, int | float) and not isinstance(value, bool) else _kind(value)
            field = (
                f"Go struct field HealthStatus.{name} of type "
                + ("health.HealthStatusCode", "string")[name == "message"]
            )
            raise HealthError(f"json: cannot unmarshal {kind} into {field}")
    if status not in HEALTH_ORDER:
        return Health("Unknown", "Lua returned an invalid health status")
    return Health(cast(HealthStatus, status), message)


def _kind(value: Any) -> str:
    return {bool: "bool", list: "array", dict: "object"}.get(type(value), "null")
