"""Failures of staging and collecting, worded as the original words them: they become messages of workflow nodes."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit


class ExecutorError(Exception):
    """Something could not be staged or collected. ``missing`` marks what an optional artifact may lack."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def go_error(operation: str, path: str, err: OSError, *, missing: bool = False) -> ExecutorError:
    """An operating system's error as Go's os package prints it: ``open /x: no such file or directory``."""
    return ExecutorError(f"{operation} {path}: {reason(err)}", missing=missing)


def network_reason(err: Exception, netloc: str) -> str:
    """Why nobody at ``netloc`` (host, perhaps with a port) answered, as Go's net package prints it."""
    if isinstance(err, ConnectionRefusedError):
        return f"dial tcp {netloc}: connect: connection refused"
    if isinstance(err, socket.gaierror):
        return f"dial tcp: lookup {urlsplit(f'//{netloc}').hostname}: no such host"
    return reason(err) if isinstance(err, OSError) and err.errno else str(err)


def sentence(err: ExecutorError | OSError) -> str:
    """What went wrong, also where it was foreseen nowhere (a full disk): without this machine's paths."""
    return reason(err) if isinstance(err, OSError) else str(err)


def reason(err: OSError) -> str:
    text = os.strerror(err.errno) if err.errno else str(err)
    return text[:1].lower() + text[1:]
