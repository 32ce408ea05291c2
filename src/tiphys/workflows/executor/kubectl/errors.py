"""Failures as kubectl prints them (k8s.io/kubectl pkg/cmd/util/helpers.go checkErr)."""

from __future__ import annotations

from tiphys.lang.gofmt import quote
from tiphys.lang.goyaml import YamlError
from tiphys.machinery.errors import ApiError


class KubectlError(Exception):
    """The message is what kubectl would print, ``error: `` included."""


def refused(err: ApiError, doing: str = "") -> KubectlError:
    """A failure of the server. ``doing`` is such as ``error when creating "x.yaml"``."""
    message = f"{doing}: {err.message}" if doing else err.message
    if err.reason == "Invalid":
        return KubectlError(_invalid(err, message))
    if err.reason == "Unauthorized":
        return KubectlError(f"error: You must be logged in to the server ({message})")
    if err.reason in ("", "Unknown"):
        return KubectlError(f"Error from server: {message}")
    return KubectlError(f"Error from server ({err.reason}): {message}")


def yaml_text(err: YamlError) -> str:
    """A YAML error as Go's conversion to JSON prints it, which never names the first line."""
    where = f"line {err.line}: " if err.line > 1 else ""
    return f"error converting YAML to JSON: yaml: {where}{err.message}"


def _invalid(err: ApiError, message: str) -> str:
    details = err.details
    causes = list(dict.fromkeys(f"{c.get('field', '')}: {c.get('message', '')}" for c in details.get("causes") or ()))
    text = "The request is invalid"
    if details.get("kind") or details.get("name"):
        text = f"The {details.get('kind', '')} {quote(details.get('name', ''))} is invalid"
    elif not causes:
        return f"{text}: {message}"
    if not causes:
        return text
    if len(causes) == 1:
        return f"{text}: {causes[0]}"
    return "".join([f"{text}: \n", *(f"* {cause}\n" for cause in causes)])
