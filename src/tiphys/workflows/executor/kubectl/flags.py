"""The command line after kubectl's verb.

    flags = (argument | flag)*
    flag  = "--" name ["=" value] | "--" name value | "-" letters | "-" letter ["=" | " "] value

Which flags there are depends on the verb; ``pflag``'s rules and texts otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tiphys.workflows.executor.kubectl.errors import KubectlError

# A flag's value when it stands alone; None: a value must follow.
_FILES: Mapping[str, str | None] = {"filename": None, "kustomize": None, "recursive": "true"}
_COMMON: Mapping[str, str | None] = {
    **_FILES,
    "namespace": None,
    "selector": None,
    "allow-missing-template-keys": "true",
    "show-managed-fields": "true",
    "request-timeout": None,
    "v": None,
    "warnings-as-errors": "true",
}
_WRITES: Mapping[str, str | None] = {"dry-run": "unchanged", "field-manager": None}
_VALIDATES: Mapping[str, str | None] = {"validate": "strict"}
_DELETES: Mapping[str, str | None] = {
    "cascade": "background",
    "force": "true",
    "grace-period": None,
    "timeout": None,
    "wait": "true",
}
FLAGS: Mapping[str, Mapping[str, str | None]] = {
    "get": {
        **_COMMON,
        "all-namespaces": "true",
        "chunk-size": None,
        "field-selector": None,
        "ignore-not-found": "true",
        "subresource": None,
    },
    "create": {**_COMMON, **_WRITES, **_VALIDATES, "save-config": "true"},
    "apply": {
        **_COMMON,
        **_WRITES,
        **_VALIDATES,
        **_DELETES,
        "force-conflicts": "true",
        "overwrite": "true",
        "server-side": "true",
        "subresource": None,
    },
    "replace": {**_COMMON, **_WRITES, **_VALIDATES, **_DELETES, "save-config": "true", "subresource": None},
    "patch": {**_COMMON, **_WRITES, "subresource": None, "type": None},
    "delete": {
        **_COMMON,
        **_DELETES,
        "all": "true",
        "all-namespaces": "true",
        "dry-run": "unchanged",
        "field-selector": None,
        "ignore-not-found": "true",
        "now": "true",
    },
}
_SHORT = {
    "n": "namespace",
    "l": "selector",
    "f": "filename",
    "k": "kustomize",
    "v": "v",
    "R": "recursive",
    "A": "all-namespaces",
}


@dataclass(frozen=True)
class Flags:
    arguments: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return self.values.get(name, "")

    def is_set(self, name: str) -> bool:
        """Whether a boolean flag is on. Raises `KubectlError` for what is no boolean."""
        text = self.values.get(name, "false")
        if text in ("1", "t", "T", "true", "TRUE", "True"):
            return True
        if text in ("0", "f", "F", "false", "FALSE", "False"):
            return False
        raise KubectlError(
            f'invalid argument "{text}" for "--{name}" flag: strconv.ParseBool: parsing "{text}": invalid syntax'
        )

    @property
    def dry_run(self) -> bool:
        return self.get("dry-run") not in ("", "none", "false")

    @property
    def field_validation(self) -> str:
        """The server's ``fieldValidation`` for ``--validate``; strict unless said otherwise."""
        text = self.values.get("validate", "strict")
        known = {"strict": "Strict", "true": "Strict", "warn": "Warn", "ignore": "Ignore", "false": "Ignore"}
        if text not in known:
            raise KubectlError(
                f'error: invalid - validate option "{text}"; must be one of: strict (or true), warn, ignore (or false)'
            )
        return known[text]


def parse(verb: str, words: Sequence[str]) -> Flags:
    """Raises `KubectlError` for a flag that the verb does not have."""
    known = FLAGS[verb]
    arguments: list[str] = []
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "--":
            arguments += rest
        elif word.startswith("--"):
            _long(verb, word[2:], rest, known, values)
        elif word.startswith("-") and word != "-":
            _short(verb, word[1:], rest, known, values)
        else:
            arguments.append(word)
    return Flags(tuple(arguments), values)


def _long(verb: str, word: str, rest: Iterator[str], known: Mapping[str, str | None], values: dict[str, str]) -> None:
    name, has_value, value = word.partition("=")
    if name not in known:
        raise _usage(verb, f"unknown flag: --{name}")
    alone = known[name]
    if has_value:
        values[name] = value
    elif alone is not None:
        values[name] = alone
    else:
        following = next(rest, None)
        if following is None:
            raise _usage(verb, f"flag needs an argument: --{name}")
        values[name] = following


def _short(
    verb: str, letters: str, rest: Iterator[str], known: Mapping[str, str | None], values: dict[str, str]
) -> None:
    for index, letter in enumerate(letters):
        name = _SHORT.get(letter, "")
        if name not in known:
            raise _usage(verb, f"unknown shorthand flag: '{letter}' in -{letters}")
        alone = known[name]
        if alone is not None:
            values[name] = alone
            continue
        value = letters[index + 1 :].removeprefix("=")
        if not value:
            following = next(rest, None)
            if following is None:
                raise _usage(verb, f"flag needs an argument: '{letter}' in -{letters}")
            value = following
        values[name] = value
        return


def _usage(verb: str, message: str) -> KubectlError:
    return KubectlError(f"{message}\nSee 'kubectl {verb} --help' for usage.")
