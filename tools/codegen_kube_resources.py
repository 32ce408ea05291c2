"""Makes ``cluster/apiserver/data/resources.json``: which built-in resources a Kubernetes API server has.

    python tools/codegen_kube_resources.py CORPUS        (make codegen)

From a recorded aggregated discovery document (``golden/kube-live/a-discovery``), without custom resources. One resource
a line, so that a change can be read in a diff; ``"verbs": "all"`` stands for the eight usual ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/cluster/apiserver/data/resources.json"
ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
CUSTOM = {"argoproj.io"}


def main(corpus: Path) -> None:
    source = corpus / "golden/kube-live/a-discovery/discovery-aggregated-v2.json"
    document = json.loads(source.read_text())
    rows = [
        row(group.get("metadata", {}).get("name", ""), version["version"], resource)
        for exchange in document["exchanges"]
        for group in exchange["response"]["body"]["items"]
        for version in group["versions"]
        for resource in version["resources"]
    ]
    lines = [json.dumps(r, separators=(", ", ": ")) for r in rows if r["group"] not in CUSTOM]
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def row(group: str, version: str, resource: dict[str, Any]) -> dict[str, Any]:
    kind = resource["responseKind"]
    found: dict[str, Any] = {
        "group": group,
        "version": version,
        "plural": resource["resource"],
        "kind": kind["kind"],
        "singular": resource["singularResource"],
        "namespaced": resource["scope"] == "Namespaced",
        "verbs": verbs(resource),
    }
    for key in ("shortNames", "categories"):
        if resource.get(key):
            found[key] = resource[key]
    if resource.get("subresources"):
        found["subresources"] = [subresource(s) for s in resource["subresources"]]
    return found


def subresource(source: dict[str, Any]) -> dict[str, Any]:
    kind = source.get("responseKind", {})
    found = {"name": source["subresource"], "kind": kind.get("kind", ""), "verbs": source["verbs"]}
    if kind.get("group"):
        found |= {"group": kind["group"], "version": kind["version"]}
    return found


def verbs(resource: dict[str, Any]) -> Any:
    return "all" if resource["verbs"] == ALL_VERBS else resource["verbs"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
