"""The wrapper around the user's command inside a pod of a real cluster, in Python: for images that have one.

    python -m tiphys.workflows.executor.emissary -- COMMAND ARGS…

It waits for what must come before (the supervisor, other containers of a containerSet, a debugger), runs the command,
keeps its output where the step's result or log is wanted, passes signals on, and copies outputs of the container's own
file system to the volume that the pod's helper reads. What containers tell each other lies below ``/var/run/argo``:

    template               the step; else the variable ARGO_TEMPLATE
    status                 the supervisor's: RUNNING (renewed), READY, or FAILED and why
    ctr/NAME/              made when NAME has begun; exitcode when it has ended (64: the wrapper's own failure)
    ctr/NAME/signal        a number that somebody writes, to be sent to NAME's command
    ctr/NAME/stdout, combined · outputs/parameters/PATH · outputs/artifacts/PATH.tgz

Source of the behaviour: cmd/argoexec/commands/emissary.go and signal.go. The embedded node needs none of this
(``native.py``).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiphys.api.decode import DecodeError, decode
from tiphys.lang import durations, gojson_read
from tiphys.workflows.executor import archives
from tiphys.workflows.executor.errors import ExecutorError, go_error, reason
from tiphys.workflows.executor.template import (
    INPUT_ARTIFACTS,
    MAIN,
    VAR_RUN_ARGO,
    is_within,
    main_containers,
    overlapping_mount,
    volume_mounts,
)
from tiphys.workflows.executor.trees import CHUNK, Place
from tiphys.workflows.executor.wrapped import LOOK_SECONDS, Command, Signals, look_up, say

WRAPPER_FAILED, SUPERVISOR_FAILED = 64, 65
CONFIG = "/argo/config"
TERMINATION_LOG = "/dev/termination-log"
OFFLOADED = "offloaded"
LARGE_ARGUMENT_BYTES = 131_072
# The supervisor renews its status every few seconds; after this long without it is taken for dead.
HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 30
SIGTERM, SIGKILL = 15, 9
_TRACE_PARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}\Z")


class Exited(Exception):
    """The wrapper ends with ``code``; ``cause`` is "" where that is the command's own ending."""

    def __init__(self, code: int, cause: str = "") -> None:
        super().__init__(cause or f"exit status {code}")
        self.code = code
        self.cause = cause


class Cancelled(ExecutorError):
    """Somebody asked the wrapper to end while it waited."""

    def __init__(self) -> None:
        super().__init__("context canceled")


def main(arguments: Sequence[str]) -> int:
    words = list(arguments[1:] if arguments[:1] == ["--"] else arguments)
    wrapper = Wrapper(os.environ.get("ARGO_CONTAINER_NAME", ""), words)
    try:
        wrapper.run()
    except Exited as end:
        if end.cause:
            _tell(end.cause)
        say(str(end))
        return end.code
    except ExecutorError as err:
        _tell(str(err))
        say(str(err))
        return WRAPPER_FAILED
    return 0


def _tell(message: str) -> None:
    try:
        Path(TERMINATION_LOG).write_text(message, encoding="utf-8")
    except OSError as err:
        sys.stderr.write(f"unable to write termination log: {go_error('open', TERMINATION_LOG, err)}\n")


