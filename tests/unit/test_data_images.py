"""Images: how they lie in blocks, what they are read from, and what is refused."""

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tensorfleet import bundle
from tensorfleet.data import OPERATORS, blocks, classes, image_files, images, manifest, sources
from tensorfleet.data.image_files import Wanted
from tensorfleet.errors import BadInput
from tensorfleet.execution import Pools, execute
from tensorfleet.models import naming
from tensorfleet.operators import Context, Input, Outcome, Written


def ingested(folder: Path, source: str, target: str = "", upload: Path | None = None) -> tuple[Outcome, list[Path]]:
    """The outcome, and its outputs as files in the folder."""
    inputs = [] if upload is None else [Input(upload)]
    outcome = OPERATORS["data.ingest@1"](
        Context({"source": source, "target": target}, inputs, lambda *_: None, folder=str(folder / "made"))
    )
    paths = []
    for index, output in enumerate(outcome.outputs):
        paths.append(folder / f"output-{index}")
        if isinstance(output, Written):
            output.path.rename(paths[-1])
        else:
            paths[-1].write_bytes(b"".join(output))
    return outcome, paths


def dataset(folder: Path, source: str, upload: Path | None = None) -> tuple[np.ndarray[Any, Any], list[Any]]:
    """Pixels and labels of a source."""
    _, paths = ingested(folder, source, upload=upload)
    labels = blocks.read(paths[1:], ["label"]).column("label").to_pylist()
    return np.concatenate(images.pixels(paths[1:])), labels


def refused(folder: Path, source: str, upload: Path | None = None) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        ingested(folder, source, upload=upload)
    return caught.value.reason, caught.value.message


def saved(path: Path, shape: tuple[int, ...] = (4, 6), seed: int = 0) -> np.ndarray[Any, Any]:
    """A picture that is written without loss; its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, with files at several depths."""
    folder = tmp_path / "photos"
    for index, name in enumerate(["dogs/b.png", "dogs/a.bmp", "cats/deep/er/c.PNG", "cats/a.png"]):
        saved(folder / name, seed=index)
    return folder


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


@pytest.mark.parametrize("rows", [1, 2, 33])
@pytest.mark.parametrize("label", [7, "text"])
def test_the_pixels_of_a_block_are_mapped_in_their_shape_from_a_multiple_of_64_bytes_on(
    tmp_path: Path, rows: int, label: Any
) -> None:
    given = np.arange(rows * 3 * 4 * 3).astype(np.uint8).reshape(rows, 3, 4, 3)
    path = tmp_path / "block"
    blocks.write(pa.table({"image": images.column(given), "label": [label] * rows}), str(path))
    before = pa.total_allocated_bytes()
    (read,) = images.pixels([path])
    np.testing.assert_array_equal(read, given)
    assert not read.flags.writeable
    assert read.ctypes.data % 64 == 0
    assert pa.total_allocated_bytes() - before < 10_000


def test_a_folder_is_read_by_class_and_then_by_path(tmp_path: Path, photos: Path) -> None:
    pixels, labels = dataset(tmp_path, f"file://{photos}/")
    assert labels == ["cats", "cats", "dogs", "dogs"]
    for row, seed in enumerate([3, 2, 1, 0]):
        np.testing.assert_array_equal(pixels[row, :, :, 0], saved(tmp_path / "x.png", seed=seed))


def test_the_manifest_tells_shape_and_figures(tmp_path: Path, photos: Path) -> None:
    outcome, paths = ingested(tmp_path, f"file://{photos}")
    described = manifest.load(paths[0])
    assert (described.rows, described.target, described.format) == (4, "label", "images")
    image, label = described.columns
    pixels = np.concatenate(images.pixels(paths[1:]))
    assert (image["name"], image["type"], image["shape"]) == ("image", "image", [4, 6, 1])
    assert image["mean"] == pytest.approx(pixels.mean())
    assert image["channels"] == [{"mean": pytest.approx(pixels.mean()), "deviation": pytest.approx(pixels.std())}]
    assert (image["minimum"], image["maximum"]) == (pixels.min(), pixels.max())
    assert label["values"] == [{"value": "cats", "count": 2}, {"value": "dogs", "count": 2}]
    assert outcome.summary["columns"] == described.columns
    assert described.blocks[0].size == paths[1].stat().st_size


