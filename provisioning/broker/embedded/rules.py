"""Who may say and hear what. Pure."""

from dataclasses import dataclass

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import PREFIX, Down, Up, down, down_filter, up
from provisioning.broker.embedded.packets import Connect
from provisioning.broker.promise import CORE


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is, by its certificate: a node's UUID, or `svc-…`. Only `identity.py` makes these."""

    name: str
    is_service: bool

    @property
    def is_core(self) -> bool:
        """Whether it is the server's own client."""
        return self.is_service and self.name == CORE


def may_publish(who: Identity, topic: str) -> bool:
    """Whether a client may publish on `topic` (no wildcards in it)."""
    if who.is_core:
        return topic.startswith(f"{PREFIX}/")
    return not who.is_service and topic.startswith(f"{PREFIX}/{who.name}/up/")


def may_retain(who: Identity, topic: str) -> bool:
    """Whether a message on `topic` may be kept for later subscribers: of a node its status only, or it could fill the memory."""
    return who.is_core or topic == up(NodeId(who.name), Up.STATUS)


def may_receive(who: Identity, topic: str) -> bool:
    """Whether a client may be given a message of `topic`."""
    if who.is_core:
        return topic.startswith(f"{PREFIX}/")
    return not who.is_service and topic.startswith(f"{PREFIX}/{who.name}/down/")


def may_subscribe(who: Identity, topic_filter: str) -> bool:
    """Whether a client may have this subscription: the server any inside the wire, a node one of the few that are of use to it."""
    if who.is_service:
        fixed = topic_filter.split("+", 1)[0].split("#", 1)[0]
        return may_receive(who, fixed)
    node = NodeId(who.name)
    return topic_filter in (down_filter(node), f"{PREFIX}/{node}/down/+", *(down(node, message) for message in Down))


def objection(who: Identity, connect: Connect) -> str | None:
    """Return why a client may not connect like this, `None` when it may."""
    if connect.client_id not in ("", who.name):
        return "the client id is not the certificate's common name"
    if connect.username not in (None, "", who.name):
        return "the user name is not the certificate's common name"
    if connect.will is None:
        return None
    if connect.will.qos > 1:
        return "a will with QoS 2"
    is_allowed = may_publish(who, connect.will.topic) and may_retain(who, connect.will.topic)
    return None if is_allowed else "a will on a topic that is not its own status"