class Wrapper:
    def __init__(self, name: str, words: list[str], root: str = VAR_RUN_ARGO) -> None:
        self._name = name
        self._words = words
        self._root = root
        self._own = Path(root, "ctr", name)
        self._code = WRAPPER_FAILED
        self._template: Mapping[str, Any] = {}
        self._signals = Signals()
        self._terminated = False

    def run(self) -> None:
        """Raises ``Exited`` or ``ExecutorError`` unless the command ended well. Leaves the exit code in its file."""
        try:
            self._run()
        finally:
            try:
                _write_file(self._own / "exitcode", str(self._code).encode(), 0o644)
            except OSError as err:
                sys.stderr.write(f"failed to write exit code: {reason(err)}\n")

    def _run(self) -> None:
        _begin_span()
        os.umask(0)
        try:
            _make_directories(str(self._own), 0o777)
        except OSError as err:
            raise ExecutorError(f"failed to create ctr directory: mkdir {self._own}: {reason(err)}") from err
        name, *arguments = self._words
        arguments = _more_arguments(arguments)
        waits = os.environ.get("ARGO_WAIT_FOR_READY") == "true"
        if waits:
            self._before_main(self._wait_for_supervisor)
        self._template = self._read_template()
        if waits and self._name == MAIN:
            self._before_main(lambda: stage_inputs(self._template, self._root))
        self._wait_for_dependencies()
        program = look_up(name)
        self._pause("BEFORE", "before")
        retries, pause_seconds = retry_strategy(self._template)
        failure = self._attempts(program, arguments, retries, pause_seconds)
        self._pause("AFTER", "after")
        if failure is None:
            self._code = 0
        elif isinstance(failure, Exited):
            self._code = failure.code
        if self._name == MAIN:
            save_outputs(self._template, self._root)
        if failure is not None:
            raise failure

    # Before.

    def _before_main(self, step: Callable[[], None]) -> None:
        """A failure here is the pod's preparation's, not the command's: it has an exit code of its own."""
        try:
            step()
        except ExecutorError as err:
            self._code = SUPERVISOR_FAILED
            raise Exited(SUPERVISOR_FAILED, str(err)) from err

    def _wait_for_supervisor(self) -> None:
        began = time.monotonic()
        status = Path(self._root, "status")
        self._until(lambda: _supervisor_is_ready(status, began))

    def _until(self, done: Callable[[], bool]) -> None:
        """Looks until it holds. Raises ``Cancelled`` when asked to end."""
        while not done():
            if SIGTERM in self._signals.pending():
                self._terminated = True
            if self._terminated:
                raise Cancelled
            self._signals.wait(LOOK_SECONDS)

    def _read_template(self) -> Mapping[str, Any]:
        place = Path(self._root, "template")
        try:
            text = place.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = _template_variable(place)
        except OSError as err:
            raise ExecutorError(f"failed to read template: {go_error('open', str(place), err)}") from err
        try:
            value: Mapping[str, Any] = decode("workflow.v1alpha1.Template", gojson_read.loads(text)).value
        except (gojson_read.JsonSyntaxError, DecodeError) as err:
            raise ExecutorError(f"failed to unmarshal template: {err}") from err
        return value

    def _wait_for_dependencies(self) -> None:
        group = self._template.get("containerSet") or {}
        for container in group.get("containers") or ():
            if container.get("name") != self._name:
                continue
            for other in container.get("dependencies") or ():
                directory = os.path.normpath(f"{self._root}/ctr/{other}")
                _make_directories(directory, 0o777)
                self._code = self._exit_code_of(Path(directory, "exitcode"))
                if self._code:
                    raise ExecutorError(f'dependency "{other}" exited with non-zero code: {self._code}')

    def _exit_code_of(self, place: Path) -> int:
        """Waits for another container's end. Raises ``Exited`` when asked to end."""
        while True:
            if SIGTERM in self._signals.pending():
                raise Exited(128 + SIGTERM)
            code = _number_in(place)
            if code is not None:
                return code
            self._signals.wait(LOOK_SECONDS)

    def _pause(self, moment: str, marker: str) -> None:
        """Lets somebody look around, until they make a file."""
        if os.environ.get(f"ARGO_DEBUG_PAUSE_{moment}") != "true":
            return
        place = self._own / marker
        try:
            self._until(place.exists)
        except Cancelled as err:
            raise ExecutorError(f"failed waiting for debug-pause-{marker} marker: {err}") from err

    # The command.

    def _attempts(self, program: str, arguments: list[str], times: int, pause_seconds: float) -> Exception | None:
        """How the last attempt failed; None where one ended well, or there was to be none."""
        failure: Exception | None = None
        for attempt in range(times):
            if attempt and pause_seconds:
                self._signals.wait(pause_seconds)
            try:
                code = self._attempt(program, arguments)
            except ExecutorError as err:
                failure = err
                continue
            if code == 0:
                return None
            failure = Exited(code)
        return failure

    def _attempt(self, program: str, arguments: list[str]) -> int:
        command = Command(program, arguments, self._copies(), self._told() or 0)
        helper = _SidecarEnd(self._name, self._template, self._root)
        try:
            while True:
                code = command.ended()
                if code is not None:
                    return code
                for number in self._signals.pending():
                    self._terminated |= number == SIGTERM
                    command.kill(number)
                told = self._told()
                if told is not None:
                    command.kill(told)
                helper.look(command)
                self._signals.wait(LOOK_SECONDS)
        finally:
            command.close()

    def _copies(self) -> tuple[Path, Path] | None:
        """Where output is kept, if it is wanted."""
        location = self._template.get("archiveLocation") or {}
        wanted = os.environ.get("ARGO_INCLUDE_SCRIPT_OUTPUT") == "true" or location.get("archiveLogs")
        return (self._own / "stdout", self._own / "combined") if wanted else None

    def _told(self) -> int | None:
        """The signal that somebody asked for in the file, which is taken away."""
        place = self._own / "signal"
        number = _number_in(place)
        if number is None or number <= 0:
            return None
        place.unlink(missing_ok=True)
        return number


