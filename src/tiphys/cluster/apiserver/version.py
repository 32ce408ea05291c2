"""The Kubernetes that this server presents itself as: the one whose conversations it was checked against."""

from __future__ import annotations

import platform
from typing import Final

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

VERSION: Final = {
    "major": "1",
    "minor": "35",
    "emulationMajor": "1",
    "emulationMinor": "35",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "34",
    "gitVersion": "v1.35.4",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.26.8",
    "compiler": "gc",
    "platform": f"{platform.system().lower()}/{_MACHINES.get(platform.machine(), platform.machine())}",
}
