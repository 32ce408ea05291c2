"""The wrapper's pure parts; what it does around a real command is in the golden rows of the executor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiphys.workflows.executor import emissary, wrapped
from tiphys.workflows.executor.errors import ExecutorError


@pytest.mark.parametrize(
    ("strategy", "attempts"),
    [
        (None, (1, 0.0)),
        ({}, (1, 0.0)),
        ({"retries": 3}, (3, 0.0)),
        ({"retries": "3", "duration": "1m30s"}, (3, 90.0)),
        ({"retries": "many"}, (0, 0.0)),
        ({"retries": -1}, (-1, 0.0)),
    ],
)
def test_how_often_a_container_is_tried(strategy: dict[str, Any] | None, attempts: tuple[int, float]) -> None:
    assert emissary.retry_strategy({"containerSet": {"retryStrategy": strategy}}) == attempts


def test_durations_that_are_none() -> None:
    for text, said in (("1", "missing unit"), ("-1s", "has to be positive, current duration: -1s ")):
        with pytest.raises(ExecutorError, match=said):
            emissary.retry_strategy({"containerSet": {"retryStrategy": {"retries": 1, "duration": text}}})


def test_programs_are_found_as_the_shell_of_go_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "plain").write_text("")
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")
    assert wrapped.look_up("tool") == str(tmp_path / "tool")
    assert wrapped.look_up(str(tmp_path / "tool")) == str(tmp_path / "tool")
    for name, said in (
        ("plain", r"executable file not found in \$PATH"),
        (str(tmp_path / "plain"), "permission denied"),
        (str(tmp_path), "is a directory"),
        ("/no/such", "stat /no/such: no such file or directory"),
        ("", r"executable file not found in \$PATH"),
    ):
        with pytest.raises(ExecutorError, match=said):
            wrapped.look_up(name)


def test_inputs_never_take_the_place_of_a_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base, volume = tmp_path / "base", tmp_path / "volume"
    base.mkdir()
    (base / "a").write_text("new")
    (volume / "kept").mkdir(parents=True)
    (tmp_path / "link").symlink_to(volume)
    template = {
        "container": {"volumeMounts": [{"name": "v", "mountPath": str(volume)}]},
        "inputs": {"artifacts": [{"name": "a", "path": str(tmp_path / "link" / "kept")}]},
    }
    with pytest.raises(ExecutorError, match="clearing it would destroy the mounted volume"):
        emissary.stage_inputs(template, str(tmp_path), str(base))
    assert (volume / "kept").is_dir()
    template["inputs"] = {"artifacts": [{"name": "a", "path": str(tmp_path / "free" / "in")}]}
    emissary.stage_inputs(template, str(tmp_path), str(base))
    assert (tmp_path / "free" / "in").read_text() == "new" and os.getcwd() == str(tmp_path)


def test_outputs_are_copied_unless_they_lie_in_a_volume(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("value")
    template = {
        "container": {"volumeMounts": [{"name": "v", "mountPath": "/mnt/v"}]},
        "outputs": {
            "parameters": [
                {"name": "p", "valueFrom": {"path": str(tmp_path / "p")}},
                {"name": "v", "valueFrom": {"path": "/mnt/v/x"}},
                {"name": "absent", "valueFrom": {"path": str(tmp_path / "absent")}},
            ]
        },
    }
    emissary.save_outputs(template, str(tmp_path / "root"))
    found = [p for p in (tmp_path / "root").rglob("*") if p.is_file()]
    assert [p.read_text() for p in found] == ["value"]


_WRAPPER = """
import sys
from tiphys.workflows.executor.emissary import Wrapper
Wrapper("main", sys.argv[2:], sys.argv[1]).run()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts on the size of Linux' pipes")
def test_output_that_nobody_has_read_yet_outlives_the_command(tmp_path: Path) -> None:
    """The command's last 20 KB are still on their way when it ends: the wrapper's own pipe is full."""
    ended = tmp_path / "ended"
    os.mkfifo(ended)
    script = f"head -c {84 << 10} /dev/zero; echo > {ended}"
    with subprocess.Popen(
        [sys.executable, "-c", _WRAPPER, str(tmp_path), "sh", "-c", script],
        env={**os.environ, "ARGO_INCLUDE_SCRIPT_OUTPUT": "true", "ARGO_TEMPLATE": "{}"},
        stdout=subprocess.PIPE,
    ) as wrapper:
        ended.read_bytes()
        with pytest.raises(subprocess.TimeoutExpired):
            wrapper.wait(1)
        assert len(wrapper.communicate()[0]) == 84 << 10
    assert wrapper.returncode == 0
    assert (tmp_path / "ctr" / "main" / "stdout").stat().st_size == 84 << 10
