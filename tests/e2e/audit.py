"""The deep account: the outboxes of the nodes against journal, presses, time series and ledger, each read where it is stored."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.messages import Event, Heartbeat, decode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import EventType
from fleet_server.alarms import store as alarms_store
from fleet_server.ingest import store as journal_store
from fleet_server.ingest.model import Row
from fleet_server.main import telemetry_store
from fleet_server.settings import FILE_NAME, Settings, database_url, load_settings
from fleet_server.storage import Database
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.writer import CURSOR
from fleet_server.uptime import store as uptime_store
from hil.demo.report import PARTS
from hil.scenarios.waiting import until
from hil.scenarios.world import World

_FOREVER_MS = 4_102_444_800_000
_BATCH = 1000


@dataclass(frozen=True)
class Journal:
    """All of a journal, decoded."""

    heartbeats: list[tuple[Row, Heartbeat]]
    events: list[tuple[Row, Event]]


async def audit_stores(world: World) -> None:
    """Everything that nodes made is in journal, presses and time series, once.

    In a thread: the lines to the real servers are carried by this event loop.
    """
    with closing(open_store(world)) as database:
        await until(lambda: asyncio.to_thread(_is_charted, database), "the time series have all of the journal", within_s=120)
    await asyncio.to_thread(_audit_stores, world)


async def audit_ledger(world: World, in_two_hours: Mapping[str, str]) -> None:
    """Close all hours by setting the clock on: the ledger adds up, evidence counted, and it can be made again."""
    await world.check_ledger(in_two_hours)
    working_ms = await asyncio.to_thread(_audit_ledger, world)
    assert working_ms > 10_000


def _is_charted(database: Database) -> bool:
    with database.read() as connection:
        return journal_store.cursor(connection, CURSOR) >= journal_store.newest_id(connection)


def _audit_stores(world: World) -> None:
    with closing(open_store(world)) as database:
        journal = read_journal(database)
        assert len(journal.heartbeats) > 50
        assert len(journal.events) > 10
        check_journal(world, journal)
        check_presses(database, journal)
        assert check_time_series(world, journal) > 50


def _audit_ledger(world: World) -> int:
    with closing(open_store(world)) as database:
        return check_ledger(database)


def settings_of(world: World) -> Settings:
    return load_settings(world.server.folder / FILE_NAME)


def open_store(world: World) -> Database:
    return Database(database_url(settings_of(world), world.server.folder))


def read_journal(database: Database) -> Journal:
    rows: list[Row] = []
    with database.read() as connection:
        while batch := journal_store.rows_after(connection, rows[-1].id if rows else 0, limit=_BATCH):
            rows += batch
    heartbeats = [(row, decode(Heartbeat, row.payload)) for row in rows if row.topic is Up.HEARTBEAT]
    return Journal(heartbeats, [(row, decode(Event, row.payload)) for row in rows if row.topic is Up.EVENT])


def check_journal(world: World, journal: Journal) -> None:
    """Every heartbeat and event that a node made is in the journal once, or still held."""
    stored = Counter((row.node, row.stream, row.seq) for row, _ in journal.heartbeats)
    happened = Counter((row.node, row.stream, row.seq) for row, _ in journal.events)
    assert {*stored.values(), *happened.values()} == {1}, "something is stored twice"
    made: set[tuple[Any, ...]] = set()
    held: set[tuple[Any, ...]] = set()
    events: set[tuple[Any, ...]] = set()
    for node in world.nodes:
        name, books = NodeId(node.status()["node_id"]), node.books()
        assert not books.events_held
        for stream in books.streams:
            made |= {(name, stream.stream, seq) for seq in range(1, stream.made + 1)}
            held |= {(name, stream.stream, seq) for seq in stream.held}
            events |= {(name, stream.stream, n) for n in range(1, stream.events_made + 1)}
    assert made - stored.keys() <= held, "heartbeats are neither stored nor held"
    assert stored.keys() <= made
    assert happened.keys() == events


def check_presses(database: Database, journal: Journal) -> None:
    """Each press in the journal was raised exactly once, and nothing else was."""
    pressed = [event.event_id for _, event in journal.events if event.type is EventType.PRESS]
    with database.read() as connection:
        raised = list(connection.execute(select(alarms_store.press.c.event_id)).scalars())
    assert sorted(raised) == sorted(pressed)


def check_time_series(world: World, journal: Journal) -> int:
    """The points are those of the journal, no more and no fewer; return how many."""
    serials = {node.status()["node_id"]: node.serial for node in world.nodes}
    evidence = {
        (f"{serials[row.node]}-{each.channel}".upper(), min(each.observed_at_ms, row.received_at_ms))
        for row, heartbeat in journal.heartbeats
        for each in heartbeat.evidence
    }
    health = {(str(row.node), heartbeat.clock.wall_ms) for row, heartbeat in journal.heartbeats}
    store = telemetry_store(settings_of(world), world.server.folder)
    try:
        points = store.query(Bucket.HOT, "heartbeat", from_ms=0, to_ms=_FOREVER_MS)
        nodes = store.query(Bucket.HOT, "node_health", from_ms=0, to_ms=_FOREVER_MS)
        events = store.query(Bucket.EVENTS, "event", from_ms=0, to_ms=_FOREVER_MS)
    finally:
        store.close()
    assert {(point.tags["position"], point.at_ms) for point in points} == evidence
    assert {(point.tags["node"], point.at_ms) for point in nodes} == health
    assert {str(point.fields["event_id"]) for point in events} == {event.event_id for _, event in journal.events}
    return len(points)


def check_ledger(database: Database) -> int:
    """The parts of every closed hour add up, and evidence counted; return the milliseconds that count as working."""
    ledger = uptime_store.ledger
    with database.read() as connection:
        rows = connection.execute(select(ledger)).mappings().all()
    assert rows
    for row in rows:
        assert sum(row[f"{part}_ms"] for part in PARTS) == row["commissioned_ms"], dict(row)
    return sum(int(row["working_ms"]) for row in rows)
