"""Live state is the fold taken at now; late evidence never touches it; nobody is offline but in the current session."""

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId, StreamId
from firmware_agent.contract.messages import Clock, Evidence, Heartbeat, Status
from firmware_agent.contract.vocabulary import ClockQuality, Function, Kind, Online, Verdict
from fleet_server.presence.evidence import dated
from fleet_server.presence.layers import NodeStatus, PositionStatus
from fleet_server.presence.live import Live
from fleet_server.presence.model import Fold, Observation, State, worst
from fleet_server.presence.wiring import Mount, Wiring
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef

NODE = NodeId("00000000-0000-4000-8000-000000000001")
OTHER = NodeId("00000000-0000-4000-8000-000000000002")
T0 = 1_795_485_600_000
SUPERVISION = 90_000
NODE_SUPERVISION = 60_000


def position(name: str = "p1", *functions: Function, retired: int | None = None) -> PositionRef:
    return PositionRef(
        id=name,
        code=name.upper(),
        kind=Kind.CAMERA,
        functions=functions or (Function.LIVE,),
        unit_path="/s/",
        zone_code="Z",
        innovation_type="cctv",
        supervision_ms=SUPERVISION,
        commissioned_at_ms=T0 - 1,
        retired_at_ms=retired,
    )


def mounted(name: str = "p1", node: NodeId = NODE, channel: str = "cam-1", start: int = 0, end: int | None = None) -> InstallationRef:
    return InstallationRef(position_id=name, node=node, channel=Channel(channel), from_ms=start, to_ms=end)


def wiring(*installations: InstallationRef, positions: tuple[PositionRef, ...] | None = None, version: int = 1) -> Wiring:
    nodes = [NodeRef(NODE, "SN1", "/s/"), NodeRef(OTHER, "SN2", "/s/", is_simulated=True)]
    return Wiring(
        Directory(
            version, nodes=nodes, positions=(position(),) if positions is None else positions, installations=installations or (mounted(),)
        )
    )


def live(wired: Wiring | None = None) -> Live:
    made = Live(node_supervision_ms=NODE_SUPERVISION)
    made.wire(wired or wiring(), T0)
    forget(made)
    return made


def forget(made: Live) -> None:
    made.settled(made.changed_positions(), made.changed_nodes())


def says(
    *evidence: Evidence, wall: int, session: str = "s1", quality: ClockQuality = ClockQuality.NTP, mono: int = 0, boot: str = "b"
) -> Heartbeat:
    clock = Clock(wall, mono, BootId(boot), quality)
    return Heartbeat(1, SessionId(session), StreamId("00000000000000aa"), 1, 1, clock, list(evidence))


def sees(
    at: int,
    verdict: Verdict = Verdict.WORKING,
    *,
    ttl: int = 30_000,
    cause: str = "",
    function: Function = Function.LIVE,
    channel: str = "cam-1",
) -> Evidence:
    return Evidence(Channel(channel), function, verdict, at, ttl, cause)


def status(made: Live, now: int, name: str = "p1") -> PositionStatus:
    found = made.position(name, now)
    assert found is not None
    return found


def node(made: Live, name: NodeId = NODE) -> NodeStatus:
    found = made.node(name)
    assert found is not None
    return found


def hear(made: Live, at: int, verdict: Verdict = Verdict.WORKING, **how: object) -> None:
    made.heartbeat(NODE, says(sees(at, verdict, **how), wall=at), at)  # type: ignore[arg-type]  # of sees


def test_a_position_never_seen_is_unknown_and_says_why() -> None:
    made = live()
    assert (status(made, T0).state, status(made, T0).cause, status(made, T0).since_ms) == (State.UNKNOWN, "never_seen", None)
    assert (node(made).is_online, node(made).cause) == (False, "never_seen")


def test_a_position_without_hardware_says_so() -> None:
    made = live(wiring(mounted(end=T0 - 5)))
    assert status(made, T0).cause == "not_installed"


