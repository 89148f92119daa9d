"""A running enrolment listener, as tests see it."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from firmware_agent.contract.ids import new_node_id
from fleet_server.access.model import Scope
from fleet_server.enrolment.service import Claim, EnrolmentService
from fleet_server.errors import NotFound
from fleet_server.registry.model import NodeRef
from provisioning.pki import Pki

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@dataclass
class Nodes:
    """A registry of nodes in memory."""

    nodes: list[NodeRef] = field(default_factory=list)

    def node(self, name: str, scope: Scope) -> NodeRef:
        for node in self.nodes:
            if name in (node.id, node.serial) and scope.contains(node.unit_path):
                return node
        raise NotFound(f"There is no node {name}.")


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
        node = NodeRef(new_node_id(), serial, "/bpp/n1/lumpini/")
        self.nodes.nodes.append(node)
        return self.service.register(node.id, actor="somchai", scope=Scope.ALL, approve=approve)
