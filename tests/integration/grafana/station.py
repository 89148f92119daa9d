"""A station's last half hour, written to an InfluxDB by the server's own telemetry."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from firmware_agent.contract import ids
from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId, StreamId
from firmware_agent.contract.messages import Clock, Event, Evidence, Health, Heartbeat, encode
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Function, Kind, Verdict
from fleet_server.access.model import Scope
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Entry, Lane, dated
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import State
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef
from fleet_server.storage import Database
from fleet_server.telemetry.influx import InfluxTelemetry
from fleet_server.telemetry.metrics import TelemetryMetrics
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.service import Telemetry
from fleet_server.uptime.model import Parts
from tests.servers.influxdb import Influx

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("6f1c2a9b0d3e4f58")
BOOT = BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")
MINUTES = 30
HOUR_MS = 3_600_000
LUMPINI, OTHER = "bpp.n1.lumpini", "bpp.n1.lumpini-2"
"""The second one's name begins like the first: a careless pattern would mix them."""

POSITIONS: Mapping[str, tuple[Kind, Function, str, str]] = {
    "CAM-A": (Kind.CAMERA, Function.LIVE, "cam-1", LUMPINI),
    "CAM-B": (Kind.CAMERA, Function.LIVE, "cam-2", LUMPINI),
    "BTN-1": (Kind.PANIC_BUTTON, Function.PRESS, "btn-1", LUMPINI),
    "LMP-1": (Kind.STREET_LIGHT, Function.LIT, "lamp-1", LUMPINI),
    "AIR-1": (Kind.SENSOR, Function.READING, "air-1", LUMPINI),
    "CAM-X": (Kind.CAMERA, Function.LIVE, "cam-3", OTHER),
}


class Hour(NamedTuple):
    function: str
    hour_ms: int
    parts: Parts


class SteppedClock:
    """Stands where it is put; runs with the machine's clock while `at_ms` is None."""

    at_ms: int | None = None

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 if self.at_ms is None else self.at_ms

    def mono_s(self) -> float:
        return time.monotonic()


@dataclass
class Sources:
    """Presence, ledger and figures as told: promises of `telemetry.sources`."""

    now_ms: int
    states: dict[str, State] = field(default_factory=dict)
    never_seen: frozenset[str] = frozenset({"AIR-1"})

    def statuses(self, *, scope: Scope) -> Sequence[PositionStatus]:
        return [_status(code, self.states.get(code, State.WORKING), self._seen_ms(code)) for code in POSITIONS]

    def _seen_ms(self, code: str) -> int | None:
        return None if code in self.never_seen else self.now_ms - (600_000 if code == "CAM-B" else 4_000)

    def hours(self, code: str, *, scope: Scope, from_ms: int, to_ms: int) -> Sequence[Hour]:
        newest = self.now_ms // HOUR_MS * HOUR_MS - HOUR_MS
        parts = Parts(working_ms=3_000_000, failed_ms=400_000, unknown_ms=200_000, replayed_ms=100_000)
        function = POSITIONS[code][1]
        return [Hour(function, hour, parts) for hour in (newest - HOUR_MS, newest) if from_ms <= hour < to_ms]

    def closed_ms(self) -> int:
        return self.now_ms // HOUR_MS * HOUR_MS

    def backlog(self, *, from_ms: int = 0) -> int:
        return 0

    def figures(self) -> dict[str, int | float]:
        return {"ingested": 5, "rejected": 0, "late": 0, "presence_lag": 0}


class Station:
    """Fills `influx`; `end_ms` is the newest full minute."""

    def __init__(self, influx: Influx, folder: Path) -> None:
        self.influx = influx
        self.end_ms = self.filled_at_ms = time.time_ns() // 60_000_000_000 * 60_000
        self.store = InfluxTelemetry(influx.url, org=influx.org, token=influx.token)
        self._database = Database(f"sqlite:///{folder}/fleet.db")
        self._database.create_all()
        self._journal = Journal(self._database)
        self._clock = SteppedClock()
        self._sources = Sources(self.end_ms)
        self._telemetry = Telemetry(
            database=self._database,
            journal=self._journal,
            directory=directory,
            store=self.store,
            states=self._sources,
            ledger=self._sources,
            figures=self._sources,
            metrics=TelemetryMetrics(CollectorRegistry()),
            clock=self._clock,
            state_interval_s=0.5,
        )

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
        self._database.close()

    def fill(self) -> None:
        """Write half an hour: CAM-B fails after ten minutes, and the server is silent for two minutes in between."""
        for minute in range(-MINUTES, 1):
            if minute in (-5, -4):
                continue
            self._clock.at_ms = self._sources.now_ms = self.end_ms + minute * 60_000
            self._sources.states = {"CAM-B": State.FAILED if minute > -20 else State.WORKING, "AIR-1": State.UNKNOWN}
            self._telemetry.write_states()
        for second in range(-300, 1, 10):
            self._clock.at_ms = self.end_ms + second * 1000
            self._telemetry.write_figures()
        self._clock.at_ms = None
        self._journal.append([_heartbeat(seq, self.end_ms - MINUTES * 60_000 + seq * 30_000) for seq in range(1, 2 * MINUTES)])
        self._journal.append(_presses(self.end_ms))
        asyncio.run(self._run_until_hours())
        self.filled_at_ms = self._clock.now_ms()

    @contextmanager
    def writing(self, *, interval_s: float = 10.0) -> Iterator[None]:
        """Write on as a server that runs, until left: then it is silent."""
        silent = threading.Event()

        def write() -> None:
            while not silent.is_set():
                self._sources.now_ms = self._clock.now_ms()
                self._telemetry.write_states()
                self._telemetry.write_figures()
                silent.wait(interval_s)

        thread = threading.Thread(target=write, name="station")
        thread.start()
        try:
            yield
        finally:
            silent.set()
            thread.join()

    async def _run_until_hours(self) -> None:
        """Let the service itself write the journal and the closed hours."""
        async with asyncio.timeout(60):
            work = asyncio.create_task(self._telemetry.run(), name="telemetry")
            while not await asyncio.to_thread(self._is_whole):
                assert not work.done(), work.exception()
                await asyncio.sleep(0.1)
            work.cancel()
            await asyncio.wait({work})

    def _is_whole(self) -> bool:
        now_ms = self._clock.now_ms()
        rows = self.store.query(Bucket.COLD, "station_state", from_ms=self.end_ms, to_ms=now_ms + 1)
        return self._telemetry.lag().rows == 0 and any("uptime_1h" in row.fields for row in rows)


