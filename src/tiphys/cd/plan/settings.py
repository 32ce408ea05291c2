"""What the operator of CD chose: the config map ``argocd-cm``, read.

A value that cannot be read is an error that names its key; whoever asks goes on with the last settings that were good.
Command-line settings of the controller are ``Timing`` and its neighbours, with the original's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tiphys.cd.plan.tracking import ANNOTATION, INSTANCE_LABEL
from tiphys.lang import globs, goyaml

_CUSTOMIZATIONS: Final = "resource.customizations"
_YAML_KINDS: Final = ("ignoreDifferences", "ignoreResourceUpdates", "knownTypeFields")
_ALWAYS_EXCLUDED: Final = (
    {"apiGroups": ["events.k8s.io", "metrics.k8s.io"]},
    {"apiGroups": [""], "kinds": ["Event"]},
    {"apiGroups": ["coordination.k8s.io"], "kinds": ["Lease"]},
)
_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class SettingsError(ValueError):
    """A key whose value cannot be read."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"argocd-cm: {key}: {why}")
        self.key = key


@dataclass(frozen=True)
class ResourceFilter:
    """Which kinds CD looks at: exclusions first, then, where there are any for the cluster, only inclusions."""

    exclusions: Sequence[Mapping[str, Any]] = ()
    inclusions: Sequence[Mapping[str, Any]] = ()

    def excludes(self, group: str, kind: str, server: str) -> bool:
        if any(_matches(entry, group, kind, server) for entry in (*_ALWAYS_EXCLUDED, *self.exclusions)):
            return True
        if any(_matches(entry, group, kind, server) for entry in self.inclusions):
            return False
        return any(_fits_cluster(entry, server) for entry in self.inclusions)


@dataclass(frozen=True)
class Settings:
    """The part of ``argocd-cm`` that decisions on applications need.

    ``overrides`` are the resource customizations by ``group/Kind`` or ``Kind`` (``*/*`` for all kinds).
    """

    tracking_method: str = ANNOTATION
    instance_label: str = INSTANCE_LABEL
    installation_id: str = ""
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ignores_aggregated_roles: bool = False
    filter: ResourceFilter = field(default_factory=ResourceFilter)
    in_cluster_enabled: bool = True
    sensitive_annotations: tuple[str, ...] = ()
    global_projects: Sequence[Mapping[str, Any]] = ()
    kustomize_build_options: str = ""
    values_file_schemes: tuple[str, ...] = ("https", "http")
    enabled_tools: Mapping[str, bool] = field(default_factory=dict)
    hydrator_message: str = ""
    hydrator_readme: str = ""
    commit_author: tuple[str, str] = ("Argo CD", "argo-cd@example.com")
    impersonates: bool = False
    enforces_impersonation: bool = True
    application_namespaces: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, str] | None) -> Settings:
        """Raises SettingsError."""
        data = data or {}
        compare = _yaml(data, "resource.compareoptions", {})
        overrides = _customizations(data)
        _ignore_status(overrides, str(compare.get("ignoreResourceStatusField", "") or ""))
        return cls(
            tracking_method=data.get("application.resourceTrackingMethod") or ANNOTATION,
            instance_label=data.get("application.instanceLabelKey") or INSTANCE_LABEL,
            installation_id=data.get("installationID", ""),
            overrides=overrides,
            ignores_aggregated_roles=bool(compare.get("ignoreAggregatedRoles")),
            filter=ResourceFilter(_yaml(data, "resource.exclusions", []), _yaml(data, "resource.inclusions", [])),
            in_cluster_enabled=data.get("cluster.inClusterEnabled", "") != "false",
            sensitive_annotations=_list(data.get("resource.sensitive.mask.annotations")),
            global_projects=_yaml(data, "globalProjects", []),
            kustomize_build_options=data.get("kustomize.buildOptions", ""),
            values_file_schemes=_list(data.get("helm.valuesFileSchemes")) or ("https", "http"),
            enabled_tools={
                tool: data.get(f"{tool.lower()}.enable", "") != "false" for tool in ("Helm", "Kustomize", "Jsonnet")
            },
            hydrator_message=data.get("sourceHydrator.commitMessageTemplate", ""),
            hydrator_readme=data.get("sourceHydrator.readmeMessageTemplate", ""),
            commit_author=(
                data.get("commit.author.name") or "Argo CD",
                data.get("commit.author.email") or "argo-cd@example.com",
            ),
            impersonates=data.get("application.sync.impersonation.enabled", "") == "true",
            enforces_impersonation=data.get("application.sync.impersonation.enforced", "") != "false",
            application_namespaces=_list(data.get("application.namespaces")),
        )


