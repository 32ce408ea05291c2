"""fmt.Sprintf: flags, widths, argument numbers, and what shows when things do not fit (the texts are Go's)."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.lang.gosprintf import sprint, sprintf, sprintln
from tiphys.lang.govalues import CallError, IntList, Uint64
from tiphys.lang.moments import Duration


@pytest.mark.parametrize(
    ("template", "arguments", "text"),
    [
        ("%+d", [7], "+7"),
        ("% d", [7], " 7"),
        ("%05d", [-7], "-0007"),
        ("%-5d|", [7], "7    |"),
        ("%x %X %#x", [255, 255, 255], "ff FF 0xff"),
        ("%o %#o %O", [8, 8, 8], "10 010 0o10"),
        ("%b", [5], "101"),
        ("%.3d|%6.3d", [7, 7], "007|   007"),
        ("%6.2f|%-8.1e|", [3.14159, 12345.678], "  3.14|1.2e+04 |"),
        ("%g %G %v", [1e21, 1e-07, 1000000.0], "1e+21 1E-07 1e+06"),
        ("%+.3g|%08.3f", [2.0, -3.5], "+2|-003.500"),
        ("%#g %x %.2x %b", [1.0, 1.0, 3.0, 1.0], "1.00000 0x1p+00 0x1.80p+01 4503599627370496p-52"),
        ("%q %+q %#q", ["a\n", "é", "a"], '"a\\n" "\\u00e9" `a`'),
        ("%x % X %#x", ["hi", "hi", "hi"], "6869 68 69 0x6869"),
        ("%.2s|%5s|%-5s|", ["héé", "é", "é"], "hé|    é|é    |"),
        ("%c %q %U %#U", [65, 65, 128512, 65], "A 'A' U+1F600 U+0041 'A'"),
        ("%v %+v", [{"b": 1.5, "a": None}, {"b": 1.5, "a": None}], "map[a:<nil> b:1.5] map[a:<nil> b:1.5]"),
        ("%#v", [{"b": "x", "a": None}], 'map[string]interface {}{"a":interface {}(nil), "b":"x"}'),
        ("%T %T", [{}, []], "map[string]interface {} []interface {}"),
        ("%d %s", [[1.5], ["a", True]], "[%!d(float64=1.5)] [a %!s(bool=true)]"),
        ("%#v", [["a", 2.5]], '[]interface {}{"a", 2.5}'),
        ("%[2]*[1]d|%[1]*d", [12, 6], "    12|           6"),
        ("%[3]*.[1]*[2]d", [3, 6, 9], "      006"),
        ("%[1]5d|%[9]d|%[x]d|%.*d", [1], "%!d(BADINDEX)|%!d(BADINDEX)|%!d(BADINDEX)|%!d(MISSING)"),
        ("%d %s", [1], "1 %!s(MISSING)"),
        ("%d", [1, "a", None], "1%!(EXTRA string=a, <nil>)"),
        ("%!|%|%z", [1, "a", None], "%!!(int=1)|%!|(string=a)%!z(<nil>)"),
        ("100%%|%", [], "100%|%!(NOVERB)"),
        ("%t %v %5t %s", [True, False, True, True], "true false  true %!s(bool=true)"),
        ("%w", ["a"], "%!w(string=a)"),
        ("%d %v", ["a", None], "%!d(string=a) <nil>"),
        ("%s %d", [1, "a"], "%!s(int=1) %!d(string=a)"),
    ],
)
def test_sprintf(template: str, arguments: list[Any], text: str) -> None:
    assert sprintf(template, arguments) == text


def test_values_of_other_go_types() -> None:
    assert sprintf("%v %d %s", [IntList([1, 2])] * 3) == "[1 2] [1 2] [%!s(int=1) %!s(int=2)]"
    assert sprintf("%v %s %d", [Duration(90_000_000_000)] * 3) == "1m30s 1m30s 90000000000"
    assert sprintf("%x %#v %v", [Uint64(255)] * 3) == "ff 0xff 255"
    assert sprintf("%v %8.2f", [complex(1, -2)] * 2) == "(1-2i) (    1.00   -2.00i)"
    assert sprintf("%s %x %v", [b"ab"] * 3) == "ab 6162 [97 98]"


def test_sprint_puts_blanks_between_what_is_not_text() -> None:
    assert sprint([1, 2, "a", "b", 3, None]) == "1 2ab3 <nil>"
    assert sprintln([1, "a", None]) == "1 a <nil>\n"


def test_size_is_bounded() -> None:
    with pytest.raises(CallError):
        sprintf("%1000000d" * 20, [1] * 20)
