"""Foreign programs: started without a shell, without our environment's secrets, ended with all their children."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiphys.cd.sources.request import RenderError, Tools
from tiphys.lang.gofmt import quote

DEADLINE_SECONDS = 90.0
"""``ARGOCD_EXEC_TIMEOUT``; the program and everything it started is killed then."""

OUTPUT_BYTES_MAX = 100 * 1024 * 1024
_KEPT = ("HOME", "LANG", "NO_PROXY", "PATH", "SSL_CERT_FILE", "TMPDIR", "http_proxy", "https_proxy", "no_proxy")


class Programs:
    """Runs what is on the PATH."""

    def __init__(self, search_path: str | None = None, deadline: float = DEADLINE_SECONDS) -> None:
        self.search_path = search_path
        self.deadline = deadline

    def run(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
        """The standard output. Raises `RenderError` with the command and what it said on standard error."""
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise RenderError(
                f'`{shown(argv)}` failed: exec: "{argv[0]}": executable file not found in $PATH: install it'
            ) from None
        try:
            output, errors = process.communicate(timeout=self.deadline)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise RenderError(f"`{shown(argv)}` failed timeout after {self.deadline:g}s") from None
        if process.returncode:
            said = errors.decode("utf-8", "replace").strip()
            raise RenderError(f"`{shown(argv)}` failed exit status {process.returncode}: {said}")
        if len(output) > OUTPUT_BYTES_MAX:
            raise RenderError(f"`{shown(argv)}` printed more than {OUTPUT_BYTES_MAX} bytes")
        return output.decode("utf-8", "replace")

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        if self.search_path is not None:
            kept["PATH"] = self.search_path
        return {**kept, **given}


class Toolbox:
    """The driver that users get: programs on the PATH, and where one is missing what stands in for it.

    Without ``helm`` it is the SDK wheel, without ``kustomize`` our own edits and ``kubectl kustomize``.
    """

    def __init__(self, programs: Programs | None = None) -> None:
        self.programs = programs or Programs()
        self._drivers: dict[str, Tools] = {}

    def run(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
        """Raises `RenderError` with the command and what it said."""
        name = argv[0]
        if name not in self._drivers:
            self._drivers[name] = self._driver(name)
        return self._drivers[name].run(argv, cwd, environment)

    def _driver(self, name: str) -> Tools:
        if shutil.which(name, path=self.programs.search_path):
            return self.programs
        if name == "kustomize":
            from tiphys.cd.sources.kustomize_edits import KubectlKustomize

            return KubectlKustomize(self.programs)
        if name == "helm":
            try:
                from tiphys.cd.sources.helm_sdk import HelmSdk  # loads 85 MB: only when a chart is rendered
            except ImportError:
                raise RenderError(
                    "charts need helm on the PATH or the SDK wheel: pip install 'tiphys[render]'"
                ) from None
            return HelmSdk()
        return self.programs


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def shown(argv: Sequence[str]) -> str:
    """The command as one may type it into a terminal."""
    return " ".join(_shown(argument) for argument in argv)


def _shown(argument: str) -> str:
    if not argument:
        return '""'
    return quote(argument) if any(character.isspace() for character in argument) else argument