@dataclass(frozen=True)
class SelfHeal:
    """How long a self-heal waits after the last operation: a fixed time, or one that grows with each attempt."""

    timeout_seconds: float | None = None
    first_seconds: float = 2.0
    factor: float = 3.0
    cap_seconds: float = 300.0

    def wait_seconds(self, attempts: int) -> float:
        if self.timeout_seconds is not None:
            return self.timeout_seconds
        if attempts < 1:
            return 0.0
        try:
            return min(self.cap_seconds, self.first_seconds * self.factor ** (attempts - 1))
        except OverflowError:
            return self.cap_seconds


def _customizations(data: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, override in _yaml(data, _CUSTOMIZATIONS, {}).items():
        found[str(key)] = _whole_override(str(key), override)
    for key, text in data.items():
        parts = key.split(".", 3)
        if not key.startswith(_CUSTOMIZATIONS) or len(parts) < 4:
            continue
        kind, override = parts[2], found.setdefault(_override_key(key, parts[3]), {})
        if kind in _YAML_KINDS:
            override[kind] = _yaml(data, key, None)
        elif kind == "health":
            override["health.lua"] = text
        elif kind == "actions":
            override["actions"] = text
        elif kind == "useOpenLibs":
            override["health.lua.useOpenLibs"] = _boolean(key, text)
        else:
            raise SettingsError(key, f"resource customization type {kind} not supported")
    return found


def _whole_override(key: str, override: Any) -> dict[str, Any]:
    """An entry of the one-key form, in which some parts are YAML in a string."""
    result = dict(override or {})
    for kind in _YAML_KINDS:
        if isinstance(result.get(kind), str):
            result[kind] = _yaml({key: result[kind]}, key, None)
    return result


def _override_key(key: str, name: str) -> str:
    match name.split("_"):
        case ["all"]:
            return "*/*"
        case [kind] if kind:
            return kind
        case [group, kind]:
            return f"{group}/{kind}"
    raise SettingsError(key, f"the kind should be <group>_<kind> or <kind>, not '{name}'")


def _ignore_status(overrides: dict[str, dict[str, Any]], where: str) -> None:
    """Status belongs to controllers: it is not compared unless somebody wants so."""
    if where in ("none", "off", "false", "False"):
        return
    key = "apiextensions.k8s.io/CustomResourceDefinition" if where == "crd" else "*/*"
    override = overrides.setdefault(key, {})
    ignored = dict(override.get("ignoreDifferences") or {})
    ignored["jsonPointers"] = [*(ignored.get("jsonPointers") or ()), "/status"]
    override["ignoreDifferences"] = ignored


def _matches(entry: Mapping[str, Any], group: str, kind: str, server: str) -> bool:
    groups, kinds = entry.get("apiGroups") or (), entry.get("kinds") or ()
    return (
        (not groups or any(globs.fits(pattern, group) for pattern in groups))
        and (not kinds or any(each in ("*", kind) for each in kinds))
        and _fits_cluster(entry, server)
    )


def _fits_cluster(entry: Mapping[str, Any], server: str) -> bool:
    clusters = entry.get("clusters") or ()
    return not clusters or any(globs.fits(pattern, server) for pattern in clusters)


def _yaml(data: Mapping[str, str], key: str, default: Any) -> Any:
    text = data.get(key)
    if not text:
        return default
    try:
        value = goyaml.load(text)
    except goyaml.YamlError as err:
        raise SettingsError(key, str(err)) from err
    if default is not None and not isinstance(value, type(default) | type(None)):
        raise SettingsError(key, f"a {type(default).__name__} is expected")
    return default if value is None else value


def _boolean(key: str, text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise SettingsError(key, f"'{text}' is no boolean")


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())
