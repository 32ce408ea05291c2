"""CustomResourceDefinition objects: group, scope, names, versions, conversion, and what an update may not change.

Source: apiextensions ``ValidateCustomResourceDefinition``. As there, what all versions share is judged once, under
``spec`` (the internal form of a definition); messages that show whole versions show that form, with Go's field names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.crds.schemas import schema_complaints
from tiphys.cluster.apiserver.rules.crds.shapes import Schema
from tiphys.cluster.apiserver.rules.values import Fields, duplicate, immutable, too_many
from tiphys.cluster.apiserver.rules.webhooks import client_complaints
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

SELECTABLE_MAX: Final = 8
_APPROVED: Final = "api-approved.kubernetes.io"
_REVIEWS: Final = ("v1", "v1beta1")
_SHARED: Final = ("subresources", "schema", "additionalPrinterColumns", "selectableFields")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def definition(crd: Object, old: Object | None) -> Iterator[Complaint]:
    spec, status = crd.get("spec") or {}, crd.get("status") or {}
    names = spec.get("names") or {}
    if old is None and crd["metadata"].get("name") != f"{names.get('plural') or ''}.{spec.get('group') or ''}":
        name = crd["metadata"].get("name") or ""
        yield invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    yield from _spec_complaints(_internal(spec), _known_schemas(old))
    if old is not None:
        yield from _changes(crd, old)
    yield from _name_complaints(status.get("acceptedNames") or {}, "status.acceptedNames")
    yield from _stored_complaints(status.get("storedVersions"), spec.get("versions") or [])
    yield from _approval_complaints(crd, old)
    if spec.get("preserveUnknownFields") and not ((old or {}).get("spec") or {}).get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid_value("spec.preserveUnknownFields", True, text)


@dataclass(frozen=True)
class _Internal:
    """A spec as the original holds it: what all versions share is the definition's own."""

    spec: Fields
    shared: Fields
    versions: Sequence[Fields]


def _internal(spec: Fields) -> _Internal:
    versions = spec.get("versions") or []
    shared: dict[str, Any] = {}
    for field in _SHARED if versions else ():
        if all(same(version.get(field), versions[0].get(field)) for version in versions):
            shared[field] = versions[0].get(field)
    own = [{key: value for key, value in version.items() if key not in shared} for version in versions]
    return _Internal(spec, shared, own)


def _known_schemas(old: Object | None) -> list[Any]:
    """Schemas that were judged when they were written."""
    versions = ((old or {}).get("spec") or {}).get("versions") or []
    return [(version.get("schema") or {}).get("openAPIV3Schema") for version in versions]


def _spec_complaints(internal: _Internal, known: Sequence[Any]) -> Iterator[Complaint]:
    spec, versions = internal.spec, internal.versions
    group, names = spec.get("group") or "", spec.get("names") or {}
    yield from _group_complaints(group)
    yield from _one_of(spec.get("scope") or "", "spec.scope", ("Cluster", "Namespaced"))
    for at, version in enumerate(spec.get("versions") or ()):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield required(f"spec.versions[{at}].schema.openAPIV3Schema")
    for at, version in enumerate(versions):
        yield from _label(version.get("name") or "", f"spec.versions[{at}].name")
        yield from _version_complaints(version, f"spec.versions[{at}]", known)
    yield from _version_list_complaints(versions)
    if versions:
        yield from _label(versions[0].get("name") or "", "spec.version")
    for field in ("plural", "singular", "kind", "listKind"):
        if not names.get(field):
            yield required(f"spec.names.{field}")
    yield from _name_complaints(names, "spec.names")
    yield from _parts_complaints(internal.shared, "spec", "validation", known)
    yield from _conversion_complaints(spec.get("conversion"), "spec.conversion")


def _group_complaints(group: str) -> Iterator[Complaint]:
    problems = name_rules.dns1123_subdomain(group)
    if not group:
        yield required("spec.group")
    elif problems:
        yield invalid_value("spec.group", group, ",".join(problems))
    elif "." not in group:
        yield invalid_value("spec.group", group, "should be a domain with at least one dot")


def _one_of(value: str, at: str, supported: Sequence[str]) -> Iterator[Complaint]:
    if not value:
        yield required(at)
    elif value not in supported:
        yield unsupported(at, value, supported)


def _label(value: str, at: str, text: str = "") -> Iterator[Complaint]:
    problems = name_rules.dns1035_label(value.lower() if text else value)
    if problems:
        yield invalid_value(at, value, text + ",".join(problems))


def _name_complaints(names: Fields, at: str) -> Iterator[Complaint]:
    mixed = "may have mixed case, but should otherwise match: "
    for field, text in (("plural", ""), ("singular", ""), ("kind", mixed), ("listKind", mixed)):
        if names.get(field):
            yield from _label(names[field], f"{at}.{field}", text)
    for number, name in enumerate(names.get("shortNames") or ()):
        yield from _label(name, f"{at}.shortNames[{number}]")
    if names.get("kind") and names["kind"] == names.get("listKind"):
        yield invalid_value(f"{at}.listKind", names["listKind"], "kind and listKind may not be the same")
    for number, name in enumerate(names.get("categories") or ()):
        yield from _label(name, f"{at}.categories[{number}]")


