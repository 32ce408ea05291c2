"""The process that renders: requests in on standard input, answers out on standard output, one JSON line each.

It is a process of its own because charts, Jsonnet and kustomizations may loop or eat memory, and the libraries that
render them cannot be interrupted. It has a memory limit, none of our secrets, and is killed when it takes too long.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from tiphys.cd.sources.render import render
from tiphys.cd.sources.request import Rendered, RenderError, Request
from tiphys.cd.sources.tools import Toolbox
from tiphys.cd.sources.workspace import workspace

MEMORY_BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Address space; Go's runtime reserves much more than it uses."""

_PATHS = ("root", "references", "hidden")


def to_json(request: Request) -> dict[str, Any]:
    """A request as JSON holds it."""
    found = dict(vars(request))
    found["root"] = str(request.root)
    found["hidden"] = [str(path) for path in request.hidden]
    found["references"] = {name: str(path) for name, path in request.references.items()}
    return found


def from_json(value: dict[str, Any]) -> Request:
    plain = {name: item for name, item in value.items() if name not in _PATHS}
    return Request(
        **plain,
        root=Path(value["root"]),
        hidden=[Path(path) for path in value["hidden"]],
        references={name: Path(path) for name, path in value["references"].items()},
    )


def answer(request: Request, tools: Toolbox) -> dict[str, Any]:
    """What a render gives, or its error."""
    try:
        found: Rendered = render(request, tools)
    except RenderError as err:
        return {"error": str(err)}
    return vars(found)


def main() -> None:
    """Serves until standard input ends; the argument is a directory for copies."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not end up between the answers
    tools = Toolbox()
    scratch = Path(sys.argv[1])
    for line in sys.stdin:
        with workspace(from_json(json.loads(line)), scratch) as request:
            answers.write(json.dumps(answer(request, tools)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
