"""Hydration: what a dry source renders to is committed to a branch, and that branch is what is synced.

    dry source ─► objects of every application with the same branch ─► files ─► one commit ─► status

Applications with the same dry source and the same branch are hydrated together, all or none. What is written, and the
fields of the status, are the original's (controller/hydrator, commitserver of argo-cd). References to other commits in
the trailers of a dry commit are not read.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from tiphys.cd.plan.objects import annotations_of, name_of
from tiphys.cd.plan.operation import stamp, stamped
from tiphys.cd.plan.projects import Project
from tiphys.cd.plan.spec import sync_source
from tiphys.lang import goyaml
from tiphys.lang.gotemplate import TemplateError
from tiphys.lang.gotemplate.appset import render

HYDRATE: Final = "argocd.argoproj.io/hydrate"
HYDRATE_TIMESTAMP: Final = "argocd.argoproj.io/hydrate-timestamp"
MANIFEST: Final = "manifest.yaml"
METADATA: Final = "hydrator.metadata"
MESSAGE: Final = """{{.metadata.drySha | trunc 7}}: {{ .metadata.subject }}
{{- if .metadata.body }}

{{ .metadata.body }}
{{- end }}
{{ if .metadata.author }}
Co-authored-by: {{ .metadata.author }}
{{- end }}
"""
README: Final = """# Manifest Hydration

To hydrate the manifests in this repository, run the following commands:

```shell
git clone {{ .RepoURL }}
# cd into the cloned directory
git checkout {{ .DrySHA }}
{{ range $command := .Commands -}}
{{ $command }}
{{ end -}}```
"""
_ATTRIBUTES: Final = "**/README.md linguist-generated=true\n**/hydrator.metadata linguist-generated=true"
_RETRY_AFTER: Final = timedelta(minutes=2)

Application = Mapping[str, Any]


class HydrationError(ValueError):
    """Why an application cannot be hydrated."""


class Key(NamedTuple):
    """What applications share that are hydrated together."""

    dry_url: str
    dry_revision: str
    url: str
    branch: str


@dataclass(frozen=True)
class Dry:
    """What an application's dry source gives, and the commands for it."""

    path: str
    objects: Sequence[Mapping[str, Any]]
    commands: Sequence[str]


def hydrator_of(app: Application) -> Mapping[str, Any] | None:
    return (app.get("spec") or {}).get("sourceHydrator")


def dry_source(hydrator: Mapping[str, Any]) -> Mapping[str, Any]:
    return hydrator.get("drySource") or {}


def key_of(hydrator: Mapping[str, Any]) -> Key:
    dry, sync = dry_source(hydrator), sync_source(hydrator)
    to = (hydrator.get("hydrateTo") or {}).get("targetBranch") or sync["targetRevision"]
    return Key(dry.get("repoURL", ""), dry.get("targetRevision", ""), sync["repoURL"], to)


def is_needed(app: Application, dry_revision: str, now: datetime) -> bool:
    """Whether the application is to be hydrated at a revision of its dry source."""
    status = (app.get("status") or {}).get("sourceHydrator") or {}
    current, done = status.get("currentOperation") or {}, status.get("lastSuccessfulOperation") or {}
    if HYDRATE in annotations_of(app) or current.get("sourceHydrator") != hydrator_of(app):
        return True
    if current.get("phase") == "Hydrating":  # whoever began it is gone
        return True
    if current.get("phase") == "Failed" and current.get("drySHA", "") == dry_revision and current.get("finishedAt"):
        return stamped(current["finishedAt"]) + _RETRY_AFTER <= now
    return done.get("drySHA") != dry_revision


