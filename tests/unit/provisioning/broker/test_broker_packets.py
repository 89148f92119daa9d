"""The gate's reading of MQTT: literal packets, any bytes, any cut."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.broker.embedded.packets import (
    Connect,
    Kind,
    Malformed,
    Packet,
    Splitter,
    Subscription,
    Will,
    check_short,
    read_connect,
    read_publish_topic,
    read_subscriptions,
    read_unsubscriptions,
    write_connect,
    write_refusal,
)

CONNECT = bytes.fromhex("10 0e 0004 4d515454 04 02 001e 0002 6e31".replace(" ", ""))
"""CONNECT of client `n1`, clean, keep-alive 30 s."""


def split(data: bytes, *, max_packet_bytes: int = 1 << 20) -> list[Packet]:
    splitter = Splitter(max_packet_bytes)
    splitter.feed(data)
    found = []
    while (packet := splitter.next()) is not None:
        found.append(packet)
    return found


def one(data: bytes) -> Packet:
    (packet,) = split(data)
    return packet


def test_a_literal_connect() -> None:
    expected = Connect(client_id="n1", username=None, is_clean=True, keep_alive_s=30, will=None)
    assert read_connect(one(CONNECT)) == expected
    assert write_connect(expected) == CONNECT


def test_a_password_is_read_over() -> None:
    data = b"\x10\x18\0\4MQTT\4\xc2\0\x1e\0\2n1\0\2us\0\4pass"
    assert read_connect(one(data)).username == "us"


def test_a_refusal_is_four_bytes() -> None:
    assert write_refusal(5) == b"\x20\2\0\5"


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
wills = st.builds(Will, texts, st.binary(max_size=300), st.integers(0, 2), st.booleans())
connects = st.builds(
    Connect,
    client_id=texts,
    username=st.none() | texts,
    is_clean=st.booleans(),
    keep_alive_s=st.integers(0, 65_535),
    will=st.none() | wills,
)


@given(connects)
def test_what_is_written_is_read_the_same(connect: Connect) -> None:
    assert read_connect(one(write_connect(connect))) == connect


@given(st.lists(connects, max_size=5), st.lists(st.integers(1, 50)))
def test_packets_are_the_same_however_the_stream_is_cut(sent: list[Connect], cuts: list[int]) -> None:
    stream, splitter, found = b"".join(map(write_connect, sent)), Splitter(1 << 20), []
    for size in [*cuts, len(stream)]:
        splitter.feed(stream[:size])
        stream = stream[size:]
        while (packet := splitter.next()) is not None:
            found.append(read_connect(packet))
    assert found == sent
    assert splitter.is_empty


@given(st.binary(max_size=400))
def test_any_bytes_are_a_packet_or_malformed(data: bytes) -> None:
    try:
        packets = split(data)
    except Malformed:
        return
    for packet in packets:
        for read in (read_connect, read_publish_topic, read_subscriptions, read_unsubscriptions, check_short):
            try:
                read(packet)
            except Malformed:
                continue


@given(st.binary(min_size=1, max_size=60))
def test_any_body_of_a_connect_is_one_or_malformed(body: bytes) -> None:
    with suppress(Malformed):
        read_connect(Packet(Kind.CONNECT, 0, b"\0\4MQTT\4" + body, b""))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x00\x00", "reserved"),
        (b"\xf0\x00", "reserved"),
        (b"\x30\xff\xff\xff\xff\x01", "more than four"),
        (b"\x30\xff\xff\x03", "65539 bytes"),
    ],
)
def test_a_bad_header_is_refused_as_soon_as_it_is_known(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        split(data, max_packet_bytes=65_537)


def test_the_largest_packet_is_taken() -> None:
    assert len(split(b"\x30\x7f" + b"x" * 127, max_packet_bytes=129)) == 1
    with pytest.raises(Malformed):
        split(b"\x30\x80\x01" + b"x" * 128, max_packet_bytes=130)


@pytest.mark.parametrize(
    "body",
    [
        b"\0\6MQIsdp\3\2\0\x1e\0\1x",  # MQTT 3.1
        b"\0\4MQTT\5\2\0\x1e\0\0\1x",  # MQTT 5
        b"\0\4MQTT\4\3\0\x1e\0\1x",  # reserved flag
        b"\0\4MQTT\4\x1e\0\x1e\0\1x",  # will QoS 3
        b"\0\4MQTT\4\x22\0\x1e\0\1x",  # will retained, but no will
        b"\0\4MQTT\4\x42\0\x1e\0\1x\0\1p",  # password without user name
        b"\0\4MQTT\4\2\0\x1e\0\1x!",  # something left over
        b"\0\4MQTT\4\2\0\x1e\0\1\xff",  # not UTF-8
        b"\0\4MQTT\4\2\0\x1e\0\1\0",  # null character
        b"\0\4MQTT\4\6\0\x1e\0\1x\0\1t",  # will without payload
    ],
)
def test_a_connect_that_breaks_a_rule_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_connect(Packet(Kind.CONNECT, 0, body, b""))


@pytest.mark.parametrize(
    "data", [b"\x30\5\0\3a/#", b"\x30\5\0\3+/a", b"\x30\2\0\0", b"\x32\5\0\1a\0\0", b"\x34\5\0\1a\0\1", b"\x38\3\0\1a", b"\x30\3\0\2a"]
)
def test_a_publish_that_breaks_a_rule_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_publish_topic(one(data))


def test_publish_and_subscriptions_are_read() -> None:
    assert read_publish_topic(one(b"\x32\x08\0\3a/b\0\1x")) == "a/b"
    assert read_publish_topic(one(b"\x31\x05\0\3a/b")) == "a/b"
    assert read_subscriptions(one(b"\x82\x0c\0\1\0\3a/#\1\0\1b\0")) == [Subscription("a/#", 1), Subscription("b", 0)]
    assert read_unsubscriptions(one(b"\xa2\x07\0\1\0\3a/#")) == ["a/#"]


@pytest.mark.parametrize("data", [b"\x82\2\0\1", b"\x82\6\0\0\0\1a\1", b"\x80\6\0\1\0\1a\1", b"\x82\6\0\1\0\1a\3", b"\x82\5\0\1\0\0\1"])
def test_a_subscribe_that_breaks_a_rule_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_subscriptions(one(data))


@pytest.mark.parametrize("data", [b"\x40\0", b"\x41\2\0\1", b"\xc0\1x", b"\xe1\0"])
def test_short_packets_must_be_short(data: bytes) -> None:
    with pytest.raises(Malformed):
        check_short(one(data))
