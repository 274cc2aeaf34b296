"""Networks of images: from a folder of files to their predictions, here and by the operators that a fleet runs."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tensorfleet import bundle, catalog, direct
from tensorfleet.data import blocks, images
from tensorfleet.errors import BadInput
from tensorfleet.execution import Pools, execute
from tensorfleet.model import JobSpec, ModelContent
from tensorfleet.models import frameworks, manifest
from tensorfleet.neural import architecture, keeping
from tensorfleet.neural.network import Network

SIZE = 12


def picture(kind: str, number: int) -> Any:
    """A dark or a bright image with some noise."""
    noise = np.random.default_rng(number).integers(0, 60, (SIZE, SIZE, 3))
    return (noise + {"dark": 0, "light": 190}[kind]).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for kind in ("dark", "light"):
        (folder / kind).mkdir()
        for number in range(20):
            Image.fromarray(picture(kind, number)).save(folder / kind / f"{number}.png")
    return folder


class Trained:
    def __init__(self, objects: Path, dataset: str, algorithm: str, **hyperparameters: Any) -> None:
        spec, violations = catalog.validate(
            JobSpec(algorithm=algorithm, dataset=dataset, hyperparameters=hyperparameters)
        )
        assert not violations
        self.objects, self.given = objects, spec.hyperparameters
        self.result = direct.run(spec, objects=objects).result
        assert self.result.model is not None
        self.content: ModelContent = self.result.model

    @property
    def network(self) -> Network:
        def read(digest: str) -> Any:
            return bundle.mapped(direct.object_path(self.objects, digest))

        described = manifest.read(bundle.decode(read(self.content.sha256)))
        network: Network = frameworks.assemble(described, read)
        return network

    def task(self, operator: str, given: Path, folder: Path) -> Path:
        """What a task of a prediction leaves."""
        params: dict[str, Any] = {"model": [ref.digest for ref in self.content.parts]}
        inputs = [*(direct.object_path(self.objects, ref.digest) for ref in self.content.parts), given]
        return execute(operator, params, inputs, 1, lambda *_: None, str(folder), Pools()).files[0][1]


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    given: dict[str, Any] = {"epochs": 4, "filters": [4], "units": 8, "learning_rate": 0.01, "batch_size": 8}
    return Trained(tmp_path_factory.mktemp("objects"), photos.as_uri(), "cnn", **given)


def test_pixels_files_and_columns_are_predicted_alike(trained: Trained, photos: Path) -> None:
    network = trained.network
    assert repr(network) == "<network: images of 12 x 12 x 3, one of 2 classes>"
    paths = [photos / kind / f"{number}.png" for kind in ("dark", "light") for number in range(5)]
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    said = network.predict(pixels)
    assert said.tolist() == ["dark"] * 5 + ["light"] * 5
    probabilities = network.predict_proba(pixels)
    np.testing.assert_array_equal(network.predict_proba(paths[0]), probabilities[:1])
    np.testing.assert_array_equal(network.predict_proba(str(paths[0])), probabilities[:1])
    for given in (paths, [str(path) for path in paths], list(pixels), [{"image": image} for image in pixels]):
        np.testing.assert_array_equal(network.predict_proba(given), probabilities)
    np.testing.assert_array_equal(network.predict_proba(pixels.astype(np.float64)), probabilities)


def test_a_file_of_another_size_is_resized_and_an_array_is_refused(trained: Trained, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 20, 3), 250, np.uint8)).save(tmp_path / "large.png")
    assert trained.network.predict([tmp_path / "large.png"]).tolist() == ["light"]
    with pytest.raises(BadInput, match="the model takes images of 12x12x3, and got 40x20x3"):
        trained.network.predict(np.zeros((1, 40, 20, 3), np.uint8))
    with pytest.raises(BadInput, match="whole numbers from 0 to 255"):
        trained.network.predict(np.full((1, SIZE, SIZE, 3), 0.5))
    (tmp_path / "torn.png").write_bytes((tmp_path / "large.png").read_bytes()[:40])
    with pytest.raises(BadInput, match=r"torn\.png"):
        trained.network.predict([tmp_path / "torn.png"])


def test_rows_of_a_request_are_predicted_as_pixels_and_as_files(trained: Trained, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(picture("light", 1)).save(file, "png")
    rows = [
        [picture("dark", 1).tolist()],
        [picture("dark", 2).ravel().tolist()],
        [base64.b64encode(file.getvalue()).decode()],
    ]
    asked = {"columns": ["image"], "rows": rows, "probabilities": True}
    (tmp_path / "asked").write_bytes(b"".join(bundle.encode(asked)))
    answer = bundle.load(trained.task("predict.rows@1", tmp_path / "asked", tmp_path / "out"))
    assert answer["predictions"] == ["dark", "dark", "light"]
    assert answer["classes"] == ["dark", "light"]
    assert [sum(row) for row in answer["probabilities"]] == pytest.approx([1, 1, 1])


def test_a_block_of_images_is_predicted(trained: Trained, photos: Path, tmp_path: Path) -> None:
    done = execute(
        "data.ingest@1",
        {"source": photos.as_uri(), "target": ""},
        [],
        1,
        lambda *_: None,
        str(tmp_path / "blocks"),
        Pools(),
    )
    made = trained.task("predict.block@1", done.files[1][1], tmp_path / "out")
    table = pa.ipc.open_stream(made).read_all()
    assert table.column_names == ["file", "prediction", "probability_dark", "probability_light"]
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    assert table.column("file").to_pylist() == files
    labels = ["dark"] * 20 + ["light"] * 20
    assert np.mean(np.array(table.column("prediction").to_pylist()) == labels) > 0.9


def test_a_block_of_columns_is_refused_with_what_the_model_takes(trained: Trained, tmp_path: Path) -> None:
    blocks.write(pa.table({"a": [1], "b": [2.0]}), str(tmp_path / "block"))
    with pytest.raises(BadInput, match="takes images of 12x12x3, and the dataset has none: its columns are a, b"):
        trained.task("predict.block@1", tmp_path / "block", tmp_path / "out")


def test_a_block_of_images_of_another_size_is_refused_with_what_helps(trained: Trained, tmp_path: Path) -> None:
    pixels = images.column(np.zeros((2, 5, 4, 1), np.uint8))
    blocks.write(pa.table({"image": pixels, "label": ["a", "b"]}), str(tmp_path / "block"))
    with pytest.raises(BadInput, match=r"of 12x12x3, and got 5x4x1; add the images with \?size=12x12&channels=3"):
        trained.task("predict.block@1", tmp_path / "block", tmp_path / "out")


def test_resnet50_trains_a_few_steps_and_predicts(tmp_path: Path) -> None:
    source = "synthetic:images?rows=20&size=32&classes=2&channels=3"
    trained = Trained(tmp_path, source, "resnet50", epochs=1, batch_size=8, image_size=32)
    assert 0 <= trained.result.metrics["accuracy"] <= 1
    network = trained.network
    assert network.predict(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2,)
    # Built again, in a process that has built others before, it is the same file.
    again = architecture.build("resnet50", trained.given, (32, 32, 3), 2)
    again.set_weights(network.model.get_weights())
    assert keeping.keras_file(again, keeping.beside(network.file)) == network.file
