"""Foreign programs: started without a shell, without our environment's secrets, ended with all their children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiphys.cd.sources.request import RenderError
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
