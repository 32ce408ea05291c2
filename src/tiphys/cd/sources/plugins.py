"""Config management plugins: the original's ConfigManagementPlugin files, run here instead of in a sidecar.

A plugin gets the checkout to itself (`workspace`), the build environment, ``ARGOCD_ENV_*`` and ``PARAM_*`` variables,
and prints objects. One that is named must exist; else the first whose ``discover`` finds something takes the source.
Source of the behaviour: argo-cd cmpserver/plugin and docs/operator-manual/config-management-plugins.md.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiphys.cd.sources import manifests
from tiphys.cd.sources.helm import kube_version
from tiphys.cd.sources.manifests import ManifestError
from tiphys.cd.sources.request import Manifest, RenderError, Request, Tools
from tiphys.cd.sources.tools import shown
from tiphys.lang import globs, goyaml

logger = logging.getLogger(__name__)

Plugin = Mapping[str, Any]
KIND = "ConfigManagementPlugin"


def installed(folder: Path) -> list[Plugin]:
    """The plugins of a folder in the order of their files: ``NAME.yaml`` as in an ``argocd-cmp-cm`` ConfigMap, or
    ``NAME/plugin.yaml`` as in a sidecar. One that is not valid is logged and left out."""
    found = []
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"), *folder.glob("*/plugin.yaml"))):
        try:
            found.append(load(path))
        except RenderError as err:
            logger.warning("a config management plugin is left out: %s", err)
    return found


def load(path: Path) -> Plugin:
    """Reads and checks a plugin's file. Raises `RenderError` in the original's words."""
    try:
        plugin = goyaml.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, goyaml.YamlError) as err:
        raise RenderError(f"{path.name}: {err}") from None
    prefix = f"{path.name}: invalid plugin configuration file."
    if not isinstance(plugin, dict) or not (plugin.get("metadata") or {}).get("name"):
        raise RenderError(f"{prefix} metadata.name should be non-empty")
    if plugin.get("kind") != KIND:
        raise RenderError(f"{prefix} kind should be {KIND}, found {plugin.get('kind', '')}")
    if not ((plugin.get("spec") or {}).get("generate") or {}).get("command"):
        raise RenderError(f"{prefix} spec.generate command should be non-empty")
    return plugin


def address(plugin: Plugin) -> str:
    """The name by which applications ask for it: with its version, if it has one."""
    version = plugin["spec"].get("version")
    name = str(plugin["metadata"]["name"])
    return f"{name}-{version}" if version else name


def concerning(installed: Sequence[Plugin], source: Mapping[str, Any], *, is_overridden: bool) -> list[Plugin]:
    """Those that may have to do with a source: named by it, or asked about it because they discover; all of them
    where a file in the repository may say something else than the source."""
    if is_overridden:
        return list(installed)
    if any(source.get(tool) is not None for tool in ("helm", "kustomize", "directory")) or source.get("chart"):
        return []
    named = source.get("plugin")
    if named is not None and named.get("name"):
        return [plugin for plugin in installed if address(plugin) == named["name"]]
    return [plugin for plugin in installed if _is_discovery_defined(plugin)]


def chosen(request: Request, place: Path, tools: Tools) -> Plugin | None:
    """The plugin that renders this source: the named one, or the first that discovers it. Raises `RenderError`."""
    name = (request.source.get("plugin") or {}).get("name", "")
    for plugin in request.plugins:
        if name and address(plugin) == name:
            if _is_discovery_defined(plugin) and not _discovers(plugin, request, place, tools):
                break
            return plugin
        if not name and _discovers(plugin, request, place, tools):
            return plugin
    return None


def objects(request: Request, place: Path, tools: Tools) -> tuple[list[Manifest], list[str]]:
    """What the plugin generates and the commands that were run. Raises `RenderError`."""
    prefix = f'CMP processing failed for application "{request.app}": '
    environment = variables(request)
    plugin = chosen(request, place, tools)
    if plugin is None:
        name = (request.source.get("plugin") or {}).get("name", "")
        named = f' cmp-server plugin with name "{name}"' if name else " plugin"
        raise RenderError(f"{prefix}could not find{named} supporting the given repository")
    commands: list[str] = []
    output = ""
    for step in ("init", "generate"):
        argv = _argv(plugin["spec"].get(step))
        if argv:
            commands.append(shown(argv))
            output = _run(tools, argv, place, environment, f"{prefix}error generating manifests in cmp: ")
    try:
        return manifests.split(output), commands
    except ManifestError as err:
        raise RenderError(f"{prefix}failed to convert CMP manifests to unstructured objects: {err}") from None


def variables(request: Request) -> dict[str, str]:
    """The environment of a plugin's commands."""
    found = {
        **request.environment,
        "KUBE_VERSION": kube_version(request.kube_version),
        "KUBE_API_VERSIONS": ",".join(request.api_versions),
    }
    plugin = request.source.get("plugin")
    if plugin is None:
        return found
    given = {f"ARGOCD_ENV_{one['name']}": request.substituted(one.get("value", "")) for one in plugin.get("env") or ()}
    return {**found, **given, **_parameter_variables(plugin.get("parameters"))}


def _parameter_variables(parameters: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    """All parameters as JSON, and each by itself: ``PARAM_NAME``, ``PARAM_NAME_0`` of a list, ``PARAM_NAME_KEY``."""
    found = {"ARGOCD_APP_PARAMETERS": json.dumps(parameters, separators=(",", ":"))}
    for one in parameters or ():
        name = "PARAM_" + _upper(one.get("name", ""))
        if one.get("string") is not None:
            found[name] = one["string"]
        for key, value in (one.get("map") or {}).items():
            found[f"{name}_{_upper(key)}"] = value
        for index, value in enumerate(one.get("array") or ()):
            found[f"{name}_{index}"] = value
    return found


def _upper(name: str) -> str:
    return re.sub("[^A-Z0-9_]", "_", name.upper())


def _is_discovery_defined(plugin: Plugin) -> bool:
    discover = plugin["spec"].get("discover") or {}
    find = discover.get("find") or {}
    return bool(discover.get("fileName") or find.get("glob") or find.get("command"))


def _discovers(plugin: Plugin, request: Request, place: Path, tools: Tools) -> bool:
    discover = plugin["spec"].get("discover") or {}
    find = discover.get("find") or {}
    names = (str(path.relative_to(place)) for path in place.rglob("*"))
    if discover.get("fileName"):
        pattern = re.sub(r"^\./", "", discover["fileName"])
        return any(globs.path_match(pattern, name) for name in names)
    if find.get("glob"):
        return any(globs.doublestar(re.sub(r"^\./", "", find["glob"]), name) for name in names)
    argv = _argv(find)
    if not argv:
        return False
    return bool(_run(tools, argv, place, variables(request), "error running find command: ").strip())


def _argv(command: Mapping[str, Any] | None) -> list[str]:
    command = command or {}
    return [*(command.get("command") or ()), *(command.get("args") or ())] if command.get("command") else []


def _run(tools: Tools, argv: Sequence[str], place: Path, environment: Mapping[str, str], prefix: str) -> str:
    try:
        return tools.run(argv, place, environment)
    except RenderError as err:
        raise RenderError(f"{prefix}{err}") from None
