"""Paths and URLs. Paths are those of Unix, on every system."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Any

from tiphys.lang import gourl
from tiphys.lang.govalues import CallError, kind_of


def clean(path: str) -> str:
    """path.Clean: without ``.``, ``..`` and double slashes; the empty path is ``.``."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def base(path: str) -> str:
    if not path:
        return "."
    stripped = path.rstrip("/")
    return stripped.rpartition("/")[2] if stripped else "/"


def directory(path: str) -> str:
    before, slash, _ = path.rpartition("/")
    return clean(before + slash)


def extension(path: str) -> str:
    name = path.rpartition("/")[2]
    return name[name.rindex(".") :] if "." in name else ""


def url_parse(text: str) -> dict[str, Any]:
    try:
        url = gourl.parse(text)
    except gourl.UrlError as err:
        raise CallError(f"unable to parse url: {err}") from None
    return {
        "scheme": url.scheme,
        "host": url.host,
        "hostname": url.hostname,
        "path": url.path,
        "query": url.query,
        "opaque": url.opaque,
        "fragment": url.fragment,
        "userinfo": url.userinfo(),
    }


def url_join(parts: dict[str, Any]) -> str:
    user = password = None
    info = _text(parts, "userinfo")
    if info:
        try:
            parsed = gourl.parse(f"proto://{info}@host")
        except gourl.UrlError as err:
            raise CallError(f"unable to parse userinfo in dict: {err}") from None
        user, password = parsed.user, parsed.password
    url = gourl.Url(
        scheme=_text(parts, "scheme"),
        opaque=_text(parts, "opaque"),
        user=user,
        password=password,
        host=_text(parts, "host"),
        path=_text(parts, "path"),
        query=_text(parts, "query"),
        fragment=_text(parts, "fragment"),
    )
    return str(url)


def _text(parts: dict[str, Any], key: str) -> str:
    value = parts.get(key, "")
    if not isinstance(value, str):
        raise CallError(f"unable to parse {key} key, must be of type string, but {kind_of(value)} found")
    return value


def _is_absolute(path: str) -> bool:
    return path.startswith("/")


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "base": ("string -> string", base),
    "dir": ("string -> string", directory),
    "clean": ("string -> string", clean),
    "ext": ("string -> string", extension),
    "isAbs": ("string -> bool", _is_absolute),
    "osBase": ("string -> string", base),
    "osDir": ("string -> string", directory),
    "osClean": ("string -> string", clean),
    "osExt": ("string -> string", extension),
    "osIsAbs": ("string -> bool", _is_absolute),
    "urlParse": ("string -> map", url_parse),
    "urlJoin": ("map -> string", url_join),
}
