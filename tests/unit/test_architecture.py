"""Who may do what: the rules of docs/decisions/0001-contracts.md that import-linter's layers do not express.

The check reads the source (ast), so that an import inside a function counts as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "tiphys"

# A decision is a function of its arguments: these packages may not reach the world, the clock or chance.
PURE = ("lang", "machinery", "api", "workflows/plan")
IMPURE_MODULES = {
    "aiohttp", "asyncio", "concurrent", "http", "multiprocessing", "os", "random", "secrets", "select", "selectors",
    "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request",
    "uuid",
}  # fmt: skip
PROCESS_MODULES = {"subprocess", "pty"}
# calls that start a process or read the time, as written
PROCESS_CALLS = {
    "os.posix_spawn", "os.posix_spawnp", "os.fork", "os.forkpty", "os.execv", "os.execve", "os.execvp", "os.execvpe",
    "os.system", "os.popen", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell",
}  # fmt: skip
CLOCK_CALLS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now", "datetime.date.today",
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep",
}  # fmt: skip

# a real process begins and ends in real time, whatever clock the rest of the program has
# workflows/drivers/artifacts/: in threads of their own, which wait for a plugin's socket
MAY_READ_THE_TIME = (
    "runtime/clock.py",
    "cluster/node/runtimes/",
    "workflows/drivers/artifacts/",
    "workflows/executor/",
)
# client/credentials.py, oci/registry.py: a configuration may name a program that knows the credentials
MAY_START_PROCESSES = (
    "cluster/node/",
    "cd/sources/",
    "workflows/drivers/",
    "workflows/executor/",
    "app/",
    "client/credentials.py",
    "oci/registry.py",
)
MAY_USE_SQLITE = ("cluster/apiserver/", "workflows/drivers/")
MAY_IMPORT_CLUSTER = ("cluster/", "app/", "testing/")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders or ("",):
        for file in sorted((SOURCE / folder).rglob("*.py")):
            yield file.relative_to(SOURCE).as_posix(), parsed(file)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def imported(tree: ast.Module) -> tuple[tuple[str, int], ...]:
    """``(module, line)`` of every import that runs; those under ``if TYPE_CHECKING`` do not."""
    return tuple(_imported(tree))


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    skipped = {id(n) for test in ast.walk(tree) if _for_types_only(test) for n in ast.walk(test)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@cache
def calls(tree: ast.Module) -> tuple[tuple[str, int], ...]:
    return tuple(_calls(tree))


def _calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func), node.lineno


def is_one_of(module: str, forbidden: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in forbidden)


def allowed(file: str, places: tuple[str, ...]) -> bool:
    return any(file == place or (place.endswith("/") and file.startswith(place)) for place in places)


@pytest.mark.parametrize("folder", PURE)
def test_pure_packages_do_not_reach_the_world(folder: str) -> None:
    found = [
        f"{file}:{line} imports {name}"
        for file, tree in modules(folder)
        for name, line in imported(tree)
        if is_one_of(name, IMPURE_MODULES)
    ]
    assert not found, "\n".join(found)


def test_only_the_clock_reads_the_time() -> None:
    found = [
        f"{file}:{line} calls {call}"
        for file, tree in modules()
        if not allowed(file, MAY_READ_THE_TIME)
        for call, line in calls(tree)
        if call in CLOCK_CALLS
    ]
    assert not found, "\n".join(found)


def test_only_drivers_start_processes() -> None:
    found = [
        f"{file}:{line} uses {what}"
        for file, tree in modules()
        if not allowed(file, MAY_START_PROCESSES)
        for what, line in [
            *((name, line) for name, line in imported(tree) if is_one_of(name, PROCESS_MODULES)),
            *((call, line) for call, line in calls(tree) if call in PROCESS_CALLS),
        ]
    ]
    assert not found, "\n".join(found)


def test_only_the_store_speaks_sqlite() -> None:
    found = [
        f"{file}:{line}"
        for file, tree in modules()
        if not allowed(file, MAY_USE_SQLITE)
        for name, line in imported(tree)
        if is_one_of(name, {"sqlite3"})
    ]
    assert not found, "\n".join(found)


def test_only_the_composition_root_knows_the_cluster() -> None:
    found = [
        f"{file}:{line} imports {name}"
        for file, tree in modules()
        if not allowed(file, MAY_IMPORT_CLUSTER)
        for name, line in imported(tree)
        if is_one_of(name, {"tiphys.cluster"})
    ]
    assert not found, "\n".join(found)


def test_the_check_sees_what_it_should() -> None:
    tree = ast.parse("def f():\n    import os.path\n    from time import sleep\n    datetime.now()\n")
    assert {name for name, _ in imported(tree)} == {"os.path", "time", "time.sleep"}
    assert [call for call, _ in calls(tree)] == ["datetime.now"]
    assert is_one_of("os.path", IMPURE_MODULES) and not is_one_of("osx", IMPURE_MODULES)
