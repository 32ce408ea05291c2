"""What is fuzzed: each language's entry, the one family of errors that it may raise, seeds and tokens.

Seeds come from the recorded answers where they are at hand (``corpus/golden/lang``), else a few are written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.conformance.golden import corpus

SEEDS_MAX = 4_000


@dataclass(frozen=True)
class Target:
    """``run`` gets a text. ``errors`` are its own; anything else that comes out of it is a bug."""

    name: str
    run: Callable[[str], Any]
    errors: tuple[type[Exception], ...]
    tokens: tuple[str, ...]
    seeds: tuple[str, ...]
    golden: tuple[str, ...] = field(default=())

    def all_seeds(self) -> list[str]:
        found = list(self.seeds)
        place = corpus()
        for name in self.golden if place else ():
            assert place is not None
            for line in (place / "golden" / "lang" / name).read_text(encoding="utf-8").splitlines():
                found += _texts(json.loads(line))
        step = max(1, len(found) // SEEDS_MAX)
        return found[::step]


def _texts(row: Any) -> list[str]:
    """The inputs of a golden row: every string in it but names and answers."""
    if isinstance(row, str):
        return [row] if row else []
    if isinstance(row, list):
        return [text for item in row for text in _texts(item)]
    if isinstance(row, dict):
        return [t for key, item in row.items() if key not in ("name", "result", "error", "out") for t in _texts(item)]
    return []


def targets() -> list[Target]:
    from tiphys.lang import (
        cron,
        depends,
        durations,
        expr,
        gjson,
        gotemplate,
        govaluate,
        goyaml,
        items,
        jq,
        jsonpath,
        tags,
    )
    from tiphys.lang.gosprintf import sprintf
    from tiphys.lang.gotemplate import appset
    from tiphys.lang.govalues import CallError
    from tiphys.machinery import resource_conditions, selectors
    from tiphys.workflows.plan.validate import parse, validate

    now = datetime(2026, 1, 1, tzinfo=UTC)
    scope = {"inputs.parameters.x": "1", "workflow.name": 'a"b', "steps.a.outputs.result": "[1, 2]"}
    env = {"a": 1, "b": 2.5, "s": "text", "l": [1, 2, 3], "m": {"k": "v"}, "n": None}
    document = {"a": [{"b": 1}, {"b": "two"}], "c": {"d.e": None}}
    json_text = '{"a":[{"b":1},{"b":"two"}],"c":{"d":null,"e":"x"},"n":1.5e3}'

    def lint(text: str) -> None:
        for manifest in parse(text):
            manifest.line_of("spec.templates[0].name")
            if manifest.value is not None:
                validate(manifest.value)

    def yaml_round(text: str) -> None:
        value = goyaml.load(text)
        printed = goyaml.dump(value)
        # The original loses these, too: U+0085, which ends lines in YAML, and keys "<<", which it prints unquoted.
        plain = json.dumps(value, ensure_ascii=False)
        if "\x85" not in plain and '"<<":' not in plain:
            assert goyaml.load(printed) == value, "printing and reading again gives something else"

    return [
        Target(
            "yaml",
            yaml_round,
            (goyaml.YamlError,),
            ("- ", ": ", "&a ", "*a", "<<: ", "!!binary ", "|", ">", "---\n", "%", "0x", "1_0", "? "),
            ("a: 1\nb: [x, y]\n", "- &a {b: *a}\n", "x: |\n  text\n"),
            ("yaml.jsonl", "yaml-out.jsonl"),
        ),
        Target(
            "durations",
            durations.parse_argo,
            (durations.DurationError,),
            ("h", "m", "s", "ms", "µs", ".", "-", "+", "9223372036854775807"),
            ("1h30m", "1.5s", "0", "300"),
            ("duration.jsonl",),
        ),
        Target(
            "cron",
            lambda text: cron.parse(text).next(now),
            (cron.CronError,),
            ("*", "/", "-", ",", "?", "@every ", "@daily", "CRON_TZ=UTC ", "MON", "JAN"),
            ("*/5 * * * *", "@every 1h", "CRON_TZ=Europe/Amsterdam 30 2 * * SUN"),
            ("cron.jsonl",),
        ),
        Target(
            "govaluate",
            govaluate.should_execute,
            (govaluate.GovaluateError,),
            ("==", "!=", "&&", "||", "=~", " in ", "(", ")", "'", "[a b]", "??", "?", ":", "<<", "**"),
            ("a == b", "'x' in ('x', 'y')", "1 + 2 * 3 > 4"),
            ("govaluate.jsonl",),
        ),
        Target(
            "expr",
            lambda text: expr.evaluate(text, env),
            (expr.ExprError,),
            (
                "??",
                "?.",
                "|",
                "#",
                "{",
                "}",
                "..",
                "let x = 1;",
                " matches ",
                " in ",
                "not ",
                "map(",
                "filter(",
                "**",
                "asInt(",
                "0x1F",
                "1e9",
                "range(",
            ),
            ("a + b", "map(l, # * 2)", "m?.k ?? 'x'", "let x = a; x | string()", "l[1:2]"),
            ("expr.jsonl",),
        ),
        Target(
            "tags",
            lambda text: tags.replace(text, scope, allow_unresolved=True),
            (tags.TagError,),
            ("{{", "}}", "{{=", "inputs.parameters.x", "workflow.name", '\\"', "{{-"),
            ('{"a": "{{inputs.parameters.x}}"}', "\"{{=inputs.parameters.x + '1'}}\""),
            ("template-tags.jsonl",),
        ),
        Target(
            "kubectl JSONPath",
            lambda text: jsonpath.compile(text).render(document, allow_missing_keys=True),
            (jsonpath.JsonPathError,),
            ("{", "}", "[?(", "@.", "..", "*", "range ", "end", "[0:1]", "['a']", "=="),
            ("{.a[0].b}", "{range .a[*]}{.b}{end}", "{.a[?(@.b==1)]}"),
            ("kube-jsonpath.jsonl",),
        ),
        Target(
            "gjson",
            lambda path: str(gjson.get(json_text, path)),
            (gjson.GjsonError,),
            (".", "#", "#(", ")", "|", "@reverse", "@pretty", "*", "?", "{", "[", "..", "~true", "%"),
            ("a.0.b", "a.#(b==1).b", "@keys|0", "{a,c.d}"),
            ("gjson.jsonl",),
        ),
        Target(
            "gjson documents",
            lambda text: str(gjson.get(text, "a.#.b")),
            (gjson.GjsonError,),
            ("{", "}", "[", "]", ":", ",", "null", "1e5", '"a"'),
            (json_text, "[1,2,[3]]"),
            ("gjson.jsonl",),
        ),
        Target(
            "label selectors",
            selectors.parse_labels,
            (selectors.SelectorError,),
            (" in (", " notin (", "!", "=", "==", "!=", ",", ")", ">", "<"),
            ("a=b,c!=d", "x in (a,b),!y"),
            ("fieldselect.jsonl",),
        ),
        Target(
            "field selectors",
            selectors.parse_fields,
            (selectors.SelectorError,),
            ("=", "==", "!=", ",", "\\,", "\\"),
            ("metadata.name=x,a!=b",),
            ("fieldselect.jsonl",),
        ),
        Target(
            "depends",
            lambda text: depends.rewrite({"name": "t", "depends": text}, {"A": {"name": "A"}, "b-c": {"name": "b-c"}}),
            (depends.DependsError, expr.ExprError),
            ("A", "b-c", ".Succeeded", ".AnySucceeded", "&&", "||", "!", "(", ")"),
            ("A && b-c.Failed", "!(A || b-c)"),
            (),
        ),
        Target(
            "items",
            items.parse_item,
            (items.ItemError,),
            ("{", "}", "[", "]", '"', ":", ",", "1e6", "null", "true"),
            ('{"a": 1}', '"x"', "1.0", "[1, {}]"),
            (),
        ),
        Target(
            "jq",
            lambda text: jq.argo_filter(text, json_text),
            (jq.JqError,),
            (
                ".a",
                "[]",
                "|",
                ",",
                "?",
                "//",
                "as $x",
                "reduce",
                "def f: ",
                ";",
                "..",
                "limit(3; ",
                "path(",
                '"\\(',
                "|=",
                "@json",
            ),
            (".a[].b", "[.a[] | select(.b == 1)]", ". as {n: $x} | $x + 1", "def f: .a; [f, .n]"),
            ("jq.jsonl",),
        ),
        Target(
            "resource conditions",
            lambda text: resource_conditions.evaluate(resource_conditions.parse(text, text), json_text),
            (resource_conditions.ConditionError,),
            ("==", "!=", ",", " in (", "!", ">", "a.0.b", "status.phase"),
            ("a.0.b == 1", "n > 1, c.e in (x, y)"),
            ("condition-matching.jsonl",),
        ),
        Target(
            "Go templates",
            lambda text: appset.render(text, document | env),
            (gotemplate.TemplateError,),
            (
                *(
                    "{{",
                    "}}",
                    "{{-",
                    "-}}",
                    "{{range ",
                    "{{if ",
                    "{{end}}",
                    "{{else}}",
                    "{{with ",
                    "{{define ",
                    "{{template ",
                ),
                *(
                    "$x",
                    ":=",
                    "|",
                    ".a",
                    "printf ",
                    "index ",
                    "(",
                    ")",
                    "{{break}}",
                    "/*",
                    "1i",
                    "'x'",
                    "len ",
                    "call ",
                ),
            ),
            ("{{range $i, $v := .a}}{{$i}}{{$v.b}}{{end}}", '{{define "t"}}{{.}}{{end}}{{template "t" .s}}'),
            ("gotemplate.jsonl",),
        ),
        Target(
            "sprig",
            lambda text: appset.render("{{" + text + "}}", document | env),
            (gotemplate.TemplateError,),
            (
                *(f"{name} " for name in sorted(appset.FUNCTIONS.functions)),
                "|",
                "(",
                ")",
                ".l",
                ".m",
                ".s",
                '"a"',
                "1",
                "nil",
            ),
            (
                'list 1 "a" .m | toJson',
                "until 5 | join .s",
                '"2006" | repeat 3 | b64enc',
                'dict "a" .l | get "a" | first',
            ),
            ("sprig.jsonl",),
        ),
        Target(
            "tags of ApplicationSets",
            lambda text: appset.replace_tags(text, {"a": "b", "a.b": "{{a}}"}),
            (gotemplate.TemplateError,),
            ("{{", "}}", "a", "a.b", " ", "{", "}"),
            ("{{a}} {{ a.b }}", "x{{a}}y"),
        ),
        Target(
            "Sprintf",
            lambda text: sprintf(text, [1, -2.5, "é", [1, {"a": None}], True, None]),
            (CallError,),
            ("%", "v", "+", "#", "d", "q", "x", "s", "e", "g", "[1]", "*", ".3", "0", "-", "T", "U"),
            ("%v %+v %#v", "%[2]*.[1]*f|%-5d", "%08.3f %q %x %U"),
        ),
        Target(
            "lint",
            lint,
            (),
            (
                "templates:",
                "- name: ",
                "{{",
                "}}",
                "inputs.parameters.",
                "steps:",
                "dag:",
                "tasks:",
                "depends: ",
                "null",
                "~",
                "[]",
            ),
            ("kind: Workflow\nspec: {entrypoint: a, templates: [{name: a, container: {image: x}}]}\n",),
            ("lint-inline.jsonl",),
        ),
    ]
