"""HTTP templates: one request (and its redirects), and what its answer means for the node.

    prepare ─► request ─► redirects as Go's client follows them ─► judge: status or successCondition ─► result

Only decisions are here; ``http_client.py`` sends. Failures are worded as Go's net/http does, which the
original's users know. Source: workflow/executor/agent.go executeHTTPTemplate.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin

from tiphys.lang import gourl
from tiphys.lang.expr import ExprError, eval_bool
from tiphys.lang.expr.values import AnyMap
from tiphys.lang.gofmt import quote
from tiphys.workflows.executor.errors import ExecutorError

Object = Mapping[str, Any]
# (Secret's name, key) → its text. Raises ``ExecutorError``.
ReadSecret = Callable[[str, str], Awaitable[str]]
REDIRECTS_MAX = 10
_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")


@dataclass(frozen=True)
class Call:
    """A request that is ready to be sent; header names as Go writes them."""

    method: str
    url: gourl.Url
    headers: Sequence[tuple[str, str]] = ()
    host: str = ""
    body: bytes = b""

    @property
    def operation(self) -> str:
        """The method as messages name it: ``Get``."""
        return self.method[:1] + self.method[1:].lower()

    def failed(self, reason: str, url: str | None = None) -> ExecutorError:
        return ExecutorError(f"{self.operation} {quote(str(self.url) if url is None else url)}: {reason}")


@dataclass(frozen=True)
class Answer:
    """``headers`` by their canonical names."""

    status: int
    body: str
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reason: str = ""


async def prepare(http: Object, secret: ReadSecret) -> Call:
    """The request that a template asks for. Raises ``ExecutorError``."""
    method = str(http.get("method") or "GET")
    if not set(method) <= _TOKEN:
        raise ExecutorError(f"net/http: invalid method {quote(method)}")
    try:
        url = gourl.parse(str(http.get("url") or ""))
    except gourl.UrlError as err:
        raise ExecutorError(str(err)) from err
    host, headers = "", []
    for header in http.get("headers") or ():
        reference = (header.get("valueFrom") or {}).get("secretKeyRef")
        value = str(header.get("value") or "")
        if reference is not None:
            value = await secret(str(reference.get("name") or ""), str(reference.get("key") or ""))
        if header["name"].lower() == "host":
            host = value
        else:
            headers.append((canonical(header["name"]), value))
    return Call(method, url, headers, host, body_of(http))


def body_of(http: Object) -> bytes:
    given = http.get("bodyFrom")
    if given is None:
        return str(http.get("body") or "").encode()
    return base64.b64decode(given.get("bytes") or "")


def canonical(name: str) -> str:
    """A header's name as Go writes it; what is no name stays as it is (textproto.CanonicalMIMEHeaderKey)."""
    if not name or not set(name) <= _TOKEN:
        return name
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def check(call: Call) -> None:
    """Raises ``ExecutorError`` for what Go's client refuses to send."""
    if call.url.scheme not in ("http", "https"):
        raise call.failed(f"unsupported protocol scheme {quote(call.url.scheme)}")
    if not call.url.host:
        raise call.failed("http: no Host in request URL")
    for name, value in call.headers:
        if not name or not set(name) <= _TOKEN:
            raise call.failed(f"net/http: invalid header field name {quote(name)}")
        if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
            raise call.failed(f"net/http: invalid header field value for {quote(name)}")


def judge(http: Object, answer: Answer) -> dict[str, Any]:
    """The node's result: its phase, message and outputs. Raises ``ExecutorError`` for a condition without an answer."""
    outputs = {"result": answer.body}
    condition = http.get("successCondition") or ""
    if not condition:
        if 200 <= answer.status < 300:
            return {"phase": "Succeeded", "outputs": outputs}
        message = f"received non-2xx response code: {answer.status}"
        return {"phase": "Failed", "message": message, "outputs": outputs}
    try:
        holds = eval_bool(condition, _scope(http, answer))
    except ExprError as err:
        raise ExecutorError(str(err)) from err
    if holds:
        return {"phase": "Succeeded", "outputs": outputs}
    return {"phase": "Failed", "message": f"successCondition '{condition}' evaluated false", "outputs": outputs}


def _scope(http: Object, answer: Answer) -> dict[str, Any]:
    given = [h for h in http.get("headers") or () if h.get("valueFrom") is None]
    return {
        "request": {
            "method": str(http.get("method") or ""),
            "url": str(http.get("url") or ""),
            "body": str(http.get("body") or ""),
            "bodyBytes": list(body_of(http)),
            "headers": _header_map({h["name"]: [str(h.get("value") or "")] for h in given}),
        },
        "response": {"statusCode": answer.status, "body": answer.body, "headers": _header_map(answer.headers)},
    }


def _header_map(headers: Mapping[str, Sequence[str]]) -> AnyMap:
    """Go's http.Header: a name that is not there has an empty list, which is nil."""
    made = AnyMap("map[interface {}][]interface {}")
    for name, values in headers.items():
        made.set(name, list(values))
    return made


def redirected(call: Call, status: int, location: str) -> Call:
    """The request that a redirect asks for (net/http Client.do). Raises ``ExecutorError``."""
    try:
        there = gourl.parse(location)
    except gourl.UrlError as err:
        raise call.failed(f"failed to parse Location header {quote(location)}: {err}") from err
    url = gourl.parse(urljoin(str(call.url), location))
    method, body = call.method, call.body
    if status in (301, 302, 303) and method not in ("GET", "HEAD"):
        method, body = "GET", b""
    dropped = {"Referer"} | ({"Content-Type", "Content-Length"} if not body else set())
    if url.hostname != call.url.hostname and not url.hostname.endswith(f".{call.url.hostname}"):
        dropped |= {"Authorization", "Www-Authenticate", "Cookie", "Cookie2"}
    headers = [(name, value) for name, value in call.headers if name not in dropped]
    if not (call.url.scheme == "https" and url.scheme == "http"):
        headers.append(("Referer", str(replace(call.url, user=None, password=None))))
    return Call(method, url, headers, call.host if not there.host else "", body)


def asks_for_gzip(call: Call) -> bool:
    """Go asks for gzip itself, and then unpacks, where the caller has no wish of their own."""
    return call.method != "HEAD" and not any(name in ("Accept-Encoding", "Range") for name, _ in call.headers)
