"""Which tool renders a directory, after the parameter overrides that lie in it.

An explicit tool block decides, then a plugin that discovers the source; else, among the files of the directory itself
in lexical order, the last that is typical for a tool: a name that ends in ``Chart.yaml``, or a kustomization. Source of
the behaviour: argo-cd util/app/discovery and mergeSourceParameters of the repo server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiphys.cd.sources import plugins
from tiphys.cd.sources.kustomization import KUSTOMIZATION_NAMES
from tiphys.cd.sources.request import RenderError, Request, Tools
from tiphys.lang import goyaml
from tiphys.machinery.patches import merge

_TOOLS = {"kustomize": "Kustomize", "helm": "Helm", "directory": "Directory", "plugin": "Plugin"}
_NOT_OVERRIDDEN = ("chart", "path", "repoURL", "targetRevision")


def with_overrides(source: Mapping[str, Any], place: Path, app: str) -> dict[str, Any]:
    """The source with ``.argocd-source.yaml`` and the application's own override file merged over it.

    Raises `RenderError`.
    """
    merged = dict(source)
    names = [".argocd-source.yaml", *([f".argocd-source-{app}.yaml"] if app else [])]
    for path in (place / name for name in names):
        if path.is_file():
            merged = _merged(merged, path)
    for name in _NOT_OVERRIDDEN:
        merged.pop(name, None)
        if name in source:
            merged[name] = source[name]
    return merged


def _merged(source: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        patch = goyaml.load(path.read_text(encoding="utf-8"))
    except (goyaml.YamlError, UnicodeDecodeError) as err:
        raise RenderError(f"error while parsing source parameters: {path}: {err}") from None
    if not isinstance(patch, dict):
        raise RenderError(f"error while parsing source parameters: {path}: Invalid JSON Patch")
    found = merge.apply(source, patch)
    assert isinstance(found, dict)
    return found


def source_type(request: Request, place: Path, tools: Tools) -> str:
    """Helm, Kustomize, Directory or Plugin. Raises `RenderError` for a source with two tool blocks."""
    explicit = [name for tool, name in _TOOLS.items() if request.source.get(tool) is not None]
    if len(explicit) > 1:
        raise RenderError(f"multiple application sources defined: {','.join(explicit)}")
    if explicit:
        return explicit[0] if is_enabled(request, explicit[0]) else "Directory"
    return "Plugin" if plugins.chosen(request, place, tools) else _discovered(request, place)


def is_enabled(request: Request, kind: str) -> bool:
    """Whether the settings allow this tool (``kustomize.enable`` and the like)."""
    return request.enabled_types.get(kind, True)


def _discovered(request: Request, place: Path) -> str:
    found = "Directory"
    for path in sorted(place.iterdir()):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.name.endswith("Chart.yaml") and is_enabled(request, "Helm"):
            found = "Helm"
        if path.name in KUSTOMIZATION_NAMES and is_enabled(request, "Kustomize"):
            found = "Kustomize"
    return found
