"""What the programs' log lines are: JSON for programs, a line for people, and the libraries' own words among them."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from tensorfleet import logs

LOG = logs.Logger("tests.somewhere")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("tensorfleet")
    handlers, level = root.handlers, ours.level
    yield
    root.handlers = handlers
    ours.setLevel(level)


def written(monkeypatch: pytest.MonkeyPatch, level: str, stream: io.StringIO) -> io.StringIO:
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(level)
    return stream


def test_a_line_is_an_event_and_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, "info", io.StringIO())
    LOG.debug("not told")
    LOG.info("serving", address="127.0.0.1:1", term=3, what={1})
    line = json.loads(out.getvalue())
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {"event": "serving", "level": "info", "address": "127.0.0.1:1", "term": 3, "what": "{1}"}


def test_an_exception_is_told_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, "warning", io.StringIO())
    try:
        raise ValueError("odd")
    except ValueError as error:
        LOG.error("it failed", exc_info=error)
        LOG.warning("it failed again", exc_info=True)
    for line in map(json.loads, out.getvalue().splitlines()):
        assert "Traceback" in line["exception"]
        assert "ValueError: odd" in line["exception"]


def test_libraries_warn_in_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, "debug", io.StringIO())
    logging.getLogger("asyncio").info("not told")
    logging.getLogger("asyncio").warning("slow: %s", "a callback")
    assert json.loads(out.getvalue())["event"] == "slow: a callback"


def test_people_read_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(monkeypatch, "debug", Terminal())
    LOG.debug("joined", server="a:1")
    (line,) = out.getvalue().splitlines()
    assert line.endswith("debug   joined  server=a:1")
