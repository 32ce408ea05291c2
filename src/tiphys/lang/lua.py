"""Lua scripts of other people: health checks and actions. Sandboxed and bounded; LuaJIT's 5.1 through lupa.

A script sees its variables as plain tables and the libraries that Argo gives it: base, table, and of os only ``time``
and ``date`` of the given moment; with ``open_libraries`` also string, math, bit and coroutine. There is no io, no
package, no debug, no loading of code, and nothing of Python.

Bounds, none of which reads a clock: instructions (counted, also inside pcall), memory, and the work of one pattern
match, which happens outside Lua's instructions and could otherwise take for ever. Every run has a runtime of its own
(about 70 µs), so that scripts leave nothing behind.

Results become JSON values as gopher-json writes them: a table whose first key is a number is an array, so is an empty
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lupa import luajit21

INSTRUCTIONS_MAX: Final = 200_000_000
"""About 0.2 s."""
MEMORY_BYTES_MAX: Final = 64 << 20
DEPTH_MAX: Final = 100
_VALUES_MAX: Final = 1_000_000

# The chunk is named as gopher-lua names it, for it stands in front of every error.
_CHUNK: Final = "=<string>"

_PRELUDE: Final = """
local now, open, budget, run_max = ...
local sethook, fail, date, os_time = debug.sethook, error, os.date, os.time
local find, gmatch, rep, kind, text = string.find, string.gmatch, string.rep, type, tostring

jit.off() -- compiled code would not count
jit.flush()

local function spent()
    sethook(spent, "", 1) -- from now on every instruction fails, so that no pcall can go on
    fail("script exceeds the limit of " .. budget .. " instructions", 0)
end

-- The most work that backtracking can make of a pattern: ways to divide the text among its repetitions.
local function check(s, p)
    if kind(s) == "number" then s = text(s) end
    if kind(s) ~= "string" or kind(p) ~= "string" then return end
    local n, ways, k = #s + 1, #s + 1, 1
    for quantifier in gmatch(p, "[%*%+%-%?b]") do
        if quantifier == "?" then
            ways = ways * 2
        elseif quantifier ~= "b" or find(p, "%b", 1, true) then
            k = k + 1
            ways = ways * n / k
        end
    end
    if ways > run_max then fail("pattern too complex for a text of this length", 3) end
end

local function guarded(call)
    return function(s, p, ...)
        check(s, p)
        return call(s, p, ...)
    end
end

string.dump = nil
string.find = function(s, p, init, plain)
    if not plain then check(s, p) end
    return find(s, p, init, plain)
end
string.match, string.gmatch, string.gsub = guarded(string.match), guarded(gmatch), guarded(string.gsub)
string.rep = function(s, n, separator)
    if kind(n) == "number" and kind(s) == "string" and (#s + #(separator or "")) * n > 16777216 then
        fail("resulting string too large", 2)
    end
    return rep(s, n, separator)
end

os = {
    time = function(t) if t == nil then return now end return os_time(t) end,
    date = function(format, t) return date(format or "%c", t or now) end,
}
local libraries = { os = os, table = table }
if open then
    libraries.string, libraries.math, libraries.bit, libraries.coroutine = string, math, bit, coroutine
    math.random, math.randomseed = nil, nil
else
    getmetatable("").__index = {}
    string, math, bit, coroutine = nil, nil, nil, nil
end
require = function(name)
    if libraries[name] then return libraries[name] end
    fail("module " .. text(name) .. " not found", 2)
end
print = function() end
getmetatable("").__metatable = false
debug, io, package, jit, python, module = nil, nil, nil, nil, nil, nil
load, loadstring, loadfile, dofile = nil, nil, nil, nil
collectgarbage, gcinfo, newproxy, getfenv, setfenv = nil, nil, nil, nil, nil
return function(script)
    sethook(spent, "", budget)
    local results = { pcall(script) }
    sethook()
    return results[1], kind(results[2]), results[2]
end
"""


class LuaError(ValueError):
    """The script does not compile, failed, exceeded a limit, or returned what JSON cannot hold."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The first value that a script returned: Lua's name of its type, and it as JSON (None for types JSON lacks)."""

    kind: str
    value: Any


def run(
    script: str,
    variables: Mapping[str, Any],
    now: datetime,
    *,
    open_libraries: bool = False,
    instructions_max: int = INSTRUCTIONS_MAX,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
) -> Returned:
    """Runs ``script`` with ``variables`` (JSON values) as globals. Raises LuaError."""
    runtime = luajit21.LuaRuntime(
        register_eval=False,
        register_builtins=False,
        unpack_returned_tuples=True,
        attribute_filter=_no_attributes,
        max_memory=memory_bytes_max,
    )
    try:
        names = runtime.globals()
        start = runtime.execute(_PRELUDE, int(now.timestamp()), open_libraries, instructions_max, 500_000_000)
        for name, value in variables.items():
            names[name] = _to_lua(runtime, value, 0)
        compiled = runtime.compile(script, name=_CHUNK.encode())
        worked, kind, value = start(compiled)
        if not worked:
            raise LuaError(value if isinstance(value, str) else f"error is a {kind}")
        return Returned(kind, _to_json(value, frozenset(), [0]) if kind == "table" else _scalar(value))
    except luajit21.LuaMemoryError:
        raise LuaError(f"script exceeds the limit of {memory_bytes_max} bytes") from None
    except luajit21.LuaError as err:
        raise LuaError(str(err)) from err
    except UnicodeDecodeError as err:
        raise LuaError("script returned a text that is not UTF-8") from err


def _no_attributes(_obj: object, _name: object, _is_setting: bool) -> Any:
    raise AttributeError("access denied")


def _to_lua(runtime: Any, value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise LuaError(f"a value nested deeper than {DEPTH_MAX}")
    if isinstance(value, Mapping):
        items = {key: _to_lua(runtime, each, depth + 1) for key, each in value.items() if each is not None}
        return runtime.table_from(items)
    if isinstance(value, list | tuple):
        return runtime.table_from([_to_lua(runtime, each, depth + 1) for each in value])
    # Lua has one kind of number; larger integers would come in as something else.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_json(value: Any, around: frozenset[int], count: list[int]) -> Any:
    if luajit21.lua_type(value) != "table":
        return _scalar(value)
    count[0] += 1
    if len(around) > DEPTH_MAX or count[0] > _VALUES_MAX:
        raise LuaError("cannot encode recursively nested tables to JSON")
    inside = around | {len(around)}
    items = list(value.items())
    if not items:
        return []
    if isinstance(items[0][0], int | float):
        if [key for key, _ in items] != list(range(1, len(items) + 1)):
            raise LuaError("cannot encode sparse array")
        return [_to_json(each, inside, count) for _, each in items]
    if not all(isinstance(key, str) for key, _ in items):
        raise LuaError("cannot encode mixed or invalid key types")
    return {key: _to_json(each, inside, count) for key, each in items}


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise LuaError(f"json: unsupported value: {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = luajit21.lua_type(value)
    raise LuaError(f"cannot encode {kind or type(value).__name__} to JSON")
