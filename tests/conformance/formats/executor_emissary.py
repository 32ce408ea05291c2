"""Golden rows of the in-pod wrapper (argoexec emissary): our wrapper, really run at its real paths.

Recognised by ``in.args`` with ``out.argo``. Each row runs in a root of its own (bubblewrap): this machine's programs,
an empty ``/var/run/argo``, ``/argo`` and ``/tmp``, the row's files, ``/dev/termination-log`` absent. The row's actions
are played while it runs; afterwards what it left is described and compared whole.

Left out: ``template`` in the shared volume (the row's own, as the README says), and of rows with signals the order of
lines in ``combined`` and what the shell remarks there on a killed job (normalised in the recordings). ``wrapperError``
is the last ``Error:`` line of our wrapper.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.formats.executor_world import World, describe, shown
from tests.conformance.golden import Format, Row, Sample

DIR = "/scratch-dir"
SOURCE = Path(__file__).parents[3] / "src"
# A row waits up to 30 s for a supervisor; the others are over in a moment, and mostly wait too.
AT_ONCE = 8
DEADLINE_SECONDS = 90.0
# What outlives the wrapper may still say something for so long.
LINGERS_SECONDS = 10
ROOTS = ("var/run/argo", "argo", "tmp", DIR.lstrip("/"), "said")
_JOB = re.compile(r"(Terminated|Killed|Hangup|User defined signal [12]|Aborted|.*core dumped.*)?")
_OWN_REMARK = re.compile(r"^unable to write termination log: .*\n", re.MULTILINE)
_TRACE = re.compile(r"\[00-[0-9a-f]{32}-[0-9a-f]{16}-01\]")


def recognises(sample: Sample) -> bool:
    given, out = sample.head.get("in"), sample.head.get("out")
    return isinstance(given, dict) and isinstance(out, dict) and "args" in given and "argo" in out


def judge(sample: Sample) -> Iterable[Row]:
    return asyncio.run(_judge_all(sample))


async def _judge_all(sample: Sample) -> list[Row]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(row: Mapping[str, Any]) -> Row:
        async with room:
            expected, got = dict(row["out"]), await _run(row["in"], row["out"])
            if row["in"].get("sortCombined") or any("signal" in action for action in row["in"].get("actions") or ()):
                expected, got = _in_order(expected), _in_order(got)
            return Row(row["name"], got == expected, expected, got)

    return list(await asyncio.gather(*(one(row) for row in sample.rows)))


async def _run(given: Mapping[str, Any], out: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), {"$DIR": DIR})
        given = world.fill_in(given)
        _prepare(world, given)
        process = await asyncio.create_subprocess_exec(
            *_command(world, given),
            env=_environment(given),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        playing = asyncio.create_task(_play(world, given, process.pid))
        async with asyncio.timeout(DEADLINE_SECONDS):
            stdout, stderr = await process.communicate()
        playing.cancel()
        got = _described(world, given, out, stdout.decode(), stderr.decode())
        result: dict[str, Any] = world.take_out(got | {"exit": process.returncode})
        return result


def _prepare(world: World, given: Mapping[str, Any]) -> None:
    for place in ROOTS:
        world.place(f"/{place}").real.mkdir(parents=True)
        world.place(f"/{place}").real.chmod(0o755 if place == "said" else 0o777)
    for file in given.get("files") or ():
        world.make(file if "jsonRepeat" not in file else {**file, "text": _repeated(file)})
        if "owner" in file:
            os.chown(world.place(file["path"]).real, *map(int, str(file["owner"]).split(":")))
    if not given.get("noTemplate"):
        text = given.get("rawTemplate", json.dumps(given.get("template")))
        world.place("/var/run/argo/template").real.write_text(text)
    for path, offset in _touched(given):
        moment = time.time() + offset
        os.utime(world.place(path).real, (moment, moment))


def _repeated(file: Mapping[str, Any]) -> str:
    text, count = file["jsonRepeat"]
    return json.dumps([text * count])


def _touched(given: Mapping[str, Any]) -> list[tuple[str, float]]:
    rows = given.get("touch") or []
    return [tuple(row) for row in rows] if rows and isinstance(rows[0], list) else [tuple(rows)] if rows else []


def _command(world: World, given: Mapping[str, Any]) -> list[str]:
    words = ["bwrap", "--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev"]
    for name in ("bin", "sbin", "lib", "lib64"):
        words += ["--symlink", f"usr/{name}", f"/{name}"]
    shown_as_here = [p for p in dict.fromkeys((sys.prefix, sys.base_prefix, str(SOURCE))) if not p.startswith("/usr")]
    parents = {str(parent) for place in (*map(_seen, shown_as_here), "/var/run/argo") for parent in Path(place).parents}
    for parent in sorted(parents - {"/"}):  # which bubblewrap would make for its own eyes only
        words += ["--perms", "0755", "--dir", parent]
    for place in shown_as_here:
        words += ["--ro-bind", place, _seen(place)]
    for place in ROOTS:
        words += ["--bind", str(world.place(f"/{place}").real), f"/{place}"]
    words += [
        "--symlink",
        "/said/message",
        "/dev/termination-log",
        "--unshare-pid",
        "--as-pid-1",
        "--unshare-net",
        "--die-with-parent",
    ]
    words += ["--chdir", given.get("cwd") or DIR]
    words += ["--", "env", *_hidden(given), _seen(sys.executable), "-c", _STARTER]
    return [*words, *given["args"]]


def _seen(place: str) -> str:
    """Where the wrapper sees a place of ours: elsewhere if the row has that folder for itself."""
    return f"/opt/seen{place}" if any(place.startswith(f"/{root}/") for root in ROOTS) else place


# Process 1 forks the wrapper and ends after all others have, or long enough after the wrapper: with it the kernel ends
# whatever is left, and a process that was sent a signal with its parent may not have had its turn yet. The interpreter
# is started with an environment in which it finds its modules; the wrapper's own is the row's.
_STARTER = f"""\
import os, signal, sys
wrapper = os.fork()
if wrapper:
    code = os.waitstatus_to_exitcode(os.waitpid(wrapper, 0)[1])
    signal.signal(signal.SIGALRM, lambda *_: os._exit(code if code >= 0 else 128 - code))
    signal.alarm({LINGERS_SECONDS})
    try:
        while True:
            os.wait()
    except ChildProcessError:
        signal.raise_signal(signal.SIGALRM)
