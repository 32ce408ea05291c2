"""Executor plugins beside the agent on a real node: they find the token that they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import RUNTIMES, a_pod, node, phase
from tests.unit.workflows.executor.test_agent import WORKFLOW, results
from tiphys.machinery.resources import WORKFLOW_TASK_SETS
from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor.agent import LABEL_COMPLETED, TaskAgent
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.plugins import Reply, read_reply
from tiphys.workflows.executor.template import VAR_RUN_ARGO

PLUGIN = """
import http.server, json, sys
token = open(sys.argv[1]).read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        knows = self.headers["Authorization"] == "Bearer " + token
        node = {"phase": "Succeeded" if knows else "Failed", "message": asked["workflow"]["metadata"]["uid"]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"node": node}).encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
"""


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
async def test_a_plugin_is_asked_with_its_token(runtime: str, tmp_path: Path, unused_tcp_port: int) -> None:
    async with node(runtime, tmp_path) as here:
        agent = TaskAgent(here.client, SystemClock())
        here.extensions = (native_executor(here.client, tmp_path / "artifacts", agent=agent),)
        await here.start()
        task_set = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTaskSet",
            "metadata": {"name": "wf", "namespace": "default"},
            "spec": {"tasks": {"one": {"name": "t", "plugin": {"hello": {}}}}},
        }
        await here.client.create(WORKFLOW_TASK_SETS, task_set)
        pod = a_pod("", "wf-agent")
        pod["metadata"]["labels"] = {
            "workflows.argoproj.io/workflow": "wf",
            "workflows.argoproj.io/component": "agent",
        }
        pod["metadata"]["ownerReferences"] = [
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "wf", "uid": "wf-uid"}
        ]
        source = PLUGIN.replace("PORT", str(unused_tcp_port))
        plugin: dict[str, Any] = {
            "name": "hello",
            "image": "python",
            "command": ["python3", "-c", source, f"{VAR_RUN_ARGO}/token"],
        }
        plugin["ports"] = [{"containerPort": unused_tcp_port}]
        pod["spec"]["containers"] = [{"name": "main", "image": "tiphys/executor"}, plugin]
        key = await here.create(pod)
        assert await results(here, 1) == {"one": {"phase": "Succeeded", "message": "wf-uid"}}
        await here.client.patch(WORKFLOW_TASK_SETS, WORKFLOW, {"metadata": {"labels": {LABEL_COMPLETED: "true"}}})
        assert phase(await here.ended(key)) == "Succeeded"


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("{}", Reply()),
        ("null", Reply()),
        ('{"node": {"phase": "Running"}, "requeue": "1m30s"}', Reply({"phase": "Running"}, 90.0)),
    ],
)
def test_what_a_plugin_may_answer(text: str, reply: Reply) -> None:
    assert read_reply(text) == reply


@pytest.mark.parametrize("text", ["", "[]", '{"node": 1}', '{"requeue": 5}', '{"requeue": "soon"}', "{"])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(ExecutorError):
        read_reply(text)
