"""The type table answers what strict decoding and strategic merges ask."""

from tiphys.api import types


def test_fields_come_in_gos_order_with_the_embedded_struct_in_place() -> None:
    node = types.root("Workflow").fields["spec"].type.fields["templates"].type.elem.fields["containerSet"].type
    names = list(node.fields["containers"].type.elem.fields)
    assert names[0] == "name" and names[-1] == "dependencies"
    assert node.fields["containers"].type.elem.fields["image"].embedded == ("Container",)


def test_merge_keys_are_those_of_the_struct_tags() -> None:
    pod = types.fields("core.v1.PodSpec")
    assert (pod["containers"].merges, pod["containers"].merge_key) == (True, "name")
    assert (pod["volumes"].merges, pod["volumes"].retains_keys) == (True, True)
    assert pod["tolerations"].merges is False


def test_types_may_refer_to_themselves() -> None:
    step = types.root("WorkflowStep")
    assert step.fields["inline"].type.go_name == "v1alpha1.Template"


def test_every_named_type_resolves() -> None:
    seen: set[types.Type] = set()
    waiting = [types.root(kind) for kind in ("Workflow", "CronWorkflow", "WorkflowEventBinding", "Pod")]
    while waiting:
        kind = waiting.pop()
        if kind in seen:
            continue
        seen.add(kind)
        waiting.extend(field.type for field in kind.fields.values())
        if kind.kind in ("slice", "map"):
            waiting.append(kind.elem)
    assert len(seen) > 250
