"""Plugin templates: executor plugins are asked one after another until one has an answer.

    POST <address>/api/v1/template.execute  {"workflow", "template"}  ─►  {"node": result, "requeue": "5s"} or {}

A plugin that does not know the method (404) is not asked again; one that is not there yet or busy (503) is asked up to
five times. Source: workflow/util/plugin, workflow/executor/agent.go executePluginTemplate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tiphys.lang import durations, gojson
from tiphys.lang.gojson_read import JsonSyntaxError, loads
from tiphys.runtime.clock import Clock
from tiphys.workflows.executor.errors import ExecutorError

if TYPE_CHECKING:
    from tiphys.workflows.executor.http_client import HttpTemplates

Object = Mapping[str, Any]
TIMEOUT_SECONDS = 30
TRIES = 5
FIRST_PAUSE_SECONDS, PAUSE_FACTOR = 1.0, 2.0
_RESULT_FIELDS = ("phase", "message", "outputs", "progress")
_REPLY = "ExecuteTemplateReply"


@dataclass(frozen=True)
class Plugin:
    """Where a plugin listens (``http://localhost:4355``), and the token that it knows its caller by."""

    address: str
    token: str


@dataclass(frozen=True)
class Reply:
    """``node`` None: the plugin declined. After ``requeue_seconds`` it wants to be asked again; 0 for never."""

    node: Object | None = None
    requeue_seconds: float = 0.0


class Busy(ExecutorError):
    """May succeed later."""


@dataclass
class Plugins:
    """The plugins of one agent, in the order in which they are asked. ``workflow`` is its name, namespace and uid."""

    plugins: Sequence[Plugin]
    workflow: Object
    clock: Clock
    _unable: set[str] = field(default_factory=set)

    async def execute(self, template: Object, http: HttpTemplates) -> tuple[dict[str, Any], float]:
        """The node's result ({} for none yet) and after how many seconds to ask again."""
        shown = {"inputs": {}, "outputs": {}, "metadata": {}, **template}
        body = gojson.dumps({"workflow": {"metadata": self.workflow}, "template": shown})
        try:
            for plugin in self.plugins:
                reply = await self._call(plugin, body, http)
                if reply.node is not None:
                    result = {name: reply.node[name] for name in _RESULT_FIELDS if reply.node.get(name)}
                    return result, 0.0 if result.get("phase") == "Succeeded" else reply.requeue_seconds
        except ExecutorError as err:
            return {"phase": "Failed", "message": str(err)}, 0.0
        return {"phase": "Failed", "message": "no plugin executed the template"}, 0.0

    async def _call(self, plugin: Plugin, body: str, http: HttpTemplates) -> Reply:
        pause = FIRST_PAUSE_SECONDS
        for _ in range(TRIES - 1):
            try:
                return await self._try(plugin, body, http)
            except Busy:
                await self.clock.sleep_until(self.clock.monotonic() + pause)
                pause *= PAUSE_FACTOR
        return await self._try(plugin, body, http)

    async def _try(self, plugin: Plugin, body: str, http: HttpTemplates) -> Reply:
        if plugin.address in self._unable:
            return Reply()
        request = {
            "method": "POST",
            "url": f"{plugin.address}/api/v1/template.execute",
            "headers": [
                {"name": "Content-Type", "value": "application/json"},
                {"name": "Authorization", "value": f"Bearer {plugin.token}"},
            ],
            "body": body,
            "timeoutSeconds": TIMEOUT_SECONDS,
        }
        try:
            answer = await http.ask(request, _no_secret)
        except ExecutorError as err:
            raise Busy(str(err)) if "connection refused" in str(err) else err from err
        if answer.status == 200:
            return read_reply(answer.body)
        if answer.status == 404:
            self._unable.add(plugin.address)
            return Reply()
        if answer.status == 503:
            raise Busy(answer.body)
        raise ExecutorError(f"{answer.status} {answer.reason}: {answer.body}")


def read_reply(text: str) -> Reply:
    """Raises ``ExecutorError`` in the words of Go's JSON decoder."""
    if not text.strip():
        raise ExecutorError("EOF")
    try:
        reply = loads(text)
    except JsonSyntaxError as err:
        raise ExecutorError(str(err)) from err
    if reply is None:
        return Reply()
    if not isinstance(reply, dict):
        raise ExecutorError(f"json: cannot unmarshal {_kind(reply)} into Go value of type executor.{_REPLY}")
    node, requeue = reply.get("node"), reply.get("requeue")
    if node is not None and not isinstance(node, dict):
        raise ExecutorError(
            f"json: cannot unmarshal {_kind(node)} into Go struct field {_REPLY}.node of type v1alpha1.NodeResult"
        )
    if requeue is None:
        return Reply(node)
    if not isinstance(requeue, str):
        raise ExecutorError(
            f"json: cannot unmarshal {_kind(requeue)} into Go struct field {_REPLY}.requeue of type string"
        )
    try:
        return Reply(node, durations.seconds(durations.parse(requeue)))
    except ValueError as err:
        raise ExecutorError(str(err)) from err


def _kind(value: Any) -> str:
    kinds: tuple[tuple[type, str], ...] = ((bool, "bool"), (str, "string"), (list, "array"), (dict, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "number")


async def _no_secret(name: str, key: str) -> str:
    raise ExecutorError(f"secret '{name}' does not have the key '{key}'")
