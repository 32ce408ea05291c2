"""The original's pod, for clusters where only containers can help themselves.

    init    copies the emissary, stages template, script and input artifacts
    main    the user's command behind ``argoexec emissary``, which captures its output and passes signals on
    wait    waits for main, then reports outputs as a task result

The order of containers matters to the kubelet; everything else follows the original so that its executor works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import gojson
from tiphys.workflows.plan.artifacts import has_location_or_key
from tiphys.workflows.plan.canonical import POD_SPEC, canonical, dumps
from tiphys.workflows.plan.nodes import stamp
from tiphys.workflows.plan.pods import metadata, native, volumes
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.pods.build import Draft
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import Template

BINARY = "/var/run/argo/argoexec"
ENV_MAX = 131072
OFFLOADED = "offloaded"
CONFIG_PATH = "/argo/config"
MIRROR = "/mainctrfs"
_VAR = {"name": "var-run-argo", "mountPath": "/var/run/argo"}
_SECRETS = "/argo/secret"
_ARTIFACTS = "/argo/inputs/artifacts"
_STAGING = {"name": "argo-staging", "mountPath": "/argo/staging"}


def executor_main(draft: Draft) -> dict[str, Any]:
    """The main container of a resource or data template: the executor itself."""
    template = draft.template
    if draft.kind == "Resource":
        action = ["argoexec", "resource", str(template["resource"].get("action", ""))]
    else:
        action = ["argoexec", "data", dumps(template["data"])]
    return _executor(draft, "main", [*action, *log_options(draft.state)])


def add_containers(draft: Draft, mains: list[dict[str, Any]]) -> None:
    state, spec = draft.state, draft.spec
    spec.setdefault("volumes", []).extend(
        [{"name": "var-run-argo", "emptyDir": {}}, {"name": "tmp-dir-argo", "emptyDir": {}}]
    )
    waits = draft.kind not in ("Resource", "Data") or (draft.kind == "Resource" and _saves_logs(draft))
    wait = [_executor(draft, "wait", ["argoexec", "wait", *log_options(state)])] if waits else []
    spec["containers"] = [*wait, *mains]
    has_main = any(container["name"] == "main" for container in spec["containers"])
    default = "main" if has_main else spec["containers"][-1]["name"]
    draft.pod["metadata"]["annotations"][native.DEFAULT_CONTAINER] = default
    spec["initContainers"] = [_executor(draft, "init", ["argoexec", "init", *log_options(state)])]


def _saves_logs(draft: Draft) -> bool:
    return bool((draft.template.get("archiveLocation") or {}).get("archiveLogs"))


def log_options(state: State) -> list[str]:
    """The logging flags of every executor process."""
    chosen = state.settings
    return [
        "--loglevel",
        chosen.executor_log_level,
        "--log-format",
        chosen.executor_log_format,
        "--gloglevel",
        chosen.executor_glog_level,
    ]


def _executor(draft: Draft, name: str, command: list[str]) -> dict[str, Any]:
    """One of the executor's containers."""
    state, chosen = draft.state, draft.state.settings
    made: dict[str, Any] = {"name": name, "image": chosen.executor_image, "command": command}
    if chosen.executor_image_pull_policy:
        made["imagePullPolicy"] = chosen.executor_image_pull_policy
    made["env"] = executor_env(state)
    for key in ("resources", "securityContext", "args"):
        if chosen.executor_container.get(key):
            made[key] = chosen.executor_container[key]
    if draft.kind == "Resource" and "securityContext" not in made:
        made["securityContext"] = {k: v for k, v in MINIMAL_SECURITY.items() if k != "readOnlyRootFilesystem"}
        if name == "main":
            made["securityContext"]["readOnlyRootFilesystem"] = True
    if metadata.executor_account(state, draft.template):
        mount = {"name": "exec-sa-token", "mountPath": SERVICE_ACCOUNT_PATH, "readOnly": True}
        made["volumeMounts"] = [mount]
    return made


SERVICE_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MINIMAL_SECURITY: dict[str, Any] = {
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "runAsUser": 8737,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "seccompProfile": {"type": "RuntimeDefault"},
}


POD_SECURITY: dict[str, Any] = {"runAsNonRoot": True, "runAsUser": 8737, "seccompProfile": {"type": "RuntimeDefault"}}


