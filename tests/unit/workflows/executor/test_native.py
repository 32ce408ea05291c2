"""Steps of workflows as pods on a real node: what is staged for them and what is collected, under every runtime."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import RUNTIMES, Node, a_pod, node, phase, state
from tiphys.cluster.apiserver.streams import RemoteOptions
from tiphys.cluster.node.runtime import STDERR, STDOUT, StartFailure, finish
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import WORKFLOW_TASK_RESULTS, ObjectKey
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor import native

Object = Mapping[str, Any]
WORKFLOW = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "wf", "uid": "wf-uid"}


@pytest.fixture(params=sorted(RUNTIMES))
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    async with node(request.param, tmp_path) as made:
        made.extensions = (native_executor(made.client, tmp_path / "artifacts"),)
        await made.start()
        yield made


def a_step(template: Object, *, name: str = "step", captures: bool = False, **more: Any) -> dict[str, Any]:
    body = template.get("container") or template.get("script") or {"image": "tiphys/executor"}
    container = {"name": "main", **{key: value for key, value in body.items() if key != "source"}}
    if "script" in template:
        container["args"] = [native.inputs.SCRIPT]
    annotations = {native.TEMPLATE: json.dumps(template), native.NODE_ID: f"{name}-id"}
    if captures:
        annotations[native.CAPTURES] = "true"
    pod = a_pod("", name, **more)
    pod["metadata"] |= {
        "annotations": annotations,
        "labels": {native.LABEL_WORKFLOW: "wf"},
        "ownerReferences": [WORKFLOW],
    }
    pod["spec"]["containers"] = [container, *more.get("extra", ())]
    return pod


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"image": "busybox", "command": ["sh", "-c", script], **more}


async def outputs(here: Node, name: str = "step") -> Any:
    result = await here.client.get(WORKFLOW_TASK_RESULTS, ObjectKey("default", f"{name}-id"))
    assert result["metadata"]["labels"] == {native.LABEL_WORKFLOW: "wf", native.LABEL_COMPLETED: "true"}
    assert result["metadata"]["ownerReferences"][0]["name"] == "wf"
    return json.loads(json.dumps(result["outputs"], default=dict))


async def test_the_result_of_a_script(here: Node) -> None:
    script = {
        "image": "python:3",
        "command": ["python3"],
        "source": "import sys\nprint(6 * 7)\nprint('x', file=sys.stderr)",
    }
    pod = await here.run(a_step({"name": "t", "script": script}, captures=True))
    assert phase(pod) == "Succeeded"
    assert await outputs(here) == {"result": "42"}
    assert "42\n" in await here.log(ObjectKey("default", "step"))


async def test_a_step_without_outputs_reports_nothing(here: Node) -> None:
    assert phase(await here.run(a_step({"name": "t", "container": sh("true")}))) == "Succeeded"
    with pytest.raises(NotFound):
        await here.client.get(WORKFLOW_TASK_RESULTS, ObjectKey("default", "step-id"))


async def test_output_parameters(here: Node, tmp_path: Path) -> None:
    out = tmp_path / "out"
    declared = [
        {"name": "a", "valueFrom": {"path": f"{out}/a"}},
        {"name": "b", "valueFrom": {"path": f"{out}/none", "default": "dflt\n"}},
    ]
    template = {
        "name": "t",
        "container": sh(f"mkdir -p {out}; printf 'x\\n\\n' > {out}/a"),
        "outputs": {"parameters": declared},
    }
    assert phase(await here.run(a_step(template))) == "Succeeded"
    found = await outputs(here)
    assert [p["value"] for p in found["parameters"]] == ["x\n", "dflt"]
    assert not (out / "a").exists()


async def test_an_output_parameter_of_a_gigabyte_is_refused(here: Node, tmp_path: Path) -> None:
    """Whatever its default: it is there. Nobody reads it whole."""
    out = tmp_path / "out"
    declared = [{"name": "a", "valueFrom": {"path": f"{out}/a", "default": "small"}}]
    script = f"mkdir -p {out}; truncate -s 1G {out}/a"
    pod = await here.run(a_step({"name": "t", "container": sh(script), "outputs": {"parameters": declared}}))
    said = state(pod, "wait")["terminated"]["message"]
    assert said.startswith(f"output parameter a: {out}/a has more than {3 << 20} bytes, which no object of the API")


async def test_a_failure_of_this_machine_while_outputs_are_kept_fails_the_step(here: Node, tmp_path: Path) -> None:
    """Here the archive's name is too long for the file system; a full disk is such a failure, too."""
    out = tmp_path / "out"
    artifacts = [{"name": name, "path": f"{out}/a", "s3": {"key": "k"}} for name in ("a" * 300, "b")]
    container = sh(f"mkdir -p {out}; echo x > {out}/a")
    pod = await here.run(a_step({"name": "t", "container": container, "outputs": {"artifacts": artifacts}}))
    assert state(pod, "wait")["terminated"]["message"] == "file name too long; "
    assert [artifact["name"] for artifact in (await outputs(here))["artifacts"]] == ["b"]


