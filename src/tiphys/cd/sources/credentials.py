"""What a repository secret says, and how git gets to know it: through files and its environment, never its arguments.

Field names are those of the original's repository secrets (docs/operator-manual/declarative-setup.md).
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from tiphys.cd.sources import urls

_ASKPASS = """#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$TIPHYS_GIT_USERNAME" ;;
*) printf '%s\\n' "$TIPHYS_GIT_PASSWORD" ;;
esac
"""


GITHUB = "https://api.github.com"


@dataclass(frozen=True)
class GitHubApp:
    """An app that may read repositories; ``installation`` 0: that of the repository's owner."""

    id: int
    private_key: str = field(repr=False)
    installation: int = 0
    api: str = GITHUB


@dataclass(frozen=True)
class Credentials:
    """Of one repository; everything may be empty. Secrets do not show in its repr.

    ``known_hosts`` and ``ca_certificates`` are what is trusted instead of what the machine does; ``plain_http`` and
    ``enable_oci`` are about registries.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    bearer_token: str = field(default="", repr=False)
    ssh_private_key: str = field(default="", repr=False)
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)
    known_hosts: str = ""
    ca_certificates: str = ""
    insecure: bool = False
    proxy: str = field(default="", repr=False)
    no_proxy: str = ""
    enable_lfs: bool = False
    force_basic: bool = False
    github_app: GitHubApp | None = None
    enable_oci: bool = False
    plain_http: bool = False
    depth: int = 0

    @classmethod
    def from_secret(cls, data: Mapping[str, str], *, known_hosts: str = "", ca_certificates: str = "") -> Credentials:
        """From the decoded data of a secret of type repository or repo-creds."""
        return cls(
            known_hosts=known_hosts,
            ca_certificates=ca_certificates,
            username=data.get("username", ""),
            password=data.get("password", ""),
            bearer_token=data.get("bearerToken", ""),
            ssh_private_key=data.get("sshPrivateKey", ""),
            client_certificate=data.get("tlsClientCertData", ""),
            client_key=data.get("tlsClientCertKey", ""),
            insecure=_is_true(data, "insecure") or _is_true(data, "insecureIgnoreHostKey"),
            proxy=data.get("proxy", ""),
            no_proxy=data.get("noProxy", ""),
            enable_lfs=_is_true(data, "enableLfs"),
            force_basic=_is_true(data, "forceHttpBasicAuth"),
            github_app=_github_app(data),
            enable_oci=_is_true(data, "enableOCI"),
            plain_http=_is_true(data, "insecureOCIForceHttp"),
            depth=_number(data, "depth"),
        )

    @contextmanager
    def environment(self, url: str) -> Iterator[dict[str, str]]:
        """The variables that give git these credentials for one URL; their files are gone afterwards."""
        with TemporaryDirectory(prefix="tiphys-git-") as folder:
            place = Path(folder)
            if urls.is_ssh(url):
                yield {"GIT_SSH_COMMAND": self._ssh_command(place), **self._socks()}
            elif urls.is_http(url) or urls.is_https(url):
                found = {"http_proxy": self.proxy, "https_proxy": self.proxy, "no_proxy": self.no_proxy}
                yield {name: value for name, value in found.items() if value} | self._https(place)
            else:
                yield {}

    def _ssh_command(self, place: Path) -> str:
        words = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        if self.ssh_private_key:
            words += ["-i", str(_secret_file(place / "key", self.ssh_private_key.rstrip("\n") + "\n"))]
        if self.insecure:
            words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        else:
            words += ["-o", "StrictHostKeyChecking=yes"]
            if self.known_hosts:
                known = _secret_file(place / "known_hosts", self.known_hosts.rstrip("\n") + "\n")
                words += ["-o", f"UserKnownHostsFile={known}"]
        if self.proxy:
            way = urlsplit(self.proxy)
            words += ["-o", f"ProxyCommand=connect-proxy -S {shlex.quote(way.netloc.rpartition('@')[2])} -5 %h %p"]
        return shlex.join(words)

    def _socks(self) -> dict[str, str]:
        """Who we are to the proxy of SSH connections, as ``connect-proxy`` wants to be told."""
        way = urlsplit(self.proxy)
        found = {"SOCKS5_USER": way.username, "SOCKS5_PASSWD": way.password}
        return {name: unquote(value) for name, value in found.items() if value}

    def _https(self, place: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.password or self.username:
            askpass = _secret_file(place / "askpass", _ASKPASS)
            askpass.chmod(0o700)
            found["GIT_ASKPASS"] = str(askpass)
            found["TIPHYS_GIT_USERNAME"] = self.username or "x-access-token"
            found["TIPHYS_GIT_PASSWORD"] = self.password
        if self.force_basic and self.password:
            pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            found.update(_config({"http.extraHeader": f"Authorization: Basic {pair}"}))
        elif self.bearer_token:
            found.update(_config({"http.extraHeader": f"Authorization: Bearer {self.bearer_token}"}))
        if self.insecure:
            found["GIT_SSL_NO_VERIFY"] = "true"
        if self.ca_certificates:
            found["GIT_SSL_CAINFO"] = str(_secret_file(place / "ca.pem", self.ca_certificates))
        if self.client_certificate:
            found["GIT_SSL_CERT"] = str(_secret_file(place / "client.pem", self.client_certificate))
            found["GIT_SSL_KEY"] = str(_secret_file(place / "client.key", self.client_key))
        return found


def _config(values: Mapping[str, str]) -> dict[str, str]:
    """Settings of git through its environment, where other users' ps does not see them."""
    found = {"GIT_CONFIG_COUNT": str(len(values))}
    for index, (name, value) in enumerate(values.items()):
        found[f"GIT_CONFIG_KEY_{index}"] = name
        found[f"GIT_CONFIG_VALUE_{index}"] = value
    return found


def _secret_file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def _github_app(data: Mapping[str, str]) -> GitHubApp | None:
    number, key = _number(data, "githubAppID"), data.get("githubAppPrivateKey", "")
    if not number or not key:
        return None
    api = data.get("githubAppEnterpriseBaseUrl", "").rstrip("/")
    return GitHubApp(number, key, _number(data, "githubAppInstallationID"), api or GITHUB)


def _number(data: Mapping[str, str], name: str) -> int:
    text = data.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() else 0


def _is_true(data: Mapping[str, str], name: str) -> bool:
    return data.get(name, "").lower() == "true"
