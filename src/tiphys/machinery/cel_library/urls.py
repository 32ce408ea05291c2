"""URLs in CEL: absolute ones, or absolute paths (url.ParseRequestURI)."""

from __future__ import annotations

from tiphys.lang import gourl
from tiphys.lang.cel.declarations import Functions, member, plain
from tiphys.lang.cel.types import BOOL, STRING, list_of, map_of, struct
from tiphys.lang.cel.values import Failure, Opaque
from tiphys.lang.gofmt import quote

TYPE = struct("kubernetes.URL")


class Address(Opaque):
    """A parsed URL; its fragment is part of the path or query, as in a request line."""

    __slots__ = ("url",)
    cel_type = TYPE

    def __init__(self, url: gourl.Url) -> None:
        self.url = url

    def equal_to(self, other: object) -> bool:
        return isinstance(other, Address) and str(self.url) == str(other.url)


def request_uri(text: str) -> gourl.Url:
    """Raises `gourl.UrlError` with Go's words."""
    if not text:
        raise gourl.UrlError(f"parse {quote(text)}: empty url")
    # A request has no fragment, so "#" is a character like others: it is hidden from the reader of whole URLs.
    try:
        found = gourl.parse(text.replace("#", "%23"))
    except gourl.UrlError as err:
        raise gourl.UrlError(str(err).replace("%23", "#")) from None
    if not found.scheme and not text.startswith("/"):
        raise gourl.UrlError(f"parse {quote(text)}: invalid URI for request")
    if found.scheme and not text[len(found.scheme) + 1 :].startswith("/"):
        raise gourl.UrlError(f"parse {quote(text)}: invalid URI for request")
    return found


def _parse(text: str) -> Address | Failure:
    try:
        return Address(request_uri(text))
    except gourl.UrlError as err:
        return Failure(f"URL parse error during conversion from string: {err}")


def _port(address: Address) -> str:
    _, colon, port = address.url.host.rpartition(":")
    return port if colon and port.isdecimal() else ""


def _escaped_path(address: Address) -> str:
    url = address.url
    return url.raw_path or ("*" if url.path == "*" else gourl.escape(url.path, "path"))


def _query(address: Address) -> dict[str, list[str]]:
    """url.Query: pairs that cannot be read are left out."""
    found: dict[str, list[str]] = {}
    for pair in address.url.query.replace("%23", "#").split("&"):
        if not pair or ";" in pair:
            continue
        key, _, value = pair.partition("=")
        try:
            name, text = gourl.unescape(key, "query"), gourl.unescape(value, "query")
        except gourl.UrlError:
            continue
        found.setdefault(name, []).append(text)
    return found


FUNCTIONS: Functions = {
    "url": (plain("string_to_url", (STRING,), TYPE, _parse),),
    "isURL": (plain("is_url_string", (STRING,), BOOL, lambda text: not isinstance(_parse(text), Failure)),),
    "getScheme": (member("url_get_scheme", (TYPE,), STRING, lambda address: address.url.scheme),),
    "getHost": (member("url_get_host", (TYPE,), STRING, lambda address: address.url.host),),
    "getHostname": (member("url_get_hostname", (TYPE,), STRING, lambda address: address.url.hostname),),
    "getPort": (member("url_get_port", (TYPE,), STRING, _port),),
    "getEscapedPath": (member("url_get_escaped_path", (TYPE,), STRING, _escaped_path),),
    "getQuery": (member("url_get_query", (TYPE,), map_of(STRING, list_of(STRING)), _query),),
}
