"""Models: put together from parts that are checked by digest, and used with scikit-learn."""

import hashlib
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from tensorfleet import catalog, direct
from tensorfleet.api.v1 import artifacts_pb2, models_pb2
from tensorfleet.client import AsyncClient
from tensorfleet.errors import CorruptArtifact, Unavailable
from tensorfleet.model import JobSpec, ModelContent, Ref
from tensorfleet.wire import list_to_proto, ref_to_proto, value_to_proto
from tests.unit.fake_fleet import FakeFleet, serving


@pytest.fixture
async def fake() -> AsyncIterator[FakeFleet]:
    async with serving(FakeFleet()) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelContent, direct.DirectResult]:
    spec, violations = catalog.validate(
        JobSpec(algorithm="random_forest", dataset="iris", hyperparameters={"n_estimators": 7})
    )
    assert not violations
    result = direct.run(spec, objects=tmp_path_factory.mktemp("objects"))
    assert result.result.model is not None
    return result.result.model, result


class Objects(FakeFleet):
    """A fake fleet that serves the objects of a folder."""

    def __init__(self, result: direct.DirectResult) -> None:
        super().__init__()
        self._result = result

    def steps(self, method, request, context):  # type: ignore[no-untyped-def]
        if method != "GetArtifact":
            return super().steps(method, request, context)
        content = self._result.path(Ref(request.digest, 0)).read_bytes()
        return [artifacts_pb2.GetArtifactResponse(chunk=content[request.offset :])]


def registered(content: ModelContent) -> models_pb2.GetModelResponse:
    parts = [ref_to_proto(ref) for ref in content.parts]
    return models_pb2.GetModelResponse(
        model=models_pb2.Model(name="iris", version="v1", sha256=content.sha256, parts=parts)
    )


async def test_a_model_is_a_pipeline_that_scikit_learn_can_use_and_pickle(
    trained: tuple[ModelContent, direct.DirectResult], tmp_path: Path
) -> None:
    from sklearn.datasets import load_iris

    content, result = trained
    X = load_iris().data
    async with serving(Objects(result)) as fleet, AsyncClient(fleet.address) as client:
        fleet.answer("GetModel", registered(content))
        model = await client.models.get("iris")
        pipeline = await model.load()
        path = await model.download(tmp_path / "deep" / "model.pkl")
        predicted = await model.predict(X)
    assert type(pipeline[-1]).__module__.startswith("sklearn.")
    assert len(pipeline[-1].estimators_) == 7
    again = pickle.loads(path.read_bytes())
    np.testing.assert_array_equal(again.predict(X), predicted)
    assert [each.name for each in path.parent.iterdir()] == ["model.pkl"]


async def test_bytes_that_are_not_those_of_the_digest_are_refused(fake: FakeFleet) -> None:
    fake.answer("GetArtifact", artifacts_pb2.GetArtifactResponse(chunk=b"something else"))
    async with AsyncClient(fake.address) as client:
        with pytest.raises(CorruptArtifact):
            await client.fetch(Ref(hashlib.sha256(b"something").hexdigest(), 9))


async def test_a_fetch_that_broke_goes_on_where_it_was(fake: FakeFleet) -> None:
    def part(chunk: bytes) -> artifacts_pb2.GetArtifactResponse:
        return artifacts_pb2.GetArtifactResponse(chunk=chunk)

    fake.answer("GetArtifact", [part(b"some"), Unavailable("away")], [part(b"thing")])
    async with AsyncClient(fake.address) as client:
        assert await client.fetch(Ref(hashlib.sha256(b"something").hexdigest(), 9)) == b"something"
    assert [request.offset for request in fake.requests["GetArtifact"]] == [0, 4]


async def test_rows_are_predicted_on_the_fleet(fake: FakeFleet) -> None:
    answer = models_pb2.PredictResponse(
        predictions=[value_to_proto("x")],
        probabilities=[list_to_proto([0.25, 0.75])],
        classes=[value_to_proto("w"), value_to_proto("x")],
        version="v1",
    )
    fake.answer("Predict", answer)
    async with AsyncClient(fake.address) as client:
        found = await client.models.predict("iris@v1", [{"a": 1, "b": None}], probabilities=True)
    asked = fake.requests["Predict"][0]
    assert (list(asked.columns), asked.probabilities) == (["a", "b"], True)
    assert (found.predictions, found.probabilities, found.classes) == (["x"], [[0.25, 0.75]], ["w", "x"])
