"""Commands of the server: each done at most once, within its time, and answered with what was measured."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from firmware_agent import clock as clocks
from firmware_agent.clock import Clock
from firmware_agent.contract import messages
from firmware_agent.contract.ids import Channel, CommandId, SessionId
from firmware_agent.contract.messages import VERSION, Command, Result
from firmware_agent.contract.vocabulary import Action, ResultStatus
from firmware_agent.drivers.promise import CommandOutcome
from firmware_agent.heartbeat import check_metrics
from firmware_agent.outbox.outbox import Outbox

Perform = Callable[[Channel, Action, Mapping[str, Any], int], Awaitable[CommandOutcome]]
Answer = Callable[[str, bytes], None]

_log = logging.getLogger(__name__)


class CommandRunner:
    """Does commands and remembers how the last 256 ended, through restarts."""

    def __init__(self, outbox: Outbox, clock: Clock, perform: Perform, answer: Answer) -> None:
        """`perform` does it; `answer(command_id, body)` sends a result until the broker has it."""
        self._outbox = outbox
        self._clock = clock
        self._perform = perform
        self._answer = answer
        self._running: set[CommandId] = set()

    async def run(self, payload: bytes, session: SessionId) -> None:
        """Do one command; the same `command_id` again is answered with the same result.

        Raises:
            BadMessage: it breaks the contract; nothing was done.
        """
        command = messages.decode(Command, payload)
        known = self._outbox.result_of(command.command_id)
        if known is not None:
            self._answer(command.command_id, known)
            return
        if command.command_id in self._running:
            return
        self._running.add(command.command_id)
        try:
            outcome = self._objection(command) or await self._within_time(command)
            body = messages.encode(self._result(command, outcome, session))
            await self._outbox.put_result(command.command_id, body)
            self._answer(command.command_id, body)
        finally:
            self._running.discard(command.command_id)

    def _objection(self, command: Command) -> CommandOutcome | None:
        """Say why it must not be begun."""
        now = clocks.read(self._clock)
        if not now.quality.is_trusted:
            shown = clocks.show(now.wall_ms)
            return CommandOutcome(
                ResultStatus.REJECTED, f"The node's clock ({shown}) is not trusted, so it cannot tell whether the command has expired."
            )
        if now.wall_ms >= command.expires_at_ms:
            return CommandOutcome(ResultStatus.EXPIRED, f"It expired at {clocks.show(command.expires_at_ms)}.")
        return None

    async def _within_time(self, command: Command) -> CommandOutcome:
        left_ms = command.expires_at_ms - self._clock.wall_ms()
        expires_mono_ms = self._clock.mono_ms() + left_ms
        try:
            async with asyncio.timeout(left_ms / 1000):
                return await self._perform(command.channel, command.action, command.args, expires_mono_ms)
        except TimeoutError:
            return CommandOutcome(ResultStatus.FAILED, "It was begun, but its effect was not measured before it expired.")

    def _result(self, command: Command, outcome: CommandOutcome, session: SessionId) -> Result:
        try:
            measured = {name: float(value) for name, value in outcome.measured.items()}
            check_metrics(measured)
        except (ValueError, TypeError) as error:
            _log.error("%s: the driver's measurements cannot be sent: %s", command.channel, error)
            measured = {}
        return Result(
            VERSION,
            command.command_id,
            session,
            command.channel,
            outcome.status,
            clocks.read(self._clock),
            outcome.message[:256],
            measured,
        )