import json
env = json.loads(os.environ.pop("ROW_ENV"))
sys.path[:0] = os.environ.pop("ROW_PATH").split(":")
from tiphys.workflows.executor import emissary
user = int(os.environ["ROW_UID"])
if user:
    os.setgroups([]), os.setgid(user), os.setuid(user)
os.environ.clear()
os.environ.update(env)
sys.exit(emissary.main(sys.argv[1:]))
"""


def _hidden(given: Mapping[str, Any]) -> list[str]:
    own = {"PATH": os.environ.get("ROW_TOOLS", "/usr/local/bin:/usr/bin:/bin"), "HOME": "/root"}
    container = given.get("container", "main")
    if container is not None:
        own["ARGO_CONTAINER_NAME"] = container
    if given.get("include"):
        own["ARGO_INCLUDE_SCRIPT_OUTPUT"] = "true"
    for name, value in (given.get("env") or {}).items():
        own.pop(name, None)
        if value is not None:
            own[name] = value
    return [f"ROW_ENV={json.dumps(own)}", f"ROW_PATH={_seen(str(SOURCE))}", f"ROW_UID={given.get('uid', 0)}"]


def _environment(given: Mapping[str, Any]) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}


async def _play(world: World, given: Mapping[str, Any], bubblewrap: int) -> None:
    for action in given.get("actions") or ():
        if "waitFor" in action:
            await _appears(world.place(action["waitFor"]).real)
        await asyncio.sleep(action.get("sleep", 0))
        if "signal" in action:
            for pid in _wrappers(bubblewrap):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.Signals[action["signal"]])
        elif "write" in action:
            place = world.place(action["write"]).real
            place.parent.mkdir(parents=True, exist_ok=True)
            existed = place.exists()
            place.write_text(action.get("text", ""))
            if not existed:
                place.chmod(0o644)


async def _appears(place: Path) -> None:
    """What is waited for has no event of its own here."""
    while not os.path.lexists(place):  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.02)


def _wrappers(bubblewrap: int) -> list[int]:
    """The wrapper: the grandchild below bubblewrap and its process 1."""
    return [wrapper for first in _children(bubblewrap) for wrapper in _children(first)]


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _described(
    world: World, given: Mapping[str, Any], out: Mapping[str, Any], stdout: str, stderr: str
) -> dict[str, Any]:
    said, error = _said(stderr)
    message = world.place("/said/message").real
    tree = world.tree("/var/run/argo")
    tree.pop("/var/run/argo/template", None)
    stdout = _TRACE.sub("[00-<trace id>-<span id>-01]", _sorted(stdout) if given.get("sortStdout") else stdout)
    got: dict[str, Any] = {
        "argo": tree,
        "stdout": shown(stdout.encode()),
        "terminationMessage": message.read_text() if message.exists() else None,
    }
    if error is not None:
        got["wrapperError"] = error
    if said and not _is_job_remark(said):
        got["stderr"] = said
    looked_at = [*(given.get("observe") or ()), *(world.fill_in(list(out.get("observe") or ())))]
    if looked_at:
        got["observe"] = {path: _observed(world, path) for path in looked_at}
    return got


def _in_order(out: dict[str, Any]) -> dict[str, Any]:
    """With the lines of combined output sorted, and what the shell remarks on killed jobs gone."""
    argo = dict(out["argo"])
    for path, entry in argo.items():
        if path.endswith("/combined") and isinstance(entry.get("content"), str):
            lines = [line for line in entry["content"].split("\n") if not line or not _JOB.fullmatch(line)]
            argo[path] = {**entry, "content": _sorted("\n".join(lines))}
    return {**out, "argo": argo}


def _sorted(text: str) -> str:
    return "\n".join(sorted(text.split("\n")))


def _observed(world: World, path: str) -> Any:
    place = world.place(path).real
    return describe(place) if place.exists() or place.is_symlink() else None


def _said(stderr: str) -> tuple[str, str | None]:
    """What the command said, and the wrapper's own last word."""
    head, mark, error = stderr.rpartition("Error: ")
    if not mark or (head and not head.endswith("\n")):
        return stderr, None
    lines = error.removesuffix("\n").split("\n")
    while len(lines) > 1 and _JOB.fullmatch(lines[-1]):  # a shell that outlives its command has the last word
        lines.pop()
    return _OWN_REMARK.sub("", head), "\n".join(lines)


def _is_job_remark(text: str) -> bool:
    return all(_JOB.fullmatch(line) for line in text.splitlines())


FORMATS = [Format("executor-emissary", recognises, judge)]
