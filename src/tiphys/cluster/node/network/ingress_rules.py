"""What Ingress objects say, as routes: host and path → a Service's port. Pure.

The host that is named exactly comes before a wildcard (one label), which comes before no host. Among paths the longest
that fits wins, ``Exact`` before ``Prefix``; ``Prefix`` and ``ImplementationSpecific`` go by whole segments. Ingresses
marked as canaries take a share of the traffic of the route that they shadow, by weight or by a header
(``nginx.ingress.kubernetes.io/canary*``), as Argo Rollouts uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = Mapping[str, Any]

CLASS = "tiphys"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_CANARY = "nginx.ingress.kubernetes.io/canary"


@dataclass(frozen=True)
class Target:
    """A Service's port: its number, or its name."""

    namespace: str
    service: str
    port: int | str


@dataclass(frozen=True)
class Canary:
    """``header`` with the value ``always`` takes a request whatever the weight (percent), ``never`` refuses it."""

    target: Target
    weight: int = 0
    header: str = ""
    header_value: str = ""

    def takes(self, headers: Mapping[str, str], chance: float) -> bool:
        """``chance`` is in [0, 1)."""
        said = headers.get(self.header.lower()) if self.header else None
        if said is not None:
            if self.header_value:
                if said == self.header_value:
                    return True
            elif said in ("always", "never"):
                return said == "always"
        return chance * 100 < self.weight


@dataclass
class _Route:
    host: str
    path: str
    is_exact: bool
    target: Target
    canaries: list[Canary] = field(default_factory=list)

    def fits(self, host: str, path: str) -> bool:
        if self.host.startswith("*."):
            if host.partition(".")[2] != self.host[2:]:
                return False
        elif self.host and host != self.host:
            return False
        if self.is_exact:
            return path == self.path
        prefix = self.path.rstrip("/")
        return not prefix or path == prefix or path.startswith(prefix + "/")

    @property
    def rank(self) -> tuple[int, int, bool]:
        host = 2 if self.host and not self.host.startswith("*.") else int(bool(self.host))
        return host, len(self.path), self.is_exact


class Routes:
    """The routes of all Ingresses that are ours, the most particular first."""

    def __init__(self, ingresses: Iterable[Object], is_default: bool = True) -> None:
        ours = [one for one in ingresses if is_ours(one, is_default)]
        self._routes = [route for one in ours if not _is_canary(one) for route in _routes_of(one)]
        for one in ours:
            if _is_canary(one):
                self._shadow(one)
        self._routes.sort(key=lambda route: route.rank, reverse=True)
        self.hosts_with_secrets = {
            host: (str(one["metadata"].get("namespace", "")), str(tls["secretName"]))
            for one in ours
            for tls in (one.get("spec") or {}).get("tls") or ()
            if tls.get("secretName")
            for host in tls.get("hosts") or ("",)
        }
        """For each host the namespace and name of the secret with its certificate; "" for all others."""

    def find(self, host: str, path: str, headers: Mapping[str, str], chance: float) -> Target | None:
        """Where a request goes; None where nobody wants it. Header names are lower case."""
        host = host.partition(":")[0].lower()
        for route in self._routes:
            if route.fits(host, path):
                for canary in route.canaries:
                    if canary.takes(headers, chance):
                        return canary.target
                return route.target
        return None

    def _shadow(self, ingress: Object) -> None:
        annotations = _annotations(ingress)
        for own in _routes_of(ingress):
            canary = Canary(
                own.target,
                _percent(annotations.get(f"{_CANARY}-weight")),
                annotations.get(f"{_CANARY}-by-header", ""),
                annotations.get(f"{_CANARY}-by-header-value", ""),
            )
            for route in self._routes:
                if (route.host, route.path) == (own.host, own.path):
                    route.canaries.append(canary)


def is_ours(ingress: Object, is_default: bool = True) -> bool:
    """Whether an Ingress is of our class, or of none while ours is the default."""
    name = (ingress.get("spec") or {}).get("ingressClassName") or _annotations(ingress).get(CLASS_ANNOTATION)
    return bool(name == CLASS or (is_default and not name))


def _routes_of(ingress: Object) -> Iterable[_Route]:
    namespace = str(ingress["metadata"].get("namespace", ""))
    spec = ingress.get("spec") or {}
    if (spec.get("defaultBackend") or {}).get("service"):
        yield _Route("", "/", False, _target(namespace, spec["defaultBackend"]))
    for rule in spec.get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            if (path.get("backend") or {}).get("service"):
                exact = path.get("pathType") == "Exact"
                host = str(rule.get("host") or "").lower()
                yield _Route(host, path.get("path") or "/", exact, _target(namespace, path["backend"]))


def _target(namespace: str, backend: Object) -> Target:
    service = backend["service"]
    port = service.get("port") or {}
    return Target(namespace, str(service["name"]), port.get("number") or port.get("name") or 80)


def _annotations(ingress: Object) -> Mapping[str, str]:
    return ingress["metadata"].get("annotations") or {}


def _is_canary(ingress: Object) -> bool:
    return _annotations(ingress).get(_CANARY) == "true"


def _percent(text: str | None) -> int:
    return min(100, int(text)) if text and text.isdecimal() else 0
