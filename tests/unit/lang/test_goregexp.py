"""Go's regular expressions: what compiles, what the complaints say."""

import pytest

from tiphys.lang.goregexp import RegexpError, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("a+b", "caab", True),
        ("^a$", "ab", False),
        ("(?i)abc", "xABCx", True),
        (r"\d{2,3}", "a12", True),
        (r"\p{Greek}", "αβ", True),
        ("ż", "żółć", True),
        ("", "", True),
        ("(a*)*b", "a" * 5_000, False),
    ],
)
def test_search(pattern: str, text: str, found: bool) -> None:
    assert (compile_pattern(pattern).search(text) is not None) is found


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?<n", "invalid named capture: `(?<n`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("\\", "trailing backslash at end of expression: ``"),
        (r"\q", r"invalid escape sequence: `\q`"),
        ("[b-a]", "invalid character class range: `b-a`"),
    ],
)
def test_complaints(pattern: str, complaint: str) -> None:
    with pytest.raises(RegexpError) as caught:
        compile_pattern(pattern)
    assert str(caught.value) == f"error parsing regexp: {complaint}"


def test_a_pattern_is_compiled_once() -> None:
    assert compile_pattern("x+") is compile_pattern("x+")
