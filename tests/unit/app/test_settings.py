from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tiphys.app.logs import log
from tiphys.app.settings import Settings, describe, load
from tiphys.machinery.errors import SpecError


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('runtime = "process"\nworkflow_workers = 3\nlisten = "127.0.0.1:1"\n')
    environ = {"TIPHYS_CONFIG": str(config), "TIPHYS_WORKFLOW_WORKERS": "4", "TIPHYS_LISTEN": "127.0.0.1:2"}
    assert load({"listen": "127.0.0.1:3", "data_dir": None}, environ) == Settings(
        listen="127.0.0.1:3", workflow_workers=4, runtime="process"
    )


@pytest.mark.parametrize(
    ("flags", "environ", "where"),
    [
        ({"runtime": "vm"}, {}, "runtime"),
        ({"s3_listen": "9000"}, {}, "s3_listen"),
        ({}, {"TIPHYS_LOG_LEVEL": "loud"}, "log_level"),
        ({"listen": "6443"}, {}, "listen"),
        ({}, {"TIPHYS_WORKFLOW_WORKERS": "many"}, "TIPHYS_WORKFLOW_WORKERS"),
        ({}, {"TIPHYS_CONFIG": "/nowhere/config.toml"}, "TIPHYS_CONFIG"),
    ],
)
def test_a_wrong_value_names_where_it_came_from(flags: dict[str, str], environ: dict[str, str], where: str) -> None:
    with pytest.raises(SpecError) as raised:
        load(flags, {"HOME": "/nowhere", "XDG_CONFIG_HOME": "/nowhere"} | environ)
    assert raised.value.path == where


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('run_time = "process"\n')
    with pytest.raises(SpecError, match="run_time: no such setting"):
        load({}, {"TIPHYS_CONFIG": str(config)})


def test_every_setting_has_a_meaning() -> None:
    assert all(meaning for _, _, meaning in describe())


def test_the_level_is_that_of_our_own_loggers() -> None:
    ours, others = logging.getLogger("tiphys.some.part"), logging.getLogger("somebody")
    try:
        log(Settings(log_level="debug"))
        assert ours.isEnabledFor(logging.DEBUG)
        assert not others.isEnabledFor(logging.DEBUG)
        log(Settings(log_level="error"))
        assert not ours.isEnabledFor(logging.WARNING)
    finally:
        logging.getLogger("tiphys").setLevel(logging.NOTSET)