async def test_an_output_parameter_with_a_value_of_its_own_is_reported(here: Node) -> None:
    """Who reads the step waits for it: a step all of whose outputs were constants used to be waited for without end."""
    declared = [{"name": "a", "value": "constant"}]
    assert phase(await here.run(a_step({"name": "t", "container": sh("true"), "outputs": {"parameters": declared}})))
    assert await outputs(here) == {"parameters": declared}


async def test_a_missing_output_parameter_is_waits_error(here: Node, tmp_path: Path) -> None:
    declared = [{"name": "a", "valueFrom": {"path": f"{tmp_path}/none"}}]
    pod = await here.run(a_step({"name": "t", "container": sh("true"), "outputs": {"parameters": declared}}))
    said = state(pod, "wait")["terminated"]
    wanted = f"open /var/run/argo/outputs/parameters{tmp_path}/none: no such file or directory"
    assert (phase(pod), said["exitCode"], said["reason"], said["message"]) == ("Failed", 64, "Error", wanted)
    assert state(pod, "main")["terminated"]["exitCode"] == 0


@pytest.mark.parametrize(
    ("archive", "file"), [(None, "a.tgz"), ({"none": {}}, "f.txt"), ({"zip": {}}, "a.zip"), ({"tar": {}}, "a.tgz")]
)
async def test_an_artifact_goes_from_step_to_step(
    here: Node, tmp_path: Path, archive: Object | None, file: str
) -> None:
    made, taken = tmp_path / "work" / "f.txt", tmp_path / "in" / "f"
    artifact: dict[str, Any] = {"name": "a", "path": str(made)}
    if archive is not None:
        artifact["archive"] = archive
    template = {
        "name": "t",
        "container": sh(f"mkdir -p {made.parent}; echo data > {made}"),
        "outputs": {"artifacts": [artifact]},
    }
    assert phase(await here.run(a_step(template))) == "Succeeded"
    (saved,) = (await outputs(here))["artifacts"]
    assert saved == {**artifact, "s3": {"key": f"wf/step/{file}"}}
    given = {**saved, "path": str(taken)}
    template = {"name": "t", "container": sh(f"cat {taken}"), "inputs": {"artifacts": [given]}}
    assert phase(await here.run(a_step(template, name="next"))) == "Succeeded"
    assert await here.log(ObjectKey("default", "next")) == "data\n"
    assert not taken.exists()


async def test_a_directory_keeps_its_shape(here: Node, tmp_path: Path) -> None:
    top = tmp_path / "top"
    script = f"mkdir -p {top}/sub; echo 1 > {top}/a; echo 2 > {top}/sub/b; ln -s a {top}/l; chmod 700 {top}/a"
    template = {"name": "t", "container": sh(script), "outputs": {"artifacts": [{"name": "d", "path": str(top)}]}}
    await here.run(a_step(template))
    (saved,) = (await outputs(here))["artifacts"]
    other = tmp_path / "other"
    given = {**saved, "path": str(other)}
    script = f"cd {other}; cat a sub/b l; stat -c %a a"
    await here.run(a_step({"name": "t", "container": sh(script), "inputs": {"artifacts": [given]}}, name="next"))
    assert await here.log(ObjectKey("default", "next")) == "1\n2\n1\n700\n"


