"""Lifecycle hooks: what a container wants done right after its start and before its end.

A handler is a command in the container, an HTTP request, or a pause. The words of a failure are a kubelet's
(pkg/kubelet/lifecycle/handlers.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tiphys.cluster.node.podnames import full_name
from tiphys.cluster.node.prober import Asker, cannot_exec
from tiphys.cluster.node.probes import Answer
from tiphys.cluster.node.runtime import StartFailure

Object = Mapping[str, Any]
Sleep = Callable[[float], Awaitable[None]]

POST_START, PRE_STOP = "postStart", "preStop"
HTTP_TIMEOUT_SECONDS = 30.0


class HookFailed(Exception):
    """The hook did not succeed; the message is the one of the container's waiting state."""


def hook_of(container: Object, which: str) -> Object | None:
    handler: Object | None = (container.get("lifecycle") or {}).get(which)
    return handler


async def run(handler: Object, container: Object, pod: Object, asker: Asker, sleep: Sleep) -> None:
    """Raises ``HookFailed``. The caller limits the time."""
    about = f'for Container "{container["name"]}" in Pod "{full_name(pod)}" failed - error: '
    if "exec" in handler:
        command = list(handler["exec"].get("command") or ())
        title = f"Exec lifecycle hook ([{' '.join(command)}])"
        error, output = await _exec(command, asker)
    elif "httpGet" in handler:
        title = f"HTTP lifecycle hook ({handler['httpGet'].get('path') or ''})"
        error, output = await _http(handler, asker)
    else:
        await sleep(float((handler.get("sleep") or {}).get("seconds") or 0))
        return
    if error:
        quoted = output.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        raise HookFailed(f'{title} {about}{error}, message: "{quoted}"')


async def _exec(command: list[str], asker: Asker) -> tuple[str, str]:
    try:
        code, data = await asker.run(command)
    except StartFailure as err:
        return f"{cannot_exec(command)}: {err}", ""
    output = data.decode("utf-8", "replace")
    return (f"command '{' '.join(command)}' exited with {code}: {output}" if code else ""), output


async def _http(handler: Object, asker: Asker) -> tuple[str, str]:
    answer, output = await asker.ask(handler, HTTP_TIMEOUT_SECONDS)
    return (output if answer in (Answer.FAILURE, Answer.ERROR) else ""), ""


async def no_longer_than(work: Awaitable[None], seconds: float) -> None:
    """Raises ``HookFailed`` for a hook that is not done in time."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        raise HookFailed("the hook did not finish within the grace period") from None
