"""What a command is, who may receive which, and how it ends. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from firmware_agent.contract.ids import Channel, CommandId, NodeId
from firmware_agent.contract.messages import VERSION, Command
from firmware_agent.contract.vocabulary import Action, Kind, ResultStatus
from fleet_server.errors import Rejected

GRACE_MS: Final = 2_000
"""The node may begin until the moment it expires; its answer is on its way for a while."""
MIN_EXPIRY_S: Final = 1
MAX_EXPIRY_S: Final = 3_600
DEFAULT_EXPIRY_S: Final = 60
MAX_LAMP_S: Final = 12 * 3_600
MAX_DRILL_S: Final = 1_800


class CommandState(StrEnum):
    """How far a command is."""

    ISSUED = "issued"
    SENT = "sent"
    """The broker has it; whether the node has is known by its result only."""
    SUCCEEDED = "succeeded"
    """Its effect was measured."""
    FAILED = "failed"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def is_pending(self) -> bool:
        """Whether its end is still open."""
        return self in (CommandState.ISSUED, CommandState.SENT)


RECEIVERS: Final = MappingProxyType(
    {
        Action.LAMP_OVERRIDE: Kind.STREET_LIGHT,
        Action.DRILL_BEGIN: Kind.PANIC_BUTTON,
        Action.DRILL_END: Kind.PANIC_BUTTON,
    }
)
"""The kind that understands an action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCommand:
    """A command and what became of it."""

    number: int
    """Counts up in the order in which commands were issued."""
    id: CommandId
    node: NodeId
    channel: Channel
    position_id: str
    position_code: str
    unit_path: str
    action: Action
    args: Mapping[str, Any]
    state: CommandState
    issued_by: str
    issued_at_ms: int
    expires_at_ms: int
    sent_at_ms: int | None = None
    """When the broker took it last."""
    finished_at_ms: int | None = None
    is_presumed: bool = False
    """It expired by the server's clock without a word of the node; a late result still counts."""
    message: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What proves it, such as `power_w`."""


def message_of(command: IssuedCommand) -> Command:
    """Return what the node receives."""
    return Command(
        v=VERSION,
        command_id=command.id,
        channel=command.channel,
        action=command.action,
        issued_at_ms=command.issued_at_ms,
        expires_at_ms=command.expires_at_ms,
        args=dict(command.args),
    )


def concluded(state: CommandState, status: ResultStatus, *, is_presumed: bool) -> CommandState | None:
    """Return the state after a node's result; None when it changes nothing, because the end is known."""
    if not (state.is_pending or (state is CommandState.EXPIRED and is_presumed)):
        return None
    return CommandState(status.value)


def is_overdue(state: CommandState, expires_at_ms: int, now_ms: int) -> bool:
    """Whether a command without result is to be given up."""
    return state.is_pending and now_ms >= expires_at_ms + GRACE_MS


def check_args(action: Action, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as the node expects them.

    Raises:
        Rejected: one is missing, unknown or out of bounds.
    """
    wanted = _ARGS[action]
    unknown = sorted(set(args) - set(wanted))
    if unknown:
        raise Rejected(f"{action} has no argument {', '.join(name[:32] for name in unknown)}.")
    for name, (is_required, low, high) in wanted.items():
        value = args.get(name)
        if value is None and not is_required:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Rejected(f"{name} of {action} must be a number from {low:g} to {high:g}.")
    return {name: value for name, value in args.items() if value is not None}


_ARGS: Final[Mapping[Action, Mapping[str, tuple[bool, float, float]]]] = MappingProxyType(
    {
        Action.LAMP_OVERRIDE: {"level_percent": (True, 0, 100), "duration_s": (False, 0, MAX_LAMP_S)},
        Action.DRILL_BEGIN: {"duration_s": (False, 1, MAX_DRILL_S)},
        Action.DRILL_END: {},
    }
)
"""Arguments by name: whether it must be there, and its bounds."""


def news_of(command: IssuedCommand) -> dict[str, Any]:
    """Return what the change log says of a command."""
    return {
        "command_id": command.id,
        "position": command.position_code,
        "action": command.action.value,
        "args": dict(command.args),
        "state": command.state.value,
        "issued_by": command.issued_by,
        "issued_at_ms": command.issued_at_ms,
        "expires_at_ms": command.expires_at_ms,
        "finished_at_ms": command.finished_at_ms,
        "message": command.message,
        "measured": dict(command.measured),
    }
