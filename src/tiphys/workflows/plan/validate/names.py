"""The rules for names inside a workflow: templates, steps and tasks, parameters and artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tiphys.lang.gotext import utf8
from tiphys.workflows.plan.validate.problem import Invalid

FIELD_NAME_MAX = 128
OBJECT_NAME_MAX = 63
CRON_NAME_MAX = 52
"""A cron workflow's children get eleven more characters (``-1615836720``)."""

RESERVED_CONTAINERS = ("wait", "supervisor")
RESERVED_CONTAINER_PREFIX = "artifact-plugin-"

PLACEHOLDER = "__argo__internal__placeholder-"
"""Stands for a value that is known only at run time."""

_PARAMETER_NAME = re.compile(r"[-a-zA-Z0-9_]+")
_FIELD_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_PLACEHOLDERS = re.compile(re.escape(PLACEHOLDER) + r"\d+")
_METRIC_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PARAMETER_TAG = re.compile(r"\{\{[-a-zA-Z0-9]+(\.[-a-zA-Z0-9_]+)*\}\}")

PARAMETER_RULE = (
    "Parameter/Artifact name must consist of alpha-numeric characters, '_' or '-' e.g. my_param_1, MY-PARAM-1"
)
FIELD_RULE = (
    "name must consist of alpha-numeric characters or '-', and must start with an alpha-numeric character "
    "(e.g. My-name1-2, 123-NAME)"
)


def parameter_name_faults(name: str) -> list[str]:
    """What is wrong with the name of a parameter or artifact."""
    return [] if _PARAMETER_NAME.fullmatch(name) else [PARAMETER_RULE]


def field_name_faults(name: str) -> list[str]:
    """What is wrong with the name of a template, step or task."""
    faults = []
    if len(utf8(name)) > FIELD_NAME_MAX:
        faults.append(f"must be no more than {FIELD_NAME_MAX} bytes")
    if not _FIELD_NAME.fullmatch(name):
        faults.append(FIELD_RULE)
    return faults


def is_field_name(name: str) -> bool:
    return _FIELD_NAME.fullmatch(name) is not None


def step_name_faults(name: str) -> list[str]:
    """As `field_name_faults`, for a name that may hold values not known yet."""
    return field_name_faults(_PLACEHOLDERS.sub("x", name))


def check_parameter_names(items: Sequence[dict[str, Any]] | None) -> None:
    """Names of parameters or artifacts: there, well-formed, unique. Raises `Invalid` with ``[index].name``."""
    _check(([item.get("name", "") for item in items or ()]), parameters=True)


def check_field_names(names: Iterable[str]) -> None:
    """Names of templates, tasks or containers: there, well-formed, unique. Raises `Invalid`."""
    _check(names, parameters=False)


def _check(names: Iterable[str], *, parameters: bool) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        where = f"[{index}].name"
        if not name:
            raise Invalid(f"{where} is required", where)
        faults = parameter_name_faults(name) if parameters else field_name_faults(name)
        if faults:
            raise Invalid(f"{where}: '{name}' is invalid: {';'.join(faults)}", where)
        if name in seen:
            raise Invalid(f"{where} '{name}' is not unique", where)
        seen.add(name)


def is_reserved_container(name: str) -> bool:
    return name in RESERVED_CONTAINERS or name.startswith(RESERVED_CONTAINER_PREFIX)


def is_metric_name(name: str) -> bool:
    return _METRIC_NAME.fullmatch(name) is not None


def holds_parameter(text: str) -> bool:
    """Whether a tag such as ``{{inputs.parameters.x}}`` is in the text."""
    return _PARAMETER_TAG.search(text) is not None


def is_placeholder(text: str) -> bool:
    return text.startswith(PLACEHOLDER)
