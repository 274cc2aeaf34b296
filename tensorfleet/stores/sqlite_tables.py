"""Documents as rows of SQLite: a table a collection, and the statements that write and query it.

The rule: values travel as parameters, and only names that were checked become part of a statement. Every function
takes a connection and leaves transactions to its caller.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorfleet.errors import AlreadyExists
from tensorfleet.stores.behind import Behind, Row, Rows
from tensorfleet.stores.collections import COLLECTIONS, collection_named
from tensorfleet.stores.contract import Write
from tensorfleet.stores.marks import of_text, text_of
from tensorfleet.stores.queries import (
    check_field,
    check_page,
    check_schema,
    check_term,
    check_value,
    last_writes,
    ordering,
)

# A deletion leaves its number behind until a snapshot passes it, so that an older entry that is projected late does
# not bring the document back.
_TOMBSTONES = """
CREATE TABLE IF NOT EXISTS tombstones (
    collection TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (collection, id)
) WITHOUT ROWID
"""


def make_tables(connection: sqlite3.Connection) -> None:
    """Makes what is missing of the tables and indexes, and drops indexes that are declared no more."""
    connection.execute(_TOMBSTONES)
    wanted: dict[str, str] = {}
    for collection in COLLECTIONS.values():
        connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{collection.name}" '
            "(id TEXT PRIMARY KEY NOT NULL, number INTEGER NOT NULL, document TEXT NOT NULL)"
        )
        for fields in collection.indexes:
            name = f"{collection.name}:{'+'.join(fields)}"
            columns = ", ".join([*map(_expression, fields), "id"])
            wanted[name] = f'CREATE INDEX "{name}" ON "{collection.name}" ({columns})'
        for fields in collection.unique:
            name = f"{collection.name}:{'+'.join(fields)}:unique"
            columns = ", ".join(map(_expression, fields))
            wanted[name] = f'CREATE UNIQUE INDEX "{name}" ON "{collection.name}" ({columns})'
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql > ''")}
    for name in there - wanted.keys():
        connection.execute(f'DROP INDEX "{name}"')
    for name in wanted.keys() - there:
        connection.execute(wanted[name])


def batch(number: int, writes: Sequence[Write]) -> Behind:
    """Checks and encodes an entry's writes. ValueError for an unknown collection and for what is not plain data."""
    return Behind(
        number,
        {
            collection: {
                document_id: Row(
                    number, document, None if document is None else _encoded(collection, document_id, document)
                )
                for document_id, document in documents.items()
            }
            for collection, documents in last_writes(writes).items()
        },
    )


def apply(connection: sqlite3.Connection, rows: Rows, after: int) -> None:
    """Writes documents of entries after a number; one that carries a later entry's stays as it is."""
    for collection, documents in rows.items():
        late = [(name, row.number, row.text) for name, row in documents.items() if row.number > after]
        _delete(connection, collection, [(name, number) for name, number, text in late if text is None])
        _upsert(connection, collection, [row for row in late if row[2] is not None])


def _upsert(connection: sqlite3.Connection, collection: str, rows: Sequence[tuple[str, int, str | None]]) -> None:
    try:
        connection.executemany(
            f'INSERT INTO "{collection}" (id, number, document) SELECT ?1, ?2, ?3 WHERE NOT EXISTS '
            "(SELECT 1 FROM tombstones WHERE collection = ?4 AND id = ?1 AND number > ?2) "
            "ON CONFLICT (id) DO UPDATE SET number = excluded.number, document = excluded.document "
            "WHERE excluded.number >= number",
            [(*row, collection) for row in rows],
        )
    except sqlite3.IntegrityError as error:
        raise AlreadyExists(f"{collection} has another document of the same {_shared(collection)}") from error


def _shared(collection: str) -> str:
    return " or ".join(" and ".join(fields) for fields in collection_named(collection).unique)


def _delete(connection: sqlite3.Connection, collection: str, rows: Sequence[tuple[str, int]]) -> None:
    connection.executemany(
        "INSERT INTO tombstones (collection, id, number) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET number = excluded.number WHERE excluded.number > number",
        [(collection, *row) for row in rows],
    )
    connection.executemany(f'DELETE FROM "{collection}" WHERE id = ? AND number <= ?', rows)


