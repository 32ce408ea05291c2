"""Helm charts: the options of a source as arguments of ``helm template`` (helmTemplate of argo-cd's repo server).

The chart's dependencies are fetched only when the first try says that they are missing.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiphys.cd.sources import manifests, paths
from tiphys.cd.sources.helm_repositories import dependency_repositories
from tiphys.cd.sources.manifests import ManifestError
from tiphys.cd.sources.request import Manifest, RenderError, Request, Tools
from tiphys.cd.sources.tools import shown
from tiphys.cd.sources.value_files import resolved_parameter_file, resolved_value_files
from tiphys.lang import goyaml
from tiphys.lang.gofmt import quote

_KUBE_VERSION = re.compile(r"\s*v?([0-9]+(?:\.[0-9]+)*).*", re.DOTALL)
_MISSING_DEPENDENCY = (
    "found in requirements.yaml, but missing in charts",
    "found in Chart.yaml, but missing in charts/ directory",
)
_API_VERSIONS = re.compile(r"(--api-versions [^ ]+ )+")


@dataclass(frozen=True)
class Options:
    """The options of ``helm template``; ``values_text`` becomes the last values file."""

    release: str
    namespace: str
    kube_version: str
    api_versions: Sequence[str]
    parameters: dict[str, str]
    string_parameters: dict[str, str]
    file_parameters: dict[str, str]
    value_files: Sequence[str]
    values_text: str | None
    skip_crds: bool
    skip_schema_validation: bool
    skip_tests: bool
    extra_values: str = ""


def objects(request: Request, place: Path, tools: Tools) -> tuple[list[Manifest], list[str]]:
    """What the chart renders to and the command for it. Raises `RenderError`."""
    with _with_values_file(options(request, place)) as wanted:
        repositories = dependency_repositories(place)
        version = (request.source.get("helm") or {}).get("version")
        if version not in (None, "", "v3"):
            why = f"failed to create new helm command: helm version '{version}' is not supported"
            raise RenderError(f"error initializing helm app object: {why}")
        argv = ["helm", *arguments(wanted)]
        try:
            output = _template(argv, place, request, tools)
        except RenderError as err:
            if not any(words in str(err) for words in _MISSING_DEPENDENCY):
                raise
            _fetch_dependencies(place, request, tools, repositories)
            output = _template(argv, place, request, tools)
    try:
        return manifests.split(output), [_command(argv, request, wanted)]
    except ManifestError as err:
        raise RenderError(str(err)) from None


def options(request: Request, place: Path) -> Options:
    """What the source says of the release, with references to the build environment replaced. Raises `RenderError`."""
    helm = request.source.get("helm") or {}
    parameters = helm.get("parameters") or ()
    try:
        return Options(
            release=helm.get("releaseName") or request.app.rpartition("_")[2] or request.app,
            namespace=request.of_tool("namespace") or request.namespace,
            kube_version=kube_version(request.of_tool("kubeVersion") or request.kube_version),
            api_versions=request.of_tool("apiVersions") or request.api_versions,
            value_files=resolved_value_files(request, place, helm),
            parameters=_parameters(request, [one for one in parameters if not one.get("forceString")]),
            string_parameters=_parameters(request, [one for one in parameters if one.get("forceString")]),
            file_parameters={
                one["name"]: resolved_parameter_file(request, place, one.get("path", ""))
                for one in helm.get("fileParameters") or ()
            },
            values_text=_values_text(helm),
            skip_crds=bool(helm.get("skipCrds")),
            skip_schema_validation=bool(helm.get("skipSchemaValidation")),
            skip_tests=bool(helm.get("skipTests")),
        )
    except paths.PathError as err:
        raise RenderError(str(err)) from None


def _parameters(request: Request, parameters: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {one.get("name", ""): request.substituted(one.get("value", "")) for one in parameters}


def _values_text(helm: dict[str, Any]) -> str | None:
    if helm.get("valuesObject") is not None:
        return goyaml.dump(helm["valuesObject"])
    return helm.get("values") or None


def kube_version(text: str) -> str:
    """The numbers of a Kubernetes version, without what vendors append. Raises `RenderError`."""
    if not text:
        return ""
    found = _KUBE_VERSION.fullmatch(text)
    if found is None:
        raise RenderError(f"could not parse kubernetes version {text}: could not parse {quote(text)} as version")
    parts = found[1].split(".")
    if len(parts) < 2:
        raise RenderError(f"could not parse kubernetes version {text}: illegal version string {quote(text)}")
    for part in parts:
        if len(part) > 1 and part[0] == "0":
            why = f"illegal zero-prefixed version component {quote(part)} in {quote(text)}"
            raise RenderError(f"could not parse kubernetes version {text}: {why}")
    return found[1]


def arguments(wanted: Options) -> list[str]:
    """The arguments of helm, in the original's order."""
    found = ["template", ".", "--name-template", wanted.release]
    found += ["--namespace", wanted.namespace] if wanted.namespace else []
    found += ["--kube-version", wanted.kube_version] if wanted.kube_version else []
    found += _repeated("--set", wanted.parameters)
    found += _repeated("--set-string", wanted.string_parameters)
    found += _repeated("--set-file", wanted.file_parameters)
    for path in (*wanted.value_files, *([wanted.extra_values] if wanted.extra_values else [])):
        found += ["--values", path]
    for version in wanted.api_versions:
        found += ["--api-versions", version]
    found += [] if wanted.skip_crds else ["--include-crds"]
    found += ["--skip-schema-validation"] if wanted.skip_schema_validation else []
    found += ["--skip-tests"] if wanted.skip_tests else []
    return found


