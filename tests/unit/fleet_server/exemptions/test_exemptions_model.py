"""The calendar against plain loops over all exemptions."""

from hypothesis import given
from hypothesis import strategies as st

from fleet_server.exemptions.model import Calendar, Exemption, ExemptionKind, Version

POSITIONS = ("p1", "p2")
exemptions = st.lists(
    st.builds(
        lambda position, kind, start, length: Exemption(0, position, "/", kind, start, start + length, "r", "d", "a", 0),
        st.sampled_from(POSITIONS),
        st.sampled_from(list(ExemptionKind)),
        st.integers(0, 40),
        st.integers(1, 20),
    ),
    max_size=6,
)


@given(exemptions, st.integers(-1, 60), st.integers(0, 60))
def test_it_knows_who_turns_when(some: list[Exemption], after: int, length: int) -> None:
    calendar, edges = Calendar(exemptions=some), [(at, e.position_id) for e in some for at in (e.from_ms, e.to_ms)]
    assert calendar.turning(after, after + length) == {name for at, name in edges if after < at <= after + length}
    assert calendar.next_edge_ms(after) == min((at for at, _ in edges if at > after), default=None)


@given(exemptions, st.integers(-1, 60))
def test_where_nothing_turns_the_same_ones_hold(some: list[Exemption], at: int) -> None:
    calendar = Calendar(exemptions=some)
    next_ms = calendar.next_edge_ms(at)
    for position in POSITIONS:
        mine = [e for e in some if e.position_id == position]
        assert sorted(calendar.of(position), key=str) == sorted(mine, key=str)
        held = [e.covers(at) for e in calendar.of(position)]
        assert all([e.covers(t) for e in calendar.of(position)] == held for t in range(at, next_ms or 100))


@given(exemptions, exemptions)
def test_it_names_the_positions_of_which_two_versions_differ(one: list[Exemption], other: list[Exemption]) -> None:
    found = Calendar(Version(1, 0), one).differing(Calendar(Version(2, 0), other))
    for position in POSITIONS:
        mine = [sorted((e for e in some if e.position_id == position), key=lambda e: (e.from_ms, e.id)) for some in (one, other)]
        assert (position in found) == (mine[0] != mine[1])