def test_evidence_makes_it_working_since_it_was_made() -> None:
    made = live()
    hear(made, T0 + 10)
    assert (status(made, T0).state, status(made, T0).since_ms, status(made, T0).cause) == (State.WORKING, T0 + 10, "")
    assert node(made).is_online
    assert made.changed_positions() == ["p1"]


def test_the_same_again_changes_nothing_but_when_it_was_seen() -> None:
    made = live()
    hear(made, T0)
    forget(made)
    hear(made, T0 + 10_000)
    assert (made.changed_positions(), made.changed_nodes()) == ([], [])
    assert (status(made, T0).since_ms, status(made, T0).observed_at_ms) == (T0, T0 + 10_000)


def test_when_the_ttl_ends_it_is_unknown_from_that_moment() -> None:
    made = live()
    hear(made, T0, ttl=20_000)
    forget(made)
    made.expire(T0 + 19_999)
    assert status(made, T0).state is State.WORKING
    assert made.next_end_ms() == T0 + 20_000
    made.expire(T0 + 25_000)
    assert (status(made, T0).state, status(made, T0).since_ms, status(made, T0).cause) == (State.UNKNOWN, T0 + 20_000, "no_evidence")
    assert made.changed_positions() == ["p1"]


def test_loss_is_known_within_the_supervision_time_whatever_the_node_claims() -> None:
    made = live()
    hear(made, T0, ttl=86_400_000)
    made.expire(T0 + SUPERVISION - 1)
    assert status(made, T0).state is State.UNKNOWN


def test_a_gap_that_nobody_looked_at_restarts_since() -> None:
    made = live()
    hear(made, T0, ttl=10_000)
    hear(made, T0 + 50_000)
    assert status(made, T0).since_ms == T0 + 50_000


def test_older_evidence_and_evidence_after_its_end_do_not_touch_it() -> None:
    made = live()
    hear(made, T0 + 20_000)
    forget(made)
    made.heartbeat(NODE, says(sees(T0 + 19_999, Verdict.FAILED), wall=T0 + 20_000), T0 + 21_000)
    made.heartbeat(NODE, says(sees(T0 + 22_000, Verdict.FAILED, ttl=5_000), wall=T0 + 22_000), T0 + 27_000)
    assert status(made, T0).state is State.WORKING
    assert made.changed_positions() == []


def test_of_two_at_one_instant_the_worse_wins() -> None:
    made = live()
    made.heartbeat(NODE, says(sees(T0, Verdict.FAILED, cause="black"), sees(T0), wall=T0), T0)
    assert (status(made, T0).state, status(made, T0).cause) == (State.FAILED, "black")


def test_a_changed_cause_is_told_and_since_stays() -> None:
    made = live()
    hear(made, T0, Verdict.FAILED, cause="refused")
    forget(made)
    hear(made, T0 + 10_000, Verdict.FAILED, cause="black")
    assert (status(made, T0).cause, status(made, T0).since_ms) == ("black", T0)
    assert made.changed_positions() == ["p1"]


def test_a_clock_that_cannot_be_believed_dates_by_receive_time_until_its_boot_is_known() -> None:
    made = live()
    made.heartbeat(NODE, says(sees(1_000), wall=2_000, quality=ClockQuality.NONE, mono=5_000), T0)
    assert status(made, T0).since_ms == T0 - 1_000
    made.heartbeat(NODE, says(wall=T0 + 10_000, mono=15_500), T0 + 10_050)  # the boot began 500 ms earlier than it seemed
    made.heartbeat(NODE, says(sees(20_000), wall=20_000, quality=ClockQuality.HOLDOVER, mono=25_500), T0 + 20_050)
    assert status(made, T0).observed_at_ms == T0 + 20_000


def test_a_clock_in_the_future_is_not_believed() -> None:
    made = live()
    future = T0 + 365 * 86_400_000
    made.heartbeat(NODE, says(sees(future - 1_000), wall=future), T0)
    assert status(made, T0).observed_at_ms == T0 - 1_000
    made.expire(T0 + SUPERVISION)
    assert status(made, T0).state is State.UNKNOWN


