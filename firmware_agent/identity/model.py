"""The identity kept on the node. Read with nothing but the standard library, so that the running agent stays small."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from firmware_agent.clock import Bounds
from firmware_agent.contract.ids import NodeId, parse_node_id
from firmware_agent.errors import Rejected


class NotEnrolled(Rejected):
    """There is no complete identity in the folder."""


class Record(Struct, frozen=True):
    """`identity/node.json`; written last, so its presence means that enrolment is complete."""

    node_id: str
    serial: str
    not_before_ms: int = 0
    """Start of our certificate's validity: no clock below it is right."""
    not_after_ms: int = 0
    anchor_not_after_ms: int = 0
    """End of the longest-lived trust anchor; 0 when unknown."""


@dataclass(frozen=True)
class Identity:
    """Who the node is, and where the proof lies."""

    node: NodeId
    serial: str
    folder: Path
    record: Record

    @property
    def key_file(self) -> Path:
        """PEM, PKCS#8, mode 0600."""
        return self.folder / "key.pem"

    @property
    def cert_file(self) -> Path:
        """PEM: our certificate, then its issuers without the anchor."""
        return self.folder / "cert.pem"

    def clock_bounds(self) -> Bounds:
        """Return between which instants a clock can be right, as far as our certificates tell."""
        ceiling = self.record.anchor_not_after_ms or None
        return Bounds(ceiling_ms=ceiling).raised(self.record.not_before_ms, "the start of our own certificate")


def load_identity(folder: Path) -> Identity:
    """Read the identity.

    Raises:
        NotEnrolled: it is missing, incomplete or damaged; the message says what to do.
    """
    advice = "Enrol this node with: zone-agent enrol --server URL --ca FILE --serial S --code C --data DIR"
    try:
        record = msgspec.json.decode((folder / "node.json").read_bytes(), type=Record)
        node = parse_node_id(record.node_id)
    except OSError as error:
        raise NotEnrolled(f"There is no identity in {folder}. {advice}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise NotEnrolled(f"{folder / 'node.json'} is damaged ({error}). {advice}") from error
    identity = Identity(node, record.serial, folder, record)
    for file in (identity.key_file, identity.cert_file):
        if not file.is_file():
            raise NotEnrolled(f"{file} is missing. {advice}")
    return identity
