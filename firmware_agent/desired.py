"""The configuration the server wants: merged over the node's own file, refused whole when any of it is wrong."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from firmware_agent.config import ChannelSection
from firmware_agent.contract import messages
from firmware_agent.contract.ids import Channel
from firmware_agent.contract.messages import BadMessage, Desired
from firmware_agent.errors import ConfigurationError
from firmware_agent.outbox.outbox import Outbox
from firmware_agent.supervisor import Supervisor, with_settings

_KEY: Final = "desired"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InForce:
    """What applies now."""

    version: int = 0
    """Of the last desired configuration that was looked at; 0: none."""
    heartbeat_interval_s: float = 10.0
    error: str = ""
    """Why that version was refused; what was before it applies."""


def merge(own: Sequence[ChannelSection], desired: Desired) -> list[ChannelSection]:
    """Return the node's own channels with the desired settings over them.

    Raises:
        ConfigurationError: it names a channel that this node does not have.
    """
    unknown = desired.channels.keys() - {Channel(section.channel) for section in own}
    if unknown:
        raise ConfigurationError(f"This node has no channel {', '.join(sorted(unknown))}.")
    return [with_settings(section, desired.channels.get(Channel(section.channel), {})) for section in own]


class DesiredConfiguration:
    """Keeps the last good desired configuration, through restarts."""

    def __init__(
        self, own: Sequence[ChannelSection], own_interval_s: float, outbox: Outbox, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """`own` is what the node's file says; `on_change` is told when `in_force` changes."""
        self._own = own
        self._own_interval_s = own_interval_s
        self._outbox = outbox
        self._on_change = on_change
        self.in_force = InForce(heartbeat_interval_s=own_interval_s)

    def at_start(self) -> list[ChannelSection]:
        """Return the channels to start with: the file's, and over them what the server wanted last."""
        kept = self._outbox.recall("", _KEY)
        if kept is None:
            return list(self._own)
        try:
            desired = messages.decode(Desired, kept.encode())
            sections = merge(self._own, desired)
        except (BadMessage, ConfigurationError) as error:
            _log.error("the desired configuration kept from before does not fit any more: %s", error)
            self._outbox.remember("", _KEY, None)
            return list(self._own)
        self.in_force = InForce(desired.version, desired.heartbeat_interval_s or self._own_interval_s)
        return sections

    def receive(self, payload: bytes, supervisor: Supervisor) -> None:
        """Apply a desired configuration, or refuse it whole and keep the one before."""
        if not payload:
            return
        try:
            desired = messages.decode(Desired, payload)
        except BadMessage as error:
            self._refuse(self.in_force.version, str(error))
            return
        if desired.version == self.in_force.version and not self.in_force.error:
            return
        try:
            sections = merge(self._own, desired)
            changed = [new for new, old in zip(sections, supervisor.sections, strict=True) if new != old]
            for section in changed:
                supervisor.try_settings(section)
        except ConfigurationError as error:
            self._refuse(desired.version, str(error))
            return
        for section in changed:
            supervisor.reconfigure(section)
        self._outbox.remember("", _KEY, messages.encode(desired).decode())
        self.in_force = InForce(desired.version, desired.heartbeat_interval_s or self._own_interval_s)
        _log.info("configuration %s is in force", desired.version)
        self._on_change()

    def _refuse(self, version: int, error: str) -> None:
        _log.error("configuration %s is refused: %s", version, error)
        self.in_force = InForce(version, self.in_force.heartbeat_interval_s, error[:256])
        self._on_change()
