"""Random journals: replay, clocks that cannot be believed, swaps, exemptions. The ledger must always be what the whole says."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_agent.contract.messages import Evidence
from firmware_agent.contract.vocabulary import ClockQuality, Function, Verdict
from fleet_server.access.model import Scope
from fleet_server.errors import Rejected
from fleet_server.exemptions.model import Exemption, ExemptionKind
from fleet_server.ingest.model import Lane
from fleet_server.storage import Database
from fleet_server.uptime.service import Uptime
from tests.integration.uptime.world import HOUR, NODES, T0, World, evidence

MINUTE = 60_000
END = 4 * HOUR
FUNCTIONS = (Function.LIVE, Function.RECORDING)


@dataclass(frozen=True)
class Beat:
    """A heartbeat in true time, and how its node tells of it."""

    node: int
    true_ms: int
    delay_ms: int
    is_replay: bool
    quality: ClockQuality
    boot: int
    skew_ms: int
    said: tuple[tuple[str, Function, Verdict, int, int], ...]


@dataclass(frozen=True)
class Swap:
    at_ms: int
    node: int


@dataclass(frozen=True)
class Exempt:
    kind: ExemptionKind
    from_ms: int
    to_ms: int


@dataclass(frozen=True)
class MoveEnd:
    """Let the newest exemption end so much later or earlier."""

    by_ms: int


@dataclass(frozen=True)
class Withdraw:
    """Withdraw the newest exemption."""


@dataclass(frozen=True)
class Settle:
    """Let the ledger catch up, some time later."""

    after_ms: int


said = st.tuples(
    st.sampled_from(["cam-a", "cam-a", "cam-b", "stray"]),
    st.sampled_from([Function.LIVE, *FUNCTIONS]),
    st.sampled_from([Verdict.WORKING, *Verdict]),
    st.one_of(st.integers(0, 5_000), st.integers(-5_000, 100_000)),  # age
    st.one_of(st.just(MINUTE), st.integers(1, 20 * MINUTE)),  # ttl
)
beats = st.builds(
    Beat,
    node=st.integers(0, 1),
    true_ms=st.integers(0, END),
    delay_ms=st.one_of(st.integers(0, 2_000), st.integers(0, 3 * HOUR)),
    is_replay=st.booleans(),
    quality=st.sampled_from([ClockQuality.NTP, ClockQuality.NONE]),
    boot=st.integers(0, 1),
    skew_ms=st.sampled_from([0, -3 * HOUR, 2 * HOUR, 30_000, 59_000, 61_000]),
    said=st.lists(said, min_size=1, max_size=3).map(tuple),
)
swaps = st.builds(Swap, at_ms=st.integers(0, END), node=st.integers(0, 1))
exempts = st.builds(
    lambda kind, start, length: Exempt(kind, T0 + start, T0 + start + length),
    st.sampled_from(list(ExemptionKind)),
    st.integers(0, END),
    st.integers(1, 2 * HOUR),
)
moves = st.builds(MoveEnd, by_ms=st.integers(-HOUR, HOUR))
settles = st.builds(Settle, after_ms=st.sampled_from([0, MINUTE, HOUR, 3 * HOUR]))
acts = st.lists(st.one_of(beats, beats, beats, settles, swaps, exempts, moves, st.just(Withdraw())), min_size=1, max_size=20)


@contextmanager
def a_world() -> Iterator[World]:
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder)}/fleet.db")
        database.create_all()
        world = World(database)
        world.add_node(NODES[0])
        world.add_node(NODES[1])
        world.add_position("CAM-A", functions=FUNCTIONS, node=NODES[0], commissioned=T0 + 10 * MINUTE)
        world.add_position("CAM-B", node=NODES[1])
        yield world
        database.close()


def say(world: World, beat: Beat) -> None:
    true_ms = T0 + beat.true_ms
    wall = max(0, true_ms + beat.skew_ms)
    received = max(world.clock.at_ms, true_ms + beat.delay_ms)
    world.clock.at_ms = received
    world.beat(
        [told(item, wall) for item in beat.said],
        node=NODES[beat.node],
        wall=wall,
        received=received,
        lane=Lane.REPLAY if beat.is_replay else Lane.LIVE,
        quality=beat.quality,
        boot=f"boot-{beat.boot}",
        mono=true_ms - T0 + 10**8 * (beat.boot + 1),
    )


def told(item: tuple[str, Function, Verdict, int, int], wall: int) -> Evidence:
    channel, function, verdict, age_ms, ttl_ms = item
    return evidence(channel, function, verdict, at=max(0, wall - age_ms), ttl=ttl_ms)


def act(world: World, uptime: Uptime, what: object) -> None:
    match what:
        case Beat():
            say(world, what)
        case Swap(at_ms=at_ms, node=node):
            swap(world, T0 + at_ms, node)
        case Exempt(kind=kind, from_ms=from_ms, to_ms=to_ms):
            if kind is ExemptionKind.EXCUSED or from_ms >= world.clock.at_ms:
                exempt(world, kind, from_ms, to_ms)
        case MoveEnd(by_ms=by_ms):
            move_end(world, by_ms)
        case Withdraw():
            for exemption in exemptions(world)[:1]:
                world.exemptions.withdraw(exemption.id, scope=Scope.ALL, by="a")
        case Settle(after_ms=after_ms):
            world.clock.at_ms += after_ms
            settle(uptime)


def exempt(world: World, kind: ExemptionKind, from_ms: int, to_ms: int) -> None:
    world.exemptions.declare("CAM-A", scope=Scope.ALL, kind=kind, from_ms=from_ms, to_ms=to_ms, reason="r", document="d", author="a")


def exemptions(world: World) -> list[Exemption]:
    return world.exemptions.of_position("CAM-A", scope=Scope.ALL)


def move_end(world: World, by_ms: int) -> None:
    """Move the end of the newest exemption, unless that is refused: before its beginning, or of maintenance that is over."""
    for exemption in exemptions(world)[:1]:
        with suppress(Rejected):
            world.exemptions.move_end(exemption.id, exemption.to_ms + by_ms, scope=Scope.ALL, by="a")


def swap(world: World, at_ms: int, node: int) -> None:
    """Serve CAM-A from another node, unless that would overlap what was."""
    position = next(p.id for p in world.positions.values() if p.code == "CAM-A")
    newest = max(i.from_ms for i in world.installations if i.position_id == position)
    if at_ms > newest:
        world.install(position, NODES[node], "cam-a", at_ms)


def settle(uptime: Uptime) -> None:
    for _ in range(1_000):
        if uptime.advance() and not uptime.backlog():
            return
    raise AssertionError("the ledger never came to rest")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts)
def test_a_rebuilt_ledger_equals_the_grown_one_byte_for_byte(happened: list[object]) -> None:
    with a_world() as world:
        uptime = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, quiet_ms=0)
        for what in happened:
            act(world, uptime, what)
        world.clock.at_ms += 3 * HOUR
        settle(uptime)
        grown = uptime.fingerprint()
        rows = uptime.rebuild()
        assert uptime.fingerprint() == grown
        assert rows > 0 or not any(isinstance(what, Beat) for what in happened)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts, st.integers(0, END), st.integers(1, END))
def test_usage_is_the_same_whether_hours_are_open_closed_or_cut(happened: list[object], start: int, length: int) -> None:
    with a_world() as world:
        grown = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, quiet_ms=0)
        for what in happened:
            act(world, grown, what)
            if not isinstance(what, Settle):  # the open hours are looked at all the time
                grown.usage(scope=Scope.ALL, from_ms=T0, to_ms=T0 + 3 * END)
        span = (T0 + start, T0 + start + length)
        world.clock.at_ms = max(world.clock.at_ms, span[1])
        settle(grown)  # closed hours are as they were last folded
        fresh = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, quiet_ms=0)
        before = [
            (u.code, u.function, _times(u.parts))
            for by in (False, True)
            for u in grown.usage(scope=Scope.ALL, from_ms=span[0], to_ms=span[1], by_function=by)
        ]
        newly = [
            (u.code, u.function, _times(u.parts))
            for by in (False, True)
            for u in fresh.usage(scope=Scope.ALL, from_ms=span[0], to_ms=span[1], by_function=by)
        ]
        assert before == newly
        world.clock.at_ms += 3 * HOUR
        settle(grown)
        after = [
            (u.code, u.function, _times(u.parts))
            for by in (False, True)
            for u in grown.usage(scope=Scope.ALL, from_ms=span[0], to_ms=span[1], by_function=by)
        ]
        assert after == before
        for ref in world.positions.values():
            commissioned = max(0, span[1] - max(span[0], ref.commissioned_at_ms or 0))
            assert (
                sum(
                    u.parts.commissioned_ms for u in grown.usage(scope=Scope.ALL, from_ms=span[0], to_ms=span[1]) if u.position_id == ref.id
                )
                == commissioned
            )


def _times(parts: object) -> tuple[int, ...]:
    names = ("working_ms", "degraded_ms", "failed_ms", "unknown_ms", "maintenance_ms", "excused_ms", "replayed_ms")
    return tuple(getattr(parts, name) for name in names)