def _repeated(flag: str, values: dict[str, str]) -> list[str]:
    return [part for name, value in values.items() for part in (flag, f"{name}={escaped(value)}")]


def escaped(value: str) -> str:
    """A value for --set: commas get a backslash unless they have one, or the value is a list in braces."""
    if value.startswith("{") and value.endswith("}"):
        return value
    return re.sub(r"(?<!\\),", r"\\,", value)


@contextmanager
def _with_values_file(wanted: Options) -> Iterator[Options]:
    """The options with ``values_text`` in a file that is gone afterwards."""
    if wanted.values_text is None:
        yield wanted
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(wanted.values_text)
        file.flush()
        yield replace(wanted, extra_values=file.name)


def _command(argv: Sequence[str], request: Request, wanted: Options) -> str:
    """The command as shown: without the checkouts' random directories."""
    text = shown(argv)
    for root in request.hidden:
        text = text.replace(str(root), ".")
    if wanted.extra_values:
        text = text.replace(wanted.extra_values, "<temp file with values from source.helm.values/valuesObject>")
    return text


def _template(argv: Sequence[str], place: Path, request: Request, tools: Tools) -> str:
    """Runs it; a Chart.lock that helm leaves behind is removed, or the dependencies could not be built."""
    lock = place / "Chart.lock"
    had_lock = lock.exists()
    try:
        return tools.run(argv, place, {})
    except RenderError as err:
        why = _API_VERSIONS.sub("<api versions removed> ", str(err))
        raise RenderError(f"failed to execute helm template command: failed running helm: {why}") from None
    finally:
        if not had_lock and lock.exists():
            os.remove(lock)


def _fetch_dependencies(place: Path, request: Request, tools: Tools, repositories: Sequence[tuple[str, str]]) -> None:
    try:
        for name, url in repositories:
            if url.startswith(("http://", "https://")):
                tools.run(["helm", "repo", "add", name, url], place, {})
        tools.run(["helm", "dependency", "build"], place, {})
    except RenderError as err:
        raise RenderError(f"error building helm chart dependencies: failed to build helm dependencies: {err}") from None