def executor_env(state: State) -> list[dict[str, Any]]:
    """What every container of the executor knows about its pod and workflow."""
    env: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in (("ARGO_POD_NAME", "metadata.name"), ("ARGO_POD_UID", "metadata.uid"))
    ]
    env.append({"name": "ARGO_WORKFLOW_NAME", "value": state.name})
    env.append({"name": "ARGO_WORKFLOW_UID", "value": state.uid})
    if state.settings.instance_id:
        env.append({"name": "ARGO_INSTANCE_ID", "value": state.settings.instance_id})
    return [*env, *(state.settings.executor_container.get("env") or ())]


def add_volumes(draft: Draft) -> None:
    """Secrets of artifacts, staged inputs, the script, sidecars, and the mirror of main's mounts."""
    _add_secrets(draft)
    _add_inputs(draft)
    if draft.kind == "Script":
        draft.spec["volumes"].append({"name": "argo-staging", "emptyDir": {}})
        for container in _named(draft, "init", "main"):
            _mount(container, _STAGING)
    main = next(_named(draft, "main"), None)
    for container in draft.template.get("initContainers") or ():
        draft.spec["initContainers"].append(volumes.user_container(container, main))
    for container in draft.template.get("sidecars") or ():
        draft.spec["containers"].append(volumes.user_container(container, main))
    for wait in _named(draft, "wait"):
        wait["env"].append({"name": "ARGO_ARTIFACT_PLUGIN_NAMES"})
    if draft.kind not in ("Resource", "Data"):
        _mirror(draft, main)
    for container in draft.spec["initContainers"]:
        _mount(container, _VAR)


def _named(draft: Draft, *names: str) -> Iterator[dict[str, Any]]:
    """The executor's and main containers by name (only the first init container is ours)."""
    if "init" in names:
        yield draft.spec["initContainers"][0]
    yield from (container for container in draft.spec["containers"] if container["name"] in names)


def _mount(container: dict[str, Any], mount: Mapping[str, Any]) -> None:
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _mirror(draft: Draft, main: Mapping[str, Any] | None) -> None:
    for wait in _named(draft, "wait"):
        present = {mount["mountPath"] for mount in wait.get("volumeMounts") or ()}
        for mount in (main or {}).get("volumeMounts") or ():
            path = _join(MIRROR, mount["mountPath"])
            if path not in present:
                present.add(path)
                _mount(wait, {**{k: v for k, v in mount.items() if k != "readOnly"}, "mountPath": path})


def _join(base: str, path: str) -> str:
    return base + "/" + path.strip("/") if path.strip("/") else base


def _add_inputs(draft: Draft) -> None:
    artifacts = (draft.template.get("inputs") or {}).get("artifacts") or ()
    if not artifacts:
        return
    draft.spec["volumes"].append({"name": "input-artifacts", "emptyDir": {}})
    init = draft.spec["initContainers"][0]
    _mount(init, {"name": "input-artifacts", "mountPath": _ARTIFACTS})
    for mount in volumes.main_mounts(draft.template):
        _mount(init, {**mount, "mountPath": _join(MIRROR, mount["mountPath"])})
    for main in _named(draft, "main"):
        for artifact in artifacts:
            _check_path(artifact)
            if not has_location_or_key(artifact) and artifact.get("optional"):
                continue
            if volumes.overlapping(draft.template, artifact["path"]) is None:
                place = {"name": "input-artifacts", "mountPath": artifact["path"], "subPath": artifact["name"]}
                _mount(main, place)
            draft.template = _with_sorted_mounts(draft.template)


def _with_sorted_mounts(template: Template) -> Template:
    """The original sorts the template's own mounts while it looks for one, which the executor then sees."""
    for kind in ("container", "script", "containerSet"):
        if (template.get(kind) or {}).get("volumeMounts"):
            return {**template, kind: {**template[kind], "volumeMounts": volumes.longest_first(template)}}
    return template


