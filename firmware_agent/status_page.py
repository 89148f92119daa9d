"""Gathers `status.json` from the parts of the running agent."""

import os
from dataclasses import dataclass

from firmware_agent import __version__
from firmware_agent.clock import SystemClock
from firmware_agent.config import Config
from firmware_agent.contract.messages import ReportedChannel
from firmware_agent.contract.vocabulary import Function
from firmware_agent.desired import DesiredConfiguration
from firmware_agent.heartbeat import Assembler
from firmware_agent.identity.model import Identity
from firmware_agent.outbox.outbox import Outbox
from firmware_agent.status import AgentStatus, ChannelStatus, ClockStatus, EventStatus, FunctionStatus, StreamStatus
from firmware_agent.supervisor import Supervisor
from firmware_agent.uplink.uplink import Uplink


@dataclass(frozen=True)
class StatusPage:
    """Where each line of the status comes from."""

    config: Config
    identity: Identity
    clock: SystemClock
    outbox: Outbox
    uplink: Uplink
    supervisor: Supervisor
    desired: DesiredConfiguration
    assembler: Assembler

    def read(self) -> AgentStatus:
        """Return what the agent knows of itself now."""
        counts, in_force, wall_ms = self.outbox.counts, self.desired.in_force, self.clock.wall_ms()
        complaint = self.clock.bounds.complaint(wall_ms)
        return AgentStatus(
            written_at_ms=wall_ms,
            pid=os.getpid(),
            agent=__version__,
            node_id=self.identity.node,
            serial=self.identity.serial,
            is_simulated=self.config.node.is_simulated,
            is_connected=self.uplink.is_connected,
            session=self.uplink.session,
            why_not_connected=self._why(complaint),
            since_s=(self.clock.mono_ms() - self.uplink.since_ms) // 1000,
            clock=ClockStatus(wall_ms, self.clock.quality(), complaint),
            streams=[StreamStatus(s.stream, s.made, s.acked, s.held, s.evicted) for s in counts.streams],
            evicted=counts.evicted,
            events=EventStatus(counts.events_made, counts.events_acked, counts.events_held),
            outbox_failure=self.outbox.failure,
            desired_version=in_force.version,
            desired_error=in_force.error,
            heartbeat_interval_s=in_force.heartbeat_interval_s,
            bad_messages=self.uplink.bad_messages,
            channels=[self._channel(channel) for channel in self.supervisor.reported()],
        )

    def _why(self, complaint: str) -> str:
        if self.uplink.is_connected:
            return ""
        return "; ".join(part for part in (self.uplink.why_not_connected, complaint) if part)

    def _channel(self, channel: ReportedChannel) -> ChannelStatus:
        functions = [self._function(channel, function) for function in channel.functions]
        return ChannelStatus(channel.channel, channel.kind, channel.driver, channel.is_simulated, channel.error, functions)

    def _function(self, channel: ReportedChannel, function: Function) -> FunctionStatus:
        seen = self.assembler.latest().get((channel.channel, function))
        verdict = self.assembler.verdict(channel.channel, function)
        if seen is None:
            return FunctionStatus(function, verdict, "", None)
        cause = seen.cause if verdict is seen.verdict else ""
        return FunctionStatus(function, verdict, cause, self.clock.mono_ms() - seen.observed_mono_ms)
