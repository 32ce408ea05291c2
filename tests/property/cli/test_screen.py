"""Whatever is drawn after whatever: the terminal shows all that was printed above, then the last block."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiphys.cli.screen import Screen
from tools.terminal import Terminal

WORDS = st.lists(st.text("abc│ ", min_size=1, max_size=6).map(lambda w: w + "."), max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from(["draw", "above"]), WORDS), max_size=12)


@given(STEPS)
def test_the_terminal_shows_the_history_and_the_last_block(steps: list[tuple[str, list[str]]]) -> None:
    terminal = Terminal()
    history: list[str] = []
    block: list[str] = []
    with Screen(terminal) as screen:
        for step, lines in steps:
            if step == "draw":
                screen.draw(lines)
                block = lines
            else:
                screen.above(lines)
                history += lines
    assert terminal.lines() == history + block


@given(WORDS)
def test_drawing_the_same_again_writes_nothing(lines: list[str]) -> None:
    terminal = Terminal()
    screen = Screen(terminal)
    screen.draw(lines)
    before = terminal.getvalue()
    screen.draw(list(lines))
    assert terminal.getvalue() == before
