"""Makes ``cluster/apiserver/data/crds/*.json``: the originals' CustomResourceDefinitions, which a fresh cluster has.

    python tools/codegen_argo_crds.py CORPUS        (make codegen)

From ``schemas/crds`` (of Workflows the minimal ones, which the original installs by default), without descriptions of
fields, which are three quarters of their size and which nobody needs to run anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/cluster/apiserver/data/crds"
SOURCES = ("argo-workflows/minimal", "argo-cd", "argo-rollouts", "argo-events")


def main(corpus: Path) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for folder in SOURCES:
        for file in sorted((corpus / "schemas/crds" / folder).glob("*.yaml")):
            for crd in yaml.load_all(file.read_text(), yaml.CSafeLoader):
                if crd:
                    write(crd)


def write(crd: dict[str, Any]) -> None:
    for version in crd["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = without_descriptions(version["schema"]["openAPIV3Schema"])
    crd["metadata"] = {"name": crd["metadata"]["name"]}
    crd.pop("status", None)
    text = json.dumps(crd, separators=(",", ":"), ensure_ascii=False)
    (TARGET / f"{crd['metadata']['name']}.json").write_text(text + "\n")


def without_descriptions(schema: Any) -> Any:
    """``description`` is dropped where it describes a schema, kept where it is the name of a property."""
    if isinstance(schema, list):
        return [without_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = ("description", "properties")
    found = {key: without_descriptions(value) for key, value in schema.items() if key not in dropped}
    if isinstance(schema.get("properties"), dict):
        found["properties"] = {name: without_descriptions(value) for name, value in schema["properties"].items()}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
