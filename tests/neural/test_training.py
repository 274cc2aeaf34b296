"""What a training's steps make of data: they learn, they tell how it goes, and say what is wrong in so many words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorfleet import bundle
from tensorfleet.data import images
from tensorfleet.errors import BadInput
from tensorfleet.neural import runtime
from tests.neural.small import Training, blobs, line, prepared, weights


def test_each_step_is_told_and_the_summary_sums_up_what_was_told(tmp_path: Path) -> None:
    training = Training(tmp_path, "dnn", blobs(), batch_size=16, units=8)
    outcome, _ = training.epochs(2)
    points, summary = training.points, outcome.summary
    assert sorted(points["loss"]) == sorted(points["accuracy"]) == list(range(14))
    assert sorted(points["val_loss"]) == [0, 1]
    sizes = [16] * 6 + [4]
    assert summary["loss"] == pytest.approx(np.average([points["loss"][7 + step] for step in range(7)], weights=sizes))
    assert summary["accuracy"] == pytest.approx(
        np.average([points["accuracy"][7 + step] for step in range(7)], weights=sizes)
    )
    assert (summary["samples"], summary["steps"]) == (100, 7)
    assert summary["val_accuracy"] == points["val_accuracy"][1]
    assert max(points["samples_per_second"]) == 13


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "huber"])
def test_a_regressor_learns_a_target_far_from_0(tmp_path: Path, loss: str) -> None:
    training = Training(tmp_path, "dnn_regressor", line(600), units=32, learning_rate=0.01, loss=loss)
    outcome, _ = training.epochs(8)
    assert outcome.summary["val_accuracy"] > 0.97  # R2
    assert "accuracy" not in outcome.summary


def test_validation_rows_of_an_unknown_class_count_as_wrong_and_have_no_loss(tmp_path: Path) -> None:
    train, validation, preparation = blobs()
    training = Training(tmp_path, "dnn", (train, validation, preparation), units=8)
    known = training.local(training.start()).summary
    strange = {**validation, "y": np.where(np.arange(50) < 10, 99, validation["y"])}
    other = Training(tmp_path, "dnn", (train, strange, preparation), units=8)
    found = other.local(other.start()).summary
    assert found["loss"] == known["loss"]
    assert found["val_accuracy"] <= 40 / 50
    assert np.isfinite(float(found["val_loss"]))  # type: ignore[arg-type]


def test_classes_weigh_what_they_are_given(tmp_path: Path) -> None:
    heavy = Training(tmp_path, "dnn", blobs(), units=8, class_weight={"2": 1000.0})
    outcome, _ = heavy.epochs(3)
    state = heavy.keep(outcome.outputs[0])
    assert max(heavy.points["loss"].values()) > 50
    unknown = Training(tmp_path, "dnn", blobs(), class_weight={"3": 2.0})
    with pytest.raises(BadInput, match="class_weight names '3', which is no class; the classes are 0, 1, 2"):
        unknown.local(state)


def test_a_loss_that_is_no_number_ends_the_task_and_says_where(tmp_path: Path) -> None:
    training = Training(tmp_path, "dnn", blobs(), units=8, optimizer="sgd", learning_rate=1e30, batch_size=16)
    with pytest.raises(BadInput, match=r"the loss is (nan|inf) in step \d of epoch 1: .* lower learning_rate") as told:
        training.epochs(2)
    assert told.value.reason == "LOSS_NOT_FINITE"


def test_too_little_memory_ends_as_pythons_own_error_for_it() -> None:
    runtime.start(1)
    import tensorflow as tf

    with pytest.raises(MemoryError, match=r"^no room for a tensor of 4194304 x 4194304 values"), runtime.errors_told():
        tf.ones([1 << 22, 1 << 22])
    with pytest.raises(MemoryError, match=r"^other words; take a smaller batch_size"), runtime.errors_told():
        raise tf.errors.ResourceExhaustedError(None, None, "other words\nand more")


def test_images_come_out_of_their_blocks_as_they_lie_there(tmp_path: Path) -> None:
    training = pictures(tmp_path, "cnn", filters=[4], units=8)
    outcome, _ = training.epochs(1)
    flat = pictures(tmp_path, "cnn", blocks=1, filters=[4], units=8)
    again, _ = flat.epochs(1)
    for one, other in zip(weights(outcome.outputs[0]), weights(again.outputs[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [block for block, *_ in outcome.summary["ledger"]] == [0, 1]  # type: ignore[union-attr]


def pictures(folder: Path, algorithm: str, blocks: int = 3, **given: Any) -> Training:
    """60 images of 8 x 8 in blocks, whose brightness tells their class."""
    import pyarrow as pa

    drawn = np.random.default_rng(0)
    y = drawn.integers(0, 2, 60)
    pixels = np.clip(drawn.normal(60, 20, (60, 8, 8, 3)) + 120 * y[:, None, None, None], 0, 255).astype(np.uint8)
    train, validation, preparation = prepared(np.empty((60, 0)), y, ["0", "1"])
    sizes = [60 // blocks] * blocks
    image = {"column": "image", "shape": [8, 8, 3], "block_rows": sizes}
    order = np.argsort(np.concatenate([validation["rows"], train["rows"]]))  # rows are counted backwards there
    parts = [{name: part[name] for name in ("y", "rows")} for part in (train, validation)]
    training = Training(folder, algorithm, (*parts, {**preparation, "image": image}), **given)
    for place, part in enumerate(np.split(pixels[order], blocks)):
        table = pa.table({"image": images.column(part)})
        path = folder / f"block-{blocks}-{place}"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        training.prepared.append(type(training.prepared[0])(path))
    return training


def test_a_reduce_averages_and_says_how_good_the_average_is(tmp_path: Path) -> None:
    training = Training(tmp_path, "dnn", blobs(), units=8, batch_normalization=True)
    state = training.start()
    results = [training.keep(training.local(state, replica=place, replicas=2).outputs[0]) for place in range(2)]
    common = {"way": "rounds", "round": 0, "epoch": 0, "outer_learning_rate": 1.0, "outer_momentum": 0.5}
    given = [state, *results, *training.prepared[1:]]
    outcome = training.run("reduce", given, samples=[50, 50], evaluate=True, **common)
    quiet = training.run("reduce", given[:3], samples=[50, 50], evaluate=False, **common)
    assert bundle.decode(b"".join(quiet.outputs[0])).keys() == bundle.decode(b"".join(outcome.outputs[0])).keys()
    assert (quiet.summary, set(outcome.summary)) == ({}, {"val_loss", "val_accuracy"})
    parts = [weights([result.path.read_bytes()]) for result in results]
    place = state.bundle()["statistics"][0]
    np.testing.assert_allclose(weights(outcome.outputs[0])[place], (parts[0][place] + parts[1][place]) / 2, rtol=1e-6)
    assert training.points["val_loss"][0] == outcome.summary["val_loss"]
