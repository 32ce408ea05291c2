"""What a repository's URL says: do two name the same one, which transport, which host (argo-cd util/git)."""

from __future__ import annotations

import re
from dataclasses import replace

from tiphys.lang import gourl

_SSH = re.compile(r"(ssh://)?([^/:]*?)@[^@]+\Z", re.DOTALL)
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>[^:\s]+):(?:(?P<port>[0-9]{1,5}):)?(?P<path>[^\\].*)")
_WITH_SCHEME = re.compile(r"[^:]+://")
SSH_PORT = 22


def same_repository(one: str, other: str) -> bool:
    """Whether two URLs mean the same repository: letter case, ``.git`` at the end and scp syntax do not count."""
    left, right = normalized_or_as_is(one), normalized_or_as_is(other)
    return left != "" and left == right


def normalized(url: str) -> str:
    """The form by which repositories are compared; empty where the text is no URL."""
    url = url.strip().lower()
    if is_ssh(url) and not url.startswith("ssh://"):
        url = "ssh://" + url.replace(":", "/", 1)
    try:
        parsed = gourl.parse(url.removesuffix(".git"))
    except gourl.UrlError:
        return ""
    return "" if _has_stray_colons(parsed.host) else str(parsed).removeprefix("ssh://")


def _has_stray_colons(host: str) -> bool:
    """Newer releases of Go refuse a host with colons that is no address in brackets."""
    return not host.startswith("[") and host.count(":") > 1


def normalized_or_as_is(url: str) -> str:
    return normalized(url) or url


def sanitized(url: str) -> str:
    """Without user and password, so that it may be logged and shown."""
    try:
        parsed = gourl.parse(url)
    except gourl.UrlError:
        return url
    return url if parsed.user is None else str(replace(parsed, user=None, password=None))


def is_ssh(url: str) -> bool:
    return _SSH.match(url) is not None


def ssh_user(url: str) -> str:
    found = _SSH.match(url)
    return found[2] if found else ""


def is_https(url: str) -> bool:
    return url.startswith("https://")


def is_http(url: str) -> bool:
    return url.startswith("http://")


def ssh_host_with_port(url: str) -> str:
    """``host:port`` as known_hosts wants it, empty where the URL is not one of SSH or has no host."""
    if not is_ssh(url):
        return ""
    host, port = _endpoint(url)
    if not host:
        return ""
    host = host.removeprefix("[").removesuffix("]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _endpoint(url: str) -> tuple[str, int]:
    """Host and port as go-git finds them: scp syntax, else a URL, else a file (which has no host)."""
    if not _WITH_SCHEME.match(url):
        found = _SCP_LIKE.match(url)
        host = found["host"] if found else ""
        return host, int((found and found["port"]) or SSH_PORT)
    try:
        parsed = gourl.parse(url)
    except gourl.UrlError:
        return "", 0
    port = parsed.host.rpartition(":")[2] if parsed.host != parsed.hostname and not parsed.host.endswith("]") else ""
    return parsed.hostname, int(port) if port.isdecimal() and int(port) else SSH_PORT


def host_of(url: str) -> str:
    """The host of a URL, with or without a scheme; empty for one of SSH and for a path."""
    if is_ssh(url):
        return ""
    try:
        return gourl.parse(url if "://" in url else f"protocol://{url}").hostname
    except gourl.UrlError:
        return ""
