"""Arguments: names, values, and where artifacts come from; and what a template's own inputs and outputs may say."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from tiphys.workflows.plan.artifacts import has_location_or_key
from tiphys.workflows.plan.validate.names import check_parameter_names, holds_parameter, parameter_name_faults
from tiphys.workflows.plan.validate.problem import Invalid, Place

_VALUE_FROM = "valueFrom only allows: default, configMapKeyRef and supplied"


def check_arguments(prefix: str, arguments: Mapping[str, Any], *, allow_empty: bool) -> None:
    """Raises `Invalid` for the first fault of an ``arguments`` field; ``prefix`` goes before its messages."""
    for kind in ("parameters", "artifacts"):
        try:
            check_parameter_names(arguments.get(kind))
        except Invalid as err:
            raise err.within(f"{prefix}{kind}", kind) from None
    for index, parameter in enumerate(arguments.get("parameters") or ()):
        if not _check_value(prefix + parameter["name"], f"parameters[{index}]", parameter, allow_empty):
            return
    for index, artifact in enumerate(arguments.get("artifacts") or ()):
        _check_source(prefix + artifact["name"], f"artifacts[{index}]", artifact)


def _check_value(name: str, path: str, parameter: Mapping[str, Any], allow_empty: bool) -> bool:
    """False where the original stops looking: at an ``enum`` whose value may come later."""
    value, source, enum = parameter.get("value"), parameter.get("valueFrom"), parameter.get("enum")
    if source is None and value is None and not allow_empty:
        raise Invalid(f"{name}.value or {name}.valueFrom is required", path)
    if source is not None:
        allowed = source.get("configMapKeyRef") is not None or source.get("event") or source.get("supplied") is not None
        others = ("path", "jsonPath", "parameter", "expression")
        if not allowed or any(source.get(other) for other in others):
            raise Invalid(f"{name}.{_VALUE_FROM}", f"{path}.valueFrom")
    if enum is None:
        return True
    if not enum:
        raise Invalid(f"{name}.enum should contain at least one value", f"{path}.enum")
    if value is None and allow_empty:
        return False
    if value is None:
        raise Invalid(f"{name}.value is required", path)
    if value not in enum:
        raise Invalid(f"{name}.value should be present in {name}.enum list", f"{path}.value")
    return True


def _check_source(name: str, path: str, artifact: Mapping[str, Any]) -> None:
    if not artifact.get("from") and not has_location_or_key(artifact):
        raise Invalid(f"{name}.from, artifact location, or key is required", path)
    if artifact.get("from") and artifact.get("fromExpression"):
        raise Invalid(f"{name} shouldn't have both `from` and `fromExpression` in Artifact", path)


def check_inputs(template: Mapping[str, Any], *, leaf: bool, place: Place) -> set[str]:
    """Raises `Invalid` for the first fault of a template's inputs; returns the variables that they make."""
    name, inputs = template.get("name", ""), template["inputs"]
    for kind in ("parameters", "artifacts"):
        try:
            check_parameter_names(inputs.get(kind))
        except Invalid as err:
            raise err.within(f"templates.{name}.inputs.{kind}", f"inputs.{kind}", place) from None
    scope = {f"inputs.parameters.{parameter['name']}" for parameter in inputs.get("parameters") or ()}
    if scope:
        scope.add("inputs.parameters")
    for index, artifact in enumerate(inputs.get("artifacts") or ()):
        reference = f"inputs.artifacts.{artifact['name']}"
        scope.add(reference)
        if leaf:
            scope.add(f"{reference}.path")
        try:
            _check_input_artifact(f"templates.{name}.{reference}", artifact, leaf)
        except Invalid as err:
            raise err.within("", f"inputs.artifacts[{index}]", place) from None
    return scope


def _check_input_artifact(prefix: str, artifact: Mapping[str, Any], leaf: bool) -> None:
    if leaf:
        check_path(prefix, artifact)
    elif artifact.get("path"):
        raise Invalid(f"{prefix}.path only valid in container/script templates", "path")
    if artifact.get("from"):
        raise Invalid(f"{prefix}.from not valid in inputs", "from")
    check_location(prefix, artifact)


def check_path(prefix: str, artifact: Mapping[str, Any]) -> None:
    """An artifact of a pod needs a path, and one with ``..`` may not leave the folder before it."""
    name, path = artifact["name"], artifact.get("path", "")
    if not path:
        raise Invalid(f"error in {prefix}: Artifact '{name}' did not specify a path", "path")
    folder = ""
    if "/../" in path:
        folder = path.partition("/../")[0]
    elif re.search(r"/..$", path):  # upstream's dots match any character
        folder = path[:-3]
    cleaned = posixpath.normpath(path)
    if folder and not (cleaned.startswith(f"{folder}/") and len(cleaned) > len(folder) + 1):
        what = f"Artifact '{name}' attempted to use a path containing '..'. Directory traversal is not permitted"
        raise Invalid(f"error in {prefix}: {what}", "path")


def check_location(prefix: str, location: Mapping[str, Any]) -> None:
    """The storages that upstream looks into: git and HDFS."""
    git, hdfs = location.get("git"), location.get("hdfs")
    if git is not None and not git.get("repo"):
        raise Invalid(f"{prefix}.git.repo is required", "git.repo")
    if hdfs is not None:
        _check_hdfs(f"{prefix}.hdfs", hdfs)