# Versions


def _version_complaints(version: Fields, at: str, known: Sequence[Any]) -> Iterator[Complaint]:
    warning = version.get("deprecationWarning")
    for text in _warning_problems(bool(version.get("deprecated")), warning):
        yield invalid_value(f"{at}.deprecationWarning", warning, text)
    yield from _parts_complaints(version, at, "schema", known)


def _warning_problems(deprecated: bool, warning: Any) -> Iterator[str]:
    if warning is None:
        return
    if not deprecated:
        yield "can only be set for deprecated versions"
        return
    if len(warning.encode()) > 256:
        yield "must be <= 256 characters long"
    if not warning:
        yield "must not be an empty string"
    for at, letter in enumerate(warning):
        if letter != " " and unicodedata.category(letter)[0] in "CZ":
            index = len(warning[:at].encode())
            text = "must only contain printable UTF-8 characters; non-printable character found at index"
            yield f"{text} {index}"
            break


def _parts_complaints(parts: Fields, at: str, schema_field: str, known: Sequence[Any]) -> Iterator[Complaint]:
    """Schema, subresources, columns and selectable fields of a version, or of all of them."""
    schema = (parts.get("schema") or {}).get("openAPIV3Schema")
    if schema is not None and not any(same(schema, each) for each in known):
        yield from schema_complaints(schema, f"{at}.{schema_field}.openAPIV3Schema")
    yield from _scale_complaints((parts.get("subresources") or {}).get("scale"), f"{at}.subresources.scale")
    for number, column in enumerate(parts.get("additionalPrinterColumns") or ()):
        yield from _column_complaints(column, f"{at}.additionalPrinterColumns[{number}]")
    if parts.get("selectableFields"):
        yield from _selectable_complaints(parts["selectableFields"], schema, f"{at}.selectableFields")


