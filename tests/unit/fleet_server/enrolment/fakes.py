"""What an enrolment service is tested with."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography import x509

from firmware_agent.contract.ids import new_node_id
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound
from fleet_server.registry.model import NodeRef
from provisioning import est
from provisioning.signer import IssueRequest, Signer

NewApplicant = Callable[[], est.Applicant]
"""Returns a request with a key of its own."""

NOW_MS = 1_795_512_600_000


class HeldClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def mono_s(self) -> float:
        return self.ms / 1000

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.ms / 1000, UTC)


@dataclass
class Nodes:
    """A registry of nodes in memory."""

    known: list[NodeRef] = field(default_factory=list)

    def add(self, serial: str, unit_path: str = "/bpp/n1/lumpini/") -> NodeRef:
        self.known.append(NodeRef(new_node_id(), serial, unit_path))
        return self.known[-1]

    def move(self, node: NodeRef, unit_path: str) -> None:
        self.known[self.known.index(node)] = replace(node, unit_path=unit_path)

    def node(self, name: str, scope: Scope) -> NodeRef:
        for node in self.known:
            if name in (node.id, node.serial) and scope.contains(node.unit_path):
                return node
        raise NotFound(f"There is no node {name}.")

    def nodes(self, scope: Scope, *, after: str | None, limit: int | None) -> list[NodeRef]:
        found = [node for node in self.known if scope.contains(node.unit_path) and node.serial > (after or "")]
        return sorted(found, key=lambda node: node.serial)[:limit]


class CountingSigner:
    """The real signer, counting, and failing when told to."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.count = 0
        self.fails_with: Exception | None = None

    async def issue(self, request: IssueRequest) -> x509.Certificate:
        if self.fails_with is not None:
            raise self.fails_with
        self.count += 1
        return await self._signer.issue(request)
