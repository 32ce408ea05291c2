"""golden/kube defaulting: an object as sent → as the server would store it, or the decoder's error.

``afterInternal``, where a row has it, is what is stored after the conversion to the internal type. Left out on purpose:
the Go source line in the text about unknown kinds, where ours names kind and version.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.api import defaults
from tiphys.api.decode import DecodeError


def recognises(sample: Sample) -> bool:
    """Objects in, the same kind of object out."""
    return all(isinstance(row.get("in"), dict) for row in sample.rows) and any(
        isinstance(row.get("out"), dict) and "kind" in row["out"] and row["out"]["kind"] == row["in"].get("kind")
        for row in sample.rows
    )


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        expected = row["error"] if "error" in row else row["out"]
        got = answer(row["in"])
        same = got == expected
        if isinstance(got, str) and "error" in row:
            same = same or names_the_kind(got, row["error"])
        if same and "afterInternal" in row:
            expected, got = row["afterInternal"], defaults.stored(row["in"])
            same = got == expected
        yield Row(row["name"], same, expected, got)


def answer(obj: dict[str, Any]) -> Any:
    try:
        return defaults.defaulted(obj)
    except DecodeError as err:
        return str(err)
    except KeyError as err:
        return f"no kind {err.args[0]}"


def names_the_kind(got: str, expected: str) -> bool:
    return got.startswith("no kind ") and (" is registered for version " in expected or "'Kind' is missing" in expected)


FORMATS = (Format("defaulting", recognises, judge),)