class _SidecarEnd:
    """A sidecar's command is asked to end when all main containers have, and killed when it does not."""

    def __init__(self, name: str, template: Mapping[str, Any], root: str) -> None:
        self._is_sidecar = any(row.get("name") == name for row in template.get("sidecars") or ())
        self._awaited = [Path(root, "ctr", other, "exitcode") for other in main_containers(template)]
        self._asked_at = 0.0
        self._killed = False
        if self._is_sidecar:
            for place in self._awaited:
                _make_directories(str(place.parent), 0o777)

    def look(self, command: Command) -> None:
        if not self._is_sidecar or self._killed:
            return
        if self._asked_at:
            if time.monotonic() - self._asked_at >= _grace_seconds():
                self._killed = True
                command.kill(SIGKILL)
        elif all(place.exists() for place in self._awaited):
            self._asked_at = time.monotonic()
            command.kill(SIGTERM)


def _grace_seconds() -> int:
    text = os.environ.get("ARGO_TERMINATION_GRACE_PERIOD_SECONDS", "")
    return int(text) if _NUMBER.match(text) and int(text) > 0 else GRACE_SECONDS


def _begin_span() -> None:
    """The command finds itself in a trace: the one that was handed to us, else a new one."""
    given = _TRACE_PARENT.match(os.environ.get("TRACEPARENT", ""))
    trace = given[1] if given else os.urandom(16).hex()
    os.environ["TRACEPARENT"] = f"00-{trace}-{os.urandom(8).hex()}-01"


def _more_arguments(arguments: list[str]) -> list[str]:
    """With those from a file, for lists too long for a pod; single ones too long for the kernel go to files again."""
    file = os.environ.get("ARGO_CONTAINER_ARGS_FILE")
    if not file:
        return arguments
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise ExecutorError(f"failed to read container args file {file}: {go_error('open', file, err)}") from err
    arguments = arguments + _string_list(text)
    for number, word in enumerate(arguments):
        if len(os.fsencode(word)) > LARGE_ARGUMENT_BYTES:
            place = f"/tmp/argo_arg_{number}.txt"
            try:
                _write_file(Path(place), os.fsencode(word), 0o644)
            except OSError as err:
                said = go_error("open", place, err)
                raise ExecutorError(f"failed to write large arg {number} to file: {said}") from err
            arguments[number] = f"@{place}"
    return arguments


def _string_list(text: str) -> list[str]:
    try:
        value = gojson_read.loads(text)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ValueError(f"json: cannot unmarshal {_kind(value)} into Go value of type []string")
        wrong = next((word for word in value if not isinstance(word, str) and word is not None), None)
        if wrong is not None:
            raise ValueError(f"json: cannot unmarshal {_kind(wrong)} into Go value of type string")
    except ValueError as err:
        raise ExecutorError(f"failed to unmarshal container args: {err}") from err
    return [word or "" for word in value]


