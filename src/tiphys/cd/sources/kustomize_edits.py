"""``kustomize edit …`` in Python, for machines that have ``kubectl kustomize`` but no kustomize program.

Only the edits that an Application's overrides need; see `kustomize`. The kustomization keeps its fields, not its
comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from tiphys.cd.sources.kustomization import kustomization_file
from tiphys.cd.sources.request import RenderError, Tools
from tiphys.lang import goyaml

_IMAGE = re.compile(r"(?:(?P<name>[^=]+)=)?(?P<new>[^@:]+(?::\d+/[^@:]+)?)(?::(?P<tag>[^@]+))?(?:@(?P<digest>.+))?")

Kustomization = dict[str, Any]


class KubectlKustomize:
    """A driver of tools for ``kustomize`` that edits here and builds with kubectl."""

    def __init__(self, programs: Tools) -> None:
        self.programs = programs

    def run(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
        """Raises `RenderError`."""
        if argv[1] == "build":
            return self.programs.run(["kubectl", "kustomize", *argv[2:]], cwd, environment)
        edit(cwd, argv[2:])
        return ""


def edit(place: Path, arguments: Sequence[str]) -> None:
    """Carries out one edit. Raises `RenderError` where there is no kustomization or the argument is wrong."""
    path = kustomization_file(place)
    if path is None:
        raise RenderError("Missing kustomization file 'kustomization.yaml'.")
    held = goyaml.load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(held, dict):
        raise RenderError(f"{path.name} is no map")
    flags = set(takewhile(lambda one: one.startswith("--"), arguments[2:]))
    values = arguments[2 + len(flags) :]
    _EDITS[arguments[0], arguments[1]](held, values, flags, place)
    path.write_text(goyaml.dump(held), encoding="utf-8")


Edit = Callable[[Kustomization, Sequence[str], set[str], Path], None]


def _set(field: str) -> Edit:
    def change(held: Kustomization, values: Sequence[str], flags: set[str], place: Path) -> None:
        held[field] = values[0]

    return change


def _set_images(held: Kustomization, values: Sequence[str], flags: set[str], place: Path) -> None:
    images = {image["name"]: image for image in held.get("images") or ()}
    for value in values:
        image = _image(value)
        kept = images.get(image["name"], {})
        images[image["name"]] = {**({"newName": kept["newName"]} if "newName" in kept else {}), **image}
    held["images"] = [images[name] for name in sorted(images)]


def _image(text: str) -> dict[str, str]:
    found = _IMAGE.fullmatch(text)
    if found is None:
        raise RenderError(f"invalid format of image {text}: use <image>=<newimage>:<newtag> or a part of it")
    image = {"name": found["name"] or found["new"]}
    if found["name"] and found["new"] != "*":
        image["newName"] = found["new"]
    if found["tag"] and found["tag"] != "*":
        image["newTag"] = found["tag"]
    if found["digest"]:
        image["digest"] = found["digest"]
    return image


def _set_replicas(held: Kustomization, values: Sequence[str], flags: set[str], place: Path) -> None:
    replicas = {one["name"]: one for one in held.get("replicas") or ()}
    for value in values:
        name, _, count = value.rpartition("=")
        replicas[name] = {"name": name, "count": int(count)}
    held["replicas"] = [replicas[name] for name in sorted(replicas)]


def _add_labels(held: Kustomization, values: Sequence[str], flags: set[str], place: Path) -> None:
    if not flags & {"--without-selector", "--include-templates"}:
        _add_pairs("commonLabels")(held, values, flags, place)
        return
    entry: dict[str, Any] = {"pairs": dict(_pairs(values))}
    if "--include-templates" in flags:
        entry["includeTemplates"] = True
    held["labels"] = [*(held.get("labels") or ()), entry]


def _add_pairs(field: str) -> Edit:
    def change(held: Kustomization, values: Sequence[str], flags: set[str], place: Path) -> None:
        known = dict(held.get(field) or {})
        for name, value in _pairs(values):
            if name in known and "--force" not in flags:
                raise RenderError(f"{field[6:-1].lower()} {name} already in kustomization file")
            known[name] = value
        held[field] = known

    return change


def _pairs(values: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, text.strip('"')) for name, _, text in (value.partition(":") for value in values)]


def _add_components(held: Kustomization, values: Sequence[str], flags: set[str], place: Path) -> None:
    known = list(held.get("components") or ())
    for value in values:
        if not (place / value).exists():
            raise RenderError(f"{value} has no match")
        if value not in known:
            known.append(value)
    held["components"] = known


_EDITS: dict[tuple[str, str], Edit] = {
    ("set", "nameprefix"): _set("namePrefix"),
    ("set", "namesuffix"): _set("nameSuffix"),
    ("set", "namespace"): _set("namespace"),
    ("set", "image"): _set_images,
    ("set", "replicas"): _set_replicas,
    ("add", "label"): _add_labels,
    ("add", "annotation"): _add_pairs("commonAnnotations"),
    ("add", "component"): _add_components,
}
