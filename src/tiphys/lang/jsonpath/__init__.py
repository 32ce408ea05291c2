"""kubectl's JSONPath: templates with ``{…}`` actions over Kubernetes objects (client-go v0.35 util/jsonpath).

    template  = (text | "{" step* "}")*
    step      = "." name | ".." name | "[" index "]" | "[?(" filter ")]" | "$" | "@" | string | number | word
    name      = "*" | characters up to a space or one of .,[]$@{}   (any character after "\\")
    index     = "*" | "'" name "'" | integer | [start] ":" [end] [":" step] | index ("," index)+
    filter    = path [("==" | "!=" | "<" | "<=" | ">" | ">=") (path | literal)]
    word      = true | false | range | end

``$`` and ``@`` mean nothing: a path starts at the document, inside of ranges and filters at the current value. What
wildcards find in maps comes in the order of the keys (the original's order is random). There is no arithmetic, no
``&&``, and no regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tiphys.lang import gojson
from tiphys.lang.jsonpath import parsing
from tiphys.lang.jsonpath.evaluating import ABSENT, Evaluation, print_values
from tiphys.lang.jsonpath.parsing import JsonPathError, JsonPathSyntaxError

__all__ = ["JsonPathError", "JsonPathSyntaxError", "Template", "compile", "kubectl_output", "relaxed"]


@dataclass(frozen=True)
class Template:
    """A template that was read; apply it as often as you like."""

    _parts: tuple[parsing.Part, ...]

    def find(self, data: Any, *, allow_missing_keys: bool = False) -> list[list[Any]]:
        """The values that each text and action gives. Raises `JsonPathError`."""
        return Evaluation(self._parts, allow_missing_keys).find(data)

    def render(self, data: Any, *, allow_missing_keys: bool = False) -> str:
        """The printed text (``kubectl get -o jsonpath=…``, where missing keys are allowed)."""
        return "".join(map(print_values, self.find(data, allow_missing_keys=allow_missing_keys)))

    def render_json(self, data: Any, *, allow_missing_keys: bool = False) -> str:
        """Each action's values as an indented JSON list (``-o jsonpath-as-json=…``)."""
        found = self.find(data, allow_missing_keys=allow_missing_keys)
        return "".join(f"{_json_list(values)}\n" for values in found)


def compile(template: str) -> Template:
    """Reads a template. Raises `JsonPathSyntaxError`."""
    return Template(parsing.parse(template))


def relaxed(expression: str) -> str:
    """A bare path as a template: ``metadata.name``, ``.metadata.name`` and ``{.metadata.name}`` are the same."""
    if not expression:
        return expression
    match = _RELAXED.fullmatch(expression)
    if match is None:
        raise JsonPathSyntaxError(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'"
        )
    return "{." + (match[1] or match[2]) + "}"


def kubectl_output(output: str, data: Any) -> str:
    """What ``kubectl get -o jsonpath=…`` or ``jsonpath-as-json=…`` prints for one object."""
    kind, _, template = output.partition("=")
    if kind not in ("jsonpath", "jsonpath-as-json"):
        raise JsonPathSyntaxError(f"no JSONPath output: {kind}")
    if not template:
        raise JsonPathSyntaxError("template format specified but no template given")
    try:
        compiled = compile(template)
    except JsonPathSyntaxError as err:
        raise JsonPathSyntaxError(f"error parsing jsonpath {template}, {err}") from err
    try:
        render = compiled.render if kind == "jsonpath" else compiled.render_json
        return render(data, allow_missing_keys=True)
    except JsonPathError as err:
        raise JsonPathError(f'error executing jsonpath "{template}": Error executing template: {err}.') from err


_RELAXED = re.compile(r"\{\.?([^{}]+)\}|\.?([^{}]+)")


def _json_list(values: Iterable[Any]) -> str:
    try:
        return gojson.indented([None if value is ABSENT else value for value in values], "    ")
    except gojson.GoJsonError as err:
        raise JsonPathError(str(err)) from err