def _version_list_complaints(versions: Sequence[Fields]) -> Iterator[Complaint]:
    found = [version.get("name") or "" for version in versions]
    shown_versions = [_as_go(version) for version in versions]
    if len(set(found)) != len(found):
        yield invalid_value("spec.versions", shown_versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid_value("spec.versions", shown_versions, text)


def _as_go(version: Fields) -> dict[str, Any]:
    """A version as Go prints the internal struct; schemas that differ between versions are not shown in full."""
    return {
        "Name": version.get("name") or "",
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": version.get("schema"),
        "Subresources": version.get("subresources"),
        "AdditionalPrinterColumns": version.get("additionalPrinterColumns"),
        "SelectableFields": version.get("selectableFields"),
    }


def _scale_complaints(scale: Fields | None, at: str) -> Iterator[Complaint]:
    if scale is None:
        return
    for field, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        path = scale.get(field) or ""
        if not path:
            yield required(f"{at}.{field}")
        else:
            yield from _path_complaints(path, f"{at}.{field}", (start,), f"should be a json path under {start[:-1]}")
    if scale.get("labelSelectorPath"):
        text = "should be a json path under either .spec or .status"
        yield from _path_complaints(scale["labelSelectorPath"], f"{at}.labelSelectorPath", (".spec.", ".status."), text)


def _path_complaints(path: str, at: str, starts: tuple[str, ...], text: str) -> Iterator[Complaint]:
    if not path.startswith("."):
        yield invalid_value(at, path, "must be a simple json path starting with .")
    elif starts and not path.startswith(starts):
        yield invalid_value(at, path, text)


def _column_complaints(column: Fields, at: str) -> Iterator[Complaint]:
    kind, name, form, path = (column.get(field) or "" for field in ("type", "name", "format", "jsonPath"))
    types = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not name:
        yield required(f"{at}.name")
    if not kind:
        yield required(f"{at}.type", types)
    elif kind not in _COLUMN_TYPES:
        yield invalid_value(f"{at}.type", kind, types)
    if form and form not in _COLUMN_FORMATS:
        yield invalid_value(f"{at}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
    if not path:
        yield required(f"{at}.JSONPath")
    else:
        yield from _path_complaints(path, f"{at}.JSONPath", (), "")


def _selectable_complaints(fields: Sequence[Fields], schema: Schema | None, at: str) -> Iterator[Complaint]:
    if schema is None:
        yield invalid_value(at, "", "may only be set when `version.schema.openAPIV3Schema` is not included")
        return
    seen: set[str] = set()
    for number, field in enumerate(fields):
        path, here = field.get("jsonPath") or "", f"{at}[{number}].jsonPath"
        if not path:
            yield required(here)
            continue
        found, problem = _followed(path, schema)
        if problem:
            yield invalid_value(here, path, f"is an invalid path: {problem}")
            continue
        if path.split(".")[1] == "metadata":
            yield invalid_value(here, path, "must not point to fields in metadata")
        if found.get("type") not in ("string", "boolean", "integer"):
            text = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed."
            )
            yield invalid_value(here, path, text)
        if path in seen:
            yield duplicate(here, path)
        seen.add(path)
    if len(seen) > SELECTABLE_MAX:
        yield too_many(at, len(seen), SELECTABLE_MAX)


def _followed(path: str, schema: Schema) -> tuple[Schema, str]:
    """The schema at the end of ``.a.b``, or why there is none."""
    if not path.startswith("."):
        return schema, "array notation is not allowed" if path[0] == "[" else f"expected [ or . but got: {_head(path)}"
    steps = path[1:].split(".")
    for at, step in enumerate(steps):
        if not step:
            last = at == len(steps) - 1
            return schema, "unexpected end of JSON path" if last else "does not refer to a valid field"
        if "[" in step:
            return schema, "array notation is not allowed"
        properties, others = schema.get("properties"), schema.get("additionalProperties")
        if properties and step in properties:
            schema = properties[step]
        elif not properties and isinstance(others, Mapping):
            schema = others
        else:
            return schema, "does not refer to a valid field"
    return schema, ""


def _head(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _conversion_complaints(conversion: Fields | None, at: str) -> Iterator[Complaint]:
    """A webhook's place and versions; they stand directly in the internal form of a conversion."""
    if conversion is None:
        return
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    yield from _one_of(strategy, f"{at}.strategy", ("None", "Webhook"))
    if strategy != "Webhook":
        for field, value in (("webhookClientConfig", client), ("conversionReviewVersions", reviews)):
            if value:
                yield forbidden_value(f"{at}.{field}", "should not be set when strategy is not set to Webhook")
        return
    if client is None:
        yield required(f"{at}.webhookClientConfig", "required when strategy is set to Webhook")
    else:
        yield from client_complaints(client, f"{at}.webhookClientConfig")
    yield from _review_complaints(reviews, f"{at}.conversionReviewVersions")


def _review_complaints(reviews: Sequence[str], at: str) -> Iterator[Complaint]:
    if not reviews:
        yield required(at)
        return
    for number, version in enumerate(reviews):
        if version in reviews[:number]:
            yield invalid_value(f"{at}[{number}]", version, "duplicate version")
            continue
        for problem in name_rules.dns1035_label(version):
            yield invalid_value(f"{at}[{number}]", version, problem)
    if not set(reviews) & set(_REVIEWS):
        yield invalid_value(at, list(reviews), f"must include at least one of {', '.join(_REVIEWS)}")


# Status, approval, changes


def _stored_complaints(stored: Any, versions: Sequence[Fields]) -> Iterator[Complaint]:
    at = "status.storedVersions"
    if not stored:
        yield invalid_value(at, None, "must have at least one stored version")
        return
    names = [version.get("name") for version in versions]
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            yield invalid_value(at, stored, f"must have the storage version {version.get('name')}")
    for number, name in enumerate(stored):
        if name not in names:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions"
                f" until a storage migration ensures no data remains persisted in {name} and removes {name} from"
                " status.storedVersions"
            )
            yield invalid_value(f"{at}[{number}]", name, text)


def _approval_complaints(crd: Object, old: Object | None) -> Iterator[Complaint]:
    """The groups of the Kubernetes community need a sign that somebody there agreed."""
    group = (crd.get("spec") or {}).get("group") or ""
    if group not in ("k8s.io", "kubernetes.io") and not group.endswith((".k8s.io", ".kubernetes.io")):
        return
    said = (crd["metadata"].get("annotations") or {}).get(_APPROVED) or ""
    state = _approval(said)
    if old is not None and state == _approval((old["metadata"].get("annotations") or {}).get(_APPROVED) or ""):
        return
    at, see = f"metadata.annotations[{_APPROVED}]", "see https://github.com/kubernetes/enhancements/pull/1111"
    text = f'protected groups must have approval annotation "{_APPROVED}"'
    if state == "missing":
        yield required(at, f"{text}, {see}")
    elif state == "invalid":
        yield invalid_value(at, said, f'{text} with either a URL or a reason starting with "unapproved", {see}')


def _approval(said: str) -> str:
    if not said:
        return "missing"
    if said.startswith("unapproved"):
        return "bypassed"
    try:
        parts = urlsplit(said)
    except ValueError:
        return "invalid"
    return "approved" if parts.scheme and parts.netloc else "invalid"


def _changes(crd: Object, old: Object) -> Iterator[Complaint]:
    spec, before = crd.get("spec") or {}, old.get("spec") or {}
    names, known = spec.get("names") or {}, before.get("names") or {}
    conditions = (old.get("status") or {}).get("conditions") or ()
    if any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
        yield from immutable("spec.scope", spec.get("scope"), before.get("scope"))
        yield from immutable("spec.names.kind", names.get("kind"), known.get("kind"))
    yield from immutable("spec.group", spec.get("group"), before.get("group"))
    yield from immutable("spec.names.plural", names.get("plural"), known.get("plural"))
