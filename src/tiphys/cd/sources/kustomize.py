"""Kustomizations: the overrides of a source as edits, then the build (util/kustomize of argo-cd)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiphys.cd.sources import manifests
from tiphys.cd.sources.helm import kube_version
from tiphys.cd.sources.kustomization import kustomization_file
from tiphys.cd.sources.manifests import ManifestError
from tiphys.cd.sources.request import Manifest, RenderError, Request, Tools
from tiphys.cd.sources.tools import shown
from tiphys.lang import goyaml

PATCHES_NOTE = (
    "# kustomization.yaml updated with patches. There is no `kustomize edit` command for adding patches. "
    "In order to generate the manifests in your local environment, you will need to copy the patches into "
    "kustomization.yaml manually."
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_EDITS: dict[str, Callable[[Request, Any, Mapping[str, Any]], list[str]]] = {
    "namePrefix": lambda _, value, __: ["set", "nameprefix", "--", value],
    "nameSuffix": lambda _, value, __: ["set", "namesuffix", "--", value],
    "images": lambda request, images, _: ["set", "image", *map(request.substituted, images)],
    "replicas": lambda _, replicas, __: ["set", "replicas", *map(_replicas, replicas)],
    "commonLabels": lambda request, _, options: ["add", "label", *_label_arguments(request, options)],
    "commonAnnotations": lambda request, _, options: ["add", "annotation", *_annotation_arguments(request, options)],
    "namespace": lambda _, value, __: ["set", "namespace", "--", value],
}
"""The edits in the original's order, which matters for what the kustomization ends as."""


def objects(request: Request, place: Path, tools: Tools) -> tuple[list[Manifest], list[str]]:
    """What the kustomization builds to and the commands for it. The checkout is changed. Raises `RenderError`."""
    options = request.source.get("kustomize") or {}
    version = kube_version(request.of_tool("kubeVersion") or request.kube_version)
    commands: list[str] = []

    def run(arguments: Sequence[str], cwd: Path) -> str:
        argv = ["kustomize", *arguments]
        commands.append(shown(argv).replace(str(request.root), "."))
        return tools.run(argv, cwd, request.environment)

    for field, arguments in _EDITS.items():
        if options.get(field):
            run(["edit", *arguments(request, options[field], options)], place)
    if options.get("patches"):
        _add_patches(place, options["patches"])
        commands.append(PATCHES_NOTE)
    components = _components(request, place, options)
    if components:
        run(["edit", "add", "component", *components], place)
    output = run(["build", str(place), *_build_options(request, version)], request.root)
    try:
        return manifests.split(output), commands
    except ManifestError as err:
        raise RenderError(str(err)) from None


def _replicas(one: Mapping[str, Any]) -> str:
    count = one.get("count", 0)
    if isinstance(count, str) and not _INTEGER.fullmatch(count):
        raise RenderError(f"expected integer value for count. Received: {count}")
    return f"{one.get('name', '')}={int(count)}"


def _label_arguments(request: Request, options: Mapping[str, Any]) -> list[str]:
    flags = {
        "forceCommonLabels": "--force",
        "labelWithoutSelector": "--without-selector",
        "labelIncludeTemplates": "--include-templates",
    }
    given = [flag for field, flag in flags.items() if options.get(field)]
    return given + [f"{name}:{request.substituted(value)}" for name, value in options["commonLabels"].items()]


def _annotation_arguments(request: Request, options: Mapping[str, Any]) -> list[str]:
    given = ["--force"] if options.get("forceCommonAnnotations") else []
    replaced = request.substituted if options.get("commonAnnotationsEnvsubst") else str
    return given + [f"{name}:{replaced(value)}" for name, value in options["commonAnnotations"].items()]


def _add_patches(place: Path, patches: Sequence[Any]) -> None:
    path = kustomization_file(place)
    if path is None:
        raise RenderError("kustomization file not found in the path")
    try:
        kustomization = goyaml.load(path.read_text(encoding="utf-8"))
    except (goyaml.YamlError, UnicodeDecodeError) as err:
        raise RenderError(f"failed to unmarshal kustomization.yaml: {err}") from None
    if not isinstance(kustomization, dict):
        raise RenderError("expected kustomization.yaml to be type map[string]any, but got map[string]interface {}")
    held = kustomization.get("patches", [])
    if not isinstance(held, list):
        raise RenderError("expected 'patches' field in kustomization.yaml to be []any, but got another type")
    path.write_text(goyaml.dump({**kustomization, "patches": [*held, *patches]}), encoding="utf-8")


def _components(request: Request, place: Path, options: Mapping[str, Any]) -> list[str]:
    wanted = list(options.get("components") or ())
    if not options.get("ignoreMissingComponents"):
        return wanted
    root = request.root.resolve()
    return [name for name in wanted if (real := (place / name).resolve()).is_relative_to(root) and real.exists()]


def _build_options(request: Request, version: str) -> list[str]:
    found = request.build_options.split()
    if "--enable-helm" in request.build_options:
        found += ["--helm-kube-version", version] if version else []
        for one in request.of_tool("apiVersions") or request.api_versions:
            found += ["--helm-api-versions", one]
    return found
