"""Puts known values into a template's JSON; tags whose value is not known stay as they are."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from tiphys.workflows.plan.validate.problem import Invalid


def substitute(text: str, values: Mapping[str, str]) -> str:
    """``text`` (JSON) with simple tags replaced. Raises `Invalid` where the result is no JSON any more."""
    parts, position = [], 0
    while (start := text.find("{{", position)) >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            raise Invalid(f'Cannot find end tag="}}}}" in the template="{text}" starting from "{text[start + 2 :]}"')
        parts.append(text[position:start])
        tag = text[start + 2 : end]
        parts.append(_value(tag, values))
        position = end + 2
    parts.append(text[position:])
    return "".join(parts)


def _value(tag: str, values: Mapping[str, str]) -> str:
    value = values.get(tag.strip())
    if value is not None:
        return orjson.dumps(value).decode()[1:-1]
    inner = tag.rfind("{{")
    if inner > 0 and tag[inner + 2 :] in values:
        return "{{" + tag[:inner] + orjson.dumps(values[tag[inner + 2 :]]).decode()[1:-1]
    return "{{" + tag + "}}"
