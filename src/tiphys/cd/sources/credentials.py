"""What a repository secret says, and how git gets to know it: through files and its environment, never its arguments.

Field names are those of the original's repository secrets (docs/operator-manual/declarative-setup.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tiphys.cd.sources import urls

_ASKPASS = """#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$TIPHYS_GIT_USERNAME" ;;
*) printf '%s\\n' "$TIPHYS_GIT_PASSWORD" ;;
esac
"""


@dataclass(frozen=True)
class Credentials:
    """Of one repository; everything may be empty. Secrets do not show in its repr."""

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

    @classmethod
    def from_secret(cls, data: Mapping[str, str]) -> Credentials:
        """From the decoded data of a secret of type repository or repo-creds."""
        return cls(
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
        )

    @contextmanager
    def environment(self, url: str) -> Iterator[dict[str, str]]:
        """The variables that give git these credentials for one URL; their files are gone afterwards."""
        with TemporaryDirectory(prefix="tiphys-git-") as folder:
            place = Path(folder)
            found = {"http_proxy": self.proxy, "https_proxy": self.proxy, "no_proxy": self.no_proxy}
            found = {name: value for name, value in found.items() if value}
            if urls.is_ssh(url):
                found["GIT_SSH_COMMAND"] = self._ssh_command(place)
            elif urls.is_http(url) or urls.is_https(url):
                found.update(self._https(place))
            yield found

    def _ssh_command(self, place: Path) -> str:
        words = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
        if self.ssh_private_key:
            words += ["-i", str(_secret_file(place / "key", self.ssh_private_key.rstrip("\n") + "\n"))]
        if self.insecure:
            words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        else:
            words += ["-o", "StrictHostKeyChecking=yes"]
            if self.known_hosts:
                words += ["-o", f"UserKnownHostsFile={_secret_file(place / 'known_hosts', self.known_hosts)}"]
        return shlex.join(words)

    def _https(self, place: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.password or self.username:
            askpass = _secret_file(place / "askpass", _ASKPASS)
            askpass.chmod(0o700)
            found["GIT_ASKPASS"] = str(askpass)
            found["TIPHYS_GIT_USERNAME"] = self.username or "x-access-token"
            found["TIPHYS_GIT_PASSWORD"] = self.password
        if self.bearer_token:
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


def _is_true(data: Mapping[str, str], name: str) -> bool:
    return data.get(name, "").lower() == "true"
