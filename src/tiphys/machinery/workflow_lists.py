"""Which workflows a list request of the Workflows API asks for: its query parameters read, and applied in memory.

The field selector here is not the one of Kubernetes (see `selectors`): only a few fields are known, ``>`` and ``<``
compare start times, and a later term overrides an earlier one. Names are matched as SQL's LIKE does (``_`` and ``%``
are wildcards, ASCII letters match in both cases), because the original keeps its list in SQLite.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tiphys.lang import gotime
from tiphys.lang.gofmt import quote
from tiphys.machinery.selectors import EVERYTHING, LabelSelector, Requirement, SelectorError, parse_labels


class ListOptionsError(ValueError):
    """A parameter cannot be used; ``code`` is the gRPC status code's name (InvalidArgument or Internal)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class ListOptions:
    """A list request, understood. ``name_filter`` is "", Exact, Contains, Prefix or NotEquals (others match all)."""

    namespace: str = ""
    namespace_filter: str = ""
    name: str = ""
    name_prefix: str = ""
    name_filter: str = ""
    labels: LabelSelector = EVERYTHING
    started_from: datetime | None = None
    started_to: datetime | None = None
    created_after: datetime | None = None
    finished_before: datetime | None = None
    limit: int = 0
    offset: int = 0
    show_remaining_item_count: bool = False


def parse(
    *,
    namespace: str = "",
    field_selector: str = "",
    label_selector: str = "",
    name_prefix: str = "",
    name_filter: str = "",
    created_after: str = "",
    finished_before: str = "",
    limit: int = 0,
    continue_from: str = "",
) -> ListOptions:
    """Reads a list request's parameters; ``continue_from`` says how many items to skip. Raises `ListOptionsError`."""
    options = ListOptions(
        namespace=namespace,
        name_prefix=name_prefix,
        name_filter=name_filter,
        limit=limit,
        offset=_offset(continue_from),
        created_after=_time(created_after) if created_after else None,
        finished_before=_time(finished_before) if finished_before else None,
    )
    for term in filter(None, field_selector.split(",")):
        options = _with_term(options, term)
    try:
        return replace(options, labels=parse_labels(label_selector))
    except SelectorError as err:
        raise ListOptionsError("InvalidArgument", str(err)) from err


