"""/healthz, /livez and /readyz: "ok", or with ``?verbose`` a line per check; one check alone below its own path.

    [+]ping ok
    [+]log ok
    …
    livez check passed

Checks can be left out (``exclude=``). One that fails shows as ``[-]NAME failed: reason withheld``, with status 500.
Most checks are steps of the start: a server that answers has done them all. Those of ``etcd`` are our store's: they
fail while the disk takes no writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web
from multidict import MultiMapping

from tiphys.cluster.apiserver.http.metrics import CONTENT_TYPE

ROOTS: Final = ("/healthz", "/livez", "/readyz")
Check = Callable[[], bool]
_GAUGE: Final = "kubernetes_healthcheck"
_HEADERS: Final = {"Cache-Control": "no-cache, private", "X-Content-Type-Options": "nosniff"}


def is_health(path: str) -> bool:
    return path.startswith(ROOTS) and (path in ROOTS or path[path.index("z") + 1] == "/")


_STEPS: Final = (
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "aggregator-reload-proxy-client-cert",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
)
_CHECKS: Final = ("ping", "log", "etcd", *(f"poststarthook/{step}" for step in _STEPS), "autoregister-completion")
_READY: Final = ("etcd-readiness", "informer-sync", "shutdown")


class Health:
    """``stores``: whether writes are possible now; all other checks hold for every server that answers. Those of
    ``_READY`` say nothing about being alive."""

    def __init__(self, stores: Check) -> None:
        self._checks: dict[str, Check] = dict.fromkeys((*_CHECKS, *_READY), lambda: True)
        self._checks |= dict.fromkeys(("etcd", "etcd-readiness"), stores)

    def paths(self) -> list[str]:
        """Everything that is answered."""
        return [*ROOTS, *(f"{root}/{name}" for root in ROOTS for name in self._names(root[1:]))]

    def metrics(self) -> web.Response:
        """Each check as a gauge: ``/metrics/slis``."""
        rows = [(root, name) for root in ROOTS for name in self._names(root[1:])]
        lines = [f'{_GAUGE}{{name="{name}",type="{root[1:]}"}} {int(self._checks[name]())}' for root, name in rows]
        head = [f"# HELP {_GAUGE} [STABLE] The result of a single health check.", f"# TYPE {_GAUGE} gauge"]
        headers = {"Content-Type": CONTENT_TYPE}
        return web.Response(body="\n".join([*head, *lines, ""]).encode(), headers=headers)

    def _names(self, root: str) -> list[str]:
        return [each for each in self._checks if root == "readyz" or each not in _READY]

    def answer(self, path: str, query: MultiMapping[str]) -> web.Response:
        root, _, name = path.strip("/").partition("/")
        names = self._names(root)
        if name:
            if name not in names:
                return web.Response(status=404, text="404 page not found\n", headers=_HEADERS)
            names = [name]
        excluded = set(query.getall("exclude", []))
        lines = [self._line(each, excluded) for each in names]
        failed = [line for line in lines if line.startswith("[-]")]
        if not failed and "verbose" not in query:
            return web.Response(text="ok", headers=_HEADERS)
        unknown = excluded - set(names)
        if unknown:
            listed = ",".join(f'"{each}"' for each in sorted(unknown))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        end = f"{root} check {'failed' if failed else 'passed'}\n"
        return web.Response(status=500 if failed else 200, text="\n".join([*lines, end]), headers=_HEADERS)

    def _line(self, name: str, excluded: set[str]) -> str:
        if name in excluded:
            return f"[+]{name} excluded: ok"
        return f"[+]{name} ok" if self._checks[name]() else f"[-]{name} failed: reason withheld"