def test_evidence_for_an_unknown_channel_function_or_node_is_nobodys() -> None:
    made = live()
    made.heartbeat(NODE, says(sees(T0, channel="cam-9"), sees(T0, function=Function.LIT), wall=T0), T0)
    made.heartbeat(NodeId("00000000-0000-4000-8000-00000000dead"), says(sees(T0), wall=T0), T0)
    made.status(NodeId("00000000-0000-4000-8000-00000000dead"), Status(1, Online.ONLINE, SessionId("x")), T0)
    assert status(made, T0).state is State.UNKNOWN
    assert status(made, T0).cause == "never_seen"


def test_the_worst_function_is_the_position() -> None:
    made = live(wiring(positions=(position("p1", Function.LIVE, Function.RECORDING),)))
    hear(made, T0)
    assert status(made, T0).state is State.UNKNOWN
    made.heartbeat(NODE, says(sees(T0, Verdict.DEGRADED, function=Function.RECORDING, cause="disk"), wall=T0), T0)
    assert (status(made, T0).state, status(made, T0).cause) == (State.DEGRADED, "disk")
    assert [f.state for f in status(made, T0).functions] == [State.WORKING, State.DEGRADED]


# ---- who is online ------------------------------------------------------------------------------------------------------


def offline(made: Live, session: str, at: int) -> None:
    made.status(NODE, Status(1, Online.OFFLINE, SessionId(session)), at)


def birth(made: Live, session: str, at: int, *, wall: int | None = None) -> None:
    clock = Clock(wall or at, 0, BootId("b"), ClockQuality.NTP)
    made.status(NODE, Status(1, Online.ONLINE, SessionId(session), "0.1.0", clock=clock), at)


def test_offline_counts_for_the_current_session_only() -> None:
    made = live()
    birth(made, "s1", T0)
    birth(made, "s2", T0 + 1_000)
    offline(made, "s1", T0 + 2_000)
    assert node(made).is_online
    offline(made, "s2", T0 + 3_000)
    assert (node(made).is_online, node(made).cause, node(made).since_ms) == (False, "node_offline", T0 + 3_000)


def test_a_live_heartbeat_overrides_a_retained_offline() -> None:
    made = live()
    offline(made, "s1", T0)
    assert not node(made).is_online
    made.heartbeat(NODE, says(wall=T0 + 1_000, session="s1"), T0 + 1_000)
    assert (node(made).is_online, node(made).since_ms) == (True, T0 + 1_000)


def test_a_retained_offline_of_an_older_session_says_nothing() -> None:
    made = live()
    made.heartbeat(NODE, says(wall=T0, session="s2"), T0)
    offline(made, "s1", T0 + 1)
    assert node(made).is_online


def test_a_retained_birth_from_long_ago_is_no_sign_of_life() -> None:
    made = live()
    birth(made, "s1", T0, wall=T0 - 86_400_000)
    assert not node(made).is_online
    birth(made, "s1", T0, wall=T0 - 1_000)
    assert node(made).is_online
    assert node(made).last_heartbeat_at_ms is None


def test_offline_does_not_end_evidence_but_explains_its_end() -> None:
    made = live()
    hear(made, T0, ttl=20_000)
    offline(made, "s1", T0 + 5_000)
    assert status(made, T0).state is State.WORKING
    made.expire(T0 + 20_000)
    assert (status(made, T0).state, status(made, T0).cause) == (State.UNKNOWN, "node_offline")


def test_a_node_that_falls_silent_without_a_will_is_offline_in_time() -> None:
    made = live()
    hear(made, T0)
    hear(made, T0 + 10_000)
    made.expire(T0 + 10_000 + NODE_SUPERVISION - 1)
    assert node(made).is_online
    forget(made)
    made.expire(T0 + 10_000 + NODE_SUPERVISION)
    assert (node(made).cause, node(made).since_ms) == ("agent_silent", T0 + 10_000 + NODE_SUPERVISION)
    assert made.changed_nodes() == [NODE]
    assert status(made, T0).cause == "agent_silent"


