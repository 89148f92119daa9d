"""The embedded store: one SQLite file of its own, enough for a station. It can be deleted; the journal fills it again."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fleet_server.telemetry.promise import RETENTION_MS, Bucket, PartlyRejected, Point, TelemetryUnavailable, Value

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, bucket TEXT NOT NULL, measurement TEXT NOT NULL, tags TEXT NOT NULL, UNIQUE (bucket, measurement, tags));
CREATE TABLE IF NOT EXISTS point (
    series_id INTEGER NOT NULL, at_ms INTEGER NOT NULL, fields TEXT NOT NULL, PRIMARY KEY (series_id, at_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS field (
    bucket TEXT NOT NULL, measurement TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (bucket, measurement, name));
"""
_PURGE_ROWS: Final = 20_000


class SqliteTelemetry:
    """See `TelemetryStore`."""

    def __init__(self, path: Path, *, retention_ms: Mapping[Bucket, int] = RETENTION_MS) -> None:
        """Open or make the file. `retention_ms` by bucket.

        Raises:
            TelemetryUnavailable: the file cannot be used.
        """
        self._path = path
        self._retention_ms = retention_ms
        self._lock = threading.Lock()
        self._series: dict[tuple[Bucket, bytes], int] = {}
        self._types: dict[tuple[Bucket, str, str], str] = {}
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            # What a power cut takes away the journal still holds; but the cursor has moved on, so a commit must be a commit.
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {_TABLES}")
        except sqlite3.Error as error:
            raise TelemetryUnavailable(f"{path} cannot be used: {error}") from error

    def write(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        """See `TelemetryStore`."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    refusals = self._write(bucket, lines)
                except BaseException:
                    self._series.clear()
                    self._types.clear()
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise TelemetryUnavailable(f"{self._path} takes nothing: {error}") from error
        if refusals:
            raise PartlyRejected(f"partial write: {refusals[0]} dropped={len(refusals)}")

    def _write(self, bucket: Bucket, lines: Sequence[bytes]) -> list[str]:
        refusals: list[str] = []
        rows: list[tuple[int, int, str]] = []
        for written in lines:
            try:
                head, at_ms, fields = parse(written)
                self._check_types(bucket, head, fields)
            except ValueError as error:
                refusals.append(str(error))
                continue
            rows.append((self._series_id(bucket, head), at_ms, json.dumps(fields)))
        self._connection.executemany(
            "INSERT INTO point VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET fields = json_patch(fields, excluded.fields)", rows
        )
        return refusals

    def _check_types(self, bucket: Bucket, head: bytes, fields: Mapping[str, Value]) -> None:
        measurement = head.partition(b",")[0].decode()
        for name, value in fields.items():
            key = (bucket, measurement, name)
            known = self._types.get(key)
            if known is None:
                self._connection.execute("INSERT OR IGNORE INTO field VALUES (?, ?, ?, ?)", (*key, type(value).__name__))
                query = "SELECT type FROM field WHERE bucket = ? AND measurement = ? AND name = ?"
                known = self._types[key] = str(self._connection.execute(query, key).fetchone()[0])
            if known != type(value).__name__:
                raise ValueError(f"field type conflict: {measurement}.{name} is {known}, not {type(value).__name__}")

    def _series_id(self, bucket: Bucket, head: bytes) -> int:
        known = self._series.get((bucket, head))
        if known is None:
            measurement, tags = parse_series(head)
            key = (bucket, measurement, json.dumps(tags, sort_keys=True))
            self._connection.execute("INSERT OR IGNORE INTO series (bucket, measurement, tags) VALUES (?, ?, ?)", key)
            query = "SELECT id FROM series WHERE bucket = ? AND measurement = ? AND tags = ?"
            known = self._series[bucket, head] = int(self._connection.execute(query, key).fetchone()[0])
        return known

    def query(
        self, bucket: Bucket, measurement: str, *, from_ms: int, to_ms: int, tags: Mapping[str, str] = MappingProxyType({})
    ) -> list[Point]:
        """See `TelemetryStore`."""
        where = "".join(" AND json_extract(tags, ?) = ?" for _ in tags)
        wanted = [part for key, value in tags.items() for part in (f'$."{key}"', value)]
        query = (
            "SELECT tags, at_ms, fields FROM point JOIN series ON series.id = series_id "  # noqa: S608  # only question marks are put in
            f"WHERE bucket = ? AND measurement = ?{where} AND at_ms >= ? AND at_ms < ? ORDER BY at_ms, tags"
        )
        with self._lock:
            try:
                rows = self._connection.execute(query, (bucket, measurement, *wanted, from_ms, to_ms)).fetchall()
            except sqlite3.Error as error:
                raise TelemetryUnavailable(f"{self._path} cannot be read: {error}") from error
        return [Point(json.loads(found), at_ms, json.loads(fields)) for found, at_ms, fields in rows]

    def ping(self) -> None:
        """See `TelemetryStore`."""
        with self._lock:
            try:
                self._connection.execute("SELECT 1 FROM series LIMIT 1").fetchone()
            except sqlite3.Error as error:
                raise TelemetryUnavailable(f"{self._path} cannot be read: {error}") from error

    def purge(self, now_ms: int) -> int:
        """See `TelemetryStore`."""
        return sum(self._purge(bucket, now_ms - kept_ms) for bucket, kept_ms in self._retention_ms.items())

    def _purge(self, bucket: Bucket, before_ms: int) -> int:
        statement = (
            "DELETE FROM point WHERE (series_id, at_ms) IN (SELECT series_id, at_ms FROM point "
            "JOIN series ON series.id = series_id WHERE bucket = ? AND at_ms < ? LIMIT ?)"
        )
        with self._lock:
            try:
                return self._connection.execute(statement, (bucket, before_ms, _PURGE_ROWS)).rowcount
            except sqlite3.Error as error:
                raise TelemetryUnavailable(f"{self._path} cannot be purged: {error}") from error

    def close(self) -> None:
        """See `TelemetryStore`."""
        with self._lock:
            self._connection.close()


def parse(written: bytes) -> tuple[bytes, int, dict[str, Value]]:
    """Split a line into series, time and fields.

    Raises:
        ValueError: it is no line protocol, or has no time.
    """
    head, rest = _split(written, b" ", has_quotes=False)
    body, _, time = rest.rpartition(b" ")
    if not body or not time.isdigit():
        raise ValueError(f"unable to parse {written[:120]!r}")
    fields: dict[str, Value] = {}
    while body:
        item, body = _split(body, b",")
        name, _, value = item.partition(b"=")
        if not name or not value:
            raise ValueError(f"unable to parse {written[:120]!r}: a field without name or value")
        fields[name.decode()] = _value(value)
    return head, int(time), fields


def parse_series(head: bytes) -> tuple[str, dict[str, str]]:
    """Return measurement and tags of the head of a line."""
    measurement, rest = _split(head, b",", has_quotes=False)
    tags: dict[str, str] = {}
    while rest:
        item, rest = _split(rest, b",", has_quotes=False)
        key, value = _split(item, b"=", has_quotes=False)
        tags[key.decode()] = "".join(_unescaped(value.decode()))
    return measurement.decode(), tags


def _unescaped(value: str) -> Iterable[str]:
    characters = iter(value)
    for character in characters:
        following = next(characters, "") if character == "\\" else ""
        yield following if following in (",", "=", " ") and following else character + following


def _split(written: bytes, separator: bytes, *, has_quotes: bool = True) -> tuple[bytes, bytes]:
    """Split at the first separator that is neither escaped nor, where quotes mean something, inside them."""
    position, is_quoted = 0, False
    while position < len(written):
        byte = written[position : position + 1]
        if byte == b"\\":
            position += 2
            continue
        if byte == b'"' and has_quotes:
            is_quoted = not is_quoted
        elif byte == separator and not is_quoted:
            return written[:position], written[position + 1 :]
        position += 1
    return written, b""


def _value(raw: bytes) -> Value:
    if raw[:1] == b'"' and raw[-1:] == b'"' and len(raw) > 1:
        return raw[1:-1].decode().replace('\\"', '"').replace("\\\\", "\\")
    if raw in (b"true", b"false"):
        return raw == b"true"
    return int(raw[:-1]) if raw[-1:] == b"i" else float(raw)
