"""Makes ``cluster/apiserver/data/columns.json``: the columns of the tables that kubectl prints, by group and kind.

    python tools/codegen_kube_columns.py CORPUS        (make codegen)

From the recorded column definitions in ``golden/kube/table-printers.jsonl``; descriptions are part of the answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/cluster/apiserver/data/columns.json"


def main(corpus: Path) -> None:
    source = corpus / "golden/kube/table-printers.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line]
    tables = {row["table"]: row["columnDefinitions"] for row in rows if row["name"].startswith("_columns/")}
    order = ("name", "type", "format", "description", "priority")
    lines = [
        f"{json.dumps(table)}: {json.dumps([{key: column[key] for key in order} for column in tables[table]])}"
        for table in sorted(tables)
        if not table.endswith("List")
    ]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
