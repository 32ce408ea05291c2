"""sprig's functions, called by an expression (``via: expr``) or by a Go template (``via: gotemplate``).

The answers are those of the two languages and are judged as theirs: value, kind and Go type, the text and stage of
errors.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.conformance.formats import expressions, go_templates
from tests.conformance.formats._calls import name
from tests.conformance.golden import Format, Row, Sample

_ANSWER = ("out", "type", "goType", "error", "errorKind")


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(row.get("via") in ("expr", "gotemplate") for row in sample.rows)


def judge(sample: Sample) -> Iterable[Row]:
    for index, row in enumerate(sample.rows):
        expected = {key: row[key] for key in _ANSWER if key in row}
        got = expressions.answer(row) if row["via"] == "expr" else go_templates.answer({"data": {}, **row})
        yield Row(name(index, row), got == expected, {**row}, got)


FORMATS = (Format("sprig", recognises, judge),)