def _check_path(artifact: Mapping[str, Any]) -> None:
    name, path = artifact.get("name", ""), str(artifact.get("path") or "")
    if not path:
        raise Problem(f"error in inputs.artifacts.{name}: Artifact '{name}' did not specify a path")
    before, found, _ = path.partition("/../")
    safe = before if found else re.sub(r"/\.\.$", "", path) if path.endswith("/..") else ""
    if safe and not _clean(path).startswith(_clean(safe)):
        raise Problem(
            f"error in inputs.artifacts.{name}: Artifact '{name}' attempted to use a path containing '..'. "
            "Directory traversal is not permitted"
        )


def _clean(path: str) -> str:
    from tiphys.workflows.plan.artifacts import clean

    return clean(path)


def _add_secrets(draft: Draft) -> None:
    """Mounts the secrets that locations of artifacts name, with the keys they need."""
    template = draft.template
    outputs = (template.get("outputs") or {}).get("artifacts") or ()
    inputs = (template.get("inputs") or {}).get("artifacts") or ()
    source = ((template.get("data") or {}).get("source") or {}).get("artifactPaths")
    made, mounts = secret_volumes((template.get("archiveLocation") or {}, *outputs, *inputs, source or {}))
    draft.spec["volumes"].extend(made)
    names = ("init", "wait", "main") if draft.kind == "Data" else ("init", "wait")
    for mount in mounts:
        for container in _named(draft, *names):
            _mount(container, mount)


