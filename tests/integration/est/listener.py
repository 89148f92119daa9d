"""A running enrolment listener, as tests see it."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet_server.access.model import Scope
from fleet_server.enrolment.service import Claim, EnrolmentService
from provisioning.pki import Pki
from tests.unit.fleet_server.enrolment.fakes import Nodes

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@dataclass(frozen=True)
class EstServer:
    """A running listener, and what tests do to its fleet."""

    url: str
    pki: Pki
    service: EnrolmentService
    nodes: Nodes

    @property
    def ca_file(self) -> Path:
        return self.pki.folder / "trust" / "servers.pem"

    @property
    def root_file(self) -> Path:
        return self.pki.folder / "root.pem"

    def add(self, serial: str, *, approve: bool = True) -> Claim:
        """Add a node to the registry and make its claim code."""
        return self.service.register(self.nodes.add(serial).id, actor="somchai", scope=Scope.ALL, approve=approve)