def check(group: Sequence[Application], projects: Mapping[str, Project]) -> None:
    """Raises HydrationError where one of the group may not be hydrated. ``projects`` are those of the group by name."""
    taken: dict[str, str] = {}
    for app in group:
        hydrator = hydrator_of(app) or {}
        project = projects[(app.get("spec") or {}).get("project") or "default"]
        key, path = key_of(hydrator), posixpath.normpath(sync_source(hydrator)["path"] or ".")
        if path in (".", "/") or path.startswith(("../", "/")) or path == "..":
            raise HydrationError(
                f'app is configured to hydrate to the repository root (branch "{key.branch}", path "{path}") '
                "which is not allowed"
            )
        for what, url in (("application repo", key.dry_url), ("destination repo", key.url)):
            if not project.permits_source(url):
                raise HydrationError(f"{what} {url} is not permitted in project '{project.name}'")
        if path in taken:
            raise HydrationError(f"app {taken[path]} hydrator uses the same destination: repo={key.url}, path={path}")
        taken[path] = name_of(app)


def metadata_of_commit(url: str, revision: str, commit: Mapping[str, str]) -> dict[str, Any]:
    """What is known of a dry commit; ``commit`` has ``author``, ``date`` and ``message``."""
    subject, _, body = commit.get("message", "").partition("\n\n")
    found = {"repoURL": url, "drySha": revision, "author": commit.get("author", ""), "date": commit.get("date", "")}
    return {name: value for name, value in {**found, "subject": subject, "body": body.strip()}.items() if value}


def message(metadata: Mapping[str, Any], template: str) -> str:
    """The message of the commit. Raises HydrationError."""
    try:
        return render(template or MESSAGE, {"metadata": dict(metadata)})
    except TemplateError as err:
        raise HydrationError(f"failed to get hydrator commit templated message: {err}") from None


def files(dry: Iterable[Dry], metadata: Mapping[str, Any], readme: str) -> tuple[dict[str, str], list[str]]:
    """The files of a commit, and those among them whose change is worth one. Raises HydrationError."""
    found = {METADATA: _json(metadata), ".gitattributes": _ATTRIBUTES}
    deciding: list[str] = []
    for each in dry:
        place = posixpath.normpath(each.path)
        about = {"RepoURL": metadata["repoURL"], "DrySHA": metadata["drySha"], "Commands": list(each.commands)}
        try:
            found[f"{place}/README.md"] = render(readme or README, {**about, "References": []})
        except TemplateError as err:
            raise HydrationError(f"failed to write readme: {err}") from None
        own = {"commands": list(each.commands), "drySha": metadata["drySha"], "repoURL": metadata["repoURL"]}
        found[f"{place}/{METADATA}"] = _json({name: value for name, value in own.items() if value})
        found[f"{place}/{MANIFEST}"] = "---\n".join(goyaml.dump(obj) for obj in each.objects)
        deciding.append(f"{place}/{MANIFEST}")
    return found, deciding


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def begun(app: Application, now: datetime) -> dict[str, Any]:
    """The status of a hydration that begins."""
    operation = {"startedAt": stamp(now), "phase": "Hydrating", "message": "", "sourceHydrator": hydrator_of(app)}
    return {**_status(app), "currentOperation": operation}


def ended(app: Application, now: datetime, dry: str, *, hydrated: str = "", problem: str = "") -> dict[str, Any]:
    """The status of one that succeeded, or that failed with ``problem``."""
    status, hydrator = _status(app), hydrator_of(app)
    about = {"drySHA": dry, "hydratedSHA": hydrated, "sourceHydrator": hydrator}
    about = {name: value for name, value in about.items() if value}
    begun_at = (status.get("currentOperation") or {}).get("startedAt") or stamp(now)
    phase, text = ("Failed", f"Failed to hydrate: {problem}") if problem else ("Hydrated", "")
    operation = {"startedAt": begun_at, "finishedAt": stamp(now), "phase": phase, "message": text, **about}
    done = {} if problem else {"lastSuccessfulOperation": about}
    return {**status, "currentOperation": operation, **done, **({"lastComparedDryRevision": dry} if dry else {})}


def _status(app: Application) -> Mapping[str, Any]:
    return (app.get("status") or {}).get("sourceHydrator") or {}