def test_one_outage_is_one_pair_of_changes() -> None:
    made, told = live(), []
    birth(made, "s1", T0)
    for at, do in ((0, None), (30_000, "will"), (61_000, None), (70_000, "back"), (80_000, None)):
        if do == "will":
            offline(made, "s1", T0 + at)
            offline(made, "s1", T0 + at)  # the broker hands it out twice
        if do == "back":
            birth(made, "s2", T0 + at)
        made.expire(T0 + at)
        if made.changed_nodes():
            told.append(node(made).is_online)
            forget(made)
    assert told == [True, False, True]


# ---- swaps and removals -------------------------------------------------------------------------------------------------


def test_after_a_swap_the_old_evidence_ends_and_the_new_hardware_must_prove_itself() -> None:
    made = live()
    hear(made, T0, ttl=80_000)
    made.wire(wiring(mounted(end=T0 + 5_000), mounted(node=OTHER, channel="cam-7", start=T0 + 5_000), version=2), T0 + 6_000)
    made.expire(T0 + 6_000)
    assert (status(made, T0).state, status(made, T0).since_ms) == (State.UNKNOWN, T0 + 5_000)
    hear(made, T0 + 7_000)  # nobody's now
    made.heartbeat(OTHER, says(sees(T0 + 4_000, channel="cam-7"), wall=T0 + 7_000), T0 + 7_000)  # made before it was there
    assert status(made, T0).state is State.UNKNOWN
    made.heartbeat(OTHER, says(sees(T0 + 8_000, channel="cam-7"), wall=T0 + 8_000), T0 + 8_000)
    assert (status(made, T0).state, status(made, T0).is_simulated) == (State.WORKING, True)


def test_a_new_version_that_changes_nothing_here_keeps_everything() -> None:
    made = live()
    hear(made, T0)
    forget(made)
    made.wire(wiring(version=2), T0 + 1_000)
    assert (status(made, T0).state, made.changed_positions()) == (State.WORKING, [])


def test_another_function_takes_nothing_from_what_is_known_of_the_first() -> None:
    made = live()
    hear(made, T0, ttl=80_000)
    made.wire(wiring(positions=(position("p1", Function.LIVE, Function.RECORDING),), version=2), T0 + 1_000)
    shown = status(made, T0)
    assert [(f.function, f.state, f.since_ms) for f in shown.functions] == [
        (Function.LIVE, State.WORKING, T0),
        (Function.RECORDING, State.UNKNOWN, None),
    ]
    assert (shown.state, shown.since_ms) == (State.UNKNOWN, T0 + 1_000)
    made.wire(wiring(version=3), T0 + 2_000)
    assert (status(made, T0).state, made.changed_positions()) == (State.WORKING, ["p1"])


def test_what_leaves_the_directory_is_gone() -> None:
    made = live()
    hear(made, T0)
    forget(made)
    made.wire(wiring(positions=(position(retired=T0 + 10),), version=2), T0 + 10)
    assert made.position("p1", T0) is None
    assert made.changed_positions() == ["p1"]
    made.expire(T0 + 10**9)


def test_an_installation_that_begins_later_is_wired_when_it_begins() -> None:
    made = live(wiring(mounted(start=T0 + 500)))
    assert made.is_wired(1, T0 + 499)
    assert not made.is_wired(1, T0 + 500)
    assert not made.is_wired(2, T0)


# ---- after a start ------------------------------------------------------------------------------------------------------


def test_what_still_holds_after_a_start_keeps_its_since_and_the_rest_is_unknown() -> None:
    before = live()
    hear(before, T0, ttl=80_000)
    shown = status(before, T0)
    again = live()
    again.restore_position(shown)
    again.restore_node(node(before))
    hear(again, T0 + 10_000)
    assert status(again, T0).since_ms == T0
    silent = live()
    silent.restore_position(shown)
    silent.restored(T0 + 40_000)
    assert (status(silent, T0).state, status(silent, T0).since_ms) == (State.UNKNOWN, T0 + 40_000)


