"""Certificates, clients and attackers of the conformance suite."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firmware_agent.contract.ids import NodeId, new_node_id
from provisioning.broker.promise import BrokerFiles, Endpoint
from provisioning.ca import Credential, create_pki, issue_server_certificate, issue_service_certificate
from provisioning.crl import build_crl, refresh_crls
from provisioning.pki import Pki, pem
from provisioning.profile import PROFILES, Names, ProfileName, build, device_names

WITHIN_S = 20.0
SILENCE_S = 0.4
"""How long nothing must arrive before we say that nothing does; a message that may pass follows on the same path."""


@dataclass(frozen=True)
class Person:
    """A client's credential on disk."""

    name: str
    certificate: Path
    key: Path


class Authority:
    """A fleet's PKI half a year old, so that certificates can have expired."""

    def __init__(self, folder: Path, organisation: str = "Test Police") -> None:
        self.folder = folder
        self.pki: Pki = create_pki(folder / "pki", organisation, local_root=True, now=datetime.now(UTC) - timedelta(days=200))
        refresh_crls(folder / "pki", datetime.now(UTC))
        server = self._save("server", issue_server_certificate(self.pki, ["localhost"]))
        self.server_as_client = Person("server", server.certificate, server.key)
        self.files = BrokerFiles(server.certificate, server.key, folder / "pki")
        self.core = self._save("svc-core", issue_service_certificate(self.pki, "svc-core"))
        self.other_service = self._save("svc-probe", issue_service_certificate(self.pki, "svc-probe"))

    def node(self, node: NodeId | None = None, *, issued_at: datetime | None = None) -> Person:
        node = node or new_node_id()
        return self.leaf(device_names(self.pki.organisation, "SSZ-1", node), ProfileName.DEVICE, ProfileName.DEVICE_CA, issued_at)

    def named(self, common_name: str, ca: ProfileName) -> Person:
        """A certificate that a CA should never sign."""
        names = Names(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        return self.leaf(names, ProfileName.DEVICE, ca)

    def leaf(self, names: Names, profile: ProfileName, ca: ProfileName, issued_at: datetime | None = None) -> Person:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.pki.issuer(ca)
        certificate = build(PROFILES[profile], names, key.public_key(), issuer=issuer, now=issued_at or datetime.now(UTC))
        name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self._save(name, Credential(pem(certificate, issuer.certificate), key_pem))

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "pki" / "trust" / "servers.pem"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def tls(self, person: Person | None) -> ssl.SSLContext:
        context = self.trusting()
        if person is not None:
            context.load_cert_chain(person.certificate, person.key)
        return context

    def _save(self, name: str, credential: Credential) -> Person:
        folder = self.folder / "people"
        folder.mkdir(exist_ok=True)
        number = len(list(folder.iterdir()))
        certificate, key = folder / f"{number}.pem", folder / f"{number}.key"
        certificate.write_bytes(credential.chain_pem)
        key.write_bytes(credential.key_pem)
        return Person(name, certificate, key)


def client(authority: Authority, endpoint: Endpoint, person: Person, **options: Any) -> aiomqtt.Client:
    """A well-behaved client."""
    settings: dict[str, Any] = {"identifier": person.name, "protocol": aiomqtt.ProtocolVersion.V311, "timeout": WITHIN_S, **options}
    return aiomqtt.Client(endpoint.host, endpoint.port, tls_context=authority.tls(person), **settings)


class Inbox:
    """What a client has received so far."""

    def __init__(self, mqtt: aiomqtt.Client) -> None:
        self._mqtt = mqtt
        self.messages: list[tuple[str, bytes]] = []
        self.retained: list[str] = []
        self._changed = asyncio.Condition()

    async def read(self) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            async for message in self._mqtt.messages:
                async with self._changed:
                    assert isinstance(message.payload, bytes)
                    self.messages.append((message.topic.value, message.payload))
                    if message.retain:
                        self.retained.append(message.topic.value)
                    self._changed.notify_all()

    async def has(self, topic: str, payload: bytes) -> None:
        """Wait until a message is here."""
        try:
            async with asyncio.timeout(WITHIN_S), self._changed:
                await self._changed.wait_for(lambda: (topic, payload) in self.messages)
        except TimeoutError:
            raise AssertionError(f"{topic} {payload!r} did not arrive; there is {self.messages}") from None

    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.messages]


