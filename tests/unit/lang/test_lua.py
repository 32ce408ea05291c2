"""Lua scripts: what they see, what they may not do, and that every one of them ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tiphys.lang import lua

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run(script: str, obj: Any = None, **options: Any) -> Any:
    return lua.run(script, {"obj": obj or {}}, NOW, **options).value


def test_variables_are_tables_and_null_is_absent() -> None:
    obj = {"list": [1, "two", {"three": 3.5}], "none": None, "big": 1_234_567_890_123}
    assert run("return obj", obj) == {"list": [1, "two", {"three": 3.5}], "big": 1_234_567_890_123}


def test_an_empty_table_is_an_array() -> None:
    assert run("return { a = {} }") == {"a": []}


def test_time_is_the_one_that_was_given() -> None:
    assert run('local os = require("os") return { os.date("!%Y-%m-%dT%XZ") }') == ["2026-01-02T03:04:05Z"]
    assert run("return { os.time() }") == [int(NOW.timestamp())]


@pytest.mark.parametrize("name", ["io", "debug", "package", "python", "load", "loadstring", "dofile", "jit", "getfenv",
                                  "collectgarbage", "newproxy", "module"])  # fmt: skip
def test_nothing_reaches_the_outside(name: str) -> None:
    assert run(f"return {{ type({name}) }}", open_libraries=True) == ["nil"]


@pytest.mark.parametrize("name", ["getenv", "execute", "remove", "exit", "rename", "tmpname"])
def test_os_has_time_and_date_only(name: str) -> None:
    assert run(f"return {{ type(os.{name}) }}", open_libraries=True) == ["nil"]


def test_string_is_there_only_where_libraries_are_open() -> None:
    assert run('return { ("a-b"):gsub("%-", "+") }', open_libraries=True) == ["a+b", 1]
    with pytest.raises(lua.LuaError, match="string"):
        run('return { string.rep("a", 2) }')


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("while true do end", "instructions"),
        ("while true do pcall(function() while true do end end) end", "instructions"),
        ("local function f() return f() end return f()", "instructions"),
        ("coroutine.wrap(function() while true do end end)()", "instructions"),
        ("local function f() return f() + 1 end return f()", "stack overflow"),
        ("local t = {} for i = 1, 1e9 do t[i] = i .. ('x'):rep(1000) end", "bytes|memory"),
        ("return ('x'):rep(1e9)", "too large"),
        ("return ('a'):rep(5000):find(('a*'):rep(20) .. 'b')", "too complex"),
        ("return ('a'):rep(5000):gsub(('a-'):rep(20) .. 'b', '')", "too complex"),
        ("local t = {} t.t = t return t", "recursively nested"),
    ],
)
def test_every_script_ends(script: str, why: str) -> None:
    with pytest.raises(lua.LuaError, match=why):
        run(script, open_libraries=True, instructions_max=5_000_000, memory_bytes_max=8 << 20)


def test_scripts_leave_nothing_behind() -> None:
    run("leaked = 1 return {}")
    assert run("return { type(leaked) }") == ["nil"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('error("x")', "<string>:1: x"),
        ("error({})", "error is a table"),
        ("return { 1, nil, 3 }", "cannot encode sparse array"),
        ("return { f = print }", "cannot encode function to JSON"),
        ("return { 1 / 0 }", "json: unsupported value: inf"),
    ],
)
def test_failures_say_what_is_wrong(script: str, message: str) -> None:
    with pytest.raises(lua.LuaError) as caught:
        run(script)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("script", "kind"), [("return 1", "number"), ("return nil", "nil"), ("", "nil"), ("return 'a'", "string")]
)
def test_the_type_of_the_result_is_told(script: str, kind: str) -> None:
    assert lua.run(script, {}, NOW).kind == kind
