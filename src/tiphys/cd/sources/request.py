"""What is asked of a render and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tiphys.cd.sources.environment import build_environment, substituted

Manifest = dict[str, Any]

COMBINED_SIZE_MAX = 10 * 1024 * 1024
"""Bytes of all plain manifests of a source (setting ``reposerver.max.combined.directory.manifests.size``)."""


class RenderError(ValueError):
    """A source that does not render; the text is what the application's ComparisonError says."""


class Tools(Protocol):
    """The driver that runs foreign programs."""

    def run(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
        """Runs one and returns its standard output. Raises `RenderError` with what it said."""
        ...


@dataclass(frozen=True)
class Request:
    """One source of one application at one resolved revision.

    ``source`` is the ApplicationSource as in the manifest. ``references`` maps ``$name`` of a ref source to the root
    of its checkout. ``label_key`` is empty where no tracking is wanted.
    """

    app: str
    source: Mapping[str, Any]
    root: Path
    revision: str = ""
    namespace: str = ""
    project: str = ""
    kube_version: str = ""
    api_versions: Sequence[str] = ()
    enabled_types: Mapping[str, bool] = field(default_factory=dict)
    build_options: str = ""
    values_file_schemes: Sequence[str] = ("https", "http")
    references: Mapping[str, Path] = field(default_factory=dict)
    hidden: Sequence[Path] = ()
    plugins: Sequence[Mapping[str, Any]] = ()
    combined_size_max: int = COMBINED_SIZE_MAX

    @property
    def environment(self) -> dict[str, str]:
        return build_environment(
            app=self.app,
            namespace=self.namespace,
            project=self.project,
            revision=self.revision,
            repository=self.source.get("repoURL", ""),
            path=self.source.get("path", ""),
            target_revision=self.source.get("targetRevision", ""),
        )

    def substituted(self, text: str) -> str:
        """The text with references to the build environment replaced."""
        return substituted(text, self.environment)

    def of_tool(self, name: str) -> Any:
        """``kubeVersion``, ``namespace`` or ``apiVersions`` as the Helm or Kustomize part sets it, else None."""
        for tool in ("helm", "kustomize"):
            block = self.source.get(tool)
            if block and block.get(name):
                return block[name]
        return None


@dataclass(frozen=True)
class Rendered:
    """The objects in the tool's order, the commands that a person would type for them, and the kind of source."""

    manifests: list[Manifest]
    commands: list[str]
    source_type: str
