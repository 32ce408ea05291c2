"""Go templates: no text and no data makes them crash or run away, and text without tags is text."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tiphys.lang.gosprintf import sprintf
from tiphys.lang.gotemplate import TemplateError, appset
from tiphys.lang.gotemplate.appset import FUNCTIONS
from tiphys.lang.gotemplate.builtins import BUILTINS
from tiphys.lang.govalues import CallError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(
    [
        "{{", "}}", "{{-", "-}}", " ", ".", ".a", ".a.b", "$", "$x", ":=", "=", "|", "(", ")", ",", '"s"', "`r`", "'c'",
        "1", "-2.5", "0x1f", "1i", "true", "nil", "if", "else", "end", "range", "with", "define", "template", "block",
        "break", "continue", "/*", "*/", "\n", "é", "\x00", '"', "{", *sorted(FUNCTIONS.functions)[::7], *BUILTINS,
    ]
)  # fmt: skip
texts = st.lists(words, max_size=14).map("".join) | st.lists(words, max_size=14).map(" ".join) | st.text(max_size=20)
actions = st.lists(words, min_size=1, max_size=6).map(lambda parts: "{{" + " ".join(parts) + "}}")


@settings(max_examples=400)
@given(
    texts | st.lists(actions, max_size=4).map("".join), st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)
)
def test_renders_or_refuses(text: str, data: dict[str, Any]) -> None:
    try:
        result = appset.render(text, data)
    except TemplateError as err:
        assert str(err)
    else:
        assert isinstance(result, str)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_is_text(text: str) -> None:
    assert appset.render(text, {}) == text
    assert appset.replace_tags(text, {"a": "b"}) == text


@given(st.text(), json_values)
def test_printf_never_crashes(template: str, value: Any) -> None:
    with suppress(CallError):
        sprintf(template, [value, value])


@given(st.text(alphabet="%#0+- 1234*[].vdxqsfgeTtcUbopw", max_size=10), st.lists(json_values, max_size=3))
def test_printf_takes_any_directive(template: str, values: list[Any]) -> None:
    with suppress(CallError):
        sprintf(template, values)


@given(st.text(max_size=20))
def test_string_literals_come_back(text: str) -> None:
    literal = "".join(f"\\U{ord(character):08x}" for character in text if not "\ud800" <= character <= "\udfff")
    wanted = "".join(character for character in text if not "\ud800" <= character <= "\udfff")
    assert appset.render(f'{{{{"{literal}"}}}}', {}) == wanted
