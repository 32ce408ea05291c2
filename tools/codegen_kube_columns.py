"""Makes ``cluster/apiserver/data/columns.json``: the columns of the tables that kubectl prints, by group and kind.

    python tools/codegen_kube_columns.py CORPUS        (make codegen)

From the recorded column definitions in ``golden/kube/table-printers.jsonl``; descriptions are part of the answer. Of
the kinds in ``NEWER`` the tables of the conversations in ``golden/kube-live`` are taken, which are of a newer server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/cluster/apiserver/data/columns.json"
NEWER = {
    "apiservices": "apiregistration.k8s.io/APIService",
    "csinodes": "storage.k8s.io/CSINode",
    "serviceaccounts": "/ServiceAccount",
    "validatingadmissionpolicybindings": "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding",
}


def newer(corpus: Path) -> Iterator[tuple[str, list[Any]]]:
    """The columns of the kinds in ``NEWER``, from answers that are tables."""
    for place in sorted((corpus / "golden/kube-live").glob("*/*.json")):
        document = json.loads(place.read_text(encoding="utf-8"))
        for exchange in document.get("exchanges", ()) if isinstance(document, dict) else ():
            body = exchange.get("response", {}).get("body")
            if isinstance(body, dict) and body.get("kind") == "Table":
                for plural in NEWER.keys() & exchange["request"]["path"].split("/"):
                    yield NEWER[plural], body["columnDefinitions"]


def main(corpus: Path) -> None:
    source = corpus / "golden/kube/table-printers.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    tables = {row["table"]: row["columnDefinitions"] for row in rows if row["name"].startswith("_columns/")}
    tables.update(newer(corpus))
    order = ("name", "type", "format", "description", "priority")
    lines = [
        f"{json.dumps(table)}: {json.dumps([{key: column[key] for key in order} for column in tables[table]])}"
        for table in sorted(tables)
        if not table.endswith("List")
    ]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
