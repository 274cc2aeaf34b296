"""Metrics as every command shows them: a table, the best-known first."""

from clients.cli import output
from tensorfleet.model import JobSpec

ORDER = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "r2", "mae", "rmse")


def on_training_rows(spec: JobSpec) -> bool:
    """Whether the metrics are of the training rows, since no rows are kept for validation."""
    return spec.validation_split == 0 and not spec.validation_dataset


def show_metrics(metrics: dict[str, float], missing: dict[str, str], *, on_training_rows: bool) -> None:
    """Metrics as a table: of the validation rows, and of the training rows where both are known."""
    names = sorted({name.removeprefix("train_") for name in metrics}, key=_place)
    shown = ["", "train_"] if not on_training_rows else [""]
    heads = ["metric", ">validation", ">training"] if not on_training_rows else ["metric", ">training rows"]
    rows = [[name.replace("_", " "), *(_figure(metrics.get(prefix + name)) for prefix in shown)] for name in names]
    output.say()
    output.show_table(heads, rows, empty="No metrics could be computed.")
    for name, reason in missing.items():
        output.say(output.dim(f"{name} is missing: {reason}"))
    output.say()


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _figure(value: float | None) -> str:
    return "" if value is None else output.number(value)
