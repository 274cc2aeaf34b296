"""Options that commands share, and how a command takes them.

The rule: a command says `at: Options` (or another dataclass of options) once; each field is a flag of its own on the
command line.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

PANEL = "Where and how"


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Options:
    """Which fleet a command talks to, and how it answers. They may stand before or after the command's name."""

    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The fleet to talk to; several addresses, joined by commas, where it has a standby. Default: "
            "[bold]TENSORFLEET_SERVER[/bold], else a fleet on this machine.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    home: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where a fleet on this machine keeps everything. Default: [bold]TENSORFLEET_HOME[/bold], "
            "else ./.tensorfleet.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Format | None,
        typer.Option(
            "--output",
            "-o",
            help="For people, or one JSON value on stdout and nothing else there.  [dim]\\[default: table][/dim]",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    verbose: Annotated[
        bool | None,
        typer.Option(
            "--verbose",
            "-v",
            help="Tell more; errors come with their traceback.",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None

    @property
    def json(self) -> bool:
        return self.output is Format.JSON

    def over(self, before: "Options") -> "Options":
        """These options, and those that stood before the command's name where these say nothing."""
        unsaid = {each.name: getattr(before, each.name) for each in fields(self) if getattr(self, each.name) is None}
        return replace(self, **unsaid)


def command(
    app: typer.Typer, name: str | None = None, *, panel: str | None = None, settings: dict[str, Any] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a function a command of `app`: dataclass parameters become flags, and errors become exit codes."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name or function.__name__, rich_help_panel=panel, context_settings=settings)(expanded(function))
        return function

    return register


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer takes it."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
            for name, parameter in inspect.signature(function).parameters.items()
            if name not in groups and name != "ctx"
        ),
        *(parameter for group in groups.values() for parameter in _flags(group)),
    ]

    def run(ctx: typer.Context, **given: Any) -> None:
        from clients.cli.output import exits

        built: dict[str, Any] = {
            name: group(**{each.name: given.pop(each.name) for each in fields(group)}) for name, group in groups.items()
        }
        options = next((value for value in built.values() if isinstance(value, Options)), Options())
        ctx.obj = options = options.over(ctx.obj if isinstance(ctx.obj, Options) else Options())
        built = {name: options if isinstance(value, Options) else value for name, value in built.items()}
        if "ctx" in hints:
            given["ctx"] = ctx
        with exits(verbose=bool(options.verbose)):
            function(**given, **built)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _flags(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name], default=_default(each)
        )
        for each in fields(group)
    ]


def _default(each: Any) -> Any:
    return each.default if each.default is not MISSING else each.default_factory()