async def test_a_raw_artifact_with_a_mode(here: Node, tmp_path: Path) -> None:
    path = tmp_path / "tool"
    given = {"name": "r", "path": str(path), "mode": 0o755, "raw": {"data": "#!/bin/sh\necho raw\n"}}
    pod = await here.run(a_step({"name": "t", "container": sh(str(path)), "inputs": {"artifacts": [given]}}))
    assert (phase(pod), await here.log(ObjectKey("default", "step"))) == ("Succeeded", "raw\n")


async def test_missing_inputs_are_inits_error(here: Node, tmp_path: Path) -> None:
    given = [{"name": "x", "path": str(tmp_path / "x")}]
    pod = await here.run(a_step({"name": "t", "container": sh("true"), "inputs": {"artifacts": given}}))
    said = state(pod, "init")["terminated"]
    assert (phase(pod), said["exitCode"], said["message"]) == ("Failed", 64, "required artifact 'x' not supplied")


async def test_optional_things_may_be_missing(here: Node, tmp_path: Path) -> None:
    given = [{"name": "x", "path": str(tmp_path / "x"), "optional": True}]
    wanted = [{"name": "y", "path": str(tmp_path / "y"), "optional": True}]
    template = {"name": "t", "container": sh("true"), "inputs": {"artifacts": given}, "outputs": {"artifacts": wanted}}
    assert phase(await here.run(a_step(template))) == "Succeeded"


async def test_sidecars_end_with_the_main_container(here: Node) -> None:
    sidecar = {
        "name": "side",
        "image": "busybox",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"],
    }
    pod = await here.run(a_step({"name": "t", "container": sh("true"), "sidecars": [sidecar]}, extra=[sidecar]))
    assert phase(pod) == "Succeeded"
    assert "terminated" in state(pod, "side")


async def test_archived_logs(here: Node, tmp_path: Path) -> None:
    template = {"name": "t", "container": sh("echo said"), "archiveLocation": {"archiveLogs": True}}
    await here.run(a_step(template))
    (saved,) = (await outputs(here))["artifacts"]
    assert saved == {"name": "main-logs", "s3": {"key": "wf/step/main.log"}}
    assert (tmp_path / "artifacts/artifacts/wf/step/main.log").read_text() == "said\n"


