"""Every setting of the program, in one place: name, meaning, default.

A value comes from the first of: the command line, the environment (``TIPHYS_DATA_DIR``), the configuration file
(``data_dir = "…"`` in the TOML file that ``TIPHYS_CONFIG`` names, else ``~/.config/tiphys/config.toml``), the default.
Nothing else in tiphys reads the environment for its own sake.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from tiphys.machinery.errors import SpecError

IMAGES = ("auto", "registry", "map")
NETWORKS = ("auto", "bridge", "loopback", "host")
LOG_LEVELS = ("debug", "info", "warning", "error")
RUNTIMES = ("auto", "sandbox", "oci", "process", "engine", "stage")


@dataclass(frozen=True)
class Settings:
    """The defaults are what ``tiphys run`` uses; ``tiphys up`` sets ``data_dir`` where it is not given."""

    data_dir: Annotated[Path | None, "where everything is kept; none: temporary, goes with the process"] = None
    listen: Annotated[str, "address:port of the HTTPS API of `tiphys up`; port 0 takes a free one"] = "127.0.0.1:6443"
    kubeconfig: Annotated[Path | None, "the kubeconfig that `tiphys up` writes; none: in data_dir"] = None
    runtime: Annotated[str, "what runs pods: auto (the best that works), sandbox, oci, process, engine, stage"] = "auto"
    host_paths: Annotated[str, "directories of this machine, with commas, that hostPath volumes may show"] = "/"
    images: Annotated[str, "auto (registries, else the image map), registry (never the map), map (the map first)"] = (
        "auto"
    )
    image_store: Annotated[Path | None, "where images are kept; none: ~/.local/share/tiphys/images"] = None
    image_map: Annotated[Path | None, "TOML file of entries of the image map that come before the built-in ones"] = None
    docker_config: Annotated[Path | None, "credentials for registries; none: ~/.docker/config.json"] = None
    registries: Annotated[Path | None, "TOML file of mirrors; none: ~/.config/tiphys/registries.toml"] = None
    simulated_nodes: Annotated[int, "nodes of `tiphys up` whose pods only pretend to run"] = 0
    simulated_stages: Annotated[Path | None, "YAML file with what pods on simulated nodes do; none: built in"] = None
    s3_listen: Annotated[str, "address:port of the artifact store's S3; none: `tiphys up` takes 127.0.0.1:9000"] = ""
    s3_names: Annotated[str, "S3 endpoints, with commas, that mean the local artifact store"] = "minio:9000"
    network: Annotated[str, "of pods under `tiphys up`: auto (bridge, else loopback), bridge, loopback, host"] = "auto"
    container_log_max_size: Annotated[str, "how large a segment of a container's log is, as in a kubelet"] = "10Mi"
    container_log_max_files: Annotated[int, "segments of a log that are kept; steps of workflows keep all"] = 5
    gitops: Annotated[str | None, "REPO[//PATH][?ref=REVISION] that `tiphys up` keeps the cluster as"] = None
    cd_plugins: Annotated[Path | None, "folder of ConfigManagementPlugin files; none: data_dir/cd/plugins"] = None
    artifact_drivers: Annotated[
        Path | None, "YAML list of artifact plugins, as `artifactDrivers` of Argo's ConfigMap"
    ] = None
    workflow_workers: Annotated[int, "workflows that are decided at the same time"] = 32
    flight_record: Annotated[Path | None, "file that gets a line per decision, for `tiphys replay`"] = None
    audit_policy_file: Annotated[Path | None, "what `tiphys up` audits: a Policy of audit.k8s.io/v1"] = None
    audit_log: Annotated[Path | None, "where it is written, a JSON object a line; -: standard output"] = None
    audit_log_max_mb: Annotated[int, "size in MiB at which the audit log is put aside for a new one"] = 100
    audit_log_backups: Annotated[int, "audit logs put aside that are kept"] = 10
    event_ttl: Annotated[int, "seconds that an Event is kept after its last write; 0: for ever"] = 3600
    events_max: Annotated[int, "Events kept at most, the oldest go first; 0: any number"] = 10_000
    log_level: Annotated[str, "what is said on standard error: debug, info, warning or error, and worse"] = "warning"

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise SpecError("runtime", f"must be one of {', '.join(RUNTIMES)}, got {self.runtime!r}")
        if self.images not in IMAGES:
            raise SpecError("images", f"must be one of {', '.join(IMAGES)}, got {self.images!r}")
        if self.network not in NETWORKS:
            raise SpecError("network", f"must be one of {', '.join(NETWORKS)}, got {self.network!r}")
        if self.log_level not in LOG_LEVELS:
            raise SpecError("log_level", f"must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
        if self.workflow_workers < 1:
            raise SpecError("workflow_workers", f"must be at least 1, got {self.workflow_workers}")
        if (self.audit_policy_file is None) != (self.audit_log is None):
            raise SpecError("audit_policy_file", "needs audit_log, and audit_log needs audit_policy_file")
        if self.audit_log_max_mb < 1:
            raise SpecError("audit_log_max_mb", f"must be at least 1, got {self.audit_log_max_mb}")
        for name in ("event_ttl", "events_max", "audit_log_backups"):
            if getattr(self, name) < 0:
                raise SpecError(name, f"must not be negative, got {getattr(self, name)}")
        if self.container_log_max_files < 2:
            raise SpecError("container_log_max_files", f"must be at least 2, got {self.container_log_max_files}")
        if not 0 <= self.simulated_nodes <= 10_000:
            raise SpecError("simulated_nodes", f"must be from 0 to 10000, got {self.simulated_nodes}")
        _check_address("listen", self.listen)
        if self.s3_listen:
            _check_address("s3_listen", self.s3_listen)


def _check_address(name: str, value: str) -> None:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SpecError(name, f"must be address:port, got {value!r}")


def load(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. ``flags`` are those given on the command line (None counts as not given).

    Raises SpecError naming the setting, and the file or variable that it came from.
    """
    file, origin = _from_file(environ)
    types = get_type_hints(Settings)
    unknown = sorted(file.keys() - types.keys())
    if unknown:
        raise SpecError(f"{origin}: {unknown[0]}", "no such setting (see `tiphys help settings`)")
    values: dict[str, Any] = {}
    for name, annotation in types.items():
        variable = f"TIPHYS_{name.upper()}"
        if flags.get(name) is not None:
            values[name] = _typed(annotation, flags[name], name)
        elif variable in environ:
            values[name] = _typed(annotation, environ[variable], variable)
        elif name in file:
            values[name] = _typed(annotation, file[name], f"{origin}: {name}")
    return Settings(**values)


