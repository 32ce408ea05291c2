"""Writes src/tiphys/api/data/kube_types.json: how each built-in Kubernetes type is merged.

    python tools/codegen_kube_types.py CORPUS        (make codegen)

From the corpus' ``golden/kube/strategic-merge-keys.json`` (Kubernetes v1.34, Apache-2.0): the OpenAPI side for
server-side apply (list-type, list-map-keys, map-type, defaults of keys) and the Go side for strategic merge patches
(patchStrategy, patchMergeKey). Names and types of fields only, one type a line, so that a change can be read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/api/data/kube_types.json"


def main(corpus: Path) -> None:
    source = json.loads((corpus / "golden/kube/strategic-merge-keys.json").read_text(encoding="utf-8"))
    sections = {
        "openapi": {name: openapi_type(body) for name, body in source["openapi"].items()},
        "openapiGvk": source["openapiGvk"],
        "go": {name: body for name, body in source["goTypes"].items() if body},
        "goGvk": source["gvk"],
    }
    head = {"source": f"Kubernetes {source['release']}, golden/kube/strategic-merge-keys.json", "licence": "Apache-2.0"}
    lines = [f'"about":{compact(head)}']
    for section, entries in sections.items():
        rows = ",\n".join(f"{json.dumps(name)}:{compact(entries[name])}" for name in sorted(entries))
        lines.append(f"{json.dumps(section)}:{{\n{rows}\n}}")
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def openapi_type(body: dict[str, Any]) -> dict[str, Any]:
    """Without the patch keys: the Go side has them."""
    dropped = ("patch-strategy", "patch-merge-key")
    properties = {
        name: {k: v for k, v in field.items() if k not in dropped} for name, field in body.get("properties", {}).items()
    }
    return {k: v for k, v in body.items() if k != "properties"} | ({"properties": properties} if properties else {})


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