@contextlib.asynccontextmanager
async def inbox(mqtt: aiomqtt.Client) -> AsyncIterator[Inbox]:
    """Read a connected client's messages in the background."""
    found = Inbox(mqtt)
    task = asyncio.create_task(found.read(), name="inbox")
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Raw:
    """A client that sends any bytes over TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, authority: Authority, endpoint: Endpoint, person: Person | None) -> "Raw":
        return cls(*await asyncio.open_connection(endpoint.host, endpoint.port, ssl=authority.tls(person), server_hostname="localhost"))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def send_all(self, data: bytes) -> None:
        """Send, and wait while the broker does not read."""
        self._writer.write(data)
        await self._writer.drain()

    def pause(self) -> None:
        """Read nothing any more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it

    async def receive(self) -> bytes:
        """Return the next bytes, nothing at the end of the connection."""
        async with asyncio.timeout(WITHIN_S):
            try:
                return await self._reader.read(65_536)
            except OSError:
                return b""

    async def is_ended(self) -> bool:
        """Wait until the broker ends the connection; what it says before does not matter."""
        while await self.receive():
            pass
        return True

    async def close(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes((digit | (0x80 if rest else 0),))
        if not rest:
            return bytes((first,)) + length + body


def connect_packet(
    client_id: str,
    *,
    username: str | None = None,
    will: tuple[str, bytes] | None = None,
    is_will_retained: bool = False,
    is_clean: bool = True,
    keep_alive_s: int = 30,
) -> bytes:
    flags = (0x02 if is_clean else 0) | (0x80 if username is not None else 0) | (0x0C if will else 0) | (0x20 if is_will_retained else 0)
    payload = text(client_id)
    if will:
        payload += text(will[0]) + len(will[1]).to_bytes(2, "big") + will[1]
    if username is not None:
        payload += text(username)
    return packet(0x10, text("MQTT") + bytes((4, flags)) + keep_alive_s.to_bytes(2, "big") + payload)


def publish_packet(topic: str, payload: bytes, *, packet_id: int = 0, is_retained: bool = False) -> bytes:
    identifier = packet_id.to_bytes(2, "big") if packet_id else b""
    return packet((0x32 if packet_id else 0x30) | is_retained, text(topic) + identifier + payload)


def subscribe_packet(topic_filter: str) -> bytes:
    return packet(0x82, b"\0\1" + text(topic_filter) + b"\1")


async def is_refused(authority: Authority, endpoint: Endpoint, person: Person | None, connect: bytes) -> bool:
    """Whether a client is not let in: no handshake, no CONNACK, or one that refuses."""
    try:
        raw = await Raw.open(authority, endpoint, person)
    except OSError:
        return True
    try:
        raw.send(connect)
        answer = await raw.receive()
    finally:
        await raw.close()
    return len(answer) < 4 or answer[0] != 0x20 or answer[3] != 0


@contextlib.contextmanager
def revocation(authority: Authority, node: Person) -> Iterator[None]:
    """Publish lists with the node's certificate in them, and the old ones again at the end."""
    files, now = authority.files, datetime.now(UTC)
    certificate = x509.load_pem_x509_certificate(node.certificate.read_bytes())
    entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
    crl = build_crl(authority.pki.issuer(ProfileName.DEVICE_CA), number=int(time.time()) + 10, now=now, entries=[entry])
    good = {path: path.read_bytes() for path in (files.device_crl, files.all_crls)}
    old, new = good[files.device_crl], crl.public_bytes(serialization.Encoding.PEM)
    files.device_crl.write_bytes(new)
    files.all_crls.write_bytes(good[files.all_crls].replace(old, new))
    try:
        yield
    finally:
        for path, data in good.items():
            path.write_bytes(data)


async def until_refused(authority: Authority, endpoint: Endpoint, person: Person) -> None:
    give_up_at = time.monotonic() + WITHIN_S
    while not await is_refused(authority, endpoint, person, connect_packet(person.name)):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)
