"""For all tests: properties are never judged by time; which tests failed is noted for a second look (``again.py``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """After a run that came to its end: writes the failed tests' ids, one a line, to the file TIPHYS_FAILED names."""
    place = os.environ.get("TIPHYS_FAILED")
    if place and exitstatus == pytest.ExitCode.TESTS_FAILED and not hasattr(terminalreporter.config, "workerinput"):
        reports = (*terminalreporter.stats.get("failed", ()), *terminalreporter.stats.get("error", ()))
        failed = dict.fromkeys(report.nodeid for report in reports)
        Path(place).write_text("".join(f"{test}\n" for test in failed), encoding="utf-8")