def _check_hdfs(at: str, hdfs: Mapping[str, Any]) -> None:
    cache, keytab = hdfs.get("krbCCacheSecret") is not None, hdfs.get("krbKeytabSecret") is not None
    principal = bool(hdfs.get("krbServicePrincipalName")) and hdfs.get("krbConfigConfigMap") is not None
    if not hdfs.get("addresses"):
        raise Invalid(f"{at}.addresses is required", "hdfs.addresses")
    if not hdfs.get("path"):
        raise Invalid(f"{at}.path is required", "hdfs.path")
    if not hdfs["path"].startswith("/"):
        raise Invalid(f"{at}.path must be a absolute file path", "hdfs.path")
    if not hdfs.get("hdfsUser") and not cache and not keytab:
        raise Invalid(f"either {at}.hdfsUser, {at}.krbCCacheSecret or {at}.krbKeytabSecret is required", "hdfs")
    if keytab and not (principal and hdfs.get("krbUsername") and hdfs.get("krbRealm")):
        needed = f"{at}.krbServicePrincipalName, {at}.krbConfigConfigMap, {at}.krbUsername and {at}.krbRealm"
        raise Invalid(f"{needed} are required with {at}.krbKeytabSecret", "hdfs")
    if cache and not principal:
        needed = f"{at}.krbServicePrincipalName and {at}.krbConfigConfigMap"
        raise Invalid(f"{needed} are required with {at}.krbCCacheSecret", "hdfs")


def check_outputs(template: Mapping[str, Any], type_name: str, *, leaf: bool) -> None:
    """Raises `Invalid` for the first fault of a template's outputs, paths relative to the template."""
    name, outputs = template.get("name", ""), template["outputs"]
    for index, artifact in enumerate(outputs.get("artifacts") or ()):
        try:
            _check_output_artifact(f"templates.{name}.outputs.artifacts.{artifact['name']}", artifact, leaf)
        except Invalid as err:
            raise err.within("", f"outputs.artifacts[{index}]") from None
    for index, parameter in enumerate(outputs.get("parameters") or ()):
        reference = f"templates.{name}.outputs.parameters.{parameter['name']}"
        try:
            _check_output_parameter(reference, parameter, type_name)
            _check_global_name(reference, parameter)
        except Invalid as err:
            raise err.within("", f"outputs.parameters[{index}]") from None


def check_output_names(template: Mapping[str, Any]) -> None:
    """The names of a template's outputs. Raises `Invalid`, paths relative to the template."""
    for kind in ("parameters", "artifacts"):
        try:
            check_parameter_names(template["outputs"].get(kind))
        except Invalid as err:
            prefix = f"templates.{template.get('name', '')}.outputs.{kind} "
            raise err.within(prefix, f"outputs.{kind}") from None


def _check_output_artifact(reference: str, artifact: Mapping[str, Any], leaf: bool) -> None:
    if leaf:
        check_path(reference, artifact)
    elif artifact.get("path"):
        raise Invalid(f"{reference}.path only valid in container/script templates", "path")
    _check_global_name(reference, artifact)


def _check_global_name(reference: str, output: Mapping[str, Any]) -> None:
    name = output.get("globalName", "")
    if not name or holds_parameter(name):
        return
    faults = parameter_name_faults(name)
    if faults:
        raise Invalid(f"{reference}.globalName: {faults[0]}", "globalName")


def _check_output_parameter(reference: str, parameter: Mapping[str, Any], type_name: str) -> None:
    value, source = parameter.get("value"), parameter.get("valueFrom")
    if source is not None and value is not None:
        raise Invalid(f"{reference} has both valueFrom and value specified, choose one")
    if value is not None:
        return
    if source is None:
        raise Invalid(f"{reference} does not have valueFrom or value specified")
    sources = [source.get(kind) for kind in ("path", "jqFilter", "jsonPath", "parameter", "expression")]
    found = sum(map(bool, sources)) + (source.get("supplied") is not None)
    choices = "choose one of: path, jqFilter, jsonPath, parameter, raw"
    if found == 0:
        raise Invalid(f"valueFrom type unspecified. {choices}, expression", "valueFrom")
    if found > 1:
        raise Invalid(f"multiple valueFrom types specified. {choices}", "valueFrom")
    _check_source_fits(reference, source, type_name)


def _check_source_fits(reference: str, source: Mapping[str, Any], type_name: str) -> None:
    match type_name:
        case "Container" | "ContainerSet" | "Script" if not source.get("path"):
            raise Invalid(f"{reference}.path must be specified for {type_name} templates", "valueFrom")
        case "Resource" if not source.get("jqFilter") and not source.get("jsonPath"):
            raise Invalid(f"{reference} .jqFilter or jsonPath must be specified for {type_name} templates", "valueFrom")
        case "DAG" | "Steps" if not source.get("parameter") and not source.get("expression"):
            raise Invalid(
                f"{reference}.parameter or expression must be specified for {type_name} templates", "valueFrom"
            )
        case _:
            pass
