"""Makes ``cluster/apiserver/data/openapi.json.xz``: the schemas of the built-in kinds, with their descriptions.

    python tools/codegen_kube_openapi.py CORPUS        (make codegen)

From the recorded OpenAPI v3 documents (``golden/kube-live/a-discovery``; Kubernetes 1.35, Apache-2.0): the union of
their component schemas, which ``kubectl explain`` and ``kubectl apply`` read, and the descriptions of query parameters.
Compressed, because four fifths of it is prose that few ever ask for.
"""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "src/tiphys/cluster/apiserver/data/openapi.json.xz"


def main(corpus: Path) -> None:
    schemas: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for file in sorted((corpus / "golden/kube-live/a-discovery").glob("openapi-v3.*.json.gz")):
        if "argoproj" in file.name:
            continue
        document = json.loads(gzip.decompress(file.read_bytes()))
        schemas |= document["components"]["schemas"]
        for item in document["paths"].values():
            for operation in item.values():
                for parameter in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                    if parameter["in"] == "query":
                        parameters[parameter["name"]] = parameter
    content = {"schemas": dict(sorted(schemas.items())), "parameters": dict(sorted(parameters.items()))}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    # No check of integrity of its own and one fixed preset: the same input makes the same bytes.
    TARGET.write_bytes(
        lzma.compress(text, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
