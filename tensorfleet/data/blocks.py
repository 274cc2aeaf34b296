"""Blocks: row ranges of a table as Arrow IPC files.

The rule: equal rows have equal bytes. A block holds 65,536 rows, or as many images as `images.py` says, whatever the
number of workers; what a null hides is zero, nothing is compressed, and columns of numbers and images start at
multiples of 64 bytes, so that a block is mapped and never copied. Text columns come last in a file, since the offsets
that they need would shift the others; images come before them, since they are not padded.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tensorfleet.data.typed import IMAGE, STORED, TEXT, column_type

BLOCK_ROWS = 65_536
ALIGNMENT = 64
_LAST = {IMAGE: 1, TEXT: 2}

Array = np.ndarray[Any, Any]


def cut(table: pa.Table) -> Iterator[pa.Table]:
    """The rows of each block, in row order."""
    return (table.slice(start, BLOCK_ROWS) for start in range(0, table.num_rows, BLOCK_ROWS))


def encoded(rows: pa.Table) -> memoryview:
    """The bytes of the block that a table becomes."""
    sink = pa.BufferOutputStream()
    write(rows, sink)
    return memoryview(sink.getvalue())


def write(rows: pa.Table, sink: Any) -> None:
    """Writes a table as one block: to an Arrow stream, or a path."""
    fields = list(rows.schema)  # Arrow makes the schema anew each time it is asked for
    order = sorted(range(len(fields)), key=lambda index: _LAST.get(column_type(fields[index].type), 0))
    schema = _aligned(pa.schema([fields[index].with_nullable(True) for index in order]))
    columns = [_canonical(_whole(rows.column(index))) for index in order]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression=None)) as file:
        file.write_batch(batch)


def read(paths: Sequence[Path], names: Sequence[str]) -> pa.Table:
    """Blocks as one table, mapped from disk, its columns in the order of `names`.

    ValueError where a file is no block or has other columns.
    """
    tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all().select(list(names)) for path in paths]
    return pa.concat_tables(tables).replace_schema_metadata(None)


def _aligned(schema: pa.Schema) -> pa.Schema:
    """The schema with just so much padding in its metadata that a batch's arrays start at a multiple of 64 bytes."""
    for padding in range(0, ALIGNMENT, 8):
        padded = schema.with_metadata({"padding": " " * padding})
        row = pa.RecordBatch.from_arrays([pa.nulls(1, field.type) for field in padded], schema=padded).serialize()
        # The file's magic takes 8 bytes; the messages of the schema and of the batch come before the arrays.
        if (8 + padded.serialize().size + row.size - pa.ipc.read_message(row).body.size) % ALIGNMENT == 0:
            return padded
    raise AssertionError("Arrow's messages are multiples of 8 bytes")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.combine_chunks()
    return pa.concat_arrays(chunks.chunks) if isinstance(chunks, pa.ChunkedArray) else chunks


def _canonical(column: pa.Array) -> pa.Array:
    """The column in fresh buffers that hold its values and zeros, and nothing of what was in memory before."""
    if column_type(column.type) == IMAGE:
        return column  # whoever made it has filled all of it
    mask = pc.is_valid(column).to_numpy(zero_copy_only=False) if column.null_count else None
    validity = None if mask is None else _buffer(np.packbits(mask, bitorder="little"))
    if column.type == STORED[TEXT]:
        filled = pc.fill_null(column, "") if column.null_count else column
        return _text(filled, validity)
    if column.type == pa.bool_():
        flags = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
        values = np.packbits(flags, bitorder="little")
    else:
        plain = column if column.type == pa.float64() else column.view(pa.int64())
        values = pc.fill_null(plain, 0).to_numpy(zero_copy_only=False)
    return pa.Array.from_buffers(column.type, len(column), [validity, _buffer(values)])


def _text(column: pa.Array, validity: pa.Buffer | None) -> pa.Array:
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4)
    content = np.frombuffer(data, np.uint8)[starts[0] : starts[-1]] if data else np.empty(0, np.uint8)
    return pa.Array.from_buffers(
        column.type, len(column), [validity, _buffer(starts - starts[0]), _buffer(np.ascontiguousarray(content))]
    )


def _buffer(values: Array) -> pa.Buffer:
    """The array's bytes, and zeros up to a multiple of 64 bytes."""
    raw = values.view(np.uint8)
    padding = -raw.nbytes % ALIGNMENT
    return pa.py_buffer(raw if not padding else np.concatenate([raw, np.zeros(padding, np.uint8)]))
