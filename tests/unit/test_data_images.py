"""Images in blocks: their layout, and that they are mapped."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tensorfleet.data import images


def test_a_block_of_images_has_a_power_of_two_of_rows_by_their_bytes() -> None:
    assert images.block_rows((28, 28, 1)) == 65_536
    assert images.block_rows((224, 224, 3)) == 256
    assert images.block_rows((10_000, 10_000, 3)) == 1


def test_the_pixels_of_a_block_without_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "block"
    with pa.ipc.new_file(path, pa.schema([("a", pa.int64())])) as file:
        file.write_table(pa.table({"a": [1]}))
    with pytest.raises(ValueError, match="has no images"):
        images.pixels([path])


def test_the_pixels_of_a_block_are_mapped_in_their_shape(tmp_path: Path) -> None:
    given = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    path = tmp_path / "block"
    table = pa.table({images.COLUMN: images.column(given)})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    (read,) = images.pixels([path])
    np.testing.assert_array_equal(read, given)
    assert not read.flags.writeable