def forget_deletions(connection: sqlite3.Connection, number: int) -> None:
    """Lets go of the traces of deletions up to an entry that can no longer be projected."""
    connection.execute("DELETE FROM tombstones WHERE number <= ?", (number,))


def get(connection: sqlite3.Connection, collection: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    table = collection_named(collection).name
    rows = connection.execute(
        f'SELECT id, document FROM "{table}" WHERE id IN (SELECT value FROM json_each(?))', (json.dumps(list(ids)),)
    )
    return {document_id: _decoded(table, document_id, document) for document_id, document in rows}


def find(
    connection: sqlite3.Connection,
    collection: str,
    where: Mapping[str, Any],
    above: tuple[str, Any] | None,
    order: Sequence[str],
    skip: int,
    limit: int,
) -> dict[str, dict[str, Any]]:
    """Documents by id, in order."""
    check_page(skip, limit)
    statement, values = find_statement(collection, where, above, order)
    rows = connection.execute(statement, [*values, limit, skip])
    return {document_id: _decoded(collection, document_id, document) for document_id, document in rows}


def find_statement(
    collection: str, where: Mapping[str, Any], above: tuple[str, Any] | None, order: Sequence[str]
) -> tuple[str, list[Any]]:
    """The query and its values, to which limit and skip are still to be added."""
    condition, values = _condition(where, above)
    return (
        f'SELECT id, document FROM "{collection_named(collection).name}" WHERE {condition} '
        f"ORDER BY {_order(order)} LIMIT ? OFFSET ?"
    ), values


def count(connection: sqlite3.Connection, collection: str, where: Mapping[str, Any]) -> int:
    condition, values = _condition(where, None)
    table = collection_named(collection).name
    row = connection.execute(f'SELECT count(*) FROM "{table}" WHERE {condition}', values).fetchone()
    return int(row[0])


def _encoded(collection: str, document_id: str, document: dict[str, Any]) -> str:
    try:
        return text_of(document)
    except (TypeError, ValueError) as error:
        raise ValueError(f"document {document_id!r} of {collection} is not plain data: {error}") from error


def _decoded(collection: str, document_id: str, text: str) -> dict[str, Any]:
    return check_schema(collection, document_id, of_text(text))


def _path(field: str) -> str:
    return f"'$.{check_field(field)}'"


def _expression(field: str) -> str:
    # The same text as in the index, or SQLite would not see that the index serves it.
    return "id" if field == "id" else f"json_extract(document, {_path(field)})"


def _condition(where: Mapping[str, Any], above: tuple[str, Any] | None) -> tuple[str, list[Any]]:
    terms: list[str] = ["1"]
    values: list[Any] = []
    for field, value in where.items():
        check_term(field, value)
        terms.append(_equals(field, value))
        values.extend(value if isinstance(value, tuple) else () if value is None else (value,))
    if above is not None:
        field, value = above
        check_value(field, value)
        terms.append(f"{_expression(field)} > ?")
        values.append(value)
        if not isinstance(value, str):
            terms.append(f"{_expression(field)} < ''")  # SQLite sorts any text after any number
    return " AND ".join(terms), values


def _equals(field: str, value: Any) -> str:
    if value is None:
        return f"{_expression(field)} IS NULL"
    if isinstance(value, tuple):
        return f"{_expression(field)} IN ({', '.join('?' * len(value))})"
    if field == "id" or isinstance(value, str) or value not in (0, 1):
        return f"{_expression(field)} = ?"
    # SQLite gives flags out as 1 and 0: their type tells them from the numbers.
    flags = f"json_type(document, {_path(field)}) IN ('true', 'false')"
    return f"{_expression(field)} = ? AND {flags if isinstance(value, bool) else 'NOT ' + flags}"


def _order(order: Sequence[str]) -> str:
    return ", ".join(_expression(field) + (" DESC" if descends else "") for field, descends in ordering(order))
