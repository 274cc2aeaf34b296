"""A training as the command line names it, and as the job it means.

The rule: a value is read as JSON, else as text; what type it must have is the algorithm's to say.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from tensorfleet.errors import InvalidRequest
from tensorfleet.model import FieldViolation, JobSpec, Resources, RetryPolicy, Value

SCHEDULING = "Scheduling"


@dataclass(frozen=True, slots=True)
class Training:
    """The flags of a training; `train` and `jobs submit` share them."""

    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm", "-a", help="Such as random_forest, ridge, svm or cnn; `tensorfleet algorithms` lists them."
        ),
    ] = "random_forest"
    param: Annotated[
        list[str],
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="A hyperparameter; the value is read as JSON, else as text."
        ),
    ] = field(default_factory=list)
    params: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Hyperparameters as a JSON object; -p wins over it.")
    ] = None
    epochs: Annotated[
        int | None, typer.Option(min=1, help="For networks: short for -p epochs=…", show_default=False)
    ] = None
    architecture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="For the algorithm keras: the network, as Keras' `model.to_json()` writes it.",
            show_default=False,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Of the split, and of what the hyperparameters leave unseeded.")] = 42
    target: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="The column to predict. Default: target, label, class, y or species, else the last.",
            show_default=False,
        ),
    ] = ""
    exclude: Annotated[list[str], typer.Option(metavar="COLUMN", help="A column to leave out; may be repeated.")] = (
        field(default_factory=list)
    )
    validation_split: Annotated[
        float, typer.Option(help="The share of rows kept for validation; 0 trains on every row.")
    ] = 0.2
    validation: Annotated[
        str,
        typer.Option(
            metavar="DATASET", help="A dataset or file to validate on, instead of a split.", show_default=False
        ),
    ] = ""
    name: Annotated[str, typer.Option(help="The model's name. Default: DATASET-ALGORITHM.", show_default=False)] = ""
    from_model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="For networks: go on from the weights of NAME, NAME@VERSION, NAME@ALIAS or a .keras or .h5 file.",
            show_default=False,
        ),
    ] = ""
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Most workers at once; on this machine, how many to start. "
            "Default: no limit; on this machine one, with a slot a processor.",
            show_default=False,
        ),
    ] = 0
    cpus: Annotated[int, typer.Option(min=1, help="Processors a task.", rich_help_panel=SCHEDULING)] = 1
    memory: Annotated[int, typer.Option(metavar="BYTES", min=0, help="Memory a task.", rich_help_panel=SCHEDULING)] = 0
    gpus: Annotated[int, typer.Option(min=0, help="Graphics processors a task.", rich_help_panel=SCHEDULING)] = 0
    require: Annotated[
        list[str],
        typer.Option(metavar="LABEL=VALUE", help="A label that workers must carry.", rich_help_panel=SCHEDULING),
    ] = field(default_factory=list)
    priority: Annotated[int, typer.Option(help="Higher goes first.", rich_help_panel=SCHEDULING)] = 0
    deadline: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long the job may take in all.", rich_help_panel=SCHEDULING),
    ] = None
    task_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Of one attempt, since it last saved.", rich_help_panel=SCHEDULING),
    ] = 3600.0
    attempts: Annotated[
        int, typer.Option(min=1, help="Attempts a task, the first included.", rich_help_panel=SCHEDULING)
    ] = 3
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Train anew what an earlier job already computed.", rich_help_panel=SCHEDULING),
    ] = False
    mixed_numerics: Annotated[
        bool,
        typer.Option(
            "--mixed-numerics",
            help="Let workers take part whose numerics differ; the model may then differ in its last bits.",
            rich_help_panel=SCHEDULING,
        ),
    ] = False

    def hyperparameters(self) -> dict[str, Value]:
        """Those of the file, then those of `-p`. InvalidRequest where one cannot be read."""
        given = _file("--params", self.params) if self.params else {}
        if self.architecture is not None:
            given["architecture"] = json.dumps(_file("--architecture", self.architecture))
        if self.epochs is not None:
            given["epochs"] = self.epochs
        return {**given, **dict(parameter(text) for text in self.param)}

    def arguments(self) -> dict[str, Any]:
        """As `client.train` takes them, the dataset left out."""
        return {
            "algorithm": self.algorithm,
            "hyperparameters": self.hyperparameters(),
            "target": self.target,
            "exclude_features": tuple(self.exclude),
            "validation_split": self.validation_split,
            "validation_dataset": self.validation,
            "seed": self.seed,
            "workers": self.workers,
            "model_name": self.name,
            "model": self.from_model,
            "resources": Resources(
                cpus=self.cpus, memory=self.memory, gpus=self.gpus, labels=dict(label(text) for text in self.require)
            ),
            "priority": self.priority,
            "deadline": self.deadline,
            "task_timeout": self.task_timeout,
            "retry": RetryPolicy(max_attempts=self.attempts),
            "ignore_known_results": self.fresh,
            "allow_mixed_numerics": self.mixed_numerics,
        }

    def spec(self, dataset: str) -> JobSpec:
        """The job for this process alone, where a path is a source to read."""
        from tensorfleet.sdk.plain import source_of

        given = self.arguments()
        return JobSpec(**{**given, "dataset": source_of(dataset), "validation_dataset": source_of(self.validation)})


def parameter(text: str) -> tuple[str, Value]:
    """`NAME=VALUE` as a name and a value: JSON where it is JSON, else text. InvalidRequest where there is no `=`."""
    name, separator, given = text.partition("=")
    if not separator or not name.strip():
        raise InvalidRequest([FieldViolation("-p", f"expected NAME=VALUE, and got {text!r}")])
    return name.strip(), value(given)


def value(text: str) -> Value:
    """JSON where it is JSON, else text: `64` is a number, `sqrt` and `NaN` are text."""
    try:
        read: Value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text
    return read


def label(text: str) -> tuple[str, str]:
    """`LABEL=VALUE`. InvalidRequest where it is not."""
    name, separator, given = text.partition("=")
    if not separator or not name.strip():
        raise InvalidRequest([FieldViolation("label", f"expected LABEL=VALUE, and got {text!r}")])
    return name.strip(), given.strip()


def _no_constant(name: str) -> Value:
    raise ValueError(f"{name} is no JSON")


def _file(flag: str, path: Path) -> dict[str, Value]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest([FieldViolation(flag, f"{path} cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise InvalidRequest([FieldViolation(flag, f"{path} is no JSON: {error}")]) from error
    if not isinstance(given, dict):
        raise InvalidRequest([FieldViolation(flag, f"expected a JSON object in {path}")])
    return given