def describe() -> list[tuple[str, str, str]]:
    """(name, default, meaning) of every setting, for help and documentation."""
    types = get_type_hints(Settings, include_extras=True)
    return [(setting.name, str(setting.default), types[setting.name].__metadata__[0]) for setting in fields(Settings)]


def default_data_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where ``tiphys up`` keeps its state: ``$XDG_STATE_HOME/tiphys``, else ``~/.local/state/tiphys``."""
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "tiphys"


@dataclass(frozen=True)
class ImagePlaces:
    """Where images are kept, and what is known of registries; settings that are not given have their usual places."""

    store: Path
    docker_config: Path
    registries: Path


def image_places(settings: Settings, environ: Mapping[str, str] = os.environ) -> ImagePlaces:
    """From the settings, else ``$XDG_DATA_HOME``, ``$DOCKER_CONFIG``, ``$XDG_CONFIG_HOME`` and the home directory."""
    data, config, docker = (environ.get(name) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG"))
    home = Path.home()
    return ImagePlaces(
        settings.image_store or (Path(data) if data else home / ".local" / "share") / "tiphys" / "images",
        settings.docker_config or (Path(docker) if docker else home / ".docker") / "config.json",
        settings.registries or (Path(config) if config else home / ".config") / "tiphys" / "registries.toml",
    )


def _from_file(environ: Mapping[str, str]) -> tuple[Mapping[str, Any], str]:
    named = environ.get("TIPHYS_CONFIG")
    home = environ.get("XDG_CONFIG_HOME")
    path = Path(named) if named else (Path(home) if home else Path.home() / ".config") / "tiphys" / "config.toml"
    try:
        return tomllib.loads(path.read_text()), str(path)
    except FileNotFoundError:
        if named:
            raise SpecError("TIPHYS_CONFIG", f"there is no file {path}") from None
        return {}, str(path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as err:
        raise SpecError(str(path), str(err)) from err


def _typed(annotation: Any, value: Any, origin: str) -> Any:
    if annotation == Path | None:
        return Path(value).expanduser()
    if annotation is int:
        try:
            return int(value)
        except ValueError:
            raise SpecError(origin, f"must be a whole number, got {value!r}") from None
    return str(value)
