"""Files become typed tables, and what is wrong with one is told with its line."""

import datetime
import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tensorfleet.data import reading
from tensorfleet.errors import BadInput


def read(tmp_path: Path, name: str, content: bytes | str) -> pa.Table:
    path = tmp_path / "blob"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return reading.read(str(path), name)[0]


def refused(tmp_path: Path, name: str, content: bytes | str) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, name, content)
    return caught.value.reason, caught.value.message


def types(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


def test_columns_are_typed_and_what_is_missing_is_null(tmp_path: Path) -> None:
    content = (
        "whole,real,flag,text,day,moment,none\n"
        "1,1.5,true,red,2024-05-01,2024-05-01T12:00:00,\n"
        ",NaN,,NA,,,NA\n"
        '3,None,false,"",2024-05-02,2024-05-01 13:00:00,null\n'
    )
    table = read(tmp_path, "x.csv", content)
    assert types(table) == {
        "whole": "int64",
        "real": "double",
        "flag": "bool",
        "text": "string",
        "day": "timestamp[us]",
        "moment": "timestamp[us]",
        "none": "double",
    }
    assert table.column("whole").to_pylist() == [1, None, 3]
    assert table.column("real").to_pylist() == [1.5, None, None]
    assert table.column("flag").to_pylist() == [True, None, False]
    assert table.column("text").to_pylist() == ["red", None, None]
    assert table.column("day")[2].as_py() == datetime.datetime(2024, 5, 2)  # noqa: DTZ001
    assert table.column("none").null_count == 3


def test_all_text_formats_say_the_same(tmp_path: Path) -> None:
    csv = read(tmp_path, "x.csv", "a,b\n1,x\n2,y\n")
    assert read(tmp_path, "x.tsv", "a\tb\n1\tx\n2\ty\n").equals(csv)
    assert read(tmp_path, "x.jsonl", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n').equals(csv)
    assert read(tmp_path, "x.NDJSON", '{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}').equals(csv)
    assert read(tmp_path, "x.csv.gz", gzip.compress(b"a,b\r\n1,x\r\n2,y\r\n")).equals(csv)
    assert read(tmp_path, "x.csv", b"\xef\xbb\xbfa,b\n1,x\n2,y\n").equals(csv)


def test_names_and_values_are_unicode(tmp_path: Path) -> None:
    table = read(tmp_path, "x.csv", "größe,色,🌱\n1,赤,x\n2,,y\n")
    assert table.column_names == ["größe", "色", "🌱"]
    assert table.column("色").to_pylist() == ["赤", None]


def test_nameless_columns_are_numbered(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", ",a\n0,1\n").column_names == ["column_1", "a"]


def test_a_type_guessed_too_early_is_guessed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 64)
    table = read(tmp_path, "x.csv", "a,b\n" + "1,\n" * 200 + "1.5,x\n")
    assert types(table) == {"a": "double", "b": "string"}
    assert table.num_rows == 201


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3\n", "x.csv, line 3: expected 2 values, as line 1 has, and found 1"),
        ("a,b\n1,2\n3,4,5\n", "x.csv, line 3: expected 2 values, as line 1 has, and found 3"),
        ("\n\na,b\n\n1,2\n\n3,4,5\n", "x.csv, line 7: expected 2 values, as line 3 has, and found 3"),
        ('a,b\n1,"two\nlines"\n3\n', "x.csv, line 4: expected 2 values, as line 1 has, and found 1"),
        ("a,b\r\n1,2\r\n3\r\n", "x.csv, line 3: expected 2 values, as line 1 has, and found 1"),
        ('a,b\n"1",2\n"3"x,4\n5\n', "x.csv, line 4: expected 2 values, as line 1 has, and found 1"),
        ('a,b\n1,2\n3,"4\n5,6\n', "x.csv, line 3: a quoted value begins here and never ends"),
    ],
)
def test_a_broken_csv_is_told_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    assert refused(tmp_path, "x.csv", content) == ("CSV_MALFORMED", message)


def test_inches_are_no_quotes(tmp_path: Path) -> None:
    assert read(tmp_path, "x.csv", 'a,b\n5",x\n6,y\n').column("a").to_pylist() == ['5"', "6"]


def test_nan_in_json_is_missing(tmp_path: Path) -> None:
    assert read(tmp_path, "x.jsonl", '{"a": 1.5}\n{"a": NaN}\n').column("a").to_pylist() == [1.5, None]


def test_a_broken_line_far_into_a_csv_is_told(tmp_path: Path) -> None:
    content = "a,b\n" + '1,"x\ny"\n' * 60_000 + "1,2,3\n" + "1,2\n" * 60_000
    reason, message = refused(tmp_path, "x.csv", content)
    assert (reason, message.split(":")[0]) == ("CSV_MALFORMED", "x.csv, line 120002")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": \n', "x.jsonl, line 2: Expecting value at column"),
        ('{"a": 1}\n{"b": 1, "b": 2}\n', "x.jsonl, line 2: column 'b' occurs twice"),
        ('{"a": 1}\n\n[1]\n', "x.jsonl, line 3: expected an object such as"),
        ('{"a": 1}\n{"a": "x"}\n', "x.jsonl, line 2: column 'a' holds text, and on line 1 a number"),
        ('{"a": 1}\n{"a": null}\n{"a": true}\n', "x.jsonl, line 3: column 'a' holds a flag, and on line 1 a number"),
        ("a,b\n1,2\n", "x.jsonl, line 1: Expecting value at column 1"),
    ],
)
def test_broken_json_is_told_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    reason, said = refused(tmp_path, "x.jsonl", content)
    assert (reason, said[: len(message)]) == ("JSON_MALFORMED", message)


