"""YAML read and printed (yaml.jsonl, yaml-out.jsonl), and what becomes of it in Argo's types.

Left out of error texts: the prefixes "yaml:" and "error …:" and the line. The original counts lines from 0 or 1
depending on which part of its parser complains, and names none on the first line; ours are counted by hand in the unit
tests. Of keys that cannot be keys only that message's beginning is compared (Go prints the key as a Go literal).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, answer, apis, judge_by
from tests.conformance.golden import Format
from tiphys.api import decode, manifests
from tiphys.lang import gojson, goyaml

Row = Mapping[str, Any]


def parameter(row: Row) -> str:
    strict = row.get("strict", False)
    document = (goyaml.load_strict if strict else goyaml.load)(row["in"])
    # the YAML library's strict mode refuses unknown fields through encoding/json, which does not mind case
    decoded = decode.decode("workflow.v1alpha1.Parameter", document)
    if strict and (unknown := decode.decode("workflow.v1alpha1.Parameter", document, strict=True).unknown):
        known = {name.lower() for name in ("name", "value")}
        if wrong := [u for u in unknown if u.path.lower() not in known]:
            raise decode.DecodeError(f'json: unknown field "{wrong[0].path.rpartition(".")[2]}"', wrong[0].path)
    return json.dumps(
        decode.pruned("workflow.v1alpha1.Parameter", decoded.value), ensure_ascii=False, separators=(",", ":")
    )


def as_floats(value: Any) -> Any:
    """encoding/json reads every number as a float64 where no type is known."""
    if isinstance(value, dict):
        return {key: as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def split(row: Row) -> list[dict[str, str]] | None:
    found = [
        {"name": m.name, "object": f"*v1alpha1.{m.kind}" if m.kind else "*v1.ObjectMeta"}
        | ({"error": m.error} if m.error else {})
        for m in manifests.parse(row["in"], strict=row["strict"])
    ]
    return found or None


CALLS: dict[str, Callable[[Row], Any]] = {
    "toJSON": lambda row: gojson.dumps(goyaml.load(row["in"])),
    "toJSONStrict": lambda row: gojson.dumps(goyaml.load_strict(row["in"])),
    "unmarshal": lambda row: as_floats(goyaml.load(row["in"])),
    "param": parameter,
    "split": split,
    "marshal": lambda row: goyaml.dump(json.loads(row["in"], parse_int=float)),
    "jsonToYaml": lambda row: goyaml.dump(json.loads(row["in"])),
}


def ask(row: Row) -> Answer:
    return answer(lambda: CALLS[row["api"]](row), goyaml.YamlError, decode.DecodeError)


def core(error: str) -> str:
    """What is wrong, without where."""
    text = re.sub(
        r"^(error [a-zA-Z ]+: |while decoding JSON: |yaml: |line \d+: |unmarshal errors:\n)+", "", error.strip()
    )
    text = re.sub(r"^line \d+: | \(in [^)]*\)| \(#x[^)]*\)|, key: .*", "", text.strip())
    return "invalid map key" if text.startswith("invalid map key") else text


def same(expected: Answer, got: Answer, row: Row) -> bool:
    if "error" in expected:
        return "error" in got and core(expected["error"]) == core(got["error"])
    # as text, so that 1, 1.0 and true are told apart
    return json.dumps(expected, sort_keys=True) == json.dumps(got, sort_keys=True)


FORMATS = (Format("yaml", lambda s: bool(s.rows) and apis(s) <= set(CALLS), judge_by(ask, same)),)
