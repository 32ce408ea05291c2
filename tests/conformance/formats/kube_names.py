"""What Kubernetes' own libraries say to names, labels, annotations and finalizers: ``fn`` in each row, ``errors``.

Left out: functions that judge what we never judge (ports, addresses, HTTP headers, …) and whole ``metadata``.
The file was recorded from a release that words two texts differently than ours, see `kube_selectors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.conformance.formats.kube_selectors import worded
from tests.conformance.golden import Format, Row, Sample
from tiphys.cluster.apiserver import metadata, strategies
from tiphys.cluster.apiserver.problems import Complaint
from tiphys.lang import name_rules

Rule = Callable[[Any], list[str]]


def texts(complaints: Iterable[Complaint]) -> list[str]:
    return [f"{complaint.field}: {complaint.message}" for complaint in complaints]


def of_prefix(rule: Callable[[str], list[str]]) -> Rule:
    """How ``generateName`` is judged: a dash at the end is as good as a letter."""
    return lambda name: rule(name[:-1] + "x" if name.endswith("-") else name)


def annotations_of(size: int) -> list[str]:
    return texts(metadata.annotation_complaints_at({"a": "x" * (size - 1)}, "f"))


RULES: dict[str, Rule] = {
    "IsQualifiedName": name_rules.qualified_name,
    "IsDNS1123Label": name_rules.dns1123_label,
    "IsDNS1123Subdomain": name_rules.dns1123_subdomain,
    "IsDNS1035Label": name_rules.dns1035_label,
    "IsValidLabelValue": name_rules.label_value,
    "IsEnvVarName": name_rules.env_var_name,
    "IsConfigMapKey": name_rules.config_map_key,
    "NameIsDNSSubdomain": name_rules.dns1123_subdomain,
    "NameIsDNSSubdomain/prefix": of_prefix(name_rules.dns1123_subdomain),
    "NameIsDNSLabel/prefix": of_prefix(name_rules.dns1123_label),
    "NameIsDNS1035Label/prefix": of_prefix(name_rules.dns1035_label),
    "ValidateRBACName": strategies.path_segment,
    "ValidateLabels": lambda labels: texts(metadata.label_complaints(labels, "metadata.labels")),
    "ValidateAnnotations": lambda given: texts(metadata.annotation_complaints_at(given, "metadata.annotations")),
    "ValidateAnnotations/size": annotations_of,
    "ValidateFinalizers": lambda names: texts(metadata.finalizer_complaints(names, is_custom=True)),
}
GENERATOR = "SimpleNameGenerator base truncation (maxNameLength 63, 5 random characters)"
LEFT_OUT = {
    "IsCIdentifier", "IsDomainPrefixedPath", "IsFullyQualifiedDomainName", "IsFullyQualifiedName", "IsHTTPHeaderName",
    "IsRelaxedEnvVarName", "IsValidCIDR", "IsValidIP", "IsValidPercent", "IsValidPortName", "IsValidPortNum",
    "IsValidUserID", "IsWildcardDNS1123Subdomain", "ValidateFinalizerName", "ValidateObjectMeta/NameIsDNSSubdomain",
    "ValidateObjectMetaUpdate",
}  # fmt: skip


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        if row["fn"] == GENERATOR:
            base = metadata.generated_name(row["in"], "")
            yield Row(row["name"], row["base"] == base, row, base)
        elif (rule := RULES.get(row["fn"])) is not None:
            got = rule(row["in"])
            yield Row(row["name"], worded(row["errors"]) == worded(got), row, got)


def recognises(sample: Sample) -> bool:
    names = {row.get("fn") for row in sample.rows}
    return "IsQualifiedName" in names and names <= {*RULES, *LEFT_OUT, GENERATOR}


FORMATS = (Format("kube names", recognises, judge),)
