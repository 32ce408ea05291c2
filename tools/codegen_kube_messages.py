"""Writes src/tiphys/api/data/kube_messages.json: the fields of the built-in Kubernetes messages.

    python tools/codegen_kube_messages.py CORPUS        (make codegen)

From the corpus' ``golden/kube/proto-fields.json`` (Kubernetes v1.34, Apache-2.0): JSON names, types, protobuf numbers
and what Go leaves out when empty. One message a line; a field is ``[json name, number, type, flags, map key type, Go
name of a named scalar]`` with trailing empties dropped; see ``LEGEND`` for the flags.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/api/data/kube_messages.json"
LEGEND = {"o": "omit", "p": "ptr", "r": "rep", "i": "inline", "n": "nilable", "x": "notag"}


def main(corpus: Path) -> None:
    source = json.loads((corpus / "golden/kube/proto-fields.json").read_text(encoding="utf-8"))
    messages = {name: message(body) for name, body in source["messages"].items()}
    head = {"source": f"Kubernetes {source['release']}, golden/kube/proto-fields.json", "licence": "Apache-2.0"}
    lines = [f'"about":{compact(head)}', section("messages", messages), section("gvk", source["gvk"])]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def section(name: str, entries: dict[str, Any]) -> str:
    rows = ",\n".join(f"{json.dumps(key)}:{compact(entries[key])}" for key in sorted(entries))
    return f'"{name}":{{\n{rows}\n}}'


def message(body: dict[str, Any]) -> dict[str, Any]:
    out = {key: body[key] for key in ("special", "typemeta") if key in body}
    if body.get("fields"):
        out["fields"] = [row(field) for field in body["fields"]]
    return out


def row(field: dict[str, Any]) -> list[Any]:
    flags = "".join(letter for letter, key in LEGEND.items() if field.get(key))
    cells = [field["j"], field.get("n", 0), field["t"], flags, field.get("key", ""), field.get("go", "")]
    while not cells[-1]:
        cells.pop()
    return cells


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
