"""Makes ``cluster/apiserver/data/cluster_roles.json``: the roles that every cluster has for its users.

    python tools/codegen_kube_roles.py CORPUS        (make codegen)

admin, edit, view and cluster-admin as a real server shows them (``golden/kube-live/h-auth``), with all their rules.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/cluster/apiserver/data/cluster_roles.json"
META = ("name", "labels", "annotations")


def main(corpus: Path) -> None:
    source = json.loads((corpus / "golden/kube-live/h-auth/auth-rbac-effects.json").read_text(encoding="utf-8"))
    roles = {}
    for exchange in source["exchanges"]:
        body = exchange["response"].get("body")
        if isinstance(body, dict) and body.get("kind") == "ClusterRole" and "rbac-defaults" in json.dumps(body):
            meta = {key: body["metadata"][key] for key in META if key in body["metadata"]}
            parts = {key: body[key] for key in ("aggregationRule", "rules") if key in body}
            roles[meta["name"]] = {"metadata": meta, **parts}
    for name, below in (("admin", "edit"), ("edit", "view"), ("view", "")):
        part = aggregated(roles[name], roles.get(below))
        roles[part["metadata"]["name"]] = part
    lines = [json.dumps(roles[name], separators=(",", ":")) for name in sorted(roles)]
    TARGET.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def aggregated(role: dict[str, Any], below: dict[str, Any] | None) -> dict[str, Any]:
    """What a role has beyond the one below it, under the label by which it is summed up."""
    name = role["metadata"]["name"]
    held = below["rules"] if below else []
    labels = {
        "kubernetes.io/bootstrapping": "rbac-defaults",
        f"rbac.authorization.k8s.io/aggregate-to-{name}": "true",
    }
    annotations = role["metadata"]["annotations"]
    meta = {"name": f"system:aggregate-to-{name}", "labels": labels, "annotations": annotations}
    return {"metadata": meta, "rules": [rule for rule in role["rules"] if rule not in held]}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
