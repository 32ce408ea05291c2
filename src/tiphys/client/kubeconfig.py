"""Kubeconfig files: which server, which CA, which credentials. Reading (also merged lists of files) and writing.

Order of looking, as kubectl's: the given path, ``$KUBECONFIG`` (several, the first value of each name wins),
``~/.kube/config``, and inside a pod the mounted service account.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tiphys.machinery.errors import SpecError

_IN_CLUSTER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class ExecPlugin:
    """A program that prints an ``ExecCredential``."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_version: str = "client.authentication.k8s.io/v1"


@dataclass(frozen=True)
class Credentials:
    """How to say who one is; at most one way is set, certificates may come along. PEM texts are bytes."""

    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    exec: ExecPlugin | None = None


@dataclass(frozen=True)
class Cluster:
    """A server and whom to be there; ``namespace`` is the context's default.

    ``impersonate`` is a user to act as, which those credentials must have the right to.
    """

    url: str
    ca: bytes | None = None
    insecure: bool = False
    server_name: str | None = None
    credentials: Credentials = field(default_factory=Credentials)
    namespace: str = "default"
    proxy: str | None = None
    impersonate: str | None = None

    def ssl_context(self, credentials: Credentials | None = None) -> ssl.SSLContext:
        """TLS as this cluster wants it. Client keys touch the disk for a moment: Python loads them from files only."""
        said = credentials or self.credentials
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if said.certificate and said.key:
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # 0600
                file.write(said.certificate + b"\n" + said.key)
                file.flush()
                context.load_cert_chain(file.name)
        return context


def load(path: str | Path | None = None, context: str | None = None) -> Cluster:
    """The cluster of a context (None: the current one); raises SpecError that names file and field."""
    if path is None and not os.environ.get("KUBECONFIG") and _IN_CLUSTER.is_dir() and context is None:
        return in_cluster()
    files = [Path(path)] if path else _default_files()
    merged = _merged(files)
    name = context or merged["current-context"]
    where = ", ".join(map(str, files))
    if not name:
        raise SpecError("current-context", f"not set in {where}; name a context")
    chosen = _entry(merged["contexts"], name, "contexts", where)["context"]
    cluster_folder, cluster = _located(merged["clusters"], chosen.get("cluster", ""), "clusters", "cluster", where)
    user_folder, user = _located(merged["users"], chosen.get("user", ""), "users", "user", where)
    return Cluster(
        url=str(cluster.get("server", "")).rstrip("/"),
        ca=_content(cluster, "certificate-authority", cluster_folder),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name"),
        credentials=_credentials(user, user_folder),
        namespace=chosen.get("namespace") or "default",
        proxy=cluster.get("proxy-url") or None,
        impersonate=user.get("as") or None,
    )


def in_cluster() -> Cluster:
    """The cluster that this process runs in as a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    shown = f"[{host}]" if ":" in host else host
    return Cluster(
        url=f"https://{shown}:{port}",
        ca=(_IN_CLUSTER / "ca.crt").read_bytes(),
        credentials=Credentials(token_file=_IN_CLUSTER / "token"),
        namespace=(_IN_CLUSTER / "namespace").read_text().strip(),
    )


def document(name: str, url: str, ca: bytes, certificate: bytes, key: bytes, namespace: str = "default") -> str:
    """A kubeconfig with one context, everything inside it."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": _coded(ca)}}],
        "users": [
            {
                "name": name,
                "user": {"client-certificate-data": _coded(certificate), "client-key-data": _coded(key)},
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    return yaml.safe_dump(content, sort_keys=False)


def write(path: Path, text: str) -> None:
    """Writes a kubeconfig, readable for its owner only, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _coded(content: bytes) -> str:
    return b64encode(content).decode()


def _default_files() -> list[Path]:
    listed = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path.home() / ".kube" / "config"]


def _merged(files: list[Path]) -> dict[str, Any]:
    """All files as one; each named entry remembers the folder of its file. Missing files are skipped, not all."""
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    present = [file for file in files if file.is_file()]
    if not present:
        raise SpecError("", f"no kubeconfig: {', '.join(map(str, files))} does not exist")
    for file in present:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as err:
            raise SpecError(str(file), f"not a kubeconfig: {err}") from None
        if not isinstance(content, dict):
            raise SpecError(str(file), "not a kubeconfig: not a mapping")
        merged["current-context"] = merged["current-context"] or content.get("current-context") or ""
        for section in ("clusters", "users", "contexts"):
            for entry in content.get(section) or ():
                merged[section].setdefault(entry.get("name", ""), (file.parent, entry))
    return merged


def _entry(section: Mapping[str, tuple[Path, Any]], name: str, field: str, where: str) -> Any:
    if name not in section:
        raise SpecError(field, f'no entry named "{name}" in {where}; there are: {", ".join(section) or "none"}')
    return section[name][1]


def _located(section: Mapping[str, Any], name: str, field: str, inner: str, where: str) -> tuple[Path, Any]:
    if field == "users" and not name:
        return Path(), {}
    entry = _entry(section, name, field, where)
    return section[name][0], entry.get(inner) or {}


def _credentials(user: Mapping[str, Any], folder: Path) -> Credentials:
    plugin = user.get("exec")
    return Credentials(
        certificate=_content(user, "client-certificate", folder),
        key=_content(user, "client-key", folder),
        token=user.get("token"),
        token_file=folder / user["tokenFile"] if user.get("tokenFile") else None,
        username=user.get("username"),
        password=user.get("password"),
        exec=_plugin(plugin) if plugin else None,
    )


def _plugin(plugin: Mapping[str, Any]) -> ExecPlugin:
    return ExecPlugin(
        command=plugin["command"],
        args=tuple(plugin.get("args") or ()),
        env={entry["name"]: entry["value"] for entry in plugin.get("env") or ()},
        api_version=plugin.get("apiVersion") or "client.authentication.k8s.io/v1",
    )


def _content(entry: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    """A PEM text given inline (``…-data``) or as a file, relative to the kubeconfig's folder."""
    inline = entry.get(f"{name}-data")
    if inline:
        try:
            return b64decode(inline, validate=False)
        except Base64Error as err:
            raise SpecError(f"{name}-data", f"not base64: {err}") from None
    if not entry.get(name):
        return None
    try:
        return (folder / str(entry[name])).read_bytes()
    except OSError as err:
        raise SpecError(name, f"cannot read {folder / entry[name]}: {err.strerror}") from None
