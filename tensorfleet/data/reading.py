"""Files as typed tables: CSV, TSV, Parquet, JSON lines and BSON.

The rule: what cannot be read is refused with the file's name, the line and what was expected there. Arrow reads; where
it refuses, a slower second look finds the line.
"""

import codecs
import gzip
import mmap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from tensorfleet.data import bson_reading, mistakes, sources, typed
from tensorfleet.errors import BadInput

MISSING = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "None"]
"""What a text file writes where there is no value."""

BLOCK_BYTES = 16 * 1024 * 1024
"""Bytes from which Arrow guesses a CSV column's type; where a later row refutes the guess, all bytes are."""

MAX_BYTES = 2**31 - 1
"""Bytes of a text file, at most, once unpacked."""

Data: TypeAlias = bytes | mmap.mmap


def read(path: str, name: str) -> tuple[pa.Table, str]:
    """The file's rows in the stored types, and its format.

    name: the file's name, which tells the format and is used in errors. BadInput with a reason: FORMAT_UNKNOWN,
    FILE_MISSING, FILE_UNREADABLE, FILE_EMPTY, FILE_TOO_LARGE, ENCODING, CSV_MALFORMED, JSON_MALFORMED,
    PARQUET_MALFORMED, BSON_MALFORMED, GZIP_MALFORMED, DUPLICATE_COLUMNS, NO_COLUMNS, NO_ROWS, UNSUPPORTED_COLUMN.
    """
    known = sources.file_format(name)
    if known is None:
        raise BadInput(sources.unknown_format(name), reason="FORMAT_UNKNOWN")
    form, zipped = known
    data = _bytes(Path(path), name)
    if form == "parquet":
        return typed.typed(_parquet(data, name), name), form
    if zipped:
        data = _unpacked(data, name)
    if len(data) > MAX_BYTES:
        raise BadInput(
            f"{name}: it is larger than {MAX_BYTES:,} bytes; give it as Parquet, or in parts", reason="FILE_TOO_LARGE"
        )
    if form == "bson":
        return typed.typed(bson_reading.table(data, name), name), form
    _check_text(data, name)
    return typed.typed(_TEXT_READERS[form](data, name), name), form


def _bytes(path: Path, name: str) -> Data:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise BadInput(f"{name}: the file is empty", reason="FILE_EMPTY")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise BadInput(f"{name}: there is no file {path} where it was to be read", reason="FILE_MISSING") from None
    except OSError as error:
        raise BadInput(f"{name}: {path} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from error


def _unpacked(data: Data, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=pa.BufferReader(pa.py_buffer(data))) as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{name}: it cannot be unpacked: {error}", reason="GZIP_MALFORMED") from error
    if not unpacked:
        raise BadInput(f"{name}: the file is empty", reason="FILE_EMPTY")
    return unpacked


def _check_text(data: Data, name: str) -> None:
    """BadInput where the bytes are no UTF-8, with the line and the byte, or nothing but white space."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise BadInput(f"{name}: it is UTF-16; save it as UTF-8", reason="ENCODING")
    decoder, blank, step = codecs.getincrementaldecoder("utf-8")(), True, 1 << 20
    for start in range(0, len(data), step):
        kept = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data[start : start + step], final=start + step >= len(data))
        except UnicodeDecodeError as error:
            place = start - kept + error.start
            line = mistakes.line_at(data, place)
            raise BadInput(
                f"{name}, line {line}: byte {data[place]:#04x} at offset {place:,} is not UTF-8; save it as UTF-8",
                reason="ENCODING",
            ) from error
        blank = blank and not text.strip("\ufeff \t\r\n")
    if blank:
        raise BadInput(f"{name}: the file is empty", reason="FILE_EMPTY")


def _csv(delimiter: str) -> Callable[[Data, str], pa.Table]:
    def reader(data: Data, name: str) -> pa.Table:
        mistakes.check_quotes(data, delimiter, name)
        try:
            return _parsed_csv(data, delimiter, min(BLOCK_BYTES, len(data)))
        except pa.ArrowException:
            pass
        try:
            return _parsed_csv(data, delimiter, len(data))
        except pa.ArrowException as error:
            raise mistakes.in_csv(data, delimiter, name, str(error)) from error

    return reader


def _parsed_csv(data: Data, delimiter: str, block_bytes: int) -> pa.Table:
    return pyarrow.csv.read_csv(
        pa.BufferReader(pa.py_buffer(data)),
        read_options=pyarrow.csv.ReadOptions(block_size=block_bytes + 1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=data.find(b'"') >= 0),
        convert_options=pyarrow.csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True),
    )


def _json(data: Data, name: str) -> pa.Table:
    try:
        return pyarrow.json.read_json(
            pa.BufferReader(pa.py_buffer(data)), read_options=pyarrow.json.ReadOptions(block_size=len(data) + 1)
        )
    except pa.ArrowException as error:
        raise mistakes.in_json(data, name, str(error)) from error


def _parquet(data: Data, name: str) -> pa.Table:
    try:
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
        typed.check_names(file.schema_arrow.names, name)
        return file.read()
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            f"{name}: it is no Parquet file that can be read: {error}", reason="PARQUET_MALFORMED"
        ) from error


_TEXT_READERS: dict[str, Callable[[Data, str], pa.Table]] = {"csv": _csv(","), "tsv": _csv("\t"), "jsonl": _json}
