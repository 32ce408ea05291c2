"""The two conditions of a CronWorkflow: ``spec.when`` and ``spec.stopStrategy.expression``.

Both see ``cronworkflow.name``, ``.namespace``, ``.labels``, ``.annotations``, ``.failed``, ``.succeeded`` and
``.lastScheduledTime``. ``when`` is govaluate after its tags are replaced; the stop expression is expr-lang. As in the
original, annotations are the *labels* in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.lang import gojson, tags
from tiphys.lang.expr import ExprError, eval_bool
from tiphys.lang.govaluate import should_schedule
from tiphys.lang.govalues import Int64, StringMap
from tiphys.lang.moments import parse

PREFIX = "cronworkflow."
_RFC3339 = "2006-01-02T15:04:05Z07:00"


class ConditionError(ValueError):
    """A stop expression that cannot be evaluated; the message is the original's."""


def may_start(cron: Mapping[str, Any]) -> bool:
    """Whether ``spec.when`` lets a run start now. Raises TagError and GovaluateError."""
    when = str((cron.get("spec") or {}).get("when") or "")
    if not when:
        return True
    return should_schedule(tags.replace_raw(when, variables(cron), allow_unresolved=False))


def should_stop(cron: Mapping[str, Any]) -> bool:
    """Whether the stop strategy says that no more runs start. Raises ConditionError."""
    strategy = (cron.get("spec") or {}).get("stopStrategy")
    if strategy is None:
        return False
    inner = {name.removeprefix(PREFIX): value for name, value in variables(cron).items()}
    try:
        return eval_bool(str(strategy.get("expression") or ""), {PREFIX[:-1]: inner})
    except ExprError as err:
        raise ConditionError(f"failed to evaluate stop expression: {err}") from err


def variables(cron: Mapping[str, Any]) -> dict[str, Any]:
    """What the conditions see, by full name: strings, counters as int64, maps, JSON as bytes, a moment or None."""
    metadata, status = cron.get("metadata") or {}, cron.get("status") or {}
    labels = metadata.get("labels")
    last = status.get("lastScheduledTime")
    return {
        f"{PREFIX}name": str(metadata.get("name") or ""),
        f"{PREFIX}namespace": str(metadata.get("namespace") or ""),
        f"{PREFIX}labels": StringMap(labels or {}),
        f"{PREFIX}annotations": StringMap(labels or {}),
        f"{PREFIX}labels.json": gojson.dump_bytes(labels),
        f"{PREFIX}annotations.json": gojson.dump_bytes(metadata.get("annotations")),
        f"{PREFIX}failed": Int64(status.get("failed") or 0),
        f"{PREFIX}succeeded": Int64(status.get("succeeded") or 0),
        f"{PREFIX}lastScheduledTime": parse(_RFC3339, last) if last else None,
    }
