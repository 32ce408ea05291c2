"""Rules on repositories as argo-cd answers them: URLs, revisions and tags, paths, the build environment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.cd.sources import environment, paths, revisions, urls


def about_url(asked: dict[str, Any]) -> Any:
    url = asked["a"]
    match asked["op"]:
        case "normalize":
            return {"allowInvalid": urls.normalized_or_as_is(url), "normalized": urls.normalized(url)}
        case "same":
            return urls.same_repository(url, asked["b"])
        case "info":
            return {
                "http": urls.is_http(url),
                "https": urls.is_https(url),
                "sanitized": urls.sanitized(url),
                "ssh": urls.is_ssh(url),
                "sshHostWithPort": urls.ssh_host_with_port(url),
                "sshUser": urls.ssh_user(url),
            }
        case "revision":
            return {
                "isCommitSHA": revisions.is_commit(url),
                "isConstraint": revisions.is_constraint(url),
                "isShortRef": revisions.is_short_reference(url),
                "isTruncatedCommitSHA": revisions.is_short_commit(url),
                "isVersion": revisions.is_version(url),
            }
    raise AssertionError(asked)


def chosen_tag(asked: dict[str, Any]) -> str:
    return revisions.max_version(asked.get("revision") or "", asked["tags"] or (), asked.get("tagPrefix") or "")


def about_paths(asked: dict[str, Any]) -> Any:
    match asked["op"]:
        case "inbound":
            return paths.is_inbound(asked["candidate"], asked["base"])
        case "refreshPaths":
            return [_refresh(asked, source) for source in sources(asked["app"])]
    with tempfile.TemporaryDirectory() as folder:
        root = checkout(Path(folder) / "repository", asked["files"], asked.get("symlinks"))
        if asked["op"] == "appPath":
            return str(paths.app_path(root, asked["path"])).replace(str(root), "$ROOT")
        paths.check_links(root, asked["skipPaths"])
        return "ok"


def sources(app: dict[str, Any]) -> list[dict[str, Any]]:
    spec = app["spec"]
    if spec.get("sourceHydrator"):
        return [paths.sync_source(spec["sourceHydrator"])]
    return spec.get("sources") or [spec["source"]]


def _refresh(asked: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    found = paths.refresh_paths(asked["app"], source)
    return {"changed": paths.files_changed(found, asked["changedFiles"] or ()), "refreshPaths": found or None}


def checkout(root: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    """A directory with these files and links; ``$NAME`` in a link is the directory's own name."""
    root.mkdir(parents=True)
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for name, target in (links or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target.replace("$NAME", root.name))
    return root


def substitution(asked: dict[str, Any]) -> dict[str, Any]:
    entries = asked["env"] or ()
    values = {entry["name"]: entry["value"] for entry in entries}
    text = environment.substituted(asked["text"], values)
    return {"environ": environment.lines(entries) or None, "text": text}


def answers(judge: Any) -> Any:
    """Rows ``{name, in, out | error}`` where ``judge(in)`` answers or raises a ValueError with the error's text."""

    def rows(sample: Sample) -> Iterable[Row]:
        for row in sample.rows:
            expected = {key: row[key] for key in ("out", "error") if key in row}
            try:
                got = {"out": judge(row["in"])}
            except ValueError as err:
                got = {"error": str(err)}
            yield Row(row["name"], got == expected, expected, got)

    return rows


def _asks(*names: set[str]) -> Any:
    return lambda sample: isinstance(sample.head.get("in"), dict) and set(sample.head["in"]) in names


FORMATS = [
    Format("repository URLs", _asks({"op", "a"}, {"op", "a", "b"}), answers(about_url)),
    Format("revisions of tags", _asks({"revision", "tags", "tagPrefix"}), answers(chosen_tag)),
    Format(
        "paths in repositories",
        _asks(
            {"op", "candidate", "base"},
            {"op", "files", "path"},
            {"op", "files", "symlinks", "skipPaths"},
            {"op", "app", "changedFiles"},
        ),
        answers(about_paths),
    ),
    Format("build environment", _asks({"env", "text"}), answers(substitution)),
]
