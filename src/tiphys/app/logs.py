"""What the program says of itself, on standard error. Only commands ask for it: a library leaves that to its user."""

from __future__ import annotations

import logging

from tiphys.app.settings import Settings


def log(settings: Settings) -> None:
    """From ``log_level`` on; other people's libraries stay at warnings."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("tiphys").setLevel(settings.log_level.upper())
