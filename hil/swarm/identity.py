"""Makes a swarm known to a server and gets a certificate for each node, through the same doors that real ones use."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from firmware_agent.clock import SystemClock
from firmware_agent.contract.ids import NodeId, parse_node_id
from firmware_agent.identity.credentials import signing_request
from firmware_agent.identity.est import EstClient, NotYet
from hil.demo.errors import DemoFailed
from hil.demo.fleet import FleetApi
from hil.swarm.plan import Plan

_NODES_AT_ONCE: Final = 250
_CLAIMS_AT_ONCE: Final = 8
_ENROLLING_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Where:
    """A running server."""

    console_url: str
    est_url: str
    mqtt_host: str
    mqtt_port: int
    ca_file: Path
    """What nodes must trust: the fleet's root with the CA of its servers."""
    token_file: Path
    """An administrator's API token."""

    def as_json(self) -> str:
        """Return it for a file."""
        return json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}, indent=2)

    @classmethod
    def read(cls, path: Path) -> "Where":
        """Read what `as_json` wrote."""
        said = json.loads(path.read_text())
        return cls(**{**said, "ca_file": Path(said["ca_file"]), "token_file": Path(said["token_file"])})

    def api(self) -> FleetApi:
        """Return a client of its API."""
        return FleetApi(self.console_url, self.token_file.read_text().strip(), timeout_s=120.0)


@dataclass(frozen=True, slots=True)
class Identity:
    """One enrolled node."""

    number: int
    """From 0."""
    serial: str
    node: NodeId
    pem: Path
    """Certificate and key in one file."""


async def register(plan: Plan, api: FleetApi) -> None:
    """Import the whole registry of a swarm; nothing changes where it is there already."""
    await api.import_csv("units", plan.units_csv())
    await api.import_csv("zones", plan.zones_csv())
    await api.import_csv("nodes", plan.nodes_csv())
    for first in range(0, plan.nodes, _NODES_AT_ONCE):
        await api.import_csv("positions", plan.positions_csv(first=first, last=min(plan.nodes, first + _NODES_AT_ONCE)))


async def enrol(plan: Plan, where: Where, api: FleetApi, folder: Path, *, say: Callable[[str], None]) -> list[Identity]:
    """Return an identity for each node, from `folder` or by a new claim code and EST.

    Raises:
        DemoFailed: the server refused one.
        firmware_agent.errors.AgentError: EST failed.
    """
    known = await asyncio.to_thread(_load, plan, folder)
    wanted = [(number, serial) for number, serial in enumerate(plan.serials) if number not in known]
    if wanted:
        say(f"enrolling {len(wanted)} nodes")
    est = EstClient(where.est_url, where.ca_file, clock=SystemClock())
    gate = asyncio.Semaphore(_CLAIMS_AT_ONCE)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(_ENROLLING_AT_ONCE, "enrol") as threads:

        async def one(number: int, serial: str) -> Identity:
            async with gate:
                claim = await api.post("/claims", {"node": serial, "approve": True})
                return await loop.run_in_executor(threads, _enrol_one, est, number, serial, claim["code"], folder)

        made = await asyncio.gather(*(one(number, serial) for number, serial in wanted))
    known |= {identity.number: identity for identity in made}
    return [known[number] for number in sorted(known)]


def _enrol_one(est: EstClient, number: int, serial: str, code: str, folder: Path) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    answer = est.simpleenroll(signing_request(key, serial), serial=serial, code=code)
    if isinstance(answer, NotYet):
        raise DemoFailed(f"The server did not approve {serial}.")
    leaf = answer[0]
    node = parse_node_id(str(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value))
    path = folder / f"{serial}.{node}.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        b"".join(certificate.public_bytes(Encoding.PEM) for certificate in answer)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return Identity(number, serial, node, path)


def _load(plan: Plan, folder: Path) -> dict[int, Identity]:
    """Make the folder, and return the identities that are there already, by the number of their node."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {path.name.split(".")[0]: path for path in folder.glob("*.pem")}
    return {
        number: Identity(number, serial, NodeId(files[serial].name.split(".")[1]), files[serial])
        for number, serial in enumerate(plan.serials)
        if serial in files
    }
