"""Named formats in CEL: ``format.dns1123Label().validate(x)`` gives the complaints, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from tiphys.lang import gourl, name_rules
from tiphys.lang.cel.declarations import Functions, Overload, member, plain
from tiphys.lang.cel.types import STRING, list_of, optional_of, struct
from tiphys.lang.cel.values import NONE, Opaque, Optional
from tiphys.machinery.cel_library import urls
from tiphys.machinery.structural import formats

TYPE = struct("kubernetes.NamedFormat")
Validate = Callable[[str], list[str]]


class NamedFormat(Opaque):
    """``regex_size_max`` stands for the length of its pattern in the cost of a validation."""

    __slots__ = ("name", "regex_size_max", "validate")
    cel_type = TYPE

    def __init__(self, name: str, validate: Validate, regex_size_max: int) -> None:
        self.name, self.validate, self.regex_size_max = name, validate, regex_size_max

    def size(self) -> int:
        return len(self.name)

    def equal_to(self, other: object) -> bool:
        return isinstance(other, NamedFormat) and self.name == other.name


def _prefix(rule: Validate) -> Validate:
    """A prefix may end in a dash: the last character is judged as a letter then."""
    return lambda text: rule(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)


def _fits(name: str, complaint: str) -> Validate:
    return lambda text: [] if formats.fits(name, text) else [complaint]


def _base64(text: str) -> list[str]:
    return [] if text.isascii() and formats.fits("byte", text) else ["invalid base64"]


def _uri(text: str) -> list[str]:
    try:
        urls.request_uri(text)
    except gourl.UrlError as err:
        return [str(err)]
    return []


_DATE_TIME_PATTERN = 71  # len(strfmt.DateTimePattern)
_FORMATS = {
    "dns1123Label": NamedFormat("DNS1123Label", name_rules.dns1123_label, 30),
    "dns1123Subdomain": NamedFormat("DNS1123Subdomain", name_rules.dns1123_subdomain, 60),
    "dns1035Label": NamedFormat("DNS1035Label", name_rules.dns1035_label, 30),
    "qualifiedName": NamedFormat("QualifiedName", name_rules.qualified_name, 60),
    "dns1123LabelPrefix": NamedFormat("DNS1123LabelPrefix", _prefix(name_rules.dns1123_label), 30),
    "dns1123SubdomainPrefix": NamedFormat("DNS1123SubdomainPrefix", _prefix(name_rules.dns1123_subdomain), 60),
    "dns1035LabelPrefix": NamedFormat("DNS1035LabelPrefix", _prefix(name_rules.dns1035_label), 30),
    "labelValue": NamedFormat("LabelValue", name_rules.label_value, 40),
    "uri": NamedFormat("URI", _uri, 1103),
    "uuid": NamedFormat("uuid", _fits("uuid", "does not match the UUID format"), 70),
    "byte": NamedFormat("byte", _base64, 84),
    "date": NamedFormat("date", _fits("date", "invalid date"), _DATE_TIME_PATTERN),
    "datetime": NamedFormat("datetime", _fits("date-time", "invalid datetime"), _DATE_TIME_PATTERN),
}


def _named(name: str) -> Optional:
    found = _FORMATS.get(name)
    return NONE if found is None else Optional(found)


def _validate(found: NamedFormat, text: str) -> Optional:
    complaints = found.validate(text)
    return Optional(complaints) if complaints else NONE


def _constant(name: str, found: NamedFormat) -> tuple[Overload, ...]:
    return (plain(f"format.{name}", (), TYPE, lambda: found),)


FUNCTIONS: Functions = {
    **{f"format.{name}": _constant(name, found) for name, found in _FORMATS.items()},
    "format.named": (plain("format-named", (STRING,), optional_of(TYPE), _named),),
    "validate": (member("format-validate", (TYPE, STRING), optional_of(list_of(STRING)), _validate),),
}
