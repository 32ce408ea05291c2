import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.lang import name_rules, names

RULES = [
    name_rules.dns1123_label,
    name_rules.dns1123_subdomain,
    name_rules.dns1035_label,
    name_rules.label_value,
    name_rules.qualified_name,
    name_rules.config_map_key,
    name_rules.env_var_name,
    name_rules.workflow_field_name,
    name_rules.parameter_name,
]


def test_hash_is_fnv_1a() -> None:
    assert names.fnv32a(b"") == 2166136261
    assert names.fnv32a(b"foobar") == 0xBF9CF968


def test_ids_and_pods_follow_the_node_name() -> None:
    node = names.node_id("wf", "wf.A")
    assert node == "wf-3498999265"
    assert names.pod_name("wf", "wf.A", "t", node) == "wf-t-3498999265"
    assert names.pod_name("wf", "wf.A", "t", node, "v1") == node
    assert names.node_id("wf", "wf") == names.pod_name("wf", "wf", "t", "wf") == "wf"


@given(st.text(max_size=400), st.text(max_size=400), st.text())
def test_pod_names_fit_a_kubernetes_name(workflow: str, template: str, node: str) -> None:
    made = names.pod_name(workflow, f"{workflow}.{node}", template, "id")
    assert len(made.encode()) <= 253


@given(st.text(alphabet="ab-"), st.integers(0, 10**6), st.text())
def test_the_index_of_an_expansion_reads_back(step: str, index: int, item: str) -> None:
    assert names.recover_index(names.item_node_name(step, index, item)) == index


@pytest.mark.parametrize("step", ["a(b", "a:b", "a(0:x)"])
def test_steps_that_hide_the_index_are_refused(step: str) -> None:
    with pytest.raises(names.NamingError):
        names.item_node_name(step, 1, "x")


@given(st.text(alphabet="ab/.", min_size=1), st.text(alphabet="ab/", min_size=1))
def test_locks_read_back_or_are_refused(namespace: str, name: str) -> None:
    reference = {"name": name, "namespace": namespace}
    try:
        lock = names.mutex_lock(reference, "")
    except names.NamingError:
        return
    assert names.decode_lock(str(lock)) == lock


@given(st.text())
def test_rules_answer_any_text(text: str) -> None:
    for rule in RULES:
        assert all(isinstance(problem, str) for problem in rule(text))


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a-" * 500_000, "a." * 500_000 + "!"])
def test_long_names_take_linear_time(text: str) -> None:
    for rule in RULES:
        assert isinstance(rule(text), list)