def directory() -> Directory:
    """Return the one snapshot."""
    return _DIRECTORY


def _path(station: str) -> str:
    return f"/{station.replace('.', '/')}/"


def _make_directory() -> Directory:
    refs = [
        PositionRef(
            id=f"id-{code}",
            code=code,
            kind=kind,
            functions=(function,),
            unit_path=_path(station),
            zone_code="LMP",
            innovation_type=None,
            supervision_ms=90_000,
            commissioned_at_ms=0,
            lat=13.7,
            lon=100.5,
        )
        for code, (kind, function, _channel, station) in POSITIONS.items()
    ]
    installed = [InstallationRef(position_id=f"id-{code}", node=NODE, channel=Channel(p[2]), from_ms=0) for code, p in POSITIONS.items()]
    return Directory(1, nodes=[NodeRef(NODE, "SSZ-1", _path(LUMPINI))], positions=refs, installations=installed)


_DIRECTORY = _make_directory()


def _status(code: str, state: State, observed_at_ms: int | None) -> PositionStatus:
    ref = _DIRECTORY.positions[f"id-{code}"]
    return PositionStatus(
        position_id=ref.id,
        code=code,
        kind=ref.kind,
        unit_path=ref.unit_path,
        zone_code=ref.zone_code,
        state=state,
        cause="",
        since_ms=None,
        observed_at_ms=observed_at_ms,
        functions=(),
        node=NODE,
        channel=None,
        is_simulated=False,
        is_commissioned=True,
    )


def _clock(at_ms: int, quality: ClockQuality = ClockQuality.NTP, boot: str = BOOT) -> Clock:
    return Clock(wall_ms=at_ms, mono_ms=at_ms % 10**9, boot=BootId(boot), quality=quality)


def _heartbeat(seq: int, at_ms: int) -> Entry:
    def proof(channel: str, function: Function, **metrics: float) -> Evidence:
        return Evidence(Channel(channel), function, Verdict.WORKING, at_ms - 100, 60_000, "", metrics)

    message = Heartbeat(
        v=1,
        session=SessionId("s"),
        stream=STREAM,
        seq=seq,
        floor=1,
        clock=_clock(at_ms),
        evidence=[
            proof("cam-1", Function.LIVE, fps=15.0, kbps=812.5, rtt_ms=2.0),
            proof("cam-3", Function.LIVE, fps=25.0, kbps=99.0),
            proof("lamp-1", Function.LIT, power_w=61.5),
            proof("air-1", Function.READING, reading=12.0),
        ],
        health=Health(3.0, 41.0, 900.0, 55.5, False, 1000.0, 2, 1, 0.7),
    )
    received_at_ms = at_ms + 50
    dated_ms = dated(message.clock, received_at_ms)
    return Entry(received_at_ms, NODE, Lane.LIVE, Up.HEARTBEAT, encode(message), STREAM, seq, 1, dated_ms, message.clock.mono_ms, BOOT)


def _presses(end_ms: int) -> list[Entry]:
    """Return a press, a drill, and a late press that nothing dates."""
    unknown = _clock(1_000, ClockQuality.NONE, boot="11111111-2222-4333-8444-555555555555")
    return [
        _press(1, end_ms - 600_000, _clock(end_ms - 600_000 + 4)),
        _press(2, end_ms - 900_000, _clock(end_ms - 900_000 + 6), is_drill=True),
        _press(3, 990, unknown, lane=Lane.REPLAY, received_at_ms=end_ms - 300_000),
    ]


def _press(n: int, at_ms: int, clock: Clock, *, lane: Lane = Lane.LIVE, is_drill: bool = False, received_at_ms: int | None = None) -> Entry:
    message = Event(1, ids.event_id(NODE, STREAM, n), SessionId("s"), Channel("btn-1"), EventType.PRESS, at_ms, clock, is_drill=is_drill)
    received = at_ms + 50 if received_at_ms is None else received_at_ms
    return Entry(received, NODE, lane, Up.EVENT, encode(message), STREAM, n, None, dated(clock, received), clock.mono_ms, clock.boot)
