"""Blocks and manifests: equal rows have equal bytes, which are mapped and aligned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorfleet.data import OPERATORS, blocks, manifest, profile, typed
from tensorfleet.errors import BadInput, CorruptArtifact
from tensorfleet.operators import Context, Input, Outcome

MIXED = pa.table(
    {
        "text": ["a", None, "", "ü", "eee"],
        "whole": [1, None, 3, 4, 5],
        "flag": [True, False, None, True, True],
        "real": [1.5, None, -0.0, float("nan"), 2.0],
        "when": pa.array([0, 1, None, 3, 4], pa.timestamp("us")),
    }
)


def written(table: pa.Table) -> list[bytes]:
    return [bytes(blocks.encoded(rows)) for rows in blocks.cut(table)]


def read_back(tmp_path: Path, table: pa.Table) -> pa.Table:
    paths = []
    for index, data in enumerate(written(table)):
        paths.append(tmp_path / str(index))
        paths[-1].write_bytes(data)
    return blocks.read(paths, table.column_names)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    table = typed.typed(MIXED, "x")
    assert read_back(tmp_path, table).equals(table)


def test_a_block_holds_a_fixed_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": np.arange(2 * blocks.BLOCK_ROWS + 1), "b": ["x"] * (2 * blocks.BLOCK_ROWS + 1)})
    assert [rows.num_rows for rows in blocks.cut(table)] == [blocks.BLOCK_ROWS, blocks.BLOCK_ROWS, 1]
    assert read_back(tmp_path, table).equals(table)


def test_equal_rows_have_equal_bytes_however_they_lie_in_memory() -> None:
    table = typed.typed(MIXED, "x")
    before = pa.concat_tables([table.slice(3), table, table.slice(0, 2)])
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 3), table.slice(4)])
    assert written(before.slice(2, 5)) == written(table)
    assert written(chunked) == written(table)


def test_what_a_null_hides_is_not_written() -> None:
    hidden = [
        pa.Array.from_buffers(
            pa.int64(), 2, [pa.py_buffer(np.array([bits], np.uint8)), pa.py_buffer(np.array([7, secret], np.int64))]
        )
        for bits, secret in ((0b01, 1234), (0b11111101, 5678))
    ]
    assert hidden[0].equals(hidden[1])
    assert written(pa.table({"a": hidden[0]})) == written(pa.table({"a": hidden[1]}))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.text(max_size=9), st.none() | st.floats(), st.none() | st.booleans()), min_size=1)
)
def test_any_slice_has_the_bytes_of_its_copy(rows: list[tuple[Any, ...]]) -> None:
    kinds = [pa.string(), pa.float64(), pa.bool_()]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    table = typed.typed(pa.table(columns, names=["t", "r", "f"]), "x")
    middle = table.slice(len(rows) // 2)
    copy = pa.table([pa.array(column.to_pylist(), column.type) for column in middle.columns], names=["t", "r", "f"])
    assert written(middle) == written(copy)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
@pytest.mark.parametrize("width", [1, 2, 33])
@pytest.mark.parametrize("text", [0, 1, 2])
def test_number_columns_start_at_multiples_of_64_bytes(tmp_path: Path, rows: int, width: int, text: int) -> None:
    columns: dict[str, Any] = {f"text {index}": ["ab"] * rows for index in range(text)}
    columns |= {f"größe {index}": np.arange(rows) + 0.5 for index in range(width)}
    columns["gap"] = pa.array([None] * rows, pa.int64())
    back = read_back(tmp_path, pa.table(columns))
    for name in back.column_names[text:]:
        values = back.column(name).chunk(0).buffers()[1]
        assert values.address % 64 == 0


def test_blocks_are_mapped_and_not_copied(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(50_000.0)})
    before = pa.total_allocated_bytes()
    back = read_back(tmp_path, table)
    assert pa.total_allocated_bytes() - before < 10_000
    assert back.column("a")[49_999].as_py() == 49_999.0


def test_the_profile() -> None:
    table = typed.typed(MIXED, "x").append_column("far", pa.array([1.0, float("inf"), None, 2.0, 2.0]))
    columns = {column["name"]: column for column in profile.profile(table)}
    assert columns["text"] == {
        "name": "text",
        "type": "text",
        "missing": 2,
        "distinct": 3,
        "values": [{"value": value, "count": 1} for value in ("a", "eee", "ü")],
    }
    assert columns["flag"]["values"] == [{"value": "true", "count": 3}, {"value": "false", "count": 1}]
    whole = columns["whole"]
    assert [whole[figure] for figure in ("type", "minimum", "maximum", "mean")] == ["integer", 1.0, 5.0, 3.25]
    assert columns["when"]["maximum"] == 4e-6
    far = columns["far"]
    assert [far[figure] for figure in ("infinite", "minimum", "maximum", "missing")] == [1, 1.0, 2.0, 1]
    assert far["values"][0] == {"value": "2.0", "count": 2}
    json.dumps(list(columns.values()), allow_nan=False)


def test_the_profile_counts_to_a_thousand_and_lists_twenty() -> None:
    table = pa.table({"a": np.arange(5000), "b": np.arange(5000) // 50, "t": ["x" * 500] * 5000})
    a, b, t = profile.profile(table)
    assert (a["distinct"], a["values"]) == (1000, [])
    assert b["distinct"] == 100
    assert b["values"] == [{"value": str(value), "count": 50} for value in range(20)]
    assert t["values"] == [{"value": "x" * 79 + "…", "count": 5000}]


def test_a_manifest_is_canonical_and_comes_back() -> None:
    made = manifest.Manifest(2, [{"type": "real", "name": "ä"}], (manifest.Block("00", 2, 64),), "ä", "csv")
    data = manifest.encode(made)
    assert manifest.decode(data) == made
    assert data.decode() == (
        '{"blocks":[{"digest":"00","rows":2,"size":64}],"columns":[{"name":"ä","type":"real"}],'
        '"format":"csv","rows":2,"target":"ä","version":1}'
    )


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"version": 1}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptArtifact, match="not a dataset's manifest"):
        manifest.decode(data)


def test_a_manifest_of_another_version_is_refused() -> None:
    data = manifest.encode(manifest.Manifest(1, [], (), "", "csv")).replace(b'"version":1', b'"version":2')
    with pytest.raises(CorruptArtifact, match="version 2; this release reads version 1"):
        manifest.decode(data)


def ingested(source: str, target: str = "", path: Path | None = None) -> Outcome:
    inputs = [] if path is None else [Input(path)]
    return OPERATORS["data.ingest@1"](Context({"source": source, "target": target}, inputs, lambda *_: None))


def test_ingest_reads_an_upload_as_it_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    one, two = ingested("upload:data.csv", path=path), ingested(f"file://{path}")
    assert one.summary == two.summary
    assert [b"".join(output) for output in one.outputs] == [b"".join(output) for output in two.outputs]
    assert manifest.digest(b"".join(one.outputs[0])) == one.summary["digest"]
    described = manifest.decode(b"".join(one.outputs[0]))
    assert (described.rows, described.target, described.format) == (2, "b", "csv")
    assert [block.size for block in described.blocks] == [sum(map(len, output)) for output in one.outputs[1:]]


def test_ingest_takes_the_named_target() -> None:
    assert ingested("iris", "petal width (cm)").summary["target"] == "petal width (cm)"
    with pytest.raises(BadInput) as caught:
        ingested("iris", "petal")
    assert caught.value.reason == "TARGET_MISSING_COLUMN"


@pytest.mark.parametrize("features", [100, 1000, 4000])
def test_the_summary_of_a_wide_table_stays_small(features: int) -> None:
    outcome = ingested(f"synthetic:classification?rows=30&features={features}")
    assert len(json.dumps(outcome.summary).encode()) <= 64 * 1024
    columns: Any = outcome.summary["columns"]
    assert columns[0]["name"] == "feature_0"
    assert len(manifest.decode(b"".join(outcome.outputs[0])).columns) == features + 1
