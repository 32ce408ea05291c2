"""The health corpus: every case of other projects' kinds."""

from __future__ import annotations

import pytest

from tests.conformance.cd_health_corpus import cases
from tests.conformance.golden import corpus


def test_every_case_of_the_health_corpus() -> None:
    place = corpus()
    if place is None or not (place / "cd" / "health").is_dir():
        pytest.skip("the corpus is not here")
    rows = list(cases(place / "cd" / "health"))
    assert len(rows) > 100
    wrong = [f"{row.name}: {row.expected} != {row.got}" for row in rows if not row.ok]
    assert not wrong, "\n".join(wrong)
