"""Logs of the programs: on standard error, for people on a terminal and as JSON lines elsewhere.

The rule: a line is an event in fixed words, and fields beside it. It goes by the standard library's `logging`, where
the libraries' own warnings come as well.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_OURS = logging.getLogger("tensorfleet")


class Logger:
    """Where a module says what happens. `exc_info`: an exception, or true for the one that is being handled."""

    def __init__(self, name: str) -> None:
        self._inner = _OURS.getChild(name.removeprefix("tensorfleet."))

    def debug(self, event: str, **fields: Any) -> None:
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._say(logging.ERROR, event, fields)

    def _say(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._inner.isEnabledFor(level):
            self._inner.log(level, event, exc_info=fields.pop("exc_info", None), extra={"fields": fields})


def configure(level: str) -> None:
    """level: of our own lines, one of debug, info, warning, error; libraries only warn."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ForPeople() if sys.stderr.isatty() else _ForPrograms())
    root = logging.getLogger()
    root.handlers = [handler]
    _OURS.setLevel(level.upper())


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What stands beside a line's event; nothing where a library wrote it."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


class _ForPeople(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f"  {name}={value}" for name, value in fields_of(record).items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return (
            f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()}{fields}{trace}"
        )


class _ForPrograms(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {**fields_of(record), "event": record.getMessage(), "level": record.levelname.lower()}
        line["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)
