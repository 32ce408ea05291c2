"""The processes below another one are found, whichever of its threads started them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tiphys.cluster.node.runtimes.sandbox import _children


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_of_another_thread() -> None:
    started, over = threading.Event(), threading.Event()
    pids: list[int] = []

    def start_one() -> None:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
            pids.append(child.pid)
            started.set()
            over.wait(10)

    thread = threading.Thread(target=start_one)
    thread.start()
    assert started.wait(10)
    found = _children(os.getpid())
    over.set()
    thread.join()
    assert pids[0] in found
    assert _children(pids[0]) == []