def test_nested_json_is_refused(tmp_path: Path) -> None:
    reason, message = refused(tmp_path, "x.jsonl", '{"a": [1, 2]}\n')
    assert reason == "UNSUPPORTED_COLUMN"
    assert "column 'a'" in message


@pytest.mark.parametrize("content", ["", " \n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_told(tmp_path: Path, content: bytes | str) -> None:
    for name in ("x.csv", "x.jsonl"):
        assert refused(tmp_path, name, content) == ("FILE_EMPTY", f"{name}: the file is empty")


def test_an_empty_archive_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "x.csv.gz", gzip.compress(b""))[0] == "FILE_EMPTY"
    assert refused(tmp_path, "x.csv.gz", b"a,b\n1,2\n")[0] == "GZIP_MALFORMED"
    assert refused(tmp_path, "x.csv.gz", gzip.compress(b"a,b\n1,2\n" * 50)[:-12])[0] == "GZIP_MALFORMED"


def test_a_file_without_rows_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "x.csv", "a,b\n") == ("NO_ROWS", "x.csv: it has columns, and no rows")


def test_columns_of_one_name_are_told(tmp_path: Path) -> None:
    expected = ("DUPLICATE_COLUMNS", "x.csv: columns that occur more than once: 'a', 'b'")
    assert refused(tmp_path, "x.csv", "a,b,a,a,b,c\n1,2,3,4,5,6\n") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,\xe9t\xe9\n", "x.csv, line 2: byte 0xe9 at offset 6 is not UTF-8; save it as UTF-8"),
        (b"a,b\n" + b"1,2\n" * 300_000 + b"1,\xff\n", "x.csv, line 300002: byte 0xff at offset 1,200,006 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "x.csv: it is UTF-16; save it as UTF-8"),
        (b"a,b\n1,\xc3", "x.csv, line 2: byte 0xc3 at offset 6 is not UTF-8"),
        (b"a\n" + b"x" * ((1 << 20) - 3) + b"\xc3x\n", "x.csv, line 2: byte 0xc3 at offset 1,048,575 is not UTF-8"),
    ],
)
def test_other_encodings_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    reason, said = refused(tmp_path, "x.csv", content)
    assert (reason, said[: len(message)]) == ("ENCODING", message)


def test_a_file_that_vanished_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"x\.csv: there is no file .*gone\.csv") as caught:
        reading.read(str(tmp_path / "gone.csv"), "x.csv")
    assert caught.value.reason == "FILE_MISSING"
    with pytest.raises(BadInput, match="cannot be read: Is a directory") as caught:
        reading.read(str(tmp_path), "x.csv")
    assert caught.value.reason == "FILE_UNREADABLE"


def test_an_unknown_format_is_told(tmp_path: Path) -> None:
    reason, message = refused(tmp_path, "x.xlsx", b"PK")
    assert reason == "FORMAT_UNKNOWN"
    assert ".csv, .tsv, .parquet" in message
    assert refused(tmp_path, "x.parquet.gz", b"PK")[0] == "FORMAT_UNKNOWN"


def test_parquet_is_read_whatever_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "small": pd.array([1, 2], dtype="uint8"),
            "half": pd.array([0.5, float("nan")], dtype="float32"),
            "kind": pd.Categorical(["x", None]),
            "when": pd.to_datetime(["2024-05-01T00:00:00Z", None]),
            "lasts": pd.to_timedelta([1500, 2500], unit="ms"),
            "text": ["", "y"],
        },
        index=["p", "q"],
    )
    path = tmp_path / "x.parquet"
    frame.to_parquet(path)
    table, form = reading.read(str(path), "x.parquet")
    assert form == "parquet"
    assert [str(field.type) for field in table.schema] == [
        "int64",
        "double",
        "string",
        "timestamp[us]",
        "double",
        "string",
    ]
    assert table.column("half").to_pylist() == [0.5, None]
    assert table.column("kind").to_pylist() == ["x", None]
    assert table.column("lasts").to_pylist() == [1.5, 2.5]
    assert table.column("text").to_pylist() == [None, "y"]


def test_a_broken_parquet_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), path)
    for content in (b"PAR1 and nothing more", path.read_bytes()[:-20], path.read_bytes()[100:]):
        reason, message = refused(tmp_path, "x.parquet", content)
        assert reason == "PARQUET_MALFORMED"
        assert message.startswith("x.parquet: ")


def test_parquet_columns_of_one_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(BadInput) as caught:
        reading.read(str(path), "x.parquet")
    assert caught.value.reason == "DUPLICATE_COLUMNS"
