"""sprig's traps: types that are turned into others, bytes against characters, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.lang.gofmt import type_name
from tiphys.lang.govalues import CallError, Int64
from tiphys.lang.moments import Time
from tiphys.lang.sprig import FUNCTIONS, Sources, functions


def call(name: str, *arguments: Any) -> Any:
    return FUNCTIONS[name].call(*arguments)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *(("12", 12), ("012", 10), ("0x1F", 31), ("1_000", 1000), ("1.9", 1), ("-.5", 0), ("08", 0), ("x", 0), ("", 0)),
        *((1.9, 1), (-1.9, -1), (True, 1), (None, 0), ([1], 0), (1e300, -(1 << 63)), (float("nan"), -(1 << 63))),
    ],
)
def test_int_reads_as_cast_does(value: Any, number: int) -> None:
    assert call("int", value) == number


def test_integer_functions_give_int64_and_wrap() -> None:
    assert type_name(call("add", 1, 2)) == "int64"
    assert call("add", (1 << 63) - 1, 1) == -(1 << 63)
    assert call("div", -7, 2) == -3 and call("mod", -7, 2) == -1


def test_decimal_functions_count_in_decimals() -> None:
    assert call("addf", 0.1, 0.2) == 0.3
    assert call("divf", 2, 3) == 0.6666666666666667
    with pytest.raises(CallError, match="decimal division by 0"):
        call("divf", 1, 0)


def test_positions_count_bytes() -> None:
    assert call("trunc", 3, "éé") == "é\udcc3"
    assert call("substr", 0, 2, "éa") == "é"
    with pytest.raises(CallError, match="slice bounds out of range"):
        call("substr", 3, 2, "abcdef")


def test_duration_knows_text_and_int64_only() -> None:
    assert (call("duration", "95"), call("duration", Int64(95)), call("duration", 95)) == ("1m35s", "1m35s", "0s")


@pytest.mark.parametrize(
    ("constraint", "version", "fits"),
    [
        ("^0.2.3", "0.2.9", True),
        ("^0.2.3", "0.3.0", False),
        ("~1.2", "1.3.0", False),
        (">11", "11.1.0", False),
        ("1.2 - 1.4.5", "1.4.5", True),
        ("!=1.x", "1.2.3", False),
        (">=1.0.0-0", "1.2.0-beta", True),
        (">=1.0.0", "1.2.0-beta", False),
        ("<1 || >=2, !=2.1", "2.1.4", False),
    ],
)
def test_version_constraints(constraint: str, version: str, fits: bool) -> None:
    assert call("semverCompare", constraint, version) is fits


def test_versions_have_methods() -> None:
    version = call("semver", "v1.2.3-rc.1+b")
    assert version.go_methods["IncMinor"].call().go_string() == "1.3.0"
    assert version.go_methods["Prerelease"].call() == "rc.1"


def test_urls_come_apart_and_together() -> None:
    text = "https://u:p%40@example.com:8080/a%2Fb/c?q=1#f%20g"
    parts = call("urlParse", text)
    assert (parts["path"], parts["hostname"], parts["userinfo"]) == ("/a/b/c", "example.com", "u:p%40")
    assert call("urlJoin", parts) == "https://u:p%40@example.com:8080/a/b/c?q=1#f%20g"
    with pytest.raises(CallError, match="first path segment in URL cannot contain colon"):
        call("urlParse", "1:2")


def test_json_errors_have_gos_words() -> None:
    for text, words in (
        ("{", "unexpected end of JSON input"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("tru ", "invalid character ' ' in literal true (expecting 'e')"),
        ("01", "invalid character '1' after top-level value"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
    ):
        with pytest.raises(CallError) as caught:
            call("mustFromJson", text)
        assert str(caught.value) == words


def test_pretty_json_is_gos_indent() -> None:
    pretty = call("toPrettyJson", {"a": [], "b": {"c": 'x:{"'}})
    assert pretty == '{\n  "a": [],\n  "b": {\n    "c": "x:{\\""\n  }\n}'


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("repeat", (1 << 40, "x")),
        ("until", (1 << 40,)),
        ("indent", (1 << 40, "x")),
        ("replace", ("", "x" * 10**6, "y" * 100)),
    ],
)
def test_bombs_are_refused(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(CallError, match="would"):
        call(name, *arguments)


def test_chance_and_time_come_from_outside() -> None:
    with pytest.raises(CallError, match="not available"):
        call("now")
    given = functions(Sources(now=lambda: Time(86_400), random=bytes))
    assert given["date"].call("2006-01-02", "whatever") == "1970-01-02"
    assert given["ago"].call(0) == "24h0m0s"
    assert given["uuidv4"].call() == "00000000-0000-4000-8000-000000000000"
    sealed = given["encryptAES"].call("key", "text")
    assert given["decryptAES"].call("key", sealed) == "text"


def test_passwords_are_derived_as_master_password_does() -> None:
    """The example of sprig's own documentation."""
    derived = call("derivePassword", 1, "long", "password", "user", "example.com")
    assert derived == "ZedaFaxcZaso9*"
