"""Go templates over data, as the ApplicationSet controller runs them, and its mode of plain tags.

Rows are ``{in, data, options?}``, or ``{api: "fasttemplate", in, data}``, with ``out`` or ``error`` and the stage of
the error. The whole text is compared, of errors too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import name, recorded
from tests.conformance.golden import Format, Row, Sample
from tiphys.lang.gotemplate import ExecError, OptionError, ParseError, appset

_KEYS = frozenset(("api", "in", "data", "options", "out", "error", "errorKind"))


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(
        {"in", "data"} <= row.keys() <= _KEYS
        and row.get("api") in (None, "fasttemplate")
        and isinstance(row.get("out", ""), str)
        and ("out" in row or "error" in row)
        for row in sample.rows
    )


def answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the template gives, or its error and stage."""
    try:
        if row.get("api") == "fasttemplate":
            return {"out": appset.replace_tags(row["in"], row["data"])}
        return {"out": appset.render(row["in"], row["data"], row.get("options", ()))}
    except ParseError as err:
        return {"error": str(err), "errorKind": "compile"}
    except ExecError as err:
        return {"error": str(err), "errorKind": "run"}
    except OptionError as err:
        return {"error": str(err), "errorKind": "panic"}


def judge(sample: Sample) -> Iterable[Row]:
    for index, row in enumerate(sample.rows):
        expected = recorded(row) | ({"errorKind": row["errorKind"]} if "errorKind" in row else {})
        got = answer(row)
        yield Row(name(index, row), got == expected, {**row, **expected}, got)


FORMATS = (Format("go-templates", recognises, judge),)