def test_the_file_of_each_image_is_beside_it_and_no_column(tmp_path: Path, photos: Path) -> None:
    _, paths = ingested(tmp_path, f"file://{photos}/")
    assert images.files(paths[1]) == ["cats/a.png", "cats/deep/er/c.PNG", "dogs/a.bmp", "dogs/b.png"]
    assert manifest.load(paths[0]).names == ["image", "label"]
    _, drawn = ingested(tmp_path, "synthetic:images?rows=20&size=8")
    assert images.files(drawn[1]) is None


def test_images_without_labels_are_taken_at_any_depth(tmp_path: Path, photos: Path) -> None:
    saved(photos / "outside.png", seed=9)
    (photos / "empty").mkdir()
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in photos.rglob("*.*"):
            archive.write(file, file.relative_to(photos))
    for source, upload in (f"file://{photos}/?labels=none", None), ("upload:x.zip?labels=none", packed):
        _, paths = ingested(tmp_path, source, upload=upload)
        expected = ["cats/a.png", "cats/deep/er/c.PNG", "dogs/a.bmp", "dogs/b.png", "outside.png"]
        assert images.files(paths[1]) == expected
        assert blocks.read(paths[1:], ["label"]).column("label").to_pylist() == [None] * 5
    assert refused(tmp_path, "file:///x/?labels=all")[0] == "BAD_SOURCE"


def test_arrays_of_images_need_no_labels_to_be_predicted(tmp_path: Path) -> None:
    X = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "table.npy", X[0])
    assert refused(tmp_path, f"file://{tmp_path}/x.npy")[0] == "NUMPY_ARRAYS"
    pixels, labels = dataset(tmp_path, f"file://{tmp_path}/x.npy?labels=none")
    np.testing.assert_array_equal(pixels[..., 0], X)
    assert labels == [None] * 3
    assert refused(tmp_path, f"file://{tmp_path}/table.npy?labels=none")[0] == "TABLE_OPTIONS"


def test_a_file_whose_name_is_no_text_is_read_all_the_same(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    saved(photos / "cats" / "a.png")
    (photos / "cats" / "a.png").rename(os.fsdecode(os.fsencode(photos) + b"/cats/\xff.png"))
    _, paths = ingested(tmp_path, f"file://{photos}/")
    assert images.files(paths[1]) == ["cats/\ufffd.png"]


def test_a_folder_and_an_archive_of_it_are_one_dataset(tmp_path: Path, photos: Path) -> None:
    (photos / ".hidden").mkdir()
    (photos / "notes.txt").write_text("x")
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as one, zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as two:
        for file in sorted(photos.rglob("*"), reverse=True):
            one.write(file, file.relative_to(photos))
            two.write(file, file.relative_to(photos.parent))
        two.writestr("__MACOSX/photos/cats/._a.png", b"x")
    digests = {
        ingested(tmp_path, source, upload=upload)[0].summary["digest"]
        for source, upload in [(f"file://{photos}", None), ("upload:a.zip", inner), ("upload:b.zip", outer)]
    }
    assert len(digests) == 1


def test_what_is_made_is_the_same_in_memory_and_in_a_folder(tmp_path: Path, photos: Path) -> None:
    _, paths = ingested(tmp_path, f"file://{photos}")
    held = OPERATORS["data.ingest@1"](Context({"source": f"file://{photos}", "target": ""}, [], lambda *_: None))
    assert [b"".join(output) for output in held.outputs] == [path.read_bytes() for path in paths]  # type: ignore[arg-type]


def test_a_task_leaves_its_blocks_as_files_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BLOCK_ROWS", 16)
    params: dict[str, Any] = {"source": "synthetic:images?rows=40&size=8&classes=2", "target": ""}
    done = execute("data.ingest@1", params, [], 1, lambda *_: None, str(tmp_path / "out"), Pools())
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["0", "1", "2", "3"]
    told = [(block.digest, block.size) for block in manifest.load(done.files[0][1]).blocks]
    assert [(ref.digest, ref.size) for ref, _ in done.files[1:]] == told
    for ref, path in done.files:
        assert (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size) == (ref.digest, ref.size)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_blocks_do_not_depend_on_the_parts_in_which_images_come(sizes: list[int]) -> None:
    count = sum(sizes)
    pixels = np.arange(count * 4).astype(np.uint8).reshape(count, 2, 2, 1)
    ends = np.cumsum(sizes)
    parts = [
        images.Part(pixels[end - size : end], np.arange(end - size, end), [str(row) for row in range(end - size, end)])
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "MAX_BLOCK_ROWS", 8)
        made = [
            (
                table.column("image").chunk(0).to_numpy_ndarray().copy(),
                table.column("label").to_pylist(),
                table.column("file").to_pylist(),
            )
            for table in images.blocks(images.Images((2, 2, 1), parts, "x", "x"))
        ]
    assert [len(block) for block, _, _ in made] == [min(8, count - start) for start in range(0, count, 8)]
    np.testing.assert_array_equal(np.concatenate([block for block, _, _ in made]), pixels)
    assert [label for _, labels, _ in made for label in labels] == list(range(count))
    assert [file for _, _, files in made for file in files] == [str(row) for row in range(count)]


def test_many_images_fill_blocks_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BLOCK_BYTES", 8 * 8 * 300)
    source = "synthetic:images?rows=700&size=8&classes=3"
    _, paths = ingested(tmp_path, source)
    assert [block.rows for block in manifest.load(paths[0]).blocks] == [256, 256, 188]
    monkeypatch.undo()
    np.testing.assert_array_equal(np.concatenate(images.pixels(paths[1:])), dataset(tmp_path, source)[0])


def test_images_are_scaled_and_coloured_where_asked(tmp_path: Path, photos: Path) -> None:
    pixels, _ = dataset(tmp_path, f"file://{photos}?size=3x2&channels=3")
    assert pixels.shape == (4, 2, 3, 3)
    with Image.open(photos / "cats/a.png") as picture:
        expected = np.asarray(picture.convert("RGB").resize((3, 2), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels[0], expected)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((4, 7), "cats/a.png is 6 x 4 pixels and grey, and dogs/z.png is 7 x 4 pixels and grey"),
        ((4, 6, 3), "dogs/z.png is 6 x 4 pixels and in colour; .* `\\?channels=1` or `3`"),
    ],
)
def test_images_that_differ_are_named_with_what_to_do(
    tmp_path: Path, photos: Path, shape: tuple[int, ...], said: str
) -> None:
    saved(photos / "dogs/z.png", shape)
    with pytest.raises(BadInput, match=said) as caught:
        ingested(tmp_path, f"file://{photos}")
    assert caught.value.reason == "IMAGES_DIFFER"
    assert dataset(tmp_path, f"file://{photos}/?size=5&channels=1")[0].shape == (5, 5, 5, 1)


