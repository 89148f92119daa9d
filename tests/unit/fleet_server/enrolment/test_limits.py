"""Addresses that are wrong too often wait; memory stays bounded."""

from fleet_server.enrolment.limits import WrongTries


def test_the_limit_and_its_end() -> None:
    tries = WrongTries(limit=3, window_s=60)
    for second in range(3):
        assert tries.wait_s("a", second) == 0
        tries.count("a", second)
    assert tries.wait_s("a", 2) == 58
    assert tries.wait_s("b", 2) == 0
    assert tries.wait_s("a", 60) == 0
    tries.count("a", 60)
    assert tries.wait_s("a", 60) == 1


def test_a_scan_of_addresses_fills_no_memory() -> None:
    tries = WrongTries(limit=1, window_s=60)
    for address in range(10_050):
        tries.count(str(address), 0)
    assert tries.wait_s("0", 1) == 0
    assert tries.wait_s("10049", 1) == 59