def _kind(value: Any) -> str:
    kinds = ((bool, "bool"), (str, "string"), ((int, float), "number"), (list, "array"), (dict, "object"))
    return next(name for kind, name in kinds if isinstance(value, kind))


def _template_variable(place: Path) -> str:
    text = os.environ.get("ARGO_TEMPLATE")
    if text is None:
        raise ExecutorError(f"failed to read template: neither {place} nor ARGO_TEMPLATE is available")
    if text != OFFLOADED:
        return text
    file = f"{CONFIG}/ARGO_TEMPLATE"
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as err:
        raise ExecutorError(f"failed to read template: {go_error('open', file, err)}") from err


def _supervisor_is_ready(status: Path, began: float) -> bool:
    """Raises ``ExecutorError`` where it has failed, or has not been heard of for too long."""
    try:
        state = status.stat()
        text = status.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        if time.monotonic() - began > HEARTBEAT_SECONDS:
            said = f"status marker never appeared within {HEARTBEAT_SECONDS}s"
            raise ExecutorError(f"supervisor presumed dead: {said}") from None
        return False
    except OSError as err:
        raise ExecutorError(f"stat supervisor status: {go_error('stat', str(status), err)}") from err
    token, _, rest = text.partition("\n")
    if token.strip() == "FAILED":
        raise ExecutorError(f"supervisor reported pre-main failure: {rest.strip()}")
    if token.strip() != "READY" and time.time() - state.st_mtime > HEARTBEAT_SECONDS:
        raise ExecutorError(f"supervisor presumed dead: no status update within {HEARTBEAT_SECONDS}s")
    return token.strip() == "READY"


def _number_in(place: Path) -> int | None:
    try:
        text = place.read_bytes().decode("ascii", "replace").strip()
    except OSError:
        return None
    return int(text) if _NUMBER.match(text) else None


def retry_strategy(template: Mapping[str, Any]) -> tuple[int, float]:
    """How many attempts in all, and the seconds between them. Raises ``ExecutorError``."""
    strategy = (template.get("containerSet") or {}).get("retryStrategy") or {}
    retries = strategy.get("retries")
    if retries is None:
        return 1, 0.0
    times = int(retries) if isinstance(retries, (int, float)) or _NUMBER.match(str(retries)) else 0
    text = strategy.get("duration") or ""
    if not text:
        return times, 0.0
    try:
        pause = durations.parse(text)
    except durations.DurationError as err:
        raise ExecutorError(f"failed to get retry strategy: {err}") from err
    if pause < 0:
        said = f"duration has to be positive, current duration: {durations.format(pause)} "
        raise ExecutorError(f"failed to get retry strategy: {said}")
    return times, durations.seconds(pause)


# Input artifacts, where no init container has mounted them.


def stage_inputs(template: Mapping[str, Any], root: str, base: str = INPUT_ARTIFACTS) -> None:
    """Links input artifacts to where the command looks for them. Raises ``ExecutorError``.

    What is there already is replaced, unless that would reach into a volume. The working directory is left meanwhile:
    it may be one of the places.
    """
    before = os.getcwd()
    os.chdir(root)
    for artifact in (template.get("inputs") or {}).get("artifacts") or ():
        _link_input(template, artifact, base)
    try:
        os.chdir(before)
    except OSError as err:
        raise ExecutorError(
            f'failed to re-enter working directory "{before}" after staging input artifacts (an input artifact staged'
            f" at the workingDir path must be a directory): {go_error('chdir', before, err)}"
        ) from err


def _link_input(template: Mapping[str, Any], artifact: Mapping[str, Any], base: str) -> None:
    name, target = artifact.get("name", ""), artifact.get("path") or ""
    source = os.path.normpath(f"{base}/{name}")
    if not os.path.lexists(source) or not target:
        return
    parent = os.path.dirname(target)
    try:
        if parent not in ("", "/"):
            _make_directories(parent, 0o755)
    except OSError as err:
        said = go_error("mkdir", parent, err)
        raise ExecutorError(f'failed to create parent directory for artifact "{name}" at {target}: {said}') from err
    if os.path.lexists(target):
        _clear(template, name, target)
    try:
        os.symlink(source, target)
    except OSError as err:
        why = f"symlink {source} {target}: {reason(err)}"
        raise ExecutorError(f'failed to symlink input artifact "{name}" ({target} -> {source}): {why}') from err


