"""The repositories that a chart's dependencies come from, as its Chart.yaml names them."""

from __future__ import annotations

from pathlib import Path

from tiphys.cd.sources.request import RenderError
from tiphys.lang import gourl, goyaml


def dependency_repositories(place: Path) -> list[tuple[str, str]]:
    """Name and URL of each; the URL is empty where the chart names a repository that is known by name only.

    Raises `RenderError` for a chart that cannot be read.
    """
    path = place / "Chart.yaml"
    prefix = "error getting helm repos: error retrieving helm dependency repos: error"
    try:
        chart = goyaml.load(path.read_text(encoding="utf-8"))
    except OSError as err:
        why = f"open {path}: {(err.strerror or '').lower()}"
        raise RenderError(f"{prefix} reading helm chart from {path}: {why}") from None
    except (goyaml.YamlError, UnicodeDecodeError) as err:
        raise RenderError(f"{prefix} unmarshalling the helm chart while getting helm dependency repos: {err}") from None
    listed = chart.get("dependencies") if isinstance(chart, dict) else None
    found = [_repository(one.get("repository") or "") for one in listed or () if isinstance(one, dict)]
    return [one for one in found if one is not None]


def _repository(text: str) -> tuple[str, str] | None:
    for prefix in ("@", "alias:"):
        if text.startswith(prefix):
            return text.removeprefix(prefix), ""
    try:
        scheme = gourl.parse(text).scheme
    except gourl.UrlError:
        return None
    return (text.replace("/", "-"), text) if scheme in ("https", "oci") else None