def test_a_damaged_image_is_named(tmp_path: Path, photos: Path) -> None:
    whole = (photos / "cats/a.png").read_bytes()
    for damaged in (b"no image", whole[: len(whole) // 2], b""):
        (photos / "dogs/b.png").write_bytes(damaged)
        reason, said = refused(tmp_path, f"file://{photos}")
        assert reason == "IMAGE_MALFORMED"
        assert "photos/dogs/b.png: it is no image that can be read" in said


def test_folders_that_are_no_dataset_are_told(tmp_path: Path, photos: Path) -> None:
    assert refused(tmp_path, f"file://{tmp_path}/none")[0] == "FOLDER_MISSING"
    (photos / "birds").mkdir()
    reason, said = refused(tmp_path, f"file://{photos}")
    assert (reason, "'birds' has no images" in said) == ("NO_IMAGES", True)
    (tmp_path / "empty").mkdir()
    reason, said = refused(tmp_path, f"file://{tmp_path}/empty")
    assert (reason, "there are no images in it" in said) == ("NO_IMAGES", True)
    (tmp_path / "plain").write_text("x")
    assert refused(tmp_path, f"file://{tmp_path}/plain")[0] == "FORMAT_UNKNOWN"


def test_images_without_classes_have_no_labels_and_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        saved(tmp_path / "new" / name, seed=ord(name[0]))
    pixels, labels = dataset(tmp_path, f"file://{tmp_path}/new")
    np.testing.assert_array_equal(pixels[0, ..., 0], saved(tmp_path / "x.png", seed=ord("a")))
    assert labels == [None, None]
    with pytest.raises(BadInput, match="has one folder a class") as caught:
        prepared(tmp_path, f"file://{tmp_path}/new")
    assert caught.value.reason == "TARGET_NO_CLASSES"


def test_archives_that_cannot_be_read_are_told(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK no archive")
    assert refused(tmp_path, "upload:x.zip", path)[0] == "ZIP_MALFORMED"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    assert refused(tmp_path, "upload:x.zip", path)[0] == "NO_IMAGES"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(photos / "cats/a.png", "cats/a.png")
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    reason, said = refused(tmp_path, "upload:x.zip", path)
    assert (reason, "cats/a.png cannot be unpacked" in said) == ("ZIP_MALFORMED", True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_every_kind_of_pixel_becomes_grey_or_colour(mode: str, channels: int) -> None:
    grey = np.linspace(0, 255, 20).astype(np.uint8).reshape(4, 5)
    deep = Image.fromarray(grey.astype(np.uint16) * 256)
    picture = deep if mode == "I;16" else Image.fromarray(grey).convert("RGB").convert(mode)
    file = io.BytesIO()
    picture.save(file, "TIFF" if mode == "CMYK" else "PNG")
    made = image_files.decode(file.getvalue(), "x.png", Wanted(channels=channels))
    own = 1 if mode in ("1", "L", "LA", "I;16") else 3
    assert made.shape == (4, 5, channels or own)
    assert made.dtype == np.uint8
    if mode not in ("1", "P", "CMYK"):
        assert abs(made.astype(int) - grey[:, :, None]).max() <= 1


@pytest.mark.parametrize("suffix", classes.SUFFIXES)
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (6, 4), (200, 100, 50)).save(tmp_path / f"x{suffix}")
    made = image_files.decode(tmp_path / f"x{suffix}", "x", Wanted(channels=3))
    assert made.shape == (4, 6, 3)
    assert abs(made.astype(int) - [200, 100, 50]).max() <= 8


def test_an_image_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "x.png")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 23)
    with pytest.raises(BadInput, match="6 x 4 pixels; at most 23") as caught:
        image_files.decode(tmp_path / "x.png", "x")
    assert caught.value.reason == "IMAGE_TOO_LARGE"


def test_a_picture_is_turned_upright_and_of_a_gif_the_first_frame_is_taken(tmp_path: Path) -> None:
    pixels = saved(tmp_path / "x.png", (4, 6))
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    np.testing.assert_array_equal(
        image_files.decode(tmp_path / "turned.png", "turned")[:, :, 0], np.rot90(pixels, k=-1)
    )
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    made = image_files.decode(tmp_path / "x.gif", "x", Wanted(channels=1))
    np.testing.assert_array_equal(made[:, :, 0], pixels)


def test_without_pillow_it_is_said_where_to_get_it(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    reason, said = refused(tmp_path, f"file://{photos}")
    assert (reason, "pip install 'tensorfleet[tensorflow]'" in said) == ("PILLOW_MISSING", True)


def arrays(path: Path, **given: Any) -> Path:
    np.savez_compressed(path, **given)
    return path


@pytest.mark.parametrize("form", [np.uint8, np.int64, np.float64, ">i2", "fortran"])
def test_arrays_of_images_keep_their_pixels(tmp_path: Path, form: Any) -> None:
    given = np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)
    X = np.asfortranarray(given) if form == "fortran" else given.astype(form)
    path = arrays(tmp_path / "x.npz", x_train=X, y_train=np.arange(7)[:, None] % 2)
    pixels, labels = dataset(tmp_path, f"file://{path}")
    np.testing.assert_array_equal(pixels, given[..., None])
    assert labels == [0, 1, 0, 1, 0, 1, 0]


def test_real_numbers_to_1_are_taken_times_255(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3), np.uint8)
    path = arrays(tmp_path / "x.npz", X=given / np.float32(255), y=list("abab"))
    pixels, labels = dataset(tmp_path, f"file://{path}")
    np.testing.assert_array_equal(pixels, given)
    assert labels == list("abab")
    assert "times 255" in capsys.readouterr().err


