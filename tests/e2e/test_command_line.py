"""The command line as people use it: real processes, from the manifest to the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

TIPHYS = [sys.executable, "-m", "tiphys.cli.main"]
EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS_MAX = 60


def tiphys(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TIPHYS, *arguments],
        input=stdin,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )


def workflow(script: str, **more: object) -> str:
    """A one-step workflow that runs a shell script."""
    spec = {
        "entrypoint": "main",
        "templates": [
            {"name": "main", "container": {"image": "busybox", "command": ["sh", "-c", textwrap.dedent(script)]}},
            {"name": "bye", "container": {"image": "busybox", "command": ["echo", "goodbye"]}},
        ],
        **more,
    }
    kind = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
    return json.dumps({**kind, "metadata": {"generateName": "test-"}, "spec": spec})


def test_hello_ends_green() -> None:
    ran = tiphys("run", str(EXAMPLES / "hello.yaml"), "--runtime", "process", "--log")
    assert ran.returncode == 0, ran.stderr
    assert "hello world" in ran.stdout
    assert " ✔ hello-" in ran.stdout


def test_json_on_standard_output_and_nothing_else_there() -> None:
    ran = tiphys("run", "-", "-o", "json", "--log", "--runtime", "process", stdin=workflow("echo to the log"))
    assert ran.returncode == 0, ran.stderr
    final = json.loads(ran.stdout)
    assert final["kind"] == "Workflow" and final["status"]["phase"] == "Succeeded"
    assert "to the log" in ran.stderr


def test_several_workflows_are_a_list_and_one_failure_counts(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(workflow("true"))
    (tmp_path / "bad.json").write_text(workflow("exit 3"))
    ran = tiphys("run", str(tmp_path), "-o", "json", "--runtime", "process")
    assert ran.returncode == 1, ran.stderr
    final = json.loads(ran.stdout)
    assert final["kind"] == "List"
    assert sorted(item["status"]["phase"] for item in final["items"]) == ["Failed", "Succeeded"]


def test_names_and_yaml() -> None:
    ran = tiphys("run", "-", "-o", "name", "--name", "mine", "--runtime", "process", stdin=workflow("true"))
    assert ran.stdout == "mine\n"
    ran = tiphys("run", "-", "-o", "yaml", "--runtime", "process", stdin=workflow("true"))
    assert "\n  phase: Succeeded\n" in ran.stdout


def test_parameters_from_the_command_line_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("name: from the file\ntimes: 1\n")
    ran = tiphys(
        "run",
        str(EXAMPLES / "parameters.yaml"),
        "-f",
        str(file),
        "-p",
        "name=from the line",
        "--log",
        "--runtime",
        "process",
    )
    assert ran.returncode == 0, ran.stderr
    assert "0: hello from the line" in ran.stdout and "1: hello" not in ran.stdout


def test_another_entrypoint() -> None:
    ran = tiphys("run", "-", "--entrypoint", "bye", "--log", "--runtime", "process", stdin=workflow("exit 1"))
    assert ran.returncode == 0 and "goodbye" in ran.stdout


def test_from_a_template_in_the_files() -> None:
    ran = tiphys(
        "run",
        str(EXAMPLES / "template.yaml"),
        "--from",
        "workflowtemplate/greeter",
        "-o",
        "json",
        "--runtime",
        "process",
    )
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)["items"]) == 2


def test_an_invalid_manifest_is_told_with_file_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text((EXAMPLES / "hello.yaml").read_text().replace("image:", "imag:"))
    ran = tiphys("run", str(file))
    assert ran.returncode == 2 and ran.stdout == ""
    assert f"{file}:11: Workflow/hello-…: spec.templates[0].container.imag: there is no such field" in ran.stderr
    assert "did you mean 'image'" in ran.stderr


def test_what_the_api_refuses_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Not_A_Name\n---\n" + workflow("true"))
    ran = tiphys("run", str(file), "--runtime", "process")
    assert ran.returncode == 2
    assert f"{file}:4: ConfigMap/Not_A_Name: metadata.name" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "name a FILE"),
        (["run", "no-such-file.yaml"], "no-such-file.yaml: No such file"),
        (["run", "-", "--from", "pod/x"], "say KIND/NAME"),
        (["run", "-", "--timeout", "soon"], "is not a duration"),
        (["run", "-", "-p", "novalue"], "is not name=value"),
        (["run", "-", "--runtime", "magic"], "magic"),
        (["frobnicate"], "there is no command"),
    ],
)
def test_wrong_use(arguments: list[str], words: str) -> None:
    ran = tiphys(*arguments)
    assert ran.returncode == 2 and words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_files_without_a_workflow_say_what_to_do(tmp_path: Path) -> None:
    template = workflow("true").replace('"Workflow"', '"WorkflowTemplate"').replace("generateName", "name")
    ran = tiphys("run", "-", stdin=template)
    assert ran.returncode == 2
    assert "to run this WorkflowTemplate say --from workflowtemplate/test-" in ran.stderr


def test_a_timeout_terminates() -> None:
    ran = tiphys("run", "-", "--timeout", "1s", "--runtime", "process", stdin=workflow("sleep 55"))
    assert ran.returncode == 1
    assert "not finished after 1s" in ran.stdout


@contextmanager
def running(manifest: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``tiphys run`` of a workflow whose step has begun."""
    command = [*TIPHYS, "run", "-", "--log", "--runtime", "process", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(manifest)
        process.stdin.close()
        try:
            for line in process.stdout:
                if "begun" in line:
                    break
            yield process
        finally:
            process.kill()


def test_ctrl_c_stops_exit_handlers_run_and_nothing_stays() -> None:
    script = "echo begun; exec sleep 54.3210987"
    with running(workflow(script, onExit="bye")) as process:
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read() if process.stdout else ""
        assert process.wait(SECONDS_MAX) == 1, rest
    assert "stopping" in rest and "goodbye" in rest
    assert not processes_with("54.3210987")


def test_ctrl_c_twice_terminates_what_does_not_listen() -> None:
    script = "trap '' TERM INT; echo begun; while true; do sleep 53.2109876; done"
    with running(workflow(script, onExit="bye")) as process:
        process.send_signal(signal.SIGINT)
        for line in process.stdout or ():
            if "stopping" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read() if process.stdout else ""
        assert process.wait(SECONDS_MAX) == 1, rest
    assert "terminating" in rest
    assert not processes_with("53.2109876")


def processes_with(word: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if word in line and "tiphys" not in line]


def test_keep_leaves_the_data(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert tiphys("run", str(EXAMPLES / "hello.yaml"), "--keep", str(kept), "--runtime", "process").returncode == 0
    assert (kept / "store.db").is_file()


def test_plan_shows_the_first_decision_and_runs_nothing() -> None:
    ran = tiphys("plan", str(EXAMPLES / "demo.yaml"), "--name", "demo")
    assert ran.returncode == 0, ran.stderr
    assert "create  Pod default/demo-towns-" in ran.stdout
    assert "the tasks it depends on: measure && station" in ran.stdout
    data = json.loads(tiphys("plan", str(EXAMPLES / "demo.yaml"), "-o", "json").stdout)
    assert {action["do"] for stage in data[0]["stages"] for action in stage} >= {"create", "patch"}


def test_up_keeps_a_cluster_that_the_other_verbs_talk_to(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "KUBECONFIG": ""}
    up = tiphys("up", "--detach", "--listen", "127.0.0.1:0", "--runtime", "process", env=home)
    assert up.returncode == 0 and up.stdout.startswith("Ready at https://127.0.0.1:"), up.stderr
    try:
        assert tiphys("status", env=home).returncode == 0
        assert tiphys("submit", str(EXAMPLES / "approval.yaml"), "--name", "a", env=home).stdout == "a submitted\n"
        explained = until(["explain", "a"], "somebody to resume it", home)
        assert "a[2]" in explained and "the steps before it" in explained
        assert tiphys("resume", "a", env=home).stdout == "a resumed\n"
        assert tiphys("wait", "@latest", env=home).stdout.startswith("a Succeeded at ")
        assert "✔ release" in tiphys("get", "a", env=home).stdout
        assert tiphys("list", "-o", "name", env=home).stdout == "a\n"
        assert "cannot shutdown a completed workflow" in tiphys("stop", "a", env=home).stderr
        assert "a: To retry a succeeded workflow" in tiphys("retry", "a", env=home).stderr
        again = tiphys("resubmit", "a", env=home).stdout
        assert again.startswith("a resubmitted as approval-")
        name = again.split()[-1]
        assert tiphys("terminate", name, env=home).stdout == f"{name} terminated\n"
        assert tiphys("wait", name, env=home).returncode == 1
        assert tiphys("retry", name, env=home).stdout == f"{name} goes on\n"
        assert tiphys("delete", name, env=home).stdout == f"{name} deleted\n"
        assert "[2].release: released" in tiphys("logs", "a", env=home).stdout
        assert tiphys("delete", "a", env=home).stdout == "a deleted\n"
        assert tiphys("get", "a", env=home).returncode == 1
    finally:
        assert tiphys("down", env=home).returncode == 0
    assert tiphys("status", env=home).returncode == 1


@pytest.mark.parametrize("with_pods", [False, True])
def test_pods_go_on_after_the_cluster_unless_they_are_to_end(tmp_path: Path, with_pods: bool) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "KUBECONFIG": ""}
    place = tmp_path / "pid"
    # two dollar signs are one to Kubernetes
    script = f"echo $$$$ > {place}.new; mv {place}.new {place}; exec sleep 1000"
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "sleeper"},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": container}]},
    }
    (tmp_path / "sleeper.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert tiphys("up", "--detach", "--listen", "127.0.0.1:0", "--runtime", "process", env=home).returncode == 0
    try:
        assert tiphys("submit", str(tmp_path / "sleeper.json"), env=home).returncode == 0
        until(["get", "sleeper"], "PodRunning          True", home)
        pid = int(place.read_text())
    finally:
        assert tiphys("down", *(["--pods"] if with_pods else []), env=home).returncode == 0
    assert is_running(pid) is not with_pods
    if not with_pods:
        assert tiphys("up", "--detach", "--listen", "127.0.0.1:0", "--runtime", "process", env=home).returncode == 0
        assert tiphys("down", "--pods", env=home).returncode == 0
        assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether the process is there, and not only waiting to be noticed as ended."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.startswith("Z")


def until(arguments: list[str], words: str, env: dict[str, str]) -> str:
    """Asks again until the answer holds ``words``: the cluster is another process, there is nothing to wait on."""
    for _ in range(100):
        answer = tiphys(*arguments, env=env).stdout
        if words in answer:
            return answer
    raise AssertionError(answer)