async def test_directories_of_this_machine_are_not_handed_out(here: Node, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    artifact = {"name": "d", "path": str(tmp_path / "mine")}
    template = {"name": "t", "container": sh("true"), "outputs": {"artifacts": [artifact]}}
    pod = await here.run(a_step(template))
    if here.runtime == "process":
        assert "use --runtime sandbox" in state(pod, "init")["terminated"]["message"]
    else:
        assert "no such file" in state(pod, "wait")["terminated"]["message"]


async def test_a_data_template_lists_what_others_stored(tmp_path: Path) -> None:
    """Data templates run without a container; one that fails says why as the original does."""
    async with node("process", tmp_path) as here:
        here.extensions = (native_executor(here.client, tmp_path / "artifacts"),)
        await here.start()
        for name in ("a.csv", "b.txt"):
            stored = tmp_path / "artifacts" / "bkt" / "data" / name
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text("x")
        source = {"artifactPaths": {"name": "src", "s3": {"bucket": "bkt", "key": "data"}}}
        steps = [{"expression": "filter(data, {# endsWith '.csv'})"}]
        made = await here.run(a_step({"data": {"source": source, "transformation": steps}}, captures=True))
        assert phase(made) == "Succeeded"
        assert await outputs(here) == {"result": '["data/a.csv"]'}

        broken = {"data": {"source": source, "transformation": [{"expression": "nope"}]}}
        pod = await here.run(a_step(broken, name="broken", captures=True))
        assert "error processing data step 0: unknown name nope" in state(pod, "main")["terminated"]["message"]
        with pytest.raises(NotFound):
            await outputs(here, "broken")


async def in_main(here: Node, pod: Object, *command: str) -> None:
    """Runs a command in the container, as a person does: again if it is not quite there yet.

    Its code says nothing: what it lets go may take the container away before it has ended.
    """
    assert here.agent is not None
    options = RemoteOptions("main", frozenset({STDOUT, STDERR}), command)
    async with asyncio.timeout(60):
        while True:
            try:
                session = here.agent.stream_source.exec(pod, options)
                break
            except StartFailure:
                await asyncio.sleep(0.05)
        await finish(session)


async def test_a_step_pauses_before_and_after_its_command(here: Node, tmp_path: Path) -> None:
    env = [{"name": f"ARGO_DEBUG_PAUSE_{moment}", "value": "true"} for moment in ("BEFORE", "AFTER")]
    template = {"name": "t", "container": sh("echo did", env=env)}
    key = await here.create(a_step(template, captures=True))
    pod = await here.until(key, lambda pod: phase(pod) == "Running")
    assert await here.log(key) == ""
    await in_main(here, pod, "touch", "/var/run/argo/ctr/main/before")
    async with asyncio.timeout(60), here.client.logs(key, follow="true") as lines:
        async for line in lines:
            assert line == b"did\n"
            break
    await in_main(here, pod, "touch", "/var/run/argo/ctr/main/after")  # it is still there
    assert phase(await here.ended(key)) == "Succeeded"
    assert await outputs(here) == {"result": "did"}


async def test_the_end_of_a_paused_step(here: Node) -> None:
    env = [{"name": "ARGO_DEBUG_PAUSE_BEFORE", "value": "true"}]
    pod = a_step({"name": "t", "container": sh("echo did", env=env)}, activeDeadlineSeconds=1)
    pod = await here.run(pod)
    assert phase(pod) == "Failed"
    assert state(pod, "main")["terminated"]["exitCode"] == native.EXIT_FAILED
    assert "failed waiting for debug-pause-before marker" in await here.log(ObjectKey("default", "step"))


async def test_a_wrapped_command_keeps_its_code_and_its_input(here: Node) -> None:
    env = [{"name": "ARGO_DEBUG_PAUSE_AFTER", "value": "false"}]
    pod = await here.run(a_step({"name": "t", "container": sh("cat; exit 42", env=env)}))
    assert state(pod, "main")["terminated"]["exitCode"] == 42


async def test_steps_that_write_the_same_path_leave_nothing_behind(tmp_path: Path) -> None:
    """The later one waits for the path, and finds there what the earlier one has not taken away yet."""
    out = tmp_path / "out.txt"
    async with node("process", tmp_path) as here:
        here.extensions = (native_executor(here.client, tmp_path / "artifacts"),)
        await here.start()
        declared = {"parameters": [{"name": "o", "valueFrom": {"path": str(out)}}]}
        first = sh(f"echo one > {out}; echo written; until [ -e {tmp_path}/go ]; do sleep 0.05; done")
        one = await here.create(a_step({"name": "t", "container": first, "outputs": declared}, name="one"))
        await here.until(one, lambda pod: phase(pod) == "Running")
        async with here.client.logs(one, follow="true") as lines:
            assert await anext(aiter(lines)) == b"written\n"
        template = {"name": "t", "container": sh(f"echo two > {out}"), "outputs": declared}
        two = await here.create(a_step(template, name="two"))
        waiting = "waits for"
        await here.until(two, lambda pod: waiting in json.dumps(pod.get("status") or {}, default=dict))
        (tmp_path / "go").touch()
        assert phase(await here.ended(two)) == "Succeeded"
        assert (await outputs(here, "two"))["parameters"][0]["value"] == "two"
    assert not out.exists()
