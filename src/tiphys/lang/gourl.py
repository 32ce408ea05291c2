"""URLs as Go's net/url takes them apart and puts them together.

    url       = [ scheme ":" ] ( opaque | [ "//" authority ] path ) [ "?" query ] [ "#" fragment ]
    authority = [ user [ ":" password ] "@" ] ( host | "[" address "]" ) [ ":" port ]

Python's urllib is no choice: it does not refuse what Go refuses, and it escapes by other rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tiphys.lang.gofmt import quote
from tiphys.lang.gotext import from_utf8, utf8

_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"
_KEPT = {
    "path": frozenset(utf8(_UNRESERVED + "$&+,/:;=@")),
    "user": frozenset(utf8(_UNRESERVED + "$&+,;=")),
    "host": frozenset(utf8(_UNRESERVED + "!$&'()*+,;=:[]<>\"")),
    "fragment": frozenset(utf8(_UNRESERVED + "$&+,/:;=?@!()*")),
    "query": frozenset(utf8(_UNRESERVED)),
    "segment": frozenset(utf8(_UNRESERVED + "$&+:=@")),
}
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_VALID_PATH = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]%/]*")
_PORT = re.compile(r":\d*")
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")


class UrlError(ValueError):
    """The text is no URL; Go's words: ``parse "x y:": first path segment in URL cannot contain colon``."""


@dataclass(frozen=True, slots=True)
class Url:
    """``path`` and ``fragment`` are without escapes, ``query`` with; ``password`` is None where there is none."""

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    password: str | None = None
    host: str = ""
    path: str = ""
    query: str = ""
    fragment: str = ""
    force_query: bool = False
    raw_path: str = ""

    @property
    def hostname(self) -> str:
        """The host without its port and brackets."""
        host, colon, port = self.host.rpartition(":")
        if not colon or not _PORT.fullmatch(f":{port}"):
            host = self.host
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    def userinfo(self) -> str:
        """``user:password`` as it stands in the URL."""
        if self.user is None:
            return ""
        text = escape(self.user, "user")
        return text if self.password is None else f"{text}:{escape(self.password, 'user')}"

    def __str__(self) -> str:
        text = f"{self.scheme}:" if self.scheme else ""
        if self.opaque:
            text += self.opaque
        else:
            text += self._authority_and_path(bool(text))
        if self.force_query or self.query:
            text += f"?{self.query}"
        return f"{text}#{escape(self.fragment, 'fragment')}" if self.fragment else text

    def _authority_and_path(self, has_scheme: bool) -> str:
        text = ""
        if has_scheme or self.host or self.user is not None:
            if self.host or self.path or self.user is not None:
                text = "//"
            if self.user is not None:
                text += f"{self.userinfo()}@"
            text += escape(self.host, "host")
        raw = self.raw_path if _VALID_PATH.fullmatch(self.raw_path) else ""  # what should have been escaped, is
        path = raw or ("*" if self.path == "*" else escape(self.path, "path"))
        if path and not path.startswith("/") and self.host:
            text += "/"
        if not text and not has_scheme and ":" in path.partition("/")[0]:
            text = "./"  # else the first segment would read as a scheme
        return text + path


def parse(text: str) -> Url:
    """url.Parse. Raises `UrlError`."""
    before, _, fragment = text.partition("#")
    try:
        return _parse(before, unescape(fragment, "fragment"))
    except UrlError as err:
        raise UrlError(f"parse {quote(before if 'fragment' not in str(err) else text)}: {err}") from None


def _parse(text: str, fragment: str) -> Url:
    if any(byte < 0x20 or byte == 0x7F for byte in utf8(text)):
        raise UrlError("net/url: invalid control character in URL")
    if text == "*":
        return Url(path="*", fragment=fragment)
    scheme, rest = _scheme(text)
    force = rest.endswith("?") and rest.count("?") == 1
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, opaque=rest, query=query, fragment=fragment, force_query=force)
        if ":" in rest.partition("/")[0]:
            raise UrlError("first path segment in URL cannot contain colon")
    user = password = None
    host = ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, tail = rest[2:].partition("/")
        user, password, host = _authority(authority)
        rest = slash + tail
    path = unescape(rest, "path")
    raw = rest if escape(path, "path") != rest else ""
    return Url(scheme, "", user, password, host, path, query, fragment, force, raw)


def _scheme(text: str) -> tuple[str, str]:
    found = _SCHEME.match(text)
    if found:
        return found[1].lower(), text[found.end() :]
    if text.startswith(":"):
        raise UrlError("missing protocol scheme")
    return "", text


def _authority(text: str) -> tuple[str | None, str | None, str]:
    info, at, host = text.rpartition("@")
    host = _host(host)
    if not at:
        return None, None, host
    if not _USER.fullmatch(info):
        raise UrlError("net/url: invalid userinfo")
    user, colon, password = info.partition(":")
    return unescape(user, "user"), unescape(password, "user") if colon else None, host


def _host(text: str) -> str:
    if text.startswith("["):
        _, bracket, port = text.rpartition("]")
        if not bracket:
            raise UrlError("missing ']' in host")
        if port and not _PORT.fullmatch(port):
            raise UrlError(f"invalid port {quote(port)} after host")
    elif ":" in text:
        port = text[text.rindex(":") :]
        if not _PORT.fullmatch(port):
            raise UrlError(f"invalid port {quote(port)} after host")
    return unescape(text, "host")


def unescape(text: str, part: str) -> str:
    """Takes ``%41`` back. Raises `UrlError` for a percent sign without two hexadecimal digits."""
    if part == "host":
        for character in text:
            if character.isascii() and ord(character) not in _KEPT["host"] and character != "%":
                raise UrlError(f"invalid character {quote(character)} in host name")
    if "%" not in text and (part != "query" or "+" not in text):
        return text
    data = utf8(text)
    out, position = bytearray(), 0
    while position < len(data):
        byte = data[position]
        if byte == ord("%"):
            digits = data[position + 1 : position + 3]
            if not re.fullmatch(rb"[0-9a-fA-F]{2}", digits):
                raise UrlError(f"invalid URL escape {quote(from_utf8(data[position : position + 3]))}")
            if part == "host" and int(digits, 16) < 0x80 and digits != b"25":
                raise UrlError(f"invalid URL escape {quote(from_utf8(data[position : position + 3]))}")
            out.append(int(digits, 16))
            position += 3
            continue
        out.append(ord(" ") if byte == ord("+") and part == "query" else byte)
        position += 1
    return from_utf8(bytes(out))


def escape(text: str, part: str) -> str:
    """Escapes what may not stand in a ``part``: path, user, host, fragment, query (a space is ``+``), segment."""
    kept = _KEPT[part]
    data = utf8(text)
    if all(byte in kept for byte in data):
        return text
    space = "+" if part == "query" else "%20"
    high = part == "host"  # what is not ASCII stays in a host
    return from_utf8(
        b"".join(
            bytes((byte,))
            if byte in kept or (high and byte >= 0x80)
            else space.encode()
            if byte == 32
            else b"%%%02X" % byte
            for byte in data
        )
    )
