"""Where a webhook is: a URL or a Service (admission and conversion)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.cluster.apiserver.rules.values import Fields
from tiphys.lang import name_rules

_FORM = "; desired format: https://host[/path]"


def client_complaints(client: Fields, at: str, *, swapped: bool = False) -> Iterator[Complaint]:
    """A clientConfig: exactly one of url and service. ``swapped``: complaints mistake the Service's name for its
    namespace, as the original's do for admission webhooks."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield required(at, "exactly one of url or service is required")
    elif url is not None:
        yield from url_complaints(str(url), f"{at}.url")
    elif service is not None:
        if swapped:
            service = {**service, "name": service.get("namespace"), "namespace": service.get("name")}
        yield from service_complaints(service, f"{at}.service")


def url_complaints(url: str, at: str) -> Iterator[Complaint]:
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError as err:
        yield required(at, f"url must be a valid URL: {err}{_FORM}")
        return
    if parts.scheme != "https":
        yield invalid_value(at, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}")
    if not host:
        yield invalid_value(at, host, f"host must be specified{_FORM}")
    if "@" in parts.netloc:
        yield invalid_value(at, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid_value(at, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid_value(at, parts.query, "query parameters are not permitted in the URL")


def service_complaints(service: Fields, at: str) -> Iterator[Complaint]:
    if not service.get("namespace"):
        yield required(f"{at}.namespace")
    if not service.get("name"):
        yield required(f"{at}.name")
    port = service.get("port", 443)
    if not 1 <= port <= 65_535:
        yield invalid_value(f"{at}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
    yield from _path_complaints(str(service.get("path") or ""), f"{at}.path")


def _path_complaints(path: str, at: str) -> Iterator[Complaint]:
    if path in ("", "/"):
        return
    if path == "//":
        yield invalid_value(at, path, "segment[0] may not be empty")
        return
    if not path.startswith("/"):
        yield invalid_value(at, path, "must start with a '/'")
    for number, step in enumerate(path[1:].removesuffix("/").split("/")):
        problems = name_rules.dns1123_subdomain(step) if step else []
        for problem in problems:
            yield invalid_value(at, path, f"segment[{number}]: {problem}")
        if not step:
            yield invalid_value(at, path, f"segment[{number}] may not be empty")
