"""Columns line up, and nothing is lost in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiphys.cli import columns

CELLS = st.text("ab✔│ 漢\u0301", max_size=8)
COLOURED = CELLS.map(lambda text: f"\x1b[32m{text}\x1b[0m")


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_every_column_starts_at_one_place(lines: list[list[str]]) -> None:
    for column in range(len(lines[0])):
        starts = {columns.width("".join(padded[:column])) for padded in padded_cells(lines)}
        assert len(starts) == 1


def padded_cells(lines: list[list[str]]) -> list[list[str]]:
    """Each line's cells with the blanks behind them, found again in the aligned text."""
    out = []
    for cells, text in zip(lines, columns.align(lines), strict=True):
        parts = []
        for index, cell in enumerate(cells):
            assert text.startswith(cell)
            rest = text[len(cell) :]
            if index == len(cells) - 1:
                assert not rest
                parts.append(cell)
                continue
            widest = max(columns.width(line[index]) for line in lines) + 2
            blanks = widest - columns.width(cell)
            assert rest[:blanks] == " " * blanks
            parts.append(cell + rest[:blanks])
            text = rest[blanks:]
        out.append(parts)
    return out


@given(st.one_of(CELLS, COLOURED), st.integers(1, 12))
def test_clipped_text_fits(text: str, places: int) -> None:
    clipped = columns.clip(text, places)
    assert columns.width(clipped) <= places
    assert clipped == text or columns.width(text) > places
