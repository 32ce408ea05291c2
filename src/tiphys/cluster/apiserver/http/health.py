"""/healthz, /livez and /readyz: "ok", or with ``?verbose`` a line per check; one check alone below its own path.

    [+]ping ok
    [+]log ok
    …
    livez check passed

Checks can be left out (``exclude=``). One that fails shows as ``[-]NAME failed: reason withheld``, with status 500.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from multidict import MultiMapping

ROOTS: Final = ("/healthz", "/livez", "/readyz")
Check = Callable[[], bool]
_HEADERS: Final = {"Cache-Control": "no-cache, private", "X-Content-Type-Options": "nosniff"}


def is_health(path: str) -> bool:
    return path.startswith(ROOTS) and (path in ROOTS or path[path.index("z") + 1] == "/")


class Health:
    """``checks`` by name; those in ``only_ready`` say nothing about being alive."""

    def __init__(self, checks: Mapping[str, Check] | None = None, only_ready: frozenset[str] = frozenset()) -> None:
        self._checks: dict[str, Check] = {"ping": lambda: True, "log": lambda: True, "etcd": lambda: True}
        self._checks |= {"poststarthook/start-apiextensions-controllers": lambda: True} | dict(checks or {})
        self._only_ready = only_ready

    def answer(self, path: str, query: MultiMapping[str]) -> web.Response:
        root, _, name = path.strip("/").partition("/")
        names = [each for each in self._checks if root == "readyz" or each not in self._only_ready]
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
