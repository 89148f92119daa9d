"""`status.json` in words."""

from firmware_agent.clock import show
from firmware_agent.status import AgentStatus, ChannelStatus


def describe(status: AgentStatus, *, is_alive: bool) -> str:
    """Return the status for a person at the node."""
    return "\n".join([*_head(status, is_alive=is_alive), *_books(status), *(_channel(channel) for channel in status.channels)])


def _head(status: AgentStatus, *, is_alive: bool) -> list[str]:
    simulated = " (simulated)" if status.is_simulated else ""
    lines = [f"node {status.node_id}, serial {status.serial}{simulated}, agent {status.agent}"]
    if not is_alive:
        lines.append(f"NOT RUNNING since about {show(status.written_at_ms)}; what follows is its last word")
    if status.is_connected:
        lines.append(f"connected for {status.since_s} s, session {status.session}")
    else:
        lines.append(f"NOT CONNECTED for {status.since_s} s: {status.why_not_connected}")
    lines.append(f"clock {show(status.clock.wall_ms)}, quality {status.clock.quality}" + _after(": ", status.clock.complaint))
    if status.outbox_failure:
        lines.append(f"THE CARD DOES NOT TAKE ANYTHING: {status.outbox_failure}")
    if status.desired_error:
        lines.append(f"desired configuration {status.desired_version} is refused: {status.desired_error}")
    return lines


def _books(status: AgentStatus) -> list[str]:
    lines = [
        f"stream {s.stream}: made {s.made}, stored by the server {s.acked}, held {s.held}, evicted {s.evicted}" for s in status.streams
    ]
    events = status.events
    return [*lines, f"events: made {events.made}, stored by the server {events.acked}, held {events.held}"]


def _channel(channel: ChannelStatus) -> str:
    functions = ", ".join(f"{f.function} {f.verdict}" + _after(" ", f"({f.cause})" if f.cause else "") for f in channel.functions)
    return f"{channel.channel} [{channel.kind}]: {functions or 'nothing yet'}" + _after(" — ", channel.error)


def _after(mark: str, text: str) -> str:
    return f"{mark}{text}" if text else ""
