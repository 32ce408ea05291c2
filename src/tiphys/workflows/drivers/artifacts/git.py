"""Git artifacts: a repository cloned at a revision. Inputs only. Carried out by the git program.

    git clone [--depth] [--single-branch --branch] · fetch refspecs · checkout revision · submodules

User name and password go to git through a helper in its environment, an SSH key through a file that only we can read;
neither appears in arguments, in the clone's configuration or in messages. git may not ask anybody anything, and runs no
hooks and no filters of the repository's (there is nothing of ours in its configuration that it could name).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.workflows.executor.deletion import NOT_SUPPORTED
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
SecretReader = Callable[[str, str], str]
TIMEOUT_SECONDS = 3600.0
COMPLAINT_MAX = 2000
# Prints the word that git asks for; git calls it with the question.
_ASKPASS = (
    '#!/bin/sh\ncase "$1" in [Uu]sername*) printf "%s" "$TIPHYS_GIT_USER";; *) printf "%s" "$TIPHYS_GIT_WORD";; esac\n'
)
_SSH = re.compile(r"(ssh://|git\+ssh://)|[^/@:]+@[^/:]+:")
_SAFE_PROTOCOLS = "file:git:http:https:ssh"
_MISSING = ("not found", "does not exist", "does not appear to be a git repository")


class GitDriver:
    def __init__(self, secret: SecretReader) -> None:
        self._secret = secret

    def load(self, artifact: Object, target: Path) -> None:
        body = artifact["git"]
        repository = str(body.get("repo") or "")
        branch = str(body.get("branch") or "")
        if body.get("singleBranch") and not branch:
            raise ExecutorError("single branch mode without a branch specified")
        _check_words(repository, branch, str(body.get("revision") or ""), *(body.get("fetch") or ()))
        with self._access(body, repository) as git:
            git.run(["clone", *_clone_options(body), "--", repository, str(target)], f'failed to clone "{repository}"')
            self._fetch(git, body, target)
            self._check_out(git, body, target)
            if not body.get("disableSubmodules"):
                words = ["submodule", "update", "--init", "--recursive"]
                git.run(words, "failed to update submodules", target)

    def save(self, source: Place, artifact: Object) -> None:
        del source, artifact
        raise ExecutorError("git output artifacts unsupported")

    def delete(self, artifact: Object) -> None:
        del artifact
        raise ExecutorError(NOT_SUPPORTED)

    def _fetch(self, git: _Git, body: Object, target: Path) -> None:
        specs = [str(spec) for spec in body.get("fetch") or ()]
        if specs:
            depth = [f"--depth={body['depth']}"] if body.get("depth") else []
            git.run(["fetch", *depth, "origin", *specs], f"failed to fetch {specs}".replace("'", ""), target)

    def _check_out(self, git: _Git, body: Object, target: Path) -> None:
        revision = str(body.get("revision") or "")
        if not revision or git.is_empty(target):
            return
        known = git.resolve(revision, target)
        if known is None:  # a shallow clone may not have it yet
            git.run(["fetch", "--no-tags", "--unshallow", "origin"], "", target, check=False)
            git.run(["fetch", "--tags", "origin", revision], "", target, check=False)
            known = git.resolve(revision, target) or git.resolve("FETCH_HEAD", target, only_after_fetch=revision)
        if known is None:
            raise ExecutorError("failed to get resolve revision: reference not found")
        git.run(["checkout", "--detach", "--force", known], f'failed to checkout "{known}"', target)

    @contextmanager
    def _access(self, body: Object, repository: str) -> Iterator[_Git]:
        """git with the credentials that the artifact names, for as long as they are needed."""
        with tempfile.TemporaryDirectory(prefix="tiphys-git-") as folder:
            place = Path(folder)
            env = _environment(place)
            if body.get("insecureSkipTLS"):
                env["GIT_SSL_NO_VERIFY"] = "1"
            user, word = self._text(body, "usernameSecret"), self._text(body, "passwordSecret")
            key = self._text(body, "sshPrivateKeySecret")
            if key:
                env["GIT_SSH_COMMAND"] = _ssh_command(place, key, verify=not body.get("insecureIgnoreHostKey"))
            elif _SSH.match(repository) and body.get("insecureIgnoreHostKey"):
                env["GIT_SSH_COMMAND"] = f"ssh {' '.join(_ANY_HOST)}"
            if user or word:
                helper = place / "askpass"
                helper.write_text(_ASKPASS)
                helper.chmod(0o700)
                env |= {"GIT_ASKPASS": str(helper), "TIPHYS_GIT_USER": user, "TIPHYS_GIT_WORD": word}
            yield _Git(env, tuple(filter(None, (word, key))))

    def _text(self, body: Object, name: str) -> str:
        reference = body.get(name)
        return self._secret(reference["name"], reference["key"]) if reference else ""


@dataclass(frozen=True)
class _Git:
    env: Mapping[str, str]
    secrets: Sequence[str] = field(default=(), repr=False)

    def run(self, words: Sequence[str], failure: str, where: Path | None = None, *, check: bool = True) -> str:
        """What it prints. Raises ``ExecutorError`` where it fails, unless that is no matter."""
        program = shutil.which("git", path=self.env["PATH"])
        if program is None:
            raise ExecutorError("git artifacts need the git program, which this machine has not")
        try:
            done = subprocess.run(
                [program, "-c", "core.hooksPath=/dev/null", *words],
                cwd=where, env=dict(self.env), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=TIMEOUT_SECONDS, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired as err:
            raise ExecutorError(f"{failure}: timed out after {TIMEOUT_SECONDS:g} s") from err
        if done.returncode and check:
            said = self._without_secrets(done.stderr.decode("utf-8", "replace").strip()[-COMPLAINT_MAX:])
            raise ExecutorError(f"{failure}: {said}", missing=any(word in said for word in _MISSING))
        return done.stdout.decode("utf-8", "replace").strip() if not done.returncode else ""

    def is_empty(self, where: Path) -> bool:
        return not self.run(["for-each-ref", "--count=1"], "", where, check=False)

    def resolve(self, revision: str, where: Path, *, only_after_fetch: str = "") -> str | None:
        """The commit that a revision names: a branch of the remote before anything else."""
        names = [f"refs/remotes/origin/{revision}", f"refs/tags/{revision}", revision]
        for name in names if not only_after_fetch else [revision]:
            words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
            found = self.run(words, "", where, check=False)
            if found:
                return found
        return None

    def _without_secrets(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _clone_options(body: Object) -> list[str]:
    options = ["--quiet"]
    if body.get("depth"):
        options.append(f"--depth={int(body['depth'])}")
        if not body.get("singleBranch"):
            options.append("--no-single-branch")
    if body.get("singleBranch"):
        options += ["--single-branch", f"--branch={body['branch']}"]
    return options


def _check_words(*words: str) -> None:
    """Nothing that git would take for an option, or run (``ext::``)."""
    for word in words:
        if word.startswith("-") or "\0" in word or "\n" in word:
            raise ExecutorError(f"git: {word!r} is no name")


def _environment(place: Path) -> dict[str, str]:
    """Nothing of the machine owner's own configuration, and no questions."""
    kept = {name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
    for name, value in os.environ.items():
        if name.lower() in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
            kept[name] = value
    own = {
        "HOME": str(place),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": _SAFE_PROTOCOLS,
        "LC_ALL": "C",
    }
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", **kept, **own}


_ANY_HOST = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts",)


def _ssh_command(place: Path, key: str, *, verify: bool) -> str:
    file = place / "key"
    file.touch(0o600)
    file.write_text(key if key.endswith("\n") else f"{key}\n")
    words = ["ssh", "-i", str(file), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
    if not verify:
        words += _ANY_HOST
    else:
        known = os.environ.get("SSH_KNOWN_HOSTS") or " ".join(
            (str(Path.home() / ".ssh" / "known_hosts"), *_KNOWN_HOSTS)
        )
        words += ["-o", f'UserKnownHostsFile="{known}"']
    return " ".join(word if '"' not in word else f"'{word}'" for word in words)