def test_arrays_are_scaled_and_coloured_where_asked(tmp_path: Path) -> None:
    path = arrays(tmp_path / "x.npz", X=np.full((3, 4, 4), 9, np.uint8), y=[0, 1, 0])
    pixels, _ = dataset(tmp_path, "upload:x.npz?size=8&channels=3", path)
    assert pixels.shape == (3, 8, 8, 3)
    assert (pixels == 9).all()


def test_an_array_file_takes_the_labels_beside_it(tmp_path: Path) -> None:
    X = np.arange(2 * 9, dtype=np.uint8).reshape(2, 3, 3)
    np.save(tmp_path / "a.npy", X)
    reason, said = refused(tmp_path, f"file://{tmp_path}/a.npy")
    assert (reason, "a_labels.npy" in said) == ("NUMPY_ARRAYS", True)
    np.save(tmp_path / "a_labels.npy", np.array([1, 0]))
    pixels, labels = dataset(tmp_path, f"file://{tmp_path}/a.npy")
    np.testing.assert_array_equal(pixels[..., 0], X)
    assert labels == [1, 0]


@pytest.mark.parametrize("target", [None, np.array(["no", "yes", "no"])])
def test_arrays_of_two_dimensions_are_tables(tmp_path: Path, target: Any) -> None:
    X = np.arange(6.0).reshape(3, 2)
    path = arrays(tmp_path / "x.npz", X=X, **({} if target is None else {"y": target}))
    _, paths = ingested(tmp_path, f"file://{path}")
    names = ["feature_0", "feature_1", *([] if target is None else ["target"])]
    described = manifest.load(paths[0])
    assert (described.names, described.format) == (names, "npz")
    np.testing.assert_array_equal(blocks.read(paths[1:], names).column("feature_1"), X[:, 1])


