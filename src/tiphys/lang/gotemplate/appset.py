"""Templates as the ApplicationSet controller runs them: Go templates with sprig, or ``{{name}}`` alone.

Go templates know sprig without ``env``, ``expandenv`` and ``getHostByName``, and four functions more: ``normalize``
(a DNS name of any text), ``toYaml``, ``fromYaml``, ``fromYamlArray``. ``slugify`` is left to its own module in Go and
is not there. In the other mode a tag is replaced where its trimmed name is a string among the parameters, and stays
as it is otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tiphys.lang import gojson, gojson_read, goyaml
from tiphys.lang.gofmt import quote, type_name
from tiphys.lang.gotemplate.errors import ExecError, ParseError
from tiphys.lang.gotemplate.template import Functions, compile
from tiphys.lang.gotext import TRIMMED, from_utf8, utf8
from tiphys.lang.govalues import CallError, Function, functions
from tiphys.lang.sprig import FUNCTIONS as SPRIG
from tiphys.lang.sprig.choices import plain

NAME_MAX = 253

_NOT_IN_NAMES = re.compile(r"[^-a-z0-9.]")


def render(text: str, params: Mapping[str, Any], options: Iterable[str] = ()) -> str:
    """``text`` as a Go template over ``params``. Raises `ParseError`, `ExecError` and `OptionError`."""
    try:
        template = compile(text, "base", FUNCTIONS)
    except ParseError as err:
        raise ParseError(f"failed to parse template {text}: {err}") from None
    try:
        return template.execute(dict(params), options)
    except ExecError as err:
        raise ExecError(f"failed to execute go template {text}: {err}") from None


def replace_tags(text: str, params: Mapping[str, Any]) -> str:
    """``text`` with ``{{name}}`` replaced by the strings of ``params``. Raises `ParseError` for an open end."""
    if not any(_has_tag(line) for line in text.split("\n")):
        return text
    parts: list[str] = []
    position = 0
    while (start := text.find("{{", position)) >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            rest = quote(text[start + 2 :])
            what = f'Cannot find end tag="}}}}" in the template={quote(text)} starting from {rest}'
            raise ParseError(f"invalid template: {what}")
        tag = text[start + 2 : end]
        value = params.get(tag.strip(TRIMMED)) if tag.strip(TRIMMED) else None
        parts += (text[position:start], value if isinstance(value, str) else f"{{{{{tag}}}}}")
        position = end + 2
    return "".join(parts) + text[position:]


def _has_tag(line: str) -> bool:
    start = line.find("{{")
    return start >= 0 and line.find("}}", start + 2) >= 0


def normalize(text: str) -> str:
    """A text as a name that DNS takes: lower case, other characters as ``-``, cut, no ``-`` or ``.`` at the ends."""
    name = _NOT_IN_NAMES.sub("-", text.lower())
    return from_utf8(utf8(name)[:NAME_MAX]).strip("-.")


def to_yaml(value: Any) -> str:
    try:
        return goyaml.dump(gojson_read.loads(gojson.dumps(plain(value)))).removesuffix("\n")
    except (gojson.GoJsonError, gojson_read.JsonSyntaxError) as err:
        raise CallError(f"error marshaling into JSON: {err}") from None


def from_yaml(text: str) -> dict[str, Any]:
    found = _load(text)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CallError(_mismatch(found, "map[string]interface {}"))
    return found


def from_yaml_array(text: str) -> list[Any]:
    found = _load(text)
    if found is None:
        return []
    if not isinstance(found, list):
        raise CallError(_mismatch(found, "[]interface {}"))
    return found


def _load(text: str) -> Any:
    """The document as JSON reads it: all numbers are floats."""
    try:
        return gojson_read.loads(gojson.dumps(goyaml.load(text)))
    except goyaml.YamlError as err:
        raise CallError(f"error converting YAML to JSON: {err}") from None
    except (gojson.GoJsonError, gojson_read.JsonSyntaxError) as err:
        raise CallError(f"error converting YAML to JSON: {err}") from None


def _mismatch(found: Any, wanted: str) -> str:
    word = {"[]interface {}": "array", "map[string]interface {}": "object", "float64": "number"}.get(
        type_name(found), type_name(found)
    )
    what = f"json: cannot unmarshal {word} into Go value of type {wanted}"
    return f"error unmarshaling JSON: while decoding JSON: {what}"


_OWN: dict[str, Function] = functions(
    {
        "normalize": ("string -> string", normalize),
        "toYaml": ("any -> string", to_yaml),
        "fromYaml": ("string -> map", from_yaml),
        "fromYamlArray": ("string -> list", from_yaml_array),
    }
)

_YAML_STEPS = 60  # reading and printing YAML is long work even for little text
FUNCTIONS = Functions(
    {**SPRIG, **{name: one if name == "normalize" else replace(one, steps=_YAML_STEPS) for name, one in _OWN.items()}}
)
