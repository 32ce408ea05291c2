"""govaluate: what `when` decides, and what it refuses."""

from __future__ import annotations

import time

import pytest

from tiphys.lang.govaluate import GovaluateError, compile, evaluate, should_execute, should_schedule
from tiphys.lang.govaluate.program import DEPTH_MAX


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("", True),
        ("foo == foo", True),
        ('"foo" == bar', False),
        ("1 == 1.0", True),
        ('"2" > "10"', True),
        ("Error in (Failed, Error)", True),
        ("2 ** 3 ** 2 == 64", True),
        ("10 - 2 - 3 == 5", True),
        ("2 + 3 * 4 == 14", True),
        ("1 > 2 ? true : false", False),
        ("foo =~ 'fo+' && !(bar !~ \"^b\")", True),
        ("'2024-01-01' < '2024-01-02'", True),
        ("a == a) && (b == c", True),  # the original stops at the first complete expression
    ],
)
def test_when(when: str, expected: bool) -> None:
    assert should_execute(when) is expected


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("1", "Expected boolean evaluation for '1'. Got 1"),
        ("foo bar", "Cannot transition token types from VARIABLE [foo] to VARIABLE [bar]"),
        ("foo()", "Invalid 'when' expression 'foo()': Undefined function foo"),
        ("a = b", "Invalid token: '=' (hint: try wrapping the affected expression in quotes (\"))"),
        ("a-b == c", "Value 'a' cannot be used with the modifier '-', it is not a number"),
        ("!a", "Failed to parse 'when' expression '!a': Cannot transition token types from PREFIX [!] to STRING [a]"),
        ("a == \\", "Invalid 'when' expression 'a == \\': Unexpected end of expression after '\\'"),
    ],
)
def test_when_errors(when: str, message: str) -> None:
    with pytest.raises(GovaluateError) as caught:
        should_execute(when)
    assert str(caught.value).endswith(message)


def test_cron_when_reads_words_as_parameters() -> None:
    assert should_schedule("5 % 2 == 1") is True
    with pytest.raises(GovaluateError, match="No parameter 'foo' found"):
        should_schedule("foo == foo")


def test_parameters() -> None:
    assert evaluate("a + b * 2", {"a": 1, "b": 2}) == 5.0
    assert evaluate("[my name] + '!'", {"my name": "x"}) == "x!"
    assert evaluate("missing ?? 'd'", {"missing": None}) == "d"


def test_a_long_chain_needs_no_stack() -> None:
    assert should_execute(" || ".join(["a == b"] * 2_000 + ["a == a"])) is True


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "1" + ")" * 10_000,
        "-(" * 10_000 + "1" + ")" * 10_000,
        "'" + "x" * 10_000_000 + "' == 'x'",
        "1 + " * 100_000 + "1",
    ],
)
def test_too_much_is_refused_quickly(text: str) -> None:
    started = time.process_time()
    with pytest.raises(GovaluateError):
        compile(text)
    assert time.process_time() - started < 10  # a blow-up takes minutes


def test_nesting_up_to_the_limit_works() -> None:
    assert should_execute("(" * DEPTH_MAX + "a == a" + ")" * DEPTH_MAX) is True


def test_exploding_patterns_are_linear() -> None:
    assert should_execute(f"'{'a' * 5_000}!' =~ '(a+)+$'") is False
