"""`up` is read without the command line where it is plain, and just as the command line reads it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from clients.cli.commands import app
from clients.cli.standing import Standing, plain
from tensorfleet.errors import TensorFleetError

PLAIN = [
    ["up"],
    ["up", "--workers", "0"],
    ["up", "--workers=3", "--slots", "2", "--home", "there", "--listen", "127.0.0.1:0", "--insecure"],
    ["up", "--label", "zone=a", "--label", " disk = fast=yes ", "-o", "json"],
]
NOT_PLAIN = [
    [],
    ["train", "iris"],
    ["--home", "there", "up"],
    ["up", "--help"],
    ["up", "-v"],
    ["up", "--workers", "many"],
    ["up", "--workers", "-1"],
    ["up", "--slots", "0"],
    ["up", "--label", "zone"],
    ["up", "--label", "=a"],
    ["up", "--listen"],
    ["up", "--output", "xml"],
    ["up", "--work", "3"],
    ["up", "now"],
]


def by_the_command_line(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Standing:
    heard: list[Standing] = []
    monkeypatch.setattr("clients.cli.standing.stand", heard.append)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return heard[0]


@pytest.mark.parametrize("arguments", PLAIN)
def test_plain_flags_mean_what_the_command_line_says(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain(arguments) == by_the_command_line(arguments, monkeypatch)


@pytest.mark.parametrize("arguments", NOT_PLAIN)
def test_everything_else_is_for_the_command_line(arguments: list[str]) -> None:
    assert plain(arguments) is None


def test_every_flag_of_up_can_be_plain() -> None:
    command = typer.main.get_command(app).commands["up"]  # type: ignore[attr-defined]
    flags = {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}
    assert flags - {"--server", "--verbose"} == {
        "--home", "--output", "--workers", "--slots", "--label", "--listen", "--insecure"
    }  # fmt: skip


def test_a_bad_address_is_told_as_the_command_line_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clients.cli.standing import main, stand

    asked = Standing(home=tmp_path, listen="nowhere")
    with pytest.raises(TensorFleetError):
        stand(asked)
    assert main(asked) == 2
    assert "--listen" in capsys.readouterr().err
