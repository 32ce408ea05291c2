"""Which hosts stand for a registry: what the user's file says of mirrors and certificates, and the usual ones.

Apart from the client, because most runs only want to know whether anybody is there (``reachable``), and learn it from a
connection alone, without loading an HTTP client.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tiphys.machinery.errors import SpecError
from tiphys.oci.reference import DOCKER_HUB

HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Host:
    """Where a registry's API is."""

    url: str
    name: str
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Registries:
    """What the user says of registries: mirrors (URLs), those without a certificate that can be checked, those that
    speak plain HTTP, and those that do not although they are on this machine."""

    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    insecure: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    secure: frozenset[str] = frozenset()

    def hosts(self, domain: str) -> list[Host]:
        """In the order in which they are to be asked."""
        found = [
            Host(url.rstrip("/"), url.partition("://")[2].partition("/")[0], domain not in self.insecure)
            for url in self.mirrors.get(domain, ())
        ]
        name = HUB_HOST if domain == DOCKER_HUB else domain
        is_plain = domain in self.plain or (_is_local(domain) and domain not in self.secure)
        scheme = "http" if is_plain else "https"
        return [*found, Host(f"{scheme}://{name}", name, domain not in self.insecure)]


def read_registries(path: Path) -> Registries:
    """From a TOML file with tables ``[registry."name"]`` of ``mirrors``, ``insecure``, ``plain_http``.

    A file that is not there says nothing. Raises ``SpecError``.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Registries()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SpecError(str(path), str(err)) from err
    rows = document.get("registry", {})
    for name, row in rows.items():
        unknown = sorted(row.keys() - {"mirrors", "insecure", "plain_http"})
        if unknown:
            raise SpecError(f"{path}: registry.{name}.{unknown[0]}", "no such setting")
    return Registries(
        {name: tuple(row.get("mirrors", ())) for name, row in rows.items()},
        frozenset(name for name, row in rows.items() if row.get("insecure")),
        frozenset(name for name, row in rows.items() if row.get("plain_http")),
    )


def _is_local(domain: str) -> bool:
    host = domain.rpartition(":")[0] if re.search(r":[0-9]+\Z", domain) else domain
    return host in ("localhost", "[::1]") or host.startswith("127.")


async def reachable(registries: Registries, domain: str) -> bool:
    """Whether the registry, or a mirror of it, can be connected to. A proxy in between is taken for a yes."""
    if urllib.request.getproxies().keys() & {"http", "https"}:
        return True
    for host in registries.hosts(domain):
        place = urlsplit(host.url)
        try:
            _, writer = await asyncio.open_connection(
                place.hostname, place.port or (443 if place.scheme == "https" else 80)
            )
        except OSError:
            continue
        writer.close()
        return True
    return False