def test_no_node_is_called_silent_for_the_time_in_which_the_server_was_blind() -> None:
    before = live()
    hear(before, T0)
    again = live()
    again.watch_from(T0 + 3_600_000)
    again.restore_node(node(before))
    again.expire(T0 + 3_600_000 + NODE_SUPERVISION - 1)
    assert node(again).is_online
    again.expire(T0 + 3_600_000 + NODE_SUPERVISION)
    assert node(again).cause == "agent_silent"


# ---- the fold -----------------------------------------------------------------------------------------------------------

beats = st.lists(
    st.tuples(
        st.integers(0, 15_000),  # after the one before
        st.lists(
            st.tuples(
                st.sampled_from([Function.LIVE, Function.RECORDING]),
                st.sampled_from(list(Verdict)),
                st.integers(-1_000, 40_000),  # age
                st.integers(1, 120_000),  # ttl
            ),
            max_size=3,
        ),
        st.integers(0, 20_000),  # delay
        st.sampled_from([ClockQuality.NTP, ClockQuality.NTP, ClockQuality.NONE]),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(beats, st.integers(0, 100_000))
def test_live_state_is_the_fold_of_what_came_in_time_taken_at_now(
    made_up: list[tuple[int, list[tuple[Function, Verdict, int, int]], int, ClockQuality]], later: int
) -> None:
    functions = (Function.LIVE, Function.RECORDING)
    wired = wiring(positions=(position("p1", *functions),))
    made = live(wired)
    folds: dict[str, list[Observation]] = {function.value: [] for function in functions}
    wall = received = T0
    for after, evidence, delay, quality in made_up:
        wall += after
        received = max(received, wall + delay)
        heartbeat = says(*(sees(wall - age, verdict, ttl=ttl, function=f) for f, verdict, age, ttl in evidence), wall=wall, quality=quality)
        made.expire(received)
        made.heartbeat(NODE, heartbeat, received)
        learnt = made._nodes[NODE].offset_ms  # the same dating for both
        for target, function, observation in dated(
            heartbeat,
            received_at_ms=received,
            is_replay=False,
            offset_ms=learnt,
            target_of=wired.node(NODE).target_at,
        ):
            assert isinstance(target, Mount)
            if not observation.is_late:
                folds[function].append(observation)
    now = received + later
    made.expire(now)
    expected = [Fold.of(observations).state_at(now) for observations in folds.values()]
    assert [f.state for f in status(made, now).functions] == expected
    assert status(made, now).state is worst(expected)


def test_the_path_where_nothing_changes_is_short() -> None:
    """Not a clock race: only that it does not grow with the number of positions or of heartbeats before."""
    channels = [f"cam-{i}" for i in range(20)]
    positions = tuple(position(f"p{i}") for i in range(20))
    made = live(wiring(*(mounted(f"p{i}", channel=c) for i, c in enumerate(channels)), positions=positions))
    rounds = [says(*(sees(T0 + 10 * r, channel=c) for c in channels), wall=T0 + 10 * r) for r in range(300)]
    made.heartbeat(NODE, rounds[0], T0)
    forget(made)
    begun = time.process_time()
    for r, heartbeat in enumerate(rounds):
        made.heartbeat(NODE, heartbeat, T0 + 10 * r)
    assert made.changed_positions() == []
    assert len(made._ends) <= 21
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("seed", range(3))
def test_many_random_ends_leave_no_litter(seed: int) -> None:
    made, random = live(), Random(seed)
    for step in range(500):
        hear(made, T0 + step * 1_000, random.choice(list(Verdict)), ttl=random.randint(1, 5_000))
        made.expire(T0 + step * 1_000 + random.randint(0, 999))
    assert len(made._ends) <= 12  # ends of the last 5 s at most
