"""Go templates: what golden rows do not show, and the limits."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tiphys.lang.gotemplate import ExecError, ParseError, appset, compile


def run(text: str, data: Any = None, *options: str) -> str:
    return appset.render(text, data or {}, options)


def exec_error(text: str, data: Any = None) -> str:
    with pytest.raises(ExecError) as caught:
        compile(text).execute(data or {})
    return str(caught.value)


def parse_error(text: str) -> str:
    with pytest.raises(ParseError) as caught:
        compile(text)
    return str(caught.value)


def test_variables_end_with_their_block() -> None:
    assert run("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}") == "21"
    assert run("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}") == "2"
    assert parse_error("{{if true}}{{$x := 1}}{{end}}{{$x}}") == 'template: base:1: undefined variable "$x"'


def test_range_assigns_to_variables_that_are_there() -> None:
    assert run("{{$k := 0}}{{$v := 0}}{{range $k, $v = .l}}{{end}}{{$k}}{{$v}}", {"l": ["a", "b"]}) == "1b"


def test_blocks_are_templates_called_at_once_and_can_be_defined_before() -> None:
    assert run('{{block "a" .}}x{{.n}}{{end}}{{template "a" .}}', {"n": 1}) == "x1x1"
    assert parse_error('{{define "a"}}1{{end}}{{define "a"}}2{{end}}').endswith('multiple definition of template "a"')
    assert run('{{define "a"}}1{{end}}{{define "a"}}  {{end}}{{template "a"}}') == "1"


def test_break_and_continue_restore_dot_and_variables() -> None:
    text = "{{range .l}}{{with 1}}{{$x := 2}}{{continue}}{{end}}{{end}}{{.n}}"
    text += text.replace("continue", "break")
    assert run(text, {"l": [1, 2], "n": "n"}) == "nn"


def test_methods_of_times_and_versions() -> None:
    assert run('{{(toDate "2006-01-02" "2020-02-03").Format "02.01."}}') == "03.02."
    assert run('{{(semver "1.2.3").Minor}} {{with semver "v1.2.3-x"}}{{.Prerelease}}{{.}}{{end}}') == "2 x1.2.3-x"
    assert "wrong number of args for Format: want 1 got 0" in exec_error_of_appset('{{(toDate "2006" "2020").Format}}')


def exec_error_of_appset(text: str) -> str:
    with pytest.raises(ExecError) as caught:
        run(text)
    return str(caught.value)


def test_errors_name_line_column_template_and_node() -> None:
    text = 'a\n{{define "t"}}é {{index .l 5}}{{end}}{{template "t" .}}'
    assert exec_error(text, {"l": []}) == (
        'template: base:2:19: executing "t" at <index .l 5>: error calling index: index out of range: 5'
    )
    assert parse_error("\n\n{{ .a \n .b") == "template: base:4: unclosed action started at base:3"
    assert parse_error("{{range}}") == "template: base:1: missing value for range"
    assert parse_error("{{1 | 2}}") == "template: base:1: non executable command in pipeline stage 2"
    assert parse_error('{{"a".b}}') == 'template: base:1: unexpected . after term "\\"a\\""'
    assert parse_error("{{break}}") == "template: base:1: {{break}} outside {{range}}"


def test_builtin_slice_call_and_printing() -> None:
    assert compile('{{slice "hello" 1 3}} {{slice .l 1}}').execute({"l": [1, 2, 3]}) == "el [2 3]"
    assert exec_error('{{slice "a" 2}}').endswith("index out of range: 2")
    assert exec_error("{{call .f 1}}", {"f": "x"}).endswith("error calling call: non-function .f of type string")
    assert compile('{{print 1 2 "a" "b" 3 4}}|{{println nil 1}}').execute({}) == "1 2ab3 4|<nil> 1\n"


def test_escapes() -> None:
    text = r"""{{"\u00e9\x41\101\n\"" | printf "%q"}} {{'\n'}} {{js "é<\u2028"}} {{html "\000'"}}"""
    assert compile(text).execute({}) == '"éAA\\n\\"" 10 é\\u003C\\u2028 \ufffd&#39;'


def test_constants_fit_their_parameters() -> None:
    assert run("{{repeat 2.0 `x`}} {{1.5e3}} {{0x1p4}} {{1+2i}} {{'a' | add 1}}") == "xx 1500 16 (1+2i) 98"
    assert exec_error_of_appset("{{repeat 2.5 `x`}}").endswith("at <2.5>: expected integer; found 2.5")


@pytest.mark.parametrize(
    "text",
    [
        "{{range until 1000}}{{range until 1000}}x{{end}}{{end}}",
        "{{$x := `a`}}{{range until 100}}{{$x = print $x $x}}{{end}}",
        '{{define "t"}}{{template "t" .}}{{template "t" .}}{{end}}{{template "t" .}}',
        "{{range until 1000000}}{{end}}",
        "{{repeat 1000000000 `x`}}",
        "{{range 1000000000}}{{end}}",
        "{{range until 100000}}{{repeat 10000 `x` | len}}{{end}}",
        "{{printf `" + "%1000000d" * 11 + "`" + " 1" * 11 + "}}",
        "{{$l := list 1}}{{range until 100}}{{$l = concat $l $l}}{{end}}",
        '{{$d := dict}}{{$_ := set $d "d" $d}}{{toJson $d}}{{mustToJson $d}}',
        '{{$d := dict}}{{$_ := set $d "d" $d}}{{printf "%v" $d}}',
        '{{$d := dict}}{{$_ := set $d "d" $d}}{{$d}}',
        '{{$d := dict}}{{$_ := set $d "d" $d}}{{deepCopy $d}}',
        '{{$d := dict}}{{$_ := set $d "d" $d}}{{merge (dict) $d | toYaml}}',
    ],
)
def test_bombs_are_refused_quickly(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ExecError):
        run(text)
    assert time.process_time() - started < 10  # a tenth on a machine that does nothing else


@pytest.mark.parametrize(
    "text",
    [
        "{{" + "(" * 10_000 + "1" + ")" * 10_000 + "}}",
        "{{if 1}}" * 10_000 + "{{end}}" * 10_000,
        "{{if 0}}" + "{{else if 0}}" * 10_000 + "{{end}}",
        '{{block "a" 1}}' * 10_000 + "{{end}}" * 10_000,
        "x" * 10_000_000,
    ],
)
def test_deep_and_long_texts_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        compile(text)


def test_a_deep_path_is_no_problem() -> None:
    data: Any = "end"
    for _ in range(500):
        data = {"a": data}
    assert compile("{{" + ".a" * 500 + "}}").execute(data) == "end"


@pytest.mark.parametrize("text", ["{{" * 50_000, "{" * 100_000, "{{a" * 30_000 + "\n}}"])
def test_open_tags_take_no_time(text: str) -> None:
    began = time.process_time()
    assert appset.replace_tags(text, {"a": "b"}) == text
    assert time.process_time() - began < 10  # a blow-up takes minutes