@pytest.mark.parametrize(
    ("given", "reason", "said"),
    [
        ({"Z": [1]}, "NUMPY_ARRAYS", "it has Z"),
        ({"X": np.zeros((2, 3, 3)), "y": [[1, 0], [0, 1]]}, "NUMPY_ARRAYS", "argmax"),
        ({"X": np.zeros((2, 3, 3)), "y": [1]}, "NUMPY_ARRAYS", "one label a row"),
        ({"X": np.zeros((2, 3, 3))}, "NUMPY_ARRAYS", "images need labels"),
        ({"X": np.array([["a"]])}, "NUMPY_ARRAYS", "expected an array of numbers"),
        ({"X": np.zeros((2, 3, 5, 5)), "y": [0, 1]}, "IMAGE_SHAPE", "channels come last"),
        ({"X": np.zeros((2, 3, 3, 1, 1)), "y": [0, 1]}, "IMAGE_SHAPE", "expected rows x columns"),
        ({"X": np.full((2, 3, 3), 256), "y": [0, 1]}, "IMAGE_VALUES", "from 256 to 256"),
        ({"X": np.full((2, 3, 3), np.nan), "y": [0, 1]}, "IMAGE_VALUES", "nan"),
        ({"X": np.zeros((0, 3, 3)), "y": []}, "NO_ROWS", "no rows"),
        ({"X": np.array([[None]])}, "NUMPY_MALFORMED", "Python objects"),
    ],
)
def test_arrays_that_are_no_dataset_are_told(tmp_path: Path, given: dict[str, Any], reason: str, said: str) -> None:
    found, message = refused(tmp_path, f"file://{arrays(tmp_path / 'x.npz', **given)}")
    assert found == reason
    assert said in message


