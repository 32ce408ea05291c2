"""What Kubernetes and Argo demand of names: each rule is a function from text to a list of complaints (empty: fine).

The texts are those of apimachinery and of the workflow validator, because users and tests compare them. Lengths are
counted in bytes of UTF-8. All patterns are simple loops over character classes and take linear time.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = rf"{_LABEL_UNDERSCORE}(\.{_LABEL_UNDERSCORE})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_KEY})?"
_ENV_VAR = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_KEY_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)


def dns1123_label(name: str) -> list[str]:
    """Namespaces, services' targets, containers: lower case, digits and dashes; 63 characters."""
    problems = _too_long(name, 63)
    if _matches(_LABEL, name):
        return problems
    if _matches(_SUBDOMAIN, name):
        return [*problems, "must not contain dots"]
    text = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return [*problems, _pattern_text(text, _LABEL, "my-name", "123-abc")]


def dns1123_subdomain(name: str) -> list[str]:
    """Most objects: labels joined by dots; 253 characters."""
    problems = _too_long(name, 253)
    if _matches(_SUBDOMAIN, name):
        return problems
    text = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return [*problems, _pattern_text(text, _SUBDOMAIN, "example.com")]


def dns1123_subdomain_with_underscore(name: str) -> list[str]:
    """Search domains of a resolver: a subdomain whose labels may have underscores."""
    problems = _too_long(name, 253)
    if _matches(_SUBDOMAIN_UNDERSCORE, name):
        return problems
    text = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return [*problems, _pattern_text(text, _SUBDOMAIN_UNDERSCORE, "example.com")]


def wildcard_subdomain(name: str) -> list[str]:
    """``*.`` and a subdomain."""
    problems = _too_long(name, 253)
    pattern = rf"\*\.{_SUBDOMAIN}"
    if _matches(pattern, name):
        return problems
    text = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return [*problems, _pattern_text(text, pattern, "*.example.com")]


def dns1035_label(name: str) -> list[str]:
    """Services: as a label, but starting with a letter."""
    problems = _too_long(name, 63)
    if _matches(_LABEL_1035, name):
        return problems
    text = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
        "start with an alphabetic character, and end with an alphanumeric character"
    )
    return [*problems, _pattern_text(text, _LABEL_1035, "my-name", "abc-123")]


def label_value(value: str) -> list[str]:
    """Values of labels: empty, or 63 bytes of letters, digits, ``-_.``."""
    problems = _too_long(value, 63, "bytes")
    if _matches(_VALUE, value):
        return problems
    text = f"a valid label must be an empty string or {_KEY_TEXT.removeprefix('must ')}"
    return [*problems, _pattern_text(text, _VALUE, "MyValue", "my_value", "12345")]


def qualified_name(name: str) -> list[str]:
    """Keys of labels and annotations: an optional ``subdomain/`` and a name."""
    return list(_qualified_name(name))


@lru_cache(maxsize=4096)  # few keys, on every object
def _qualified_name(name: str) -> list[str]:
    parts = name.split("/")
    if len(parts) > 2:
        text = _pattern_text(f"a valid label key {_KEY_TEXT}", _KEY, "MyName", "my.name", "123-abc")
        return [f"{text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems = _key_prefix(parts[0]) if len(parts) == 2 else []
    if not parts[-1]:
        problems.append("name part must be non-empty")
    problems += [f"name part {problem}" for problem in _too_long(parts[-1], 63, "bytes")]
    if not _matches(_KEY, parts[-1]):
        problems.append("name part " + _pattern_text(_KEY_TEXT, _KEY, "MyName", "my.name", "123-abc"))
    return problems


def config_map_key(key: str) -> list[str]:
    """Keys of ConfigMaps and Secrets: they become file names, hence no ``..``."""
    problems = _too_long(key, 253)
    if not _matches(_CONFIG_KEY, key):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        problems.append(_pattern_text(text, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return problems + _leaves_folder(key)


def env_var_name(name: str) -> list[str]:
    """Environment variables, in the strict form."""
    problems = _leaves_folder(name)
    if _matches(_ENV_VAR, name):
        return problems
    text = (
        "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
        "and must not start with a digit"
    )
    return [_pattern_text(text, _ENV_VAR, "my.env-name", "MY_ENV.NAME", "MyEnvName1"), *problems]


def workflow_field_name(name: str) -> list[str]:
    """Steps, tasks and templates of a workflow."""
    problems = _too_long(name, 128)
    if not _matches("[a-zA-Z0-9][-a-zA-Z0-9]*", name):
        problems.append(
            "name must consist of alpha-numeric characters or '-', and must start with an alpha-numeric character "
            "(e.g. My-name1-2, 123-NAME)"
        )
    return problems


def parameter_name(name: str) -> list[str]:
    """Parameters and artifacts of a workflow."""
    if _matches("[-a-zA-Z0-9_]+", name):
        return []
    return ["Parameter/Artifact name must consist of alpha-numeric characters, '_' or '-' e.g. my_param_1, MY-PARAM-1"]


def is_display_name(name: str) -> bool:
    """Whether a node's displayName annotation is taken: 2 to 63 characters."""
    return _matches("[a-zA-Z0-9][a-zA-Z0-9-.]{0,61}[a-zA-Z0-9]", name)


def is_cache_key(key: str) -> bool:
    """Whether a memoization key can be looked up in a ConfigMap cache."""
    return _matches("[a-zA-Z0-9][-a-zA-Z0-9]*", key)


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _too_long(text: str, limit: int, unit: str = "characters") -> list[str]:
    return [f"must be no more than {limit} {unit}"] if len(text.encode("utf-8", "replace")) > limit else []


def _pattern_text(text: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def _key_prefix(prefix: str) -> list[str]:
    if not prefix:
        return ["prefix part must be non-empty"]
    # label keys report the length of their prefix in bytes
    return [
        f"prefix part {problem.replace(' characters', ' bytes', 1) if problem.startswith('must be no') else problem}"
        for problem in dns1123_subdomain(prefix)
    ]


def _leaves_folder(text: str) -> list[str]:
    if text in (".", ".."):
        return [f"must not be '{text}'"]
    return ["must not start with '..'"] if text.startswith("..") else []