def _clear(template: Mapping[str, Any], name: str, target: str) -> None:
    resolved = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
    inside = overlapping_mount(template, resolved)
    around = next((m for m in volume_mounts(template) if _is_below(resolved, m["mountPath"])), None)
    for mount, how in ((inside, "inside volume mount"), (around, "which contains volume mount")):
        if mount is not None:
            raise ExecutorError(
                f'refusing to stage input artifact "{name}" at {target}: it resolves to {resolved} {how}'
                f' "{mount["name"]}" ({mount["mountPath"]}), and clearing it would destroy the mounted volume; change'
                " the artifact path or volume mount so they do not overlap"
            )
    try:
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        else:
            os.unlink(target)
    except OSError as err:
        said = go_error("unlinkat", target, err)
        raise ExecutorError(f'failed to clear existing path for artifact "{name}" at {target}: {said}') from err


def _is_below(base: str, path: str) -> bool:
    return is_within(base, path) and os.path.normpath(base) != os.path.normpath(path)


# Outputs.


def save_outputs(template: Mapping[str, Any], root: str) -> None:
    """Copies what lies in no volume to where the pod's helper can read it. Raises ``ExecutorError`` at the first."""
    outputs = template.get("outputs") or {}
    for parameter in outputs.get("parameters") or ():
        path = (parameter.get("valueFrom") or {}).get("path")
        if path:
            _save_parameter(template, path, root)
    for artifact in outputs.get("artifacts") or ():
        if artifact.get("path"):
            _save_artifact(template, artifact["path"], root)


def _save_parameter(template: Mapping[str, Any], path: str, root: str) -> None:
    if overlapping_mount(template, path) is not None:
        return
    source = os.path.normpath(path)
    if not os.path.exists(source):  # it may be optional
        return
    target = f"{root}/outputs/parameters/{path}"
    if os.path.isdir(source):
        said = f"write {target}: copy_file_range: is a directory"
        _create(path, target)
        raise ExecutorError(f"failed to copy {path} to {target}: {said}")
    try:
        with open(source, "rb") as file, os.fdopen(_create(path, target), "wb") as copy:
            shutil.copyfileobj(file, copy, CHUNK)
    except OSError as err:
        raise ExecutorError(f"failed to open {path}: {go_error('open', path, err)}") from err


def _create(path: str, target: str) -> int:
    """A new file for a parameter, with its directories."""
    parent = os.path.dirname(target)
    try:
        _make_directories(parent, 0o755)
    except OSError as err:
        raise ExecutorError(f"failed to create directory {parent}: {go_error('mkdir', parent, err)}") from err
    try:
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as err:
        raise ExecutorError(f"failed to create {path}: {go_error('open', target, err)}") from err


def _save_artifact(template: Mapping[str, Any], path: str, root: str) -> None:
    if overlapping_mount(template, path) is not None:
        return
    try:
        os.stat(path)
    except FileNotFoundError:  # it may be optional
        return
    except OSError:
        pass  # told of where it is packed
    target = os.path.normpath(f"{root}/outputs/artifacts/{path.removesuffix('/')}.tgz")
    parent = os.path.dirname(target)
    try:
        _make_directories(parent, 0o755)
        with os.fdopen(os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666), "wb") as file:
            archives.tar_gz(Place(Path(path), path), file, None)
    except ExecutorError as err:
        raise ExecutorError(f"failed to tarball the output {path} to {target}: {err}") from err
    except OSError as err:
        raise ExecutorError(f"failed to create destination {target}: {go_error('open', target, err)}") from err


def _make_directories(path: str, mode: int) -> None:
    """With all that are missing above it, each with this mode (the umask is 0)."""
    if not os.path.isdir(path):
        parent = os.path.dirname(path.rstrip("/"))
        if parent and parent != path:
            _make_directories(parent, mode)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not os.path.isdir(path):
                raise NotADirectoryError(20, os.strerror(20), path) from None


def _write_file(place: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