def test_a_damaged_array_file_is_told(tmp_path: Path) -> None:
    path = arrays(tmp_path / "x.npz", X=np.random.default_rng(0).integers(0, 9, (20, 9, 9)), y=np.zeros(20, int))
    whole = path.read_bytes()
    for damaged in (b"nothing", whole[: len(whole) // 2], whole[:300] + b"\0" * 50 + whole[350:]):
        path.write_bytes(damaged)
        assert refused(tmp_path, f"file://{path}")[0] == "NUMPY_MALFORMED"


def test_size_and_channels_are_for_images_alone(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert refused(tmp_path, f"file://{tmp_path}/x.csv?size=3")[0] == "TABLE_OPTIONS"
    path = arrays(tmp_path / "x.npz", X=np.zeros((3, 2)))
    assert refused(tmp_path, f"file://{path}?channels=1")[0] == "TABLE_OPTIONS"


def test_generated_images_have_the_told_columns_and_are_the_same_everywhere(tmp_path: Path) -> None:
    source = "synthetic:images?rows=100&size=16&classes=12&channels=3&seed=5"
    outcome, paths = ingested(tmp_path, source)
    assert hashlib.sha256(np.concatenate(images.pixels(paths[1:])).tobytes()).hexdigest() == GENERATED
    told, made = sources.columns(source), outcome.summary["columns"]
    assert told is not None
    for known, column in zip(told, made, strict=True):  # type: ignore[arg-type]
        assert {name: column[name] for name in known} == known
    assert sources.rows(source) == outcome.summary["rows"]


GENERATED = "6412f7f96ba3450f0def3b2346448b107544b77ba49f589aefba961797680a79"
"""The SHA-256 of the pixels of a small dataset."""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("synthetic:images?rows=10&classes=6", "6 classes need at least 12 rows"),
        ("synthetic:images?channels=2", "channels must be 1 or 3"),
        ("synthetic:images?rows=100000000&size=512", "at most 4,000,000,000"),
        ("file:///photos/?size=0", "size must be pixels"),
        ("file:///photos/?size=64x", "size must be pixels"),
        ("file:///photos/?channels=2", "channels must be 1 (grey) or 3"),
        ("upload:photos", "its format is not known"),
        ("file:///photos.v2", "its format is not known"),
        ("file:////", "the file's name is missing"),
    ],
)
def test_a_bad_name_of_images_is_told(name: str, said: str) -> None:
    assert said in str(sources.check(name))


def test_names_of_images_are_understood() -> None:
    folder = sources.parse("file:///a%20b/photos.v2/?size=64x48&channels=1")
    assert (folder.name, folder.path) == ("photos.v2/", "/a b/photos.v2/")
    assert folder.params == {"width": 64, "height": 48, "channels": 1}
    assert sources.parse("file:///photos").name == "photos/"
    mixed = "gridfs://user:secret@host/db/x.zip?authSource=admin&size=8"
    assert sources.parse(mixed).path == "gridfs://user:secret@host/db/x.zip?authSource=admin"
    assert sources.shown(mixed) == "gridfs://host/db/x.zip?size=8"
    assert sources.shown("mongodb://user:a?size=secret@host/db/rows") == "mongodb://host/db/rows"
    assert sources.as_upload(mixed) == "upload:x.zip?size=8"
    assert sources.parse("s3://bucket/x.npz?size=8").params == {"width": 8, "height": 8}
    assert sources.parse("upload:what?.csv").name == "what?.csv"
    assert naming.default_name("file:///a/photos/?size=64x48", "cnn") == "photos-cnn"


def prepared(tmp_path: Path, source: str, other: str = "", **params: Any) -> tuple[list[Any], Outcome]:
    inputs = []
    for place, name in (("train", source), ("other", other)):
        if name:
            (tmp_path / place).mkdir(exist_ok=True)
            inputs.append([Input(path) for path in ingested(tmp_path / place, name)[1]])
    given = {"target": "", "exclude": [], "validation_split": 0.25, "seed": 1, "task": "classification"}
    given |= {"scale": True, "single": True, "ids": True, "training_inputs": len(inputs[0]), **params}
    flat = [item for each in inputs for item in each]
    outcome = OPERATORS["data.prepare@1"](Context(given, flat, lambda *_: None))
    return [bundle.decode(b"".join(output)) for output in outcome.outputs], outcome  # type: ignore[arg-type]


def test_a_preparation_of_images_tells_rows_and_copies_no_pixels(tmp_path: Path) -> None:
    source = "synthetic:images?rows=80&size=8&classes=4"
    (train, validation, preparation), outcome = prepared(tmp_path, source)
    _, labels = dataset(tmp_path, source)
    assert sorted(train) == sorted(validation) == ["rows", "y"]
    assert sorted([*train["rows"], *validation["rows"]]) == list(range(80))
    assert [labels[row] for row in train["rows"]] == list(train["y"])
    assert np.bincount(validation["y"]).tolist() == [5] * 4
    assert preparation["image"] == {"column": "image", "shape": [8, 8, 1], "block_rows": [80]}
    assert (preparation["features"], preparation["types"], preparation["target"]) == (["image"], ["image"], "label")
    assert preparation["classes"] == ["0", "1", "2", "3"]
    told = {"training_rows": 60, "validation_rows": 20, "features": 64, "classes": 4, "image": True}
    assert told.items() <= outcome.summary.items()


def test_rows_of_a_validation_dataset_of_images_lie_in_the_blocks_behind(tmp_path: Path) -> None:
    one, two = ("synthetic:images?rows=20&size=8&classes=2&seed=" + seed for seed in "12")
    (_, validation, preparation), _ = prepared(tmp_path, one, two)
    assert preparation["image"]["block_rows"] == [20, 20]
    assert list(validation["rows"]) == list(range(20, 40))
    with pytest.raises(BadInput, match="validation dataset's images are 9 x 9 x 1"):
        prepared(tmp_path, one, "synthetic:images?rows=20&size=9&classes=2")
    with pytest.raises(BadInput, match="no column 'label'"):
        prepared(tmp_path, one, "iris")


def test_what_trains_on_columns_refuses_images(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="this algorithm trains on columns, and 'image' holds images") as caught:
        prepared(tmp_path, "synthetic:images?rows=20&size=8&classes=2", ids=False)
    assert caught.value.reason == "IMAGES"


def test_images_are_no_target(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is to be predicted and holds images"):
        prepared(tmp_path, "synthetic:images?rows=20&size=8&classes=2", target="image")