def select(options: ListOptions, workflows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The workflows asked for, the latest started first; ``limit`` and ``offset`` count only when there is a limit."""
    found = [workflow for workflow in workflows if matches(options, workflow)]
    found.sort(key=lambda workflow: str((workflow.get("status") or {}).get("startedAt") or ""), reverse=True)
    return found[options.offset :][: options.limit] if options.limit else found


def matches(options: ListOptions, workflow: Mapping[str, Any]) -> bool:
    """Whether one workflow belongs to the list. An unfinished one counts as finished long ago."""
    metadata, status = workflow.get("metadata") or {}, workflow.get("status") or {}
    return (
        _namespace_matches(options, metadata.get("namespace", ""))
        and _name_matches(options, metadata.get("name", ""))
        and _labels_match(options.labels, metadata.get("labels") or {})
        and _not_before(metadata.get("creationTimestamp"), options.created_after)
        and _not_after(status.get("finishedAt"), options.finished_before)
        and (options.started_from is None or _not_before(status.get("startedAt"), options.started_from))
        and _not_after(status.get("startedAt"), options.started_to)
    )


def workflow_name_in(selector: str) -> str:
    """The name that a watch's field selector asks for, or "": what follows ``metadata.name=`` up to a comma."""
    _, found, rest = selector.partition("metadata.name=")
    return rest.partition(",")[0].strip() if found else ""


def node_fields(node: Mapping[str, Any]) -> dict[str, str]:
    """What a node selector (``--node-field-selector``) sees of an entry of status.nodes."""
    reference = node.get("templateRef")
    fields = {
        "displayName": node.get("displayName", ""),
        "templateName": node.get("templateName", "") if reference is None else reference.get("template", ""),
        "phase": node.get("phase", ""),
        "name": node.get("name", ""),
        "id": node.get("id", ""),
    }
    if reference is not None:
        fields["templateRef.name"] = reference.get("name", "")
        fields["templateRef.template"] = reference.get("template", "")
    for parameter in (node.get("inputs") or {}).get("parameters") or ():
        fields[f"inputs.parameters.{parameter['name']}.value"] = str(parameter.get("value", ""))
    return fields


def _offset(text: str) -> int:
    if text and not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise ListOptionsError("InvalidArgument", "listOptions.continue must be int")
    if (offset := int(text or 0)) < 0:
        raise ListOptionsError("InvalidArgument", "listOptions.continue must >= 0")
    return offset


def _time(text: str) -> datetime:
    try:
        return gotime.parse(gotime.RFC3339, text)
    except gotime.GoTimeError as err:
        raise ListOptionsError("Internal", str(err)) from err


_TERM = re.compile(
    r"(metadata\.namespace|metadata\.name)(!=|==|=)|(spec\.startedAt)([<>])|(ext\.showRemainingItemCount)"
)


def _with_term(options: ListOptions, term: str) -> ListOptions:
    match = _TERM.match(term)
    if match is None:
        raise ListOptionsError("InvalidArgument", f"unsupported requirement {term}")
    field, operator, started, bound, count = match.groups()
    value = term[match.end() :]
    if count:
        return replace(options, show_remaining_item_count=_flag(term.removeprefix("ext.showRemainingItemCount=")))
    if started:
        return (
            replace(options, started_from=_time(value)) if bound == ">" else replace(options, started_to=_time(value))
        )
    if field == "metadata.name":
        return replace(options, name=value, name_filter="NotEquals" if operator == "!=" else options.name_filter)
    if operator == "!=":
        return replace(options, namespace=value, namespace_filter="NotEquals")
    if options.namespace not in ("", value):
        raise ListOptionsError(
            "InvalidArgument",
            f"'namespace' query param ({quote(options.namespace)}) and fieldselector 'metadata.namespace' "
            f"({quote(value)}) are both specified and contradict each other",
        )
    return replace(options, namespace=value)


def _flag(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ListOptionsError("Internal", f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")


def _namespace_matches(options: ListOptions, namespace: str) -> bool:
    if not options.namespace:
        return True
    return (namespace == options.namespace) is not (options.namespace_filter == "NotEquals")


def _name_matches(options: ListOptions, name: str) -> bool:
    if options.name_prefix and not _like(options.name_prefix + "%", name):
        return False
    if not options.name:
        return True
    if options.name_filter in ("", "Exact"):
        return name == options.name
    if options.name_filter == "NotEquals":
        return name != options.name
    pattern = {"Contains": f"%{options.name}%", "Prefix": f"{options.name}%"}.get(options.name_filter)
    return pattern is None or _like(pattern, name)


def _like(pattern: str, text: str) -> bool:
    """SQLite's LIKE, by keeping the set of reachable places in the pattern: no input makes it slow."""
    pattern, text = _fold(pattern), _fold(text)
    places = _past_percents(pattern, {0})
    for character in text:
        stepped = {
            p if pattern[p] == "%" else p + 1
            for p in places
            if p < len(pattern) and pattern[p] in ("%", "_", character)
        }
        places = _past_percents(pattern, stepped)
    return len(pattern) in places


def _past_percents(pattern: str, places: set[int]) -> set[int]:
    reached = set(places)
    for place in places:
        while place < len(pattern) and pattern[place] == "%":
            place += 1
            reached.add(place)
    return reached


def _fold(text: str) -> str:
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def _labels_match(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    return all(_label_matches(requirement, labels) for requirement in selector.requirements)


def _label_matches(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """As in `selectors`, but SQL's cast reads a number at the start of any text (and 0 where there is none)."""
    if requirement.operator not in ("gt", "lt"):
        return requirement.matches(labels)
    if (value := labels.get(requirement.key)) is None:
        return False
    match = re.match(r"\s*([+-]?[0-9]{1,19})", value)
    difference = (int(match[1]) if match else 0) - int(requirement.values[0])
    return difference > 0 if requirement.operator == "gt" else difference < 0


def _not_before(moment: str | None, bound: datetime | None) -> bool:
    return bound is None or (moment is not None and _time(moment) >= bound)


def _not_after(moment: str | None, bound: datetime | None) -> bool:
    return bound is None or moment is None or _time(moment) <= bound
