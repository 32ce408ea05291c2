"""The credentials of repositories, from secrets: those of the repository itself, else of the longest prefix of its URL.

A secret that belongs to a project beats one that belongs to none; one of another project is not used. What a
repository's own secret does not say, the template with the longest prefix does. Whom to trust is in config maps, as in
the original: keys of SSH hosts, and certificates by host.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tiphys.cd.clusters import SECRET_TYPE
from tiphys.cd.plan.objects import Object, metadata_of
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.urls import host_of, normalized_or_as_is, same_repository

KNOWN_HOSTS: Final = "argocd-ssh-known-hosts-cm"
CERTIFICATES: Final = "argocd-tls-certs-cm"
GPG_KEYS: Final = "argocd-gpg-keys-cm"
_READ: Final = ("repository", "repo-creds")
_WRITE: Final = ("repository-write", "repo-write-creds")
_LOGINS: Final = (
    "username",
    "password",
    "bearerToken",
    "sshPrivateKey",
    "tlsClientCertData",
    "tlsClientCertKey",
    "githubAppPrivateKey",
)


@dataclass(frozen=True)
class Trusted:
    """Whom repositories are believed: the lines of known_hosts, PEM certificates by host, and public keys by id."""

    known_hosts: str = ""
    certificates: Mapping[str, str] = field(default_factory=dict)
    gpg_keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config_maps: Iterable[Object]) -> Trusted:
        data = {metadata_of(each).get("name"): each.get("data") or {} for each in config_maps}
        hosts = data.get(KNOWN_HOSTS, {}).get("ssh_known_hosts", "")
        return cls(hosts, data.get(CERTIFICATES, {}), data.get(GPG_KEYS, {}))


def credentials_for(
    secrets: Iterable[Object], url: str, project: str, to_write: bool = False, trusted: Trusted | None = None
) -> Credentials:
    """What is known for a repository, to read it or to write to it; empty credentials where nothing is."""
    known = trusted or Trusted()
    return Credentials.from_secret(
        _data_of(secrets, url, project, _WRITE if to_write else _READ),
        known_hosts=known.known_hosts,
        ca_certificates=known.certificates.get(host_of(url), ""),
    )


def _data_of(secrets: Iterable[Object], url: str, project: str, kinds: tuple[str, str]) -> Mapping[str, str]:
    """``kinds`` of secrets: of a repository, and of templates."""
    repositories: list[Mapping[str, str]] = []
    templates: list[Mapping[str, str]] = []
    for secret in secrets:
        kind = (metadata_of(secret).get("labels") or {}).get(SECRET_TYPE)
        data = _decoded(secret)
        if data.get("project", "") not in ("", project):
            continue
        if kind == kinds[0] and same_repository(data.get("url", ""), url):
            repositories.append(data)
        elif kind == kinds[1] and _is_below(url, data.get("url", "")):
            templates.append(data)
    own = min(repositories, key=lambda data: not data.get("project"), default={})
    template = max(templates, key=lambda data: (len(data["url"]), bool(data.get("project"))), default={})
    if any(own.get(name) for name in _LOGINS):
        return own
    return {**template, **own}


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
