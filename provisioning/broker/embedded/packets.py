"""MQTT 3.1.1 packets, as far as the gate must read them. Pure; every length is checked before it is used.

Source: MQTT Version 3.1.1 (OASIS Standard, 29 October 2014), chapters 2 and 3.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

_LENGTH_BYTES: Final = 4
_CONNECT_QOS: Final = 0x18


class Malformed(Exception):
    """Bytes that are no MQTT 3.1.1 packet, or one that this broker does not take; the message says why."""


class Kind(IntEnum):
    """Control packet types (§2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Packet(NamedTuple):
    """One whole packet."""

    kind: Kind
    flags: int
    body: bytes
    """What follows the fixed header."""
    raw: bytes
    """All of it."""


class Will(NamedTuple):
    """What the broker says when the client is lost."""

    topic: str
    payload: bytes
    qos: int
    is_retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A CONNECT packet (§3.1); a password is read over and dropped."""

    client_id: str
    username: str | None
    is_clean: bool
    keep_alive_s: int
    will: Will | None


class Subscription(NamedTuple):
    """One filter of a SUBSCRIBE packet (§3.8)."""

    topic_filter: str
    qos: int


class Splitter:
    """Cuts a stream of bytes into packets; holds at most one packet's worth of bytes plus what `feed` got last."""

    def __init__(self, max_packet_bytes: int) -> None:
        """`max_packet_bytes`: the largest packet, fixed header included."""
        self._max = max_packet_bytes
        self._bytes = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no bytes wait here."""
        return not self._bytes

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._bytes += data

    def next(self) -> Packet | None:
        """Return the next whole packet, `None` when more bytes are needed.

        Raises:
            Malformed: the packet has an unknown type or is too large; it is refused as soon as its header is known.
        """
        header = self._header()
        if header is None:
            return None
        start, size = header
        if size > self._max:
            raise Malformed(f"a packet of {size} bytes; at most {self._max} are taken")
        if len(self._bytes) < size:
            return None
        raw = bytes(self._bytes[:size])
        del self._bytes[:size]
        return Packet(Kind(raw[0] >> 4), raw[0] & 0x0F, raw[start:], raw)

    def _header(self) -> tuple[int, int] | None:
        """Return the length of the fixed header and of the packet, as soon as both are known (§2.2.3)."""
        if not self._bytes:
            return None
        if self._bytes[0] >> 4 not in Kind.__members__.values():
            raise Malformed("a reserved packet type")
        length = 0
        for i in range(_LENGTH_BYTES):
            if len(self._bytes) < i + 2:
                return None
            byte = self._bytes[i + 1]
            length |= (byte & 0x7F) << (7 * i)
            if not byte & 0x80:
                return i + 2, i + 2 + length
        raise Malformed("a remaining length of more than four bytes")


class _Fields:
    """Reads fields from a body, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._body)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._body):
            raise Malformed("a field longer than its packet")
        self._at += count
        return self._body[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def data(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        try:
            text = self.data().decode()
        except UnicodeDecodeError as error:
            raise Malformed("text that is not UTF-8") from error
        if "\0" in text:
            raise Malformed("text with a null character")
        return text

    def end(self) -> None:
        if not self.is_at_end:
            raise Malformed("bytes after the last field")


def read_connect(packet: Packet) -> Connect:
    """Read a CONNECT packet.

    Raises:
        Malformed: it is another packet, breaks a rule of §3.1, or speaks another version than 3.1.1.
    """
    if packet.kind is not Kind.CONNECT or packet.flags:
        raise Malformed("the first packet is no CONNECT")
    fields = _Fields(packet.body)
    if fields.text() != "MQTT" or fields.number(1) != 4:
        raise Malformed("another protocol than MQTT 3.1.1")
    flags = fields.number(1)
    keep_alive_s = fields.number(2)
    has_will, has_password, has_username = flags & 0x04, flags & 0x40, flags & 0x80
    will_qos = (flags & _CONNECT_QOS) >> 3
    if flags & 0x01 or will_qos > 2 or (not has_will and flags & 0x38) or (has_password and not has_username):
        raise Malformed("flags that §3.1.2 forbids")
    client_id = fields.text()
    will = Will(fields.text(), fields.data(), will_qos, bool(flags & 0x20)) if has_will else None
    username = fields.text() if has_username else None
    if has_password:
        fields.data()
    fields.end()
    return Connect(client_id=client_id, username=username, is_clean=bool(flags & 0x02), keep_alive_s=keep_alive_s, will=will)


def write_connect(connect: Connect) -> bytes:
    """Return a CONNECT packet without a password."""
    flags = 0x02 if connect.is_clean else 0
    payload = _text(connect.client_id)
    if connect.will is not None:
        flags |= 0x04 | connect.will.qos << 3 | (0x20 if connect.will.is_retained else 0)
        payload += _text(connect.will.topic) + _data(connect.will.payload)
    if connect.username is not None:
        flags |= 0x80
        payload += _text(connect.username)
    body = _text("MQTT") + bytes((4, flags)) + connect.keep_alive_s.to_bytes(2, "big") + payload
    return _packet(Kind.CONNECT, 0, body)


def write_refusal(code: int) -> bytes:
    """Return a CONNACK that refuses (§3.2.2.3): 1 protocol version, 2 identifier, 4 user name, 5 not authorised."""
    return _packet(Kind.CONNACK, 0, bytes((0, code)))


def read_publish_topic(packet: Packet) -> str:
    """Return the topic of a PUBLISH packet after checking the rest of its header (§3.3).

    Raises:
        Malformed: a wildcard in the topic, QoS 2 (which the wire does not use) or 3, or no packet identifier.
    """
    qos = (packet.flags & 0x06) >> 1
    if qos > 1:
        raise Malformed("QoS 2, which this broker does not take")
    fields = _Fields(packet.body)
    topic = fields.text()
    if not topic or "+" in topic or "#" in topic:
        raise Malformed("a topic with wildcards, or an empty one")
    if qos and fields.number(2) == 0:
        raise Malformed("a packet identifier of 0")
    if not qos and packet.flags & 0x08:
        raise Malformed("a duplicate with QoS 0")
    return topic


def read_subscriptions(packet: Packet) -> list[Subscription]:
    """Return the filters of a SUBSCRIBE packet (§3.8).

    Raises:
        Malformed: it breaks a rule.
    """
    fields = _identified(packet)
    found = []
    while not fields.is_at_end:
        found.append(Subscription(fields.text(), fields.number(1)))
    if not found or any(not s.topic_filter or s.qos > 2 for s in found):
        raise Malformed("a subscription without filters, or with a QoS above 2")
    return found


def read_unsubscriptions(packet: Packet) -> list[str]:
    """Return the filters of an UNSUBSCRIBE packet (§3.10).

    Raises:
        Malformed: it breaks a rule.
    """
    fields = _identified(packet)
    found = []
    while not fields.is_at_end:
        found.append(fields.text())
    if not found:
        raise Malformed("an UNSUBSCRIBE without filters")
    return found


def check_short(packet: Packet) -> None:
    """See that a packet that holds nothing but a packet identifier, or nothing at all, is one.

    Raises:
        Malformed: it is not.
    """
    expected = 2 if packet.kind is Kind.PUBACK else 0
    if packet.flags or len(packet.body) != expected:
        raise Malformed(f"a {packet.kind.name} of the wrong shape")


def _identified(packet: Packet) -> _Fields:
    if packet.flags != 0x02:
        raise Malformed(f"flags that a {packet.kind.name} must not have")
    fields = _Fields(packet.body)
    if fields.number(2) == 0:
        raise Malformed("a packet identifier of 0")
    return fields


def _data(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _text(text: str) -> bytes:
    return _data(text.encode())


def _packet(kind: Kind, flags: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes((kind << 4 | flags,)) + bytes(length) + body
