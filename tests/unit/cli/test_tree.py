"""The tree's shapes; that it equals the original's is judged by recorded pages (tests/conformance)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tiphys.cli import columns, describe, tree

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "wf"}, "status": {"nodes": {node["id"]: node for node in nodes}}}


def node(name: str, kind: str = "Pod", boundary: str = "", **more: Any) -> dict[str, Any]:
    at = {"boundaryID": boundary} if boundary else {}
    return {"id": name, "name": name, "displayName": name, "type": kind, "phase": "Succeeded", **at, **more}


def names(flow: dict[str, Any]) -> list[str]:
    return [f"{line.prefix}{line.node['displayName']}" if line.node else "" for line in tree.lines(flow)]


def test_groups_of_steps() -> None:
    flow = workflow(
        node("wf", "Steps", children=["g0"]),
        node("g0", "StepGroup", "wf", children=["a"], startedAt="1"),
        node("a", boundary="wf", children=["g1"]),
        node("g1", "StepGroup", "wf", children=["b", "c"], startedAt="2"),
        node("b", boundary="wf"),
        node("c", boundary="wf"),
    )
    assert names(flow) == [" wf", " ├───a", " └─┬─b", "   └─c"]


def test_loop_items_stand_by_index_not_by_alphabet() -> None:
    items = [node(f"x({i}:{i})", boundary="wf") for i in (10, 9, 0)]
    assert [name.strip(" ├─└") for name in names(workflow(node("wf", "DAG"), *items))][1:] == [
        "x(0:0)",
        "x(9:9)",
        "x(10:10)",
    ]


def test_one_attempt_hides_its_retry_and_several_show_it() -> None:
    once = workflow(node("wf", "Retry", children=["wf(0)"]), node("wf(0)"))
    assert names(once) == [" wf(0)"]
    twice = workflow(node("wf", "Retry", children=["wf(0)", "wf(1)"]), node("wf(0)"), node("wf(1)"))
    assert names(twice) == [" wf", " ├─wf(0)", " └─wf(1)"]


def test_omitted_nodes_have_no_line() -> None:
    omitted = node("b", "Skipped", "wf", phase="Omitted")
    assert names(workflow(node("wf", "DAG"), node("a", boundary="wf"), omitted)) == [" wf", " ├─a"]


def test_a_status_that_bites_its_tail_ends() -> None:
    flow = workflow(node("wf", "Retry", children=["a", "b"]), node("a", "Retry", children=["wf", "b"]), node("b"))
    assert len(names(flow)) == 3


def test_deep_recursion_is_drawn() -> None:
    nodes = [node("wf", "Steps")]
    for depth in range(3000):
        nodes.append(node(f"n{depth}", "Steps", nodes[-1]["id"]))
    assert len(tree.lines(workflow(*nodes))) == 3001


def test_nothing_to_draw_before_the_entrypoint() -> None:
    assert tree.lines({"metadata": {"name": "wf"}}) == []


def test_newlines_of_messages_stay_in_their_cell() -> None:
    flow = workflow(node("wf", message="one\ntwo"))
    lines = columns.align(tree.table(tree.lines(flow), flow, tree.Look(), NOW))
    assert len(lines) == 2 and "one two" in lines[1]


def test_places_of_artifacts() -> None:
    assert describe.artifact_place({"s3": {"bucket": "b", "key": "a/c"}}) == "s3://b/a/c"
    assert describe.artifact_place({"http": {"url": "http://x"}}) == "http://x"
    assert describe.artifact_place({"name": "x"}) == ""
