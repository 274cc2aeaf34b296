"""Settings from the environment, read once and typed.

The rule: a bad value is an error that names the variable and what was expected; it is never quietly replaced.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation

LOG_LEVELS = ("debug", "info", "warning", "error")
DEFAULT_HOME = ".tensorfleet"


class Settings(Struct, frozen=True, kw_only=True):
    """What the environment asks for.

    home: `TENSORFLEET_HOME`, where an embedded fleet keeps everything; absolute. server: `TENSORFLEET_SERVER`, the
    fleet to talk to; empty for none. log_level: `TENSORFLEET_LOG_LEVEL`, one of `LOG_LEVELS`.
    """

    home: Path
    server: str = ""
    log_level: str = "info"


def settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings. InvalidRequest names every bad variable at once."""
    level = environ.get("TENSORFLEET_LOG_LEVEL", "").strip().lower() or "info"
    server = environ.get("TENSORFLEET_SERVER", "").strip()
    home = Path(environ.get("TENSORFLEET_HOME", "").strip() or DEFAULT_HOME).expanduser()
    violations = []
    if level not in LOG_LEVELS:
        violations.append(FieldViolation("TENSORFLEET_LOG_LEVEL", f"expected one of {', '.join(LOG_LEVELS)}"))
    if server and (problem := address_problem(server)):
        violations.append(FieldViolation("TENSORFLEET_SERVER", problem))
    if home.exists() and not home.is_dir():
        violations.append(FieldViolation("TENSORFLEET_HOME", f"expected a folder, and {home} is a file"))
    if violations:
        raise InvalidRequest(violations)
    return Settings(home=home.absolute(), server=server, log_level=level)


def address_problem(address: str) -> str:
    """What is wrong with `host:port`, or several joined by commas; empty where nothing is."""
    for part in address.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            return f"expected host:port, such as 127.0.0.1:9090, and got {part!r}"
    return ""
