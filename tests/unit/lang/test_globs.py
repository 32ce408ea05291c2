"""The three kinds of globs, against what the Go libraries answer."""

from __future__ import annotations

import pytest

from tiphys.lang.globs import GlobError, doublestar, fits, matches, path_match


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        ("*", "https://a/b", True),
        ("https://*/b", "https://a/x/b", True),
        ("a?c", "a/c", True),
        ("[!a]x", "bx", True),
        ("[!a]x", "ax", False),
        ("[a-c]", "b", True),
        ("{a,b*}c", "bxxc", True),
        ("{a,{b,c}}", "c", True),
        ("{a,b", "b", True),
        ("a,b", "a,b", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("", "", True),
        ("a.c", "abc", False),
        ("a*", "a\nb", True),
    ],
)
def test_gobwas(pattern: str, text: str, answer: bool) -> None:
    assert matches(pattern, text) is answer


def test_a_star_stops_at_separators_where_some_are_named() -> None:
    assert not matches("a/*", "a/b/c", separators="/")
    assert matches("a/**", "a/b/c", separators="/")


@pytest.mark.parametrize("pattern", ["[a", "[]", "[c-a]", "[abc-d", "[a-]"])
def test_what_is_no_range_is_refused(pattern: str) -> None:
    with pytest.raises(GlobError):
        matches(pattern, "a")
    assert not fits(pattern, "a")


@pytest.mark.parametrize(
    ("pattern", "path", "answer"),
    [
        ("/apps/*/x", "/apps/a/x", True),
        ("/apps/*/x", "/apps/a/b/x", False),
        ("a[b-de]f", "aef", True),
        ("a[^b]f", "a/f", False),
        ("{a,b}", "{a,b}", True),
        (r"a\*", "a*", True),
    ],
)
def test_path_match(pattern: str, path: str, answer: bool) -> None:
    assert path_match(pattern, path) is answer


@pytest.mark.parametrize("pattern", ["[", "[]", "a\\", "[-a]"])
def test_path_match_refuses(pattern: str) -> None:
    with pytest.raises(GlobError, match="syntax error in pattern"):
        path_match(pattern, "a")


@pytest.mark.parametrize(
    ("pattern", "path", "answer"),
    [
        ("**/f.yaml", "f.yaml", True),
        ("**/f.yaml", "a/b/f.yaml", True),
        ("a/**", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a**b", "a/b", False),
        ("{a,b}/*.yaml", "b/x.yaml", True),
        ("*.yaml", "a/x.yaml", False),
        ("a/**", "a", True),
        ("a/**", "ab", False),
        ("a/**/", "a", True),
        ("a/**/", "a/b", False),
        ("a/**/b/**", "a/b", True),
        ("{a/**,b}", "a", True),
        ("{a/**,b}/c", "a/c", True),
    ],
)
def test_doublestar(pattern: str, path: str, answer: bool) -> None:
    assert doublestar(pattern, path) is answer


def test_patterns_that_explode_elsewhere_are_quick() -> None:
    assert not matches("*a" * 200 + "b", "a" * 5000)
