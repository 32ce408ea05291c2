import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.machinery import selectors, workflow_lists
from tiphys.machinery.selectors import SelectorError

WEB = {"app": "web", "tier": "front", "n": "5"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=web,tier==front", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app in (web, api),!missing", True),
        ("tier notin (front)", False),
        ("n>4,n<6", True),
        ("app>1", False),
        ("in in (in)", False),
    ],
)
def test_labels(text: str, selected: bool) -> None:
    selector = selectors.parse_labels(text)
    assert selector.matches(WEB) is selected
    assert selectors.parse_labels(str(selector)) == selector


@pytest.mark.parametrize(
    "text", ["a in (", "a=b=c", "-a", "a=b,", "a>x", "(", "a b", "!", "a in x", "a" * 100 + "/b/c"]
)
def test_wrong_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        selectors.parse_labels(text)


def test_structured_selectors() -> None:
    selector = selectors.from_structured(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}
    )
    assert str(selector) == "app=web,tier"
    assert selector.exact_value("app") == "web"
    assert selectors.from_structured(selectors.to_structured(selector)) == selector
    assert selectors.from_structured({}).matches(None)
    assert not selectors.from_structured(None).matches({})
    with pytest.raises(SelectorError, match='"Like" is not a valid'):
        selectors.from_structured({"matchExpressions": [{"key": "a", "operator": "Like"}]})


def test_fields_escape_their_values() -> None:
    selector = selectors.parse_fields(r"x=a\,b,metadata.name!=y")
    assert selector.matches({"x": "a,b"})
    assert not selector.matches({"x": "a,b", "metadata.name": "y"})
    assert selectors.parse_fields(str(selector)) == selector
    assert selector.exact_value("x") == "a,b"


keys = st.from_regex(r"[a-z]([-a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)
values = st.from_regex(r"([a-z0-9]([-a-z0-9.]{0,5}[a-z0-9])?)?", fullmatch=True)


@given(st.dictionaries(keys, values, max_size=5), st.dictionaries(keys, values, max_size=5))
def test_equalities_select_exactly_the_supersets(wanted: dict[str, str], labels: dict[str, str]) -> None:
    selector = selectors.from_labels(wanted)
    assert selector.matches(labels) is (wanted.items() <= labels.items())
    assert selectors.parse_labels(str(selector)) == selector


@given(st.text(alphabet="ab=!,() <>in\0\\x") | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (selectors.parse_labels, selectors.parse_fields):
        with contextlib.suppress(SelectorError):
            parse(text).matches(WEB)


@given(st.text())
def test_escaped_values_read_back(value: str) -> None:
    assert selectors.unescape_value(selectors.escape_value(value)) == value


@pytest.mark.parametrize(
    "text", ["a" * 10_000_000, "(" * 100_000, "a," * 100_000, "\\" * 100_000, "a in (" + "," * 100_000]
)
def test_long_texts_are_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        selectors.parse_labels(text)


def test_list_requests() -> None:
    options = workflow_lists.parse(
        field_selector="metadata.name=h_,spec.startedAt>2024-01-02T00:00:00Z", name_filter="Prefix"
    )
    started = {"early": "2024-01-01T00:00:00Z", "late": "2024-01-03T00:00:00Z"}
    workflows = [
        {"metadata": {"name": name}, "status": {"startedAt": started[when]}}
        for name, when in (("hi", "early"), ("HO-1", "late"), ("x", "late"))
    ]
    assert [w["metadata"]["name"] for w in workflow_lists.select(options, workflows)] == ["HO-1"]
    with pytest.raises(workflow_lists.ListOptionsError, match=r"unsupported requirement status\.phase=x"):
        workflow_lists.parse(field_selector="status.phase=x")


@given(st.text(alphabet="ab%_", max_size=8), st.text(alphabet="abA", max_size=8))
def test_like_is_sqlites_like(pattern: str, text: str) -> None:
    import sqlite3

    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        (expected,) = database.execute("select ? like ?", (text, pattern)).fetchone()
    assert workflow_lists._like(pattern, text) is bool(expected)
