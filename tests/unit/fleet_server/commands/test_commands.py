"""A command ends exactly once: proven, failed, refused or expired."""

import asyncio
from typing import Any

import pytest

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import Action, Online, ResultStatus
from fleet_server.access import audit
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.commands.courier import Courier
from fleet_server.commands.model import GRACE_MS, CommandState, IssuedCommand, concluded
from fleet_server.commands.service import Commands
from fleet_server.errors import Conflict, Forbidden, NotFound, Rejected, Transient
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane
from fleet_server.storage import Database, changes

LUMPINI = Scope("/bpp/n1/lumpini/")
DUSIT = Scope("/bpp/n1/dusit/")
OTHER_NODE = NodeId("11111111-5c1d-4f0e-9c67-3c2f5d1a7e10")


def technician(scope: Scope = LUMPINI, role: Role = Role.TECHNICIAN) -> Principal:
    return Principal("somchai", role, scope, "session")


def issue(commands: Commands, **options: Any) -> IssuedCommand:
    return commands.issue("LAMP", Action.LAMP_OVERRIDE, {"level_percent": 100}, principal=technician(), **options)


def state(commands: Commands, command: IssuedCommand) -> CommandState:
    return commands.command(command.id, Scope.ALL).state


class TestIssuing:
    def test_is_written_down_once(self, commands: Commands, database: Database, clock: Any) -> None:
        command = issue(commands, expires_in_s=30)
        assert (command.state, command.channel, command.expires_at_ms) == (CommandState.ISSUED, "lamp-1", clock.now_ms() + 30_000)
        with database.read() as connection:
            (act,) = audit.entries(connection, scope=LUMPINI)
            (news,) = changes.after(connection, 0)
        assert (act.action, act.actor, act.subject, act.data["args"]) == (
            "command.lamp.override",
            "somchai",
            "LAMP",
            {"level_percent": 100},
        )
        assert (news.kind, news.subject, news.data["state"]) == ("command", command.id, "issued")

    @pytest.mark.parametrize("database", ["sqlite"], indirect=True)
    @pytest.mark.parametrize(
        ("code", "action", "args", "error", "says"),
        [
            ("NOPE", Action.LAMP_OVERRIDE, {"level_percent": 0}, NotFound, "no position"),
            ("CAM", Action.LAMP_OVERRIDE, {"level_percent": 0}, Rejected, "is a camera"),
            ("LAMP", Action.DRILL_BEGIN, {}, Rejected, "is for a panic_button"),
            ("BARE", Action.LAMP_OVERRIDE, {"level_percent": 0}, Conflict, "Nothing is installed"),
            ("OLD", Action.LAMP_OVERRIDE, {"level_percent": 0}, Conflict, "retired"),
            ("LAMP", Action.LAMP_OVERRIDE, {}, Rejected, "level_percent"),
            ("LAMP", Action.LAMP_OVERRIDE, {"level_percent": True}, Rejected, "from 0 to 100"),
            ("LAMP", Action.LAMP_OVERRIDE, {"level_percent": "100"}, Rejected, "must be a number"),
            ("LAMP", Action.LAMP_OVERRIDE, {"level_percent": 101}, Rejected, "from 0 to 100"),
            ("LAMP", Action.LAMP_OVERRIDE, {"level_percent": float("nan")}, Rejected, "from 0 to 100"),
            ("LAMP", Action.LAMP_OVERRIDE, {"level_percent": 0, "colour": "red"}, Rejected, "no argument colour"),
            ("BTN", Action.DRILL_BEGIN, {"duration_s": 1801}, Rejected, "from 1 to 1800"),
            ("BTN", Action.DRILL_END, {"duration_s": 1}, Rejected, "no argument"),
        ],
    )
    def test_what_cannot_be_issued(
        self, commands: Commands, code: str, action: Action, args: dict[str, Any], error: type[Exception], says: str
    ) -> None:
        with pytest.raises(error, match=says):
            commands.issue(code, action, args, principal=technician())
        assert commands.recent(Scope.ALL) == []

    def test_scope_and_role(self, commands: Commands) -> None:
        command = issue(commands)
        with pytest.raises(NotFound):
            commands.issue("LAMP", Action.LAMP_OVERRIDE, {"level_percent": 0}, principal=technician(DUSIT))
        with pytest.raises(Forbidden):
            commands.issue("LAMP", Action.LAMP_OVERRIDE, {"level_percent": 0}, principal=technician(role=Role.AUDITOR))
        with pytest.raises(NotFound):
            commands.command(command.id, DUSIT)
        assert commands.recent(DUSIT) == []

    @pytest.mark.parametrize("expires_in_s", [0, -1, 3601, float("nan")])
    def test_expiry_is_bounded(self, commands: Commands, expires_in_s: float) -> None:
        with pytest.raises(Rejected, match="expires in"):
            issue(commands, expires_in_s=expires_in_s)

    @pytest.mark.parametrize("number", ["", "x", "\x00"])
    def test_no_such_command(self, commands: Commands, number: str) -> None:
        with pytest.raises(NotFound):
            commands.command(number, Scope.ALL)

    def test_pages(self, commands: Commands) -> None:
        numbers = [issue(commands).id for _ in range(3)]
        first = commands.recent(LUMPINI, limit=2)
        assert [c.id for c in first + commands.recent(LUMPINI, before=first[-1].number)] == numbers[::-1]
        assert commands.recent(LUMPINI, position_code="BTN") == []


