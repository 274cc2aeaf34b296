"""Images go to the fleet as folders, archives and arrays, and come to stand in it as one dataset."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tensorfleet import AsyncClient
from tensorfleet.errors import BadInput, InvalidRequest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        for index in range(6):
            path = tmp_path / "photos" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (9, 7, 3), np.uint8)).save(path)
    return tmp_path / "photos"


async def test_a_folder_its_archive_and_its_place_are_one_dataset(client: AsyncClient, photos: Path) -> None:
    archive = photos.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as packed:
        for file in photos.rglob("*.png"):
            packed.write(file, file.relative_to(photos.parent))
    one = await client.datasets.add(f"{photos}/?size=8x4", name="one")
    two = await client.datasets.add(f"{archive}?size=8x4", name="two")
    three = await client.datasets.add(f"file://{photos}/?size=8x4", name="three")
    assert one.digest == two.digest == three.digest
    image, label = one.columns
    assert (image.type, image.shape, label.values) == ("image", (4, 8, 3), {"cats": 6, "dogs": 6})
    assert (one.rows, one.target, one.source) == (12, "label", "upload:photos.zip?size=8x4")
    assert (await client.datasets.validate("one")).valid
    grey = await client.datasets.add(f"{photos}/?channels=1", name="grey")
    assert grey.columns[0].shape == (9, 7, 1)
    assert [each.name for each in await client.datasets.list()] == ["grey", "one", "three", "two"]


async def test_images_that_cannot_be_used_are_refused(client: AsyncClient, photos: Path) -> None:
    await client.datasets.add(photos, name="photos")
    with pytest.raises(InvalidRequest, match="svm trains on columns, and 'image' holds images"):
        await client.train("photos", algorithm="svm")
    with pytest.raises(InvalidRequest, match="size must be pixels"):
        await client.datasets.add(f"{photos}/?size=wide")
    (photos / "dogs/3.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"photos\.zip/dogs/3\.png: it is no image that can be read") as refused:
        await client.datasets.add(photos, name="broken")
    assert refused.value.reason == "IMAGE_MALFORMED"
    await client.datasets.delete("photos")
    Image.new("RGB", (9, 9)).save(photos / "dogs/3.png")
    with pytest.raises(BadInput, match=r"cats/0\.png is 7 x 9 pixels and in colour, and dogs/3\.png is 9 x 9"):
        await client.datasets.add(photos)
