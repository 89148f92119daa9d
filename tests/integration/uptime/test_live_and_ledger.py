"""One random stream drives live state and ledger, while registry and exemptions change under both: at each moment they say the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_agent.contract.vocabulary import Function, Kind, Verdict
from fleet_server.access.model import Scope
from fleet_server.exemptions.model import ExemptionKind
from fleet_server.ingest.model import Lane
from fleet_server.presence.exempted import overlays_of
from fleet_server.presence.model import Segment, State, overlay, worst
from fleet_server.presence.service import Presence
from fleet_server.storage import Database
from fleet_server.uptime.fold import trails
from fleet_server.uptime.model import Span, Trail, clip
from fleet_server.uptime.service import Uptime
from tests.integration.uptime.world import HOUR, NODES, World, evidence

FUNCTIONS = (Function.LIVE, Function.RECORDING)
TIMES = st.sampled_from([0, 1, 999, 1_000, 10_000, 58_999, 59_000, 59_001, 89_000, 20 * 60_000, HOUR])


@dataclass(frozen=True)
class Beat:
    """A heartbeat that arrives now."""

    node: int
    delay_ms: int
    is_replay: bool
    is_again: bool
    said: tuple[tuple[str, Function, Verdict, int, int], ...]


@dataclass(frozen=True)
class Wait:
    """Let time pass."""

    ms: int
    is_watched: bool
    """Whether the ledger is brought up to date then; else it comes later."""


@dataclass(frozen=True)
class Change:
    """Something in the registry changes now."""

    what: str
    position: int
    node: int


@dataclass(frozen=True)
class Exempt:
    """Somebody exempts a position, or takes the newest exemption back."""

    kind: ExemptionKind
    position: int
    after_ms: int
    length_ms: int
    is_taken_back: bool


fresh = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(FUNCTIONS), st.sampled_from(list(Verdict)), st.just(0), st.just(10**7))
odd = st.tuples(
    st.sampled_from(["a", "b", "stray"]),
    st.sampled_from(FUNCTIONS),
    st.sampled_from(list(Verdict)),
    TIMES,  # age
    st.sampled_from([1, 1_000, 10_000, 59_000, 89_000]),  # ttl
)
said = st.lists(fresh | odd, min_size=1, max_size=3).map(tuple)
usual = st.builds(Beat, node=st.integers(0, 1), delay_ms=st.just(0), is_replay=st.just(False), is_again=st.just(False), said=said)
late = st.builds(Beat, node=st.integers(0, 1), delay_ms=TIMES, is_replay=st.booleans(), is_again=st.booleans(), said=said)
waits = st.builds(Wait, st.one_of(st.just(1_000), TIMES), st.booleans())
whats = st.sampled_from(["move", "move", "commission", "retire", "functions", "unit"])
registry = st.builds(Change, what=whats, position=st.integers(0, 1), node=st.integers(0, 1))
exempts = st.builds(
    Exempt, st.sampled_from(list(ExemptionKind)), st.integers(0, 1), TIMES, TIMES.filter(bool), st.sampled_from([False, False, True])
)
histories = st.lists(usual | late | waits | registry | exempts, min_size=10, max_size=25)


@contextmanager
def a_world() -> Iterator[World]:
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder)}/fleet.db")
        database.create_all()
        world = World(database)
        world.add_node(NODES[0])
        world.add_node(NODES[1])
        world.add_position("A", functions=FUNCTIONS, node=NODES[0], channel="a")
        world.add_position("B", Kind.PANIC_BUTTON, functions=FUNCTIONS, node=NODES[0], channel="b", commissioned=None)
        yield world
        database.close()


def hear(world: World, beat: Beat) -> None:
    now = world.clock.at_ms
    if beat.is_again and (rows := world.journal.after(0, limit=10_000)):
        again = rows[-1]
        world.seqs[again.node, again.stream] = (again.seq or 1) - 1  # type: ignore[index]  # heartbeats have a stream
    wall = now - beat.delay_ms
    said = [evidence(channel, function, verdict, at=wall - age, ttl=ttl) for channel, function, verdict, age, ttl in beat.said]
    world.beat(said, node=NODES[beat.node], wall=wall, received=now, lane=Lane.REPLAY if beat.is_replay else Lane.LIVE)


def change(world: World, what: Change) -> None:
    """As the registry would: everything begins and ends now, a moment after what was heard."""
    world.clock.at_ms += 1
    now = world.clock.at_ms
    ref = list(world.positions.values())[what.position]
    if ref.retired_at_ms is not None:
        return
    match what.what:
        case "move":
            move(world, ref.id, what.node, now)
        case "commission":
            if ref.commissioned_at_ms is None:
                world.change(ref.id, commissioned_at_ms=now)
        case "retire":
            end(world, ref.id, now)
            world.change(ref.id, retired_at_ms=now)
        case "functions":
            world.change(ref.id, functions=FUNCTIONS[:1])  # one that is added is unknown until it is heard of again
        case "unit":
            world.change(ref.id, unit_path="/bpp/n2/" if ref.unit_path != "/bpp/n2/" else "/bpp/n1/lumpini/")


def exempt(world: World, what: Exempt) -> None:
    """Maintenance begins some time from now, an excuse began some time ago."""
    code, start = "AB"[what.position], what.after_ms if what.kind is ExemptionKind.MAINTENANCE else -what.after_ms
    if what.is_taken_back:
        for exemption in world.exemptions.of_position(code, scope=Scope.ALL)[:1]:
            world.exemptions.withdraw(exemption.id, scope=Scope.ALL, by="a")
        return
    from_ms = world.clock.at_ms + start
    world.exemptions.declare(
        code,
        scope=Scope.ALL,
        kind=what.kind,
        from_ms=from_ms,
        to_ms=from_ms + what.length_ms,
        reason="r",
        document="d",
        author="a",
    )


def move(world: World, position: str, node: int, now: int) -> None:
    """Serve a position by a channel of another node, or by the other channel if that node serves it already."""
    current = next((i for i in world.installations if i.position_id == position and i.to_ms is None), None)
    channel = "a" if current is None or (current.node, current.channel) != (NODES[node], "a") else "b"
    holder = next((i for i in world.installations if (i.node, i.channel) == (NODES[node], channel) and i.to_ms is None), None)
    if holder is not None:
        end(world, holder.position_id, now)
    end(world, position, now)
    world.install(position, NODES[node], channel, now)


def end(world: World, position: str, now: int) -> None:
    current = [i for i in world.installations if i.position_id == position and i.to_ms is None]
    world.installations = [i for i in world.installations if i not in current]
    world.installations += [replace(i, to_ms=now) for i in current if i.from_ms < now]
    world.version += 1


def in_time(world: World, uptime: Uptime) -> dict[str, list[State]]:
    """Return what the journal proves of each function now, by what came in time alone."""
    now, wiring = world.clock.at_ms, uptime._ledger.wiring()
    rows = [row for node in NODES[:2] for row in world.journal.of_node(node, from_ms=0, to_ms=now + HOUR)]
    found = trails(rows, wiring, uptime._ledger.offset_of)
    return {
        ref.code: [(found.get((ref.id, function.value)) or Trail()).segments_in_time(now, now + 1)[0].state for function in ref.functions]
        for ref in world.positions.values()
        if ref.retired_at_ms is None or now < ref.retired_at_ms
    }


def overlaid(world: World, code: str, states: list[State]) -> State:
    """Return what uptime will make of the functions of a position and its exemptions, for now."""
    now = world.clock.at_ms
    exempted = world.exemptions.of_position(code, scope=Scope.ALL)
    return overlay([Segment(now, now + 1, worst(states))], overlays_of(exempted))[0].state


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories)
def test_live_state_says_what_the_ledger_will_say(happened: list[object]) -> None:
    with a_world() as world:
        presence = Presence(world.database, world.journal, world.directory, world.exemptions, world.clock)
        uptime = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, quiet_ms=0)
        for what in happened:
            match what:
                case Beat():
                    hear(world, what)
                case Wait(ms=ms, is_watched=is_watched):
                    world.clock.at_ms += ms
                    if is_watched:
                        uptime.advance()
                case Change():
                    change(world, what)
                case Exempt():
                    exempt(world, what)
            presence.advance()
            shown = presence.statuses(scope=Scope.ALL)
            proven = in_time(world, uptime)
            assert {s.code: [f.state for f in s.functions] for s in shown} == proven, what
            assert {s.code: s.state for s in shown} == {code: overlaid(world, code, states) for code, states in proven.items()}, what
        world.clock.at_ms += 3 * HOUR
        uptime.settle()
        check_hours(world, uptime)
        grown = uptime.fingerprint()
        uptime.rebuild()
        assert uptime.fingerprint() == grown


def check_hours(world: World, uptime: Uptime) -> None:
    """Each function's closed hours add up to the commissioned time in them, to the millisecond."""
    watched = Span(*(uptime._ledger.state() or (0, 0)))
    for ref in world.positions.values():
        rows = uptime.hours(ref.code, scope=Scope.ALL, from_ms=0, to_ms=world.clock.at_ms)
        for function in {row.function for row in rows}:
            life = clip(watched, ref.commissioned_at_ms, ref.retired_at_ms)
            assert sum(row.parts.commissioned_ms for row in rows if row.function == function) == life.to_ms - life.from_ms
