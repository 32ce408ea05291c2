"""Who we are at which registry: Docker's configuration file, its credential helpers, and image pull secrets.

Keys are registries, with a path or port where it matters, and may have ``*`` for a part of the host name; the longest
that fits comes first, as in a kubelet's keyring (pkg/credentialprovider/keyring.go). Secrets are never shown: a
``Credential`` prints as its user's name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tiphys.oci.reference import DOCKER_HUB, Reference

DOCKER_CONFIG_JSON, DOCKER_CONFIG = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
# Docker Hub under the names that people and tools have given it.
_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "docker.io")


@dataclass(frozen=True, slots=True)
class Credential:
    """Either a user's name and password, or a token to get tokens with."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class Keyring:
    """The credentials of some configurations, in the order in which they are to be tried."""

    def __init__(self, rows: Iterable[tuple[str, Credential]] = (), helpers: Mapping[str, str] | None = None) -> None:
        self._rows = [(_key(name), credential) for name, credential in rows]
        self._helpers = {_key(name): helper for name, helper in (helpers or {}).items()}

    def find(self, reference: Reference) -> list[Credential]:
        """The most specific first."""
        fitting = [(key, credential) for key, credential in self._rows if _fits(key, reference)]
        return [credential for _, credential in sorted(fitting, key=lambda row: -len(row[0]))]

    def helper(self, reference: Reference) -> str:
        """The name of the program ``docker-credential-<name>`` that knows this registry; "" if none does."""
        fitting = [key for key in self._helpers if key == "*" or _fits(key, reference)]
        return self._helpers[max(fitting, key=lambda key: (key != "*", len(key)))] if fitting else ""

    def __add__(self, other: Keyring) -> Keyring:
        made = Keyring()
        made._rows = [*self._rows, *other._rows]
        made._helpers = {**other._helpers, **self._helpers}
        return made


def read_config(path: Path) -> Keyring:
    """Docker's ``config.json``; one that is not there, or cannot be read as such, has no credentials."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return Keyring()
    if not isinstance(document, dict):
        return Keyring()
    helpers = dict(document.get("credHelpers") or {})
    if document.get("credsStore"):
        helpers["*"] = str(document["credsStore"])
    return Keyring(_rows(document.get("auths")), helpers)


def read_secret(secret: Mapping[str, Any]) -> Keyring:
    """An image pull secret of either type; another kind of secret has no credentials."""
    name = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CONFIG: ".dockercfg"}.get(str(secret.get("type")))
    text = (secret.get("data") or {}).get(name or "")
    if not text:
        return Keyring()
    try:
        document = json.loads(base64.b64decode(text))
    except (ValueError, binascii.Error):
        return Keyring()
    if not isinstance(document, dict):
        return Keyring()
    return Keyring(_rows(document.get("auths") if secret["type"] == DOCKER_CONFIG_JSON else document))


def _rows(auths: Any) -> list[tuple[str, Credential]]:
    if not isinstance(auths, dict):
        return []
    rows = [(name, _credential(row)) for name, row in auths.items() if isinstance(row, dict)]
    return [(name, credential) for name, credential in rows if credential is not None]


def _credential(row: Mapping[str, Any]) -> Credential | None:
    username, password = str(row.get("username") or ""), str(row.get("password") or "")
    if row.get("auth"):
        try:
            username, _, password = base64.b64decode(str(row["auth"])).decode().partition(":")
        except (ValueError, binascii.Error):
            return None
    token = str(row.get("identitytoken") or "")
    return Credential(username, password.rstrip("\0"), token) if username or token else None


def _key(name: str) -> str:
    """Without scheme and the ``/v1/`` that Docker Hub's name carries in old files."""
    name = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = name.partition("/")
    if host in _HUB_NAMES:
        host = DOCKER_HUB
    path = "" if path in ("v1", "v2") else path
    return f"{host}/{path}" if path else host


def _fits(key: str, reference: Reference) -> bool:
    host, _, path = key.partition("/")
    wanted, given = reference.domain.split("."), host.split(".")
    if len(wanted) != len(given) or not all(map(fnmatchcase, wanted, given)):
        return False
    return not path or reference.path == path or reference.path.startswith(f"{path}/")
