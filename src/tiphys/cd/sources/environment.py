"""The build environment of a source, and ``$NAME`` in its parameters (Go's os.Expand).

    reference = "$" ( name | special | "{" name or special "}" )       special = one of * # $ @ ! ? - 0…9
    name      = letter or "_" { letter | digit | "_" }

Unknown names are empty, ``$$`` is a dollar sign. A brace that does not close is dropped, as is an empty pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

_SPECIAL = frozenset("*#$@!?-0123456789")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

Environment = Mapping[str, str]


def build_environment(
    *, app: str, namespace: str, project: str, revision: str, repository: str, path: str, target_revision: str
) -> dict[str, str]:
    """What tools and parameters may refer to (docs/user-guide/build-environment.md)."""
    return {
        "ARGOCD_APP_NAME": app,
        "ARGOCD_APP_NAMESPACE": namespace,
        "ARGOCD_APP_PROJECT_NAME": project,
        "ARGOCD_APP_REVISION": revision,
        "ARGOCD_APP_REVISION_SHORT": revision[:7],
        "ARGOCD_APP_REVISION_SHORT_8": revision[:8],
        "ARGOCD_APP_SOURCE_REPO_URL": repository,
        "ARGOCD_APP_SOURCE_PATH": path,
        "ARGOCD_APP_SOURCE_TARGET_REVISION": target_revision,
    }


def substituted(text: str, environment: Environment) -> str:
    """The text with every reference replaced."""
    return expand(text, lambda name: "$" if name == "$" else environment.get(name, ""))


def lines(entries: Sequence[Mapping[str, str]]) -> list[str]:
    """``NAME=value`` of a list of entries, those without a name left out."""
    return [f"{entry['name']}={entry.get('value', '')}" for entry in entries if entry.get("name")]


def expand(text: str, value: Callable[[str], str]) -> str:
    """os.Expand: a lone dollar sign stays."""
    found: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        found.append(text[at:dollar])
        name, width = _name(text, dollar + 1)
        if name:
            found.append(value(name))
        elif not width:
            found.append("$")
        at = dollar + 1 + width
    found.append(text[at:])
    return "".join(found)


def _name(text: str, at: int) -> tuple[str, int]:
    """The name that starts here and how many characters it takes; no name but a width means bad syntax to drop."""
    if text[at] == "{":
        return _braced(text, at)
    if text[at] in _SPECIAL:
        return text[at], 1
    end = at
    while end < len(text) and text[end] in _NAME:
        end += 1
    return text[at:end], end - at


def _braced(text: str, at: int) -> tuple[str, int]:
    if text[at + 1 : at + 2] in _SPECIAL and text[at + 2 : at + 3] == "}":
        return text[at + 1], 3
    end = text.find("}", at + 1)
    if end < 0:
        return "", 1
    return ("", 2) if end == at + 1 else (text[at + 1 : end], end - at + 1)
