"""Failures of staging and collecting, worded as the original words them: they become messages of workflow nodes."""

from __future__ import annotations

import os


class ExecutorError(Exception):
    """Something could not be staged or collected. ``missing`` marks what an optional artifact may lack."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


def go_error(operation: str, path: str, err: OSError, *, missing: bool = False) -> ExecutorError:
    """An operating system's error as Go's os package prints it: ``open /x: no such file or directory``."""
    return ExecutorError(f"{operation} {path}: {reason(err)}", missing=missing)


def reason(err: OSError) -> str:
    text = os.strerror(err.errno) if err.errno else str(err)
    return text[:1].lower() + text[1:]
