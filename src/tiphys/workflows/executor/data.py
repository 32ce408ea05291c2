"""Data templates: the keys that an artifact source has, put through expressions; the result is JSON.

    artifactPaths ─► keys ─► expression over ``data`` ─► … ─► outputs.result

Runs inside the node's agent in place of the pod's main container. Source: argoexec data (workflow/data/data.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from tiphys.lang import gojson
from tiphys.lang.expr import ExprError, evaluate
from tiphys.lang.expr.values import AnyMap
from tiphys.lang.govalues import StringList
from tiphys.workflows.executor import locations
from tiphys.workflows.executor.artifacts import ArtifactDrivers
from tiphys.workflows.executor.errors import ExecutorError

Object = Mapping[str, Any]


@runtime_checkable
class Listing(Protocol):
    """A driver of a store whose keys can be listed."""

    def list_objects(self, artifact: Object) -> Iterable[str]:
        """The keys below the artifact's key. Raises ``ExecutorError``."""
        ...


def process(template: Object, drivers: ArtifactDrivers) -> str:
    """The template's result. Blocks. Raises ``ExecutorError``."""
    data = template.get("data")
    try:
        if data is None:
            raise ExecutorError("no data template found")
        value = _transformed(_sourced(data.get("source") or {}, template, drivers), data)
    except ExecutorError as err:
        raise ExecutorError(f"unable to process data template: {err}") from err
    if isinstance(value, AnyMap):
        raise ExecutorError(f"json: unsupported type: {value.go_type}")
    try:
        return gojson.dumps(value)
    except gojson.GoJsonError as err:
        raise ExecutorError(str(err)) from err


def _sourced(source: Object, template: Object, drivers: ArtifactDrivers) -> StringList:
    try:
        if source.get("artifactPaths") is None:
            raise ExecutorError("no valid source is used for data template")
        try:
            return _keys(source["artifactPaths"], template, drivers)
        except ExecutorError as err:
            raise ExecutorError(f"unable to source artifact paths: {err}") from err
    except ExecutorError as err:
        raise ExecutorError(f"unable to process data source: {err}") from err


def _keys(artifact: Object, template: Object, drivers: ArtifactDrivers) -> StringList:
    """Listed as the artifact says it: of the repository's place only the kind counts (upstream does the same)."""
    driver = drivers.driver_for(locations.relocate(artifact, template.get("archiveLocation")))
    if not isinstance(driver, Listing):
        raise ExecutorError(
            "ListObjects is currently not supported for this artifact type, but it will be in a future version"
        )
    found = StringList(driver.list_objects(artifact))
    if not found:
        raise ExecutorError(f"no key found of name {locations.get_key(artifact)}")
    return found


def _transformed(value: Any, data: Object) -> Any:
    for index, step in enumerate(data.get("transformation") or ()):
        expression = step.get("expression") or ""
        try:
            value = evaluate(expression, {"data": value}) if expression else value
        except ExprError as err:
            raise ExecutorError(
                f"unable to process data transformation: error processing data step {index}: {err}"
            ) from err
    return value