def secret_volumes(places: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volumes, and their mounts, of all secrets that the locations of artifacts name."""
    found: dict[str, dict[str, None]] = {}
    for place in places:
        for secret in secrets_of(place):
            if secret.get("name") and secret.get("key"):
                found.setdefault(secret["name"], {})[secret["key"]] = None
    volumes = [
        {"name": name, "secret": {"secretName": name, "items": [{"key": key, "path": key} for key in keys]}}
        for name, keys in found.items()
    ]
    mounts = [{"name": name, "mountPath": f"{_SECRETS}/{name}", "readOnly": True} for name in found]
    return volumes, mounts


_SECRET_FIELDS = {
    "s3": ("accessKeySecret", "secretKeySecret", "sessionTokenSecret", "caSecret"),
    "git": ("usernameSecret", "passwordSecret", "sshPrivateKeySecret"),
    "artifactory": ("usernameSecret", "passwordSecret"),
    "hdfs": ("krbCCacheSecret", "krbKeytabSecret"),
    "oss": ("accessKeySecret", "secretKeySecret"),
    "gcs": ("serviceAccountKeySecret",),
    "azure": ("accountKeySecret",),
}


def secrets_of(place: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The secrets (name and key) that reading or writing an artifact needs."""
    for kind, names in _SECRET_FIELDS.items():
        location = place.get(kind)
        if location is None:
            continue
        yield from (location[name] for name in names if location.get(name))
        encryption = location.get("encryptionOptions") or {}
        if encryption.get("enableEncryption") and encryption.get("serverSideCustomerKeySecret"):
            yield encryption["serverSideCustomerKeySecret"]
        return
    auth = (place.get("http") or {}).get("auth")
    for part in ("basicAuth", "clientCert", "oauth2"):
        given = (auth or {}).get(part) or {}
        yield from (value for key, value in given.items() if key.endswith("Secret") and isinstance(value, Mapping))


def set_environment(draft: Draft) -> None:
    shared = _shared_env(draft)
    template = dumps(native.simplified(draft.template))
    for container in draft.spec["initContainers"]:
        own = [
            {"name": "ARGO_CONTAINER_NAME", "value": container["name"]},
            {"name": "ARGO_TEMPLATE", "value": template},
        ]
        container["env"] = [*(container.get("env") or ()), *own, *shared]
    for container in draft.spec["containers"]:
        own = [{"name": "ARGO_CONTAINER_NAME", "value": container["name"]}]
        container["env"] = [*(container.get("env") or ()), *own, *shared]


def _shared_env(draft: Draft) -> list[dict[str, Any]]:
    state = draft.state
    deadline = None if draft.call.on_exit else state.deadline
    if draft.call.deadline is not None and (deadline is None or draft.call.deadline < deadline):
        deadline = draft.call.deadline
    env = {
        "ARGO_NODE_ID": draft.node.id,
        "ARGO_INCLUDE_SCRIPT_OUTPUT": "true" if draft.captures_result else "false",
        "ARGO_DEADLINE": stamp(deadline) or "0001-01-01T00:00:00Z",
        "ARGO_WORKFLOW_NAME": state.name,
        "ARGO_PROGRESS_FILE": "/var/run/argo/progress",
        "ARGO_PROGRESS_PATCH_TICK_DURATION": state.settings.progress_patch_tick,
        "ARGO_PROGRESS_FILE_TICK_DURATION": state.settings.progress_file_tick,
    }
    return [{"name": name, "value": value} for name, value in env.items()]


def finish(draft: Draft) -> list[dict[str, Any]]:
    """Puts the emissary before every command of the user, and moves what is too long into a ConfigMap."""
    _check_location(draft)
    state = draft.state
    for index, container in enumerate(draft.spec.get("containers") or ()):
        if container["name"] != "wait":
            _wrap(state, container)
        if container.get("image") == state.settings.executor_image:
            _mount(container, {"name": "tmp-dir-argo", "mountPath": "/tmp", "subPath": str(index)})
        _mount(container, _VAR)
        grace = draft.spec.get("terminationGracePeriodSeconds")
        if grace is not None:
            variable = {"name": "ARGO_TERMINATION_GRACE_PERIOD_SECONDS", "value": str(grace)}
            container["env"] = [*(container.get("env") or ()), variable]
    extra = _offload(draft)
    draft.pod["spec"] = canonical(draft.spec, POD_SPEC)
    return extra


def _wrap(state: State, container: dict[str, Any]) -> None:
    command = container.get("command") or []
    if not command:
        image = state.settings.images.get(container.get("image", "")) or state.settings.default_image
        if image is None:
            raise Problem(
                f'failed to look-up entrypoint/cmd for image "{container.get("image", "")}", you must either '
                "explicitly specify the command, or list the image's command in the index: "
                "https://argo-workflows.readthedocs.io/en/latest/workflow-executors/#emissary-emissary"
            )
        command = list(image.entrypoint)
        if container.get("args") is None and image.cmd:
            container["args"] = list(image.cmd)
    container["command"] = [BINARY, "emissary", *log_options(state), "--", *command]


def _check_location(draft: Draft) -> None:
    """The location of new artifacts comes from settings and must have no variable left."""
    for container in draft.spec["initContainers"][:1]:
        for variable in container["env"]:
            if variable["name"] == "ARGO_TEMPLATE":
                location = orjson.loads(variable["value"]).get("archiveLocation")
                left = re.search(r"\{\{([^}]*)\}\}", gojson.dumps(location)) if location else None
                if left:
                    raise Problem(f"failed to resolve {{{{{left[1]}}}}}")


def _offload(draft: Draft) -> list[dict[str, Any]]:
    """Templates and arguments beyond what an exec can carry travel in a ConfigMap named like the pod."""
    data: dict[str, str] = {}
    volume = {"name": "argo-env-config", "mountPath": CONFIG_PATH}
    for container in draft.spec["containers"]:
        text = gojson.dumps(container["args"]) if container["name"] != "wait" and container.get("args") else ""
        if len(text) > ENV_MAX:
            data["ARGO_CONTAINER_ARGS_FILE"] = text
            del container["args"]
            place = {"name": "ARGO_CONTAINER_ARGS_FILE", "value": f"{CONFIG_PATH}/ARGO_CONTAINER_ARGS_FILE"}
            container["env"].append(place)
            _mount(container, volume)
            break
    for container in draft.spec["initContainers"]:
        for variable in container["env"]:
            if variable["name"] == "ARGO_TEMPLATE" and len(variable["value"]) > ENV_MAX:
                data["ARGO_TEMPLATE"] = variable["value"]
                variable["value"] = OFFLOADED
                _mount(container, volume)
    if not data:
        return []
    meta = draft.pod["metadata"]
    annotations = {key: meta["annotations"][key] for key in sorted(meta["annotations"]) if key.endswith(_NODE_KEYS)}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {"workflows.argoproj.io/workflow": draft.state.name},
            "annotations": annotations,
            "ownerReferences": meta["ownerReferences"],
        },
        "data": data,
    }
    draft.spec["volumes"].append({"name": volume["name"], "configMap": {"name": meta["name"]}})
    return [config_map]


_NODE_KEYS = ("/node-name", "/node-id")
