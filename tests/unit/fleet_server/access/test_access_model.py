"""Scopes, roles, passwords."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.access.model import PERMISSIONS, Permission, Principal, Role, Scope, is_unit_path, password_fault, user_fault

segments = st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True), max_size=4)


def path(parts: list[str]) -> str:
    return "/" + "".join(f"{part}/" for part in parts)


@given(segments, segments)
def test_scope_contains_what_is_below(above: list[str], below: list[str]) -> None:
    assert Scope(path(above)).contains(path(above + below))
    assert Scope.ALL.contains(path(above))


@given(segments, segments)
def test_scope_contains_nothing_else(one: list[str], other: list[str]) -> None:
    assert Scope(path(one)).contains(path(other)) == (other[: len(one)] == one)


def test_neighbour_with_a_longer_name_is_outside() -> None:
    assert not Scope("/bpp/n1/").contains("/bpp/n10/")


@pytest.mark.parametrize("text", ["", "bpp", "/bpp", "bpp/", "//", "/BPP/", "/a b/", "/%/", "/../", "/" + "a/" * 150])
def test_what_is_no_unit_path(text: str) -> None:
    assert not is_unit_path(text)
    with pytest.raises(ValueError, match="not a unit path"):
        Scope(text)


def test_narrowing_never_widens() -> None:
    station = Scope("/bpp/n1/")
    assert station.narrowed(None) == station
    assert station.narrowed("/") == station
    assert station.narrowed("/bpp/n1/lumpini/") == Scope("/bpp/n1/lumpini/")
    assert station.narrowed("/bpp/n2/") is None


def test_every_role_has_its_permissions() -> None:
    assert set(PERMISSIONS) == set(Role)
    assert all(Permission.VIEW in granted for granted in PERMISSIONS.values())
    assert PERMISSIONS[Role.ADMINISTRATOR] == set(Permission)
    managers = {role for role, granted in PERMISSIONS.items() if Permission.MANAGE_ACCOUNTS in granted}
    assert managers == {Role.ADMINISTRATOR}
    answerers = {role for role, granted in PERMISSIONS.items() if Permission.ACKNOWLEDGE_PRESS in granted}
    assert answerers == {Role.ADMINISTRATOR, Role.CCOC_OPERATOR, Role.STATION_CHIEF}


def test_actor_tells_people_from_programs() -> None:
    assert Principal("somchai", Role.VENDOR, Scope.ALL, "session").actor == "somchai"
    assert Principal("somchai", Role.VENDOR, Scope.ALL, "token").actor == "token:somchai"
    assert Principal.LOCAL.actor == "local:fleet"


@pytest.mark.parametrize("password", ["", "short", "eleven char", "x" * 257, "aaaaaaaaaaaa", "ababababababab", "somchai12345"])
def test_weak_passwords(password: str) -> None:
    assert password_fault(password, "somchai")


@pytest.mark.parametrize("password", ["twelve chars", "ถูกต้องม้าแบตเตอรี่", "x" * 8 + "abcdefgh", "somchai and a horse"])
def test_good_passwords(password: str) -> None:
    assert password_fault(password, "somchai") is None


@pytest.mark.parametrize("user", ["", "a", "Somchai", "สมชาย", "a b", "-a", "a" * 65, "a\x00b"])
def test_bad_user_names(user: str) -> None:
    assert user_fault(user)