class TestCarrying:
    async def test_node_gets_it_once(self, commands: Commands, courier: Courier, broker: Any) -> None:
        command = issue(commands)
        assert (await courier.deliver(), await courier.deliver()) == (1, 0)
        ((node, message),) = broker.published
        assert (node, message.command_id, message.channel, message.args) == (
            command.node,
            command.id,
            "lamp-1",
            {"level_percent": 100},
        )
        assert message.expires_at_ms == command.expires_at_ms
        assert state(commands, command) is CommandState.SENT

    async def test_waits_while_the_broker_is_away(self, commands: Commands, courier: Courier, broker: Any) -> None:
        command = issue(commands)
        broker.is_away = True
        with pytest.raises(Transient):
            await courier.deliver()
        assert state(commands, command) is CommandState.ISSUED
        broker.is_away = False
        assert await courier.deliver() == 1

    async def test_birth_sends_again_what_has_no_answer(self, commands: Commands, courier: Courier, broker: Any, wire: Any) -> None:
        done, open_ = issue(commands), issue(commands)
        await courier.deliver()
        wire.result(done.id)
        wire.birth()
        await courier.deliver()
        assert [message.command_id for _, message in broker.published] == [done.id, open_.id, open_.id]

    @pytest.mark.parametrize("how", [{"lane": Lane.REPLAY}, {"status": Online.OFFLINE}])
    async def test_what_is_no_birth_sends_nothing(
        self, commands: Commands, courier: Courier, broker: Any, wire: Any, how: dict[str, Any]
    ) -> None:
        issue(commands)
        await courier.deliver()
        wire.birth(**how)
        assert await courier.deliver() == 0

    async def test_expired_one_is_never_sent(self, commands: Commands, courier: Courier, broker: Any, clock: Any, wire: Any) -> None:
        sent = issue(commands, expires_in_s=10)
        await courier.deliver()
        unsent = issue(commands, expires_in_s=10)
        clock.advance(10_000)
        wire.birth()
        assert await courier.deliver() == 0
        assert courier.expire() == 0
        clock.advance(GRACE_MS)
        assert courier.expire() == 2
        assert {state(commands, sent), state(commands, unsent)} == {CommandState.EXPIRED}
        assert courier.expire() == 0

    async def test_running_carries_at_once(self, commands: Commands, courier: Courier, broker: Any, wire: Any) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(courier.run())
            try:
                async with asyncio.timeout(30):
                    command = await asyncio.to_thread(issue, commands)
                    while not broker.published:  # noqa: ASYNC110  # no event tells of it
                        await asyncio.sleep(0.01)
                    wire.is_followed = False
                    await asyncio.to_thread(wire.result, command.id)
                    while await asyncio.to_thread(state, commands, command) is not CommandState.SUCCEEDED:  # noqa: ASYNC110  # the state is in a database
                        await asyncio.sleep(0.01)
            finally:
                running.cancel()


class TestEnding:
    @pytest.mark.parametrize("status", list(ResultStatus))
    async def test_result_ends_it(self, commands: Commands, courier: Courier, wire: Any, status: ResultStatus, database: Database) -> None:
        command = issue(commands)
        await courier.deliver()
        wire.result(command.id, status, message="พิสูจน์แล้ว", measured={"power_w": 58.9})
        ended = commands.command(command.id, LUMPINI)
        assert ended.state.value == status.value
        assert (ended.message, ended.measured, ended.is_presumed) == ("พิสูจน์แล้ว", {"power_w": 58.9}, False)
        with database.read() as connection:
            assert [news.data["state"] for news in changes.after(connection, 0)] == ["issued", "sent", status.value]

    async def test_first_result_stays(self, commands: Commands, courier: Courier, wire: Any) -> None:
        command = issue(commands)
        await courier.deliver()
        wire.result(command.id, ResultStatus.FAILED)
        wire.result(command.id, ResultStatus.SUCCEEDED)
        assert state(commands, command) is CommandState.FAILED

    async def test_late_proof_corrects_what_was_presumed(self, commands: Commands, courier: Courier, wire: Any, clock: Any) -> None:
        command = issue(commands, expires_in_s=5)
        await courier.deliver()
        clock.advance(5_000 + GRACE_MS)
        courier.expire()
        assert commands.command(command.id, LUMPINI).is_presumed
        wire.result(command.id)
        assert state(commands, command) is CommandState.SUCCEEDED

    async def test_result_before_the_broker_confirms(self, commands: Commands, wire: Any, courier: Courier) -> None:
        command = issue(commands)
        wire.result(command.id)
        assert await courier.deliver() == 0
        assert state(commands, command) is CommandState.SUCCEEDED

    async def test_other_nodes_and_strange_results_change_nothing(self, commands: Commands, courier: Courier, wire: Any) -> None:
        command = issue(commands)
        await courier.deliver()
        wire.result(command.id, node=OTHER_NODE)
        wire.result("unknown")
        wire.result("nul\x00")
        wire.put(Up.RESULT, b"{}")
        wire.put(Up.STATUS, b"{}")
        assert state(commands, command) is CommandState.SENT

    async def test_restart_goes_on_where_it_was(
        self, commands: Commands, database: Database, journal: Journal, broker: Any, clock: Any, wire: Any
    ) -> None:
        command = issue(commands)
        wire.result(command.id, ResultStatus.FAILED)
        again = Courier(database, journal, broker, clock)
        assert again.advance(journal.newest_id()) == 0
        assert state(commands, command) is CommandState.FAILED


@pytest.mark.parametrize("state_", list(CommandState))
@pytest.mark.parametrize("status", list(ResultStatus))
@pytest.mark.parametrize("is_presumed", [False, True])
def test_only_open_ends_can_be_concluded(state_: CommandState, status: ResultStatus, is_presumed: bool) -> None:
    after = concluded(state_, status, is_presumed=is_presumed)
    is_open = state_.is_pending or (state_ is CommandState.EXPIRED and is_presumed)
    assert (after is None) == (not is_open)
    if after is not None:
        assert after.value == status.value
