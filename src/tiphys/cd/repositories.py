"""The credentials of repositories, from secrets: those of the repository itself, else of the longest prefix of its URL.

A secret that belongs to a project beats one that belongs to none; one of another project is not used. What a
repository's own secret does not say, the template with the longest prefix does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final

from tiphys.cd.clusters import SECRET_TYPE
from tiphys.cd.plan.objects import Object, metadata_of
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.urls import normalized_or_as_is, same_repository

_LOGINS: Final = ("username", "password", "bearerToken", "sshPrivateKey", "tlsClientCertData", "tlsClientCertKey")


def credentials_for(secrets: Iterable[Object], url: str, project: str) -> Credentials:
    """What is known for a repository; empty credentials where nothing is."""
    repositories: list[Mapping[str, str]] = []
    templates: list[Mapping[str, str]] = []
    for secret in secrets:
        kind = (metadata_of(secret).get("labels") or {}).get(SECRET_TYPE)
        data = _decoded(secret)
        if data.get("project", "") not in ("", project):
            continue
        if kind == "repository" and same_repository(data.get("url", ""), url):
            repositories.append(data)
        elif kind == "repo-creds" and _is_below(url, data.get("url", "")):
            templates.append(data)
    own = min(repositories, key=lambda data: not data.get("project"), default={})
    template = max(templates, key=lambda data: (len(data["url"]), bool(data.get("project"))), default={})
    if any(own.get(name) for name in _LOGINS):
        return Credentials.from_secret(own)
    return Credentials.from_secret({**template, **own})


def _is_below(url: str, prefix: str) -> bool:
    return prefix != "" and normalized_or_as_is(url).startswith(normalized_or_as_is(prefix))


def _decoded(secret: Object) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            found[name] = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found
