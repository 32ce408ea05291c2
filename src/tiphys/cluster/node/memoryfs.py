"""File systems in memory for volumes (``medium: Memory``, secrets, tokens): mounted by us, so that all containers of
a pod share them, and gone when the pod is.

Only where this process may mount; elsewhere such a volume is an ordinary directory. What a killed agent left mounted
is found by its place below the pods' directory and released with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

_MNT_DETACH = 2


def mount(place: Path, size_bytes: int) -> bool:
    """Puts an empty file system there; whether that worked (or was done before)."""
    if os.path.ismount(place):
        return True
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={max(1, size_bytes >> 10)}k"
    for options in (f"{size},mode=1777,noswap", f"{size},mode=1777"):  # noswap came with Linux 6.4
        if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, options.encode()) == 0:
            return True
    return False


def release(directory: Path) -> None:
    """Unmounts what lies directly in ``directory``."""
    if sys.platform != "linux" or not directory.is_dir():
        return
    with contextlib.suppress(OSError):
        for entry in directory.iterdir():
            if not entry.is_symlink() and os.path.ismount(entry):
                ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(entry), _MNT_DETACH)
