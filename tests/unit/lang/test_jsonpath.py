import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import jsonpath
from tiphys.lang.jsonpath import JsonPathError, JsonPathSyntaxError

POD = {
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app.kubernetes.io/name": "web", "b": "<"}},
    "spec": {
        "nodes": None,
        "containers": [{"name": "a", "ports": [80, 443], "cpu": 1.5}, {"name": "b", "ports": []}],
    },
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{.kind}/{.metadata.name}", "Pod/p"),
        (r"{.metadata.labels.app\.kubernetes\.io/name}", "web"),
        ("{.metadata.labels}", '{"app.kubernetes.io/name":"web","b":"\\u003c"}'),
        ("{.metadata['name']}{['kind']}", "pPod"),
        ("{.spec.containers[*].name} {.spec.containers[-1].name}", "a b b"),
        ("{.spec.containers[0].ports[0:2]}", "80 443"),
        ("{.spec.containers[0]['name','cpu']}", "a 1.5"),
        ('{.spec.containers[?(@.name=="b")].name}', "b"),
        ("{.spec.containers[?(@.cpu)].name}", "a"),
        ('{range .spec.containers[*]}{.name}{"\\n"}{end}', "a\nb\n"),
        ("{range .spec.containers[*]}{range .ports[*]}{@},{end};{end}", "80,443,;;"),
        ("{.spec.nodes}", "null"),
        ("{..name}", "p a b"),
        ("{.spec.containers[0].ports[]}", "80"),
    ],
)
def test_renders(template: str, text: str) -> None:
    assert jsonpath.compile(template).render(POD) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{.nope}", "nope is not found"),
        ("{.kind[0]}", "string is not array or slice"),
        ("{.spec.containers[5]}", "array index out of bounds: index 5, length 2"),
        ("{.spec.containers[?(@.cpu>1)]}", "incompatible types for comparison"),
        ("{end}", "not in range, nothing to end"),
        ("{word}", "unrecognized identifier word"),
    ],
)
def test_refuses_to_apply(template: str, message: str) -> None:
    with pytest.raises(JsonPathError) as refused:
        jsonpath.compile(template).render(POD)
    assert (str(refused.value), refused.value.is_syntax) == (message, False)


@pytest.mark.parametrize(
    "template", ["{.a", "{.a[x]}", '{"a}', "{[?(@.a==1}", "{....a}", "{1.2.3}", "{&}", "{.a[0}", "x" * 100_000]
)
def test_refuses_to_read(template: str) -> None:
    with pytest.raises(JsonPathSyntaxError):
        jsonpath.compile(template)


def test_missing_keys_may_be_allowed() -> None:
    assert jsonpath.compile("{.nope.at.all}").render(POD, allow_missing_keys=True) == ""


def test_bare_paths_become_templates() -> None:
    assert {jsonpath.relaxed(p) for p in ("metadata.name", ".metadata.name", "{.metadata.name}")} == {
        "{.metadata.name}"
    }
    with pytest.raises(JsonPathSyntaxError):
        jsonpath.relaxed("{.a}{.b}")


def test_kubectl_prints_json_lists() -> None:
    assert jsonpath.kubectl_output("jsonpath-as-json={.metadata.name}", POD) == '[\n    "p"\n]\n'
    assert jsonpath.kubectl_output("jsonpath={.metadata.name}", POD) == "p"


@pytest.mark.parametrize(
    ("template", "data"),
    [
        ("{range " * 10_000, {}),
        ("{range .[*]}" * 400, [[]]),
        ("{.a[?(" * 10_000, {}),
        ("{.." + "[*]" * 10_000, {}),
        ("{..*..*..*..*..*..*}", [[list(range(30)) for _ in range(30)] for _ in range(30)]),
        ("{range $[*]}{range $[*]}{range $[*]}{range $[*]}x", [[[[0] * 60] * 60] * 60] * 60),
    ],
    ids=["ranges", "nested ranges", "filters", "wildcards", "recursion", "product"],
)
def test_hostile_templates_are_refused_or_answered_quickly(template: str, data: Any) -> None:
    start = time.process_time()
    with contextlib.suppress(JsonPathError):
        jsonpath.compile(template).render(data, allow_missing_keys=True)
    assert time.process_time() - start < 10


def test_deep_data() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(JsonPathError):
        jsonpath.compile("{..a}").render(deep)


pieces = st.sampled_from(
    [
        "{",
        "}",
        ".",
        "..",
        "[",
        "]",
        "[*]",
        "[0]",
        "[?(",
        "@",
        "==",
        ")",
        '"',
        "'",
        "a",
        "1",
        "range ",
        "{end}",
        "*",
        "\\",
        ",",
    ]
)


@given(st.lists(pieces).map("".join) | st.text(), st.booleans())
def test_any_template_is_applied_or_refused(template: str, allow: bool) -> None:
    with contextlib.suppress(JsonPathError):
        jsonpath.compile(template).render({"a": [1, {"a": "x"}]}, allow_missing_keys=allow)
