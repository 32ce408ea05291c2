"""Writes src/tiphys/api/data/internal_types.json: the Go names of the fields of Kubernetes' internal types.

    python tools/codegen_internal_types.py types.json     (the output of tools/internal_types.go)

The API server's messages show whole values under those names. One type a line; a field is ``GoName:type``, with
``:jsonName`` where that is not the Go name with a small first letter, ``<`` for an embedded struct.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/api/data/internal_types.json"
ABOUT = "Field names of the internal types of k8s.io/kubernetes v1.35.4 (Apache-2.0): tools/internal_types.go"
UNSHOWN = ("Status", "List", "Review")


def main(source: Path) -> None:
    types = json.loads(source.read_text(encoding="utf-8"))
    lines = [f'"about":["{ABOUT}"]']
    for name in sorted(types):
        if not name.startswith(("resource.", "meta.")) and not name.endswith(UNSHOWN):
            lines.append(f"{json.dumps(name)}:{json.dumps([row(*r) for r in types[name]], separators=(',', ':'))}")
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def row(shown: str, key: str, kind: str) -> str:
    usual = key in ("?", shown[:1].lower() + shown[1:])
    return f"{shown}:{kind}" if usual else f"{shown}:{kind}:{key}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
