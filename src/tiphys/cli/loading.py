"""Manifests from texts: every object with the place it came from, so that a fault can be told by file and line.

Several documents in a text are several objects; a ``List`` (of any kind) is its items; empty documents are nothing.
Nothing here talks to a cluster. What is not a manifest at all ends in ``Problems``; what is wrong inside one is for
``faults``, which asks the validator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tiphys.cli.endings import Problems
from tiphys.cli.sources import Source
from tiphys.lang import goyaml

DOCUMENTS_MAX = 10_000
TEMPLATE_KINDS = ("WorkflowTemplate", "ClusterWorkflowTemplate")
LINTED_KINDS = ("Workflow", *TEMPLATE_KINDS, "CronWorkflow")

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True)
class Manifest:
    """An object, and where it stands. ``inside`` leads to it within its document (the item of a List)."""

    obj: dict[str, Any]
    source: str
    document: goyaml.Document
    inside: tuple[str | int, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.obj["kind"])

    @property
    def name(self) -> str:
        """Its name, or the prefix of the name it will get."""
        meta = self.obj["metadata"]
        return str(meta.get("name") or f"{meta.get('generateName', '')}…")

    def with_object(self, obj: dict[str, Any]) -> Manifest:
        """The same place, another state of the object (the options of the command line applied)."""
        return Manifest(obj, self.source, self.document, self.inside)

    def place(self, path: str = "") -> str:
        """``file:line`` of a field such as ``spec.templates[0].name``, or of its nearest parent that is there."""
        return f"{self.source}:{self.document.line_of((*self.inside, *steps_of(path)))}"

    def fault(self, message: str, path: str = "", template: str = "") -> Fault:
        line = self.document.line_of((*self.inside, *steps_of(path)))
        return Fault(self.source, line, f"{self.kind}/{self.name}", path, message, template)


@dataclass(frozen=True)
class Fault:
    """Something wrong in a manifest. As text it is one line: ``file:line: Kind/name: path: message``."""

    file: str
    line: int
    object: str
    path: str
    message: str
    template: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"{self.file}:{self.line}", self.object, self.path, self.message)))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def load(sources: Iterable[Source]) -> list[Manifest]:
    """All objects of ``sources`` in order. Raises Problems, with all that is wrong, file by file."""
    found: list[Manifest] = []
    problems: list[str] = []
    for source in sources:
        try:
            for document in goyaml.iterate(source.text):
                _add(document, source.name, found, problems)
        except goyaml.YamlError as err:
            problems.append(f"{source.name}:{err.line or 1}: not valid YAML: {err.message}")
        if len(found) > DOCUMENTS_MAX:
            raise Problems([f"{source.name}: more than {DOCUMENTS_MAX} objects; give fewer files at a time"])
    if problems:
        raise Problems(problems)
    return found


def faults(manifest: Manifest, templates: Templates, *, lint: bool, strict: bool = True) -> Iterator[Fault]:
    """What is wrong with one manifest: unknown fields (all of them), else the validator's finding.

    References are looked up in ``templates``. ``lint`` lets arguments be without a value, as `argo lint` does; without
    ``strict`` unknown fields are passed over. Only for LINTED_KINDS.
    """
    from tiphys.api import decode
    from tiphys.workflows.plan import validate

    try:
        unknown = decode.decode(manifest.kind, manifest.obj, strict=strict).unknown
    except decode.DecodeError as err:
        yield manifest.fault(str(err), err.path)
        return
    if not (manifest.obj["metadata"].get("name") or manifest.obj["metadata"].get("generateName")):
        yield manifest.fault("name or generateName is required", "metadata")
    for field in unknown:
        yield manifest.fault(f"there is no such field{_did_you_mean(manifest.kind, field.path)}", field.path)
    if unknown:
        return
    for problem in validate.validate(manifest.obj, templates, lint=lint):
        elsewhere = templates.named(problem.source) if problem.source else None
        yield (elsewhere or manifest).fault(problem.message, problem.path, problem.template)


class Templates:
    """The templates among manifests, as the validator asks for them. Namespaces are not looked at: files have few."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._stored: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._by_key = {(m.kind, m.obj["metadata"].get("name", "")): m for m in manifests if m.kind in TEMPLATE_KINDS}

    def add_stored(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Templates of the cluster: they have no place in a file."""
        self._stored |= {(str(o["kind"]), str(o["metadata"]["name"])): o for o in objects}

    def named(self, source: str) -> Manifest | None:
        """``WorkflowTemplate/name`` as the validator names it."""
        kind, _, name = source.partition("/")
        return self._by_key.get((kind, name))

    def workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return self._find("WorkflowTemplate", name)

    def cluster_workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return self._find("ClusterWorkflowTemplate", name)

    def _find(self, kind: str, name: str) -> Mapping[str, Any] | None:
        found = self._by_key.get((kind, name))
        return found.obj if found else self._stored.get((kind, name))


def steps_of(path: str) -> tuple[str | int, ...]:
    """``spec.templates[0].name`` → ``("spec", "templates", 0, "name")``."""
    return tuple(int(index) if index else key for index, key in _STEP.findall(path))


def _add(document: goyaml.Document, source: str, found: list[Manifest], problems: list[str]) -> None:
    if document.value is None:
        return
    for inside, value in _objects(document.value):
        fault = _not_an_object(value)
        if fault:
            problems.append(f"{source}:{document.line_of(inside)}: {fault}")
        else:
            found.append(Manifest(value, source, document, inside))


def _objects(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """``(path, object)``: the value itself, or the items of a List."""
    kind = value.get("kind") if isinstance(value, dict) else None
    items = value.get("items") if isinstance(value, dict) else None
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        yield (), value
        return
    for index, item in enumerate(items):
        if isinstance(item, dict) and kind != "List":  # items of a typed list need not repeat what they are
            item = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List"), **item}
        yield ("items", index), item


def _not_an_object(value: Any) -> str:
    """Why a value is no Kubernetes object; "" when it is one."""
    if not isinstance(value, dict):
        return "a manifest is a mapping with apiVersion, kind and metadata; this is none"
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str) or not value[field]:
            return f"{field} is missing (for example {_EXAMPLES[field]})"
    return "" if isinstance(value.get("metadata"), dict) else "metadata is missing"


_EXAMPLES = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}


def _did_you_mean(kind: str, path: str) -> str:
    """`` (did you mean 'x'?)`` where the struct that holds the field has nearly this name."""
    import difflib

    *parents, wrong = steps_of(path)
    close = difflib.get_close_matches(str(wrong), _field_names(kind, parents), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _field_names(kind: str, path: Sequence[str | int]) -> list[str]:
    """The fields of the struct at ``path`` below ``kind``; none where there is no struct."""
    from tiphys.api import types

    here = types.root(kind)
    for step in path:
        if here.kind in ("slice", "map"):
            here = here.elem
        elif step in here.fields:
            here = here.fields[str(step)].type
        else:
            return []
    return list(here.fields)
