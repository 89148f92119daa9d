"""The agent's way to the server over a real broker."""

import asyncio
from pathlib import Path

import aiomqtt
import pytest

from firmware_agent.contract import topics
from firmware_agent.contract.ids import Channel, CommandId, EventId
from firmware_agent.contract.messages import VERSION, Ack, Command, Desired
from firmware_agent.contract.topics import Down, Up
from firmware_agent.contract.vocabulary import Action, Online, ResultStatus, Verdict
from firmware_agent.outbox.model import StorageFailed
from firmware_agent.outbox.store import Store
from hil.faults.proxy import FaultProxy, Network
from tests.integration.agent.nodes import NODE, make_node, running, status
from tests.integration.agent.stub_server import StubServer, until
from tests.servers.mosquitto import Mosquitto

BTN = Channel("btn-1")
FAR_MS = 4_000_000_000_000


async def test_birth_lists_what_is_held_and_comes_first(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE) as server, running(make_node(tmp_path, mosquitto.port)):
        await until(lambda: len(server.live) >= 2)
        birth = server.statuses[0]
        assert server.order[0] is Up.STATUS
        assert (birth.status, birth.agent, birth.is_simulated) == (Online.ONLINE, "0.1.0", True)
        assert birth.session == server.live[-1].session
        assert birth.clock is not None


async def test_press_is_sent_at_once_and_acknowledged_only_by_the_server(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE, is_deaf=True) as server, running(make_node(tmp_path, mosquitto.port)) as probes:
        await until(lambda: server.statuses)
        event = await probes.of().press()
        await until(lambda: event in server.event_ids)
        await asyncio.sleep(0.3)
        assert probes.of().acked == [], "the broker's PUBACK is not the server's word"
        await server.send(Down.ACK, Ack(VERSION, events=[event]))
        await until(lambda: probes.of().acked == [event])
        await until(lambda: status(tmp_path)["events"] == {"made": 1, "acked": 1, "held": 0})


async def test_green_light_does_not_wait_for_a_card_that_cannot_forget(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly(Store):
        def apply(self, ack: Ack) -> bool:
            raise StorageFailed("The outbox cannot be written: disk I/O error")

    monkeypatch.setattr("firmware_agent.process.Store", ReadOnly)
    async with StubServer(mosquitto.port, NODE), running(make_node(tmp_path, mosquitto.port)) as probes:
        event = await probes.of().press()
        await until(lambda: event in probes.of().acked)


async def test_press_during_an_outage_arrives_once_after_it(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with running(make_node(tmp_path, mosquitto.port)) as probes:
        await until(lambda: status(tmp_path).get("is_connected"))
        mosquitto.kill()
        await until(lambda: not status(tmp_path)["is_connected"])
        events = {await probes.of().press() for _ in range(30)}
        mosquitto.start()
        async with StubServer(mosquitto.port, NODE) as server:
            await until(lambda: server.event_ids == events)
            await until(lambda: set(probes.of().acked) == events)


async def test_unacknowledged_press_is_sent_again_in_the_next_session(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with (
        FaultProxy("127.0.0.1", mosquitto.port) as proxy,
        StubServer(mosquitto.port, NODE, is_deaf=True) as server,
        running(make_node(tmp_path, proxy.port)) as probes,
    ):
        event = await probes.of().press()
        await until(lambda: event in server.event_ids)
        await proxy.set(Network.CUT)
        await until(lambda: not status(tmp_path)["is_connected"])
        server.is_deaf = False
        await proxy.set(Network.OK)
        await until(lambda: probes.of().acked == [event])
        assert [e.event_id for e in server.events].count(event) >= 2


async def test_heartbeats_of_an_outage_are_replayed_and_nothing_else(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with (
        FaultProxy("127.0.0.1", mosquitto.port) as proxy,
        StubServer(mosquitto.port, NODE) as server,
        running(make_node(tmp_path, proxy.port)),
    ):
        await until(lambda: len(server.live) >= 3)
        await proxy.set(Network.CUT)
        await until(lambda: not status(tmp_path)["is_connected"])
        alone_from = status(tmp_path)["streams"][-1]["made"]
        await until(lambda: status(tmp_path)["streams"][-1]["made"] >= alone_from + 4)
        await proxy.set(Network.OK)
        stream = server.live[0].stream
        await until(lambda: server.replays)
        await until(lambda: server.seqs() == list(range(1, max(server.seqs()) + 1)), what="a whole stream")
        replayed = [h.seq for replay in server.replays for h in replay.heartbeats]
        assert replayed == sorted(set(replayed))
        assert not set(replayed) & {h.seq for h in server.live}
        assert server.conflicts == []
        await server.acknowledge(stream)
        await until(lambda: status(tmp_path)["streams"][-1]["acked"] >= replayed[-1])


async def test_lost_live_heartbeat_is_replayed_when_asked_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE) as server, running(make_node(tmp_path, mosquitto.port)):
        await until(lambda: len(server.live) >= 5)
        lost = server.live[2]
        del server.stored[lost.stream, lost.seq]
        await server.acknowledge(lost.stream)
        await until(lambda: (lost.stream, lost.seq) in server.stored)
        assert [h.seq for replay in server.replays for h in replay.heartbeats if h.seq > 1] == [lost.seq]


async def test_clean_end_says_offline_for_its_session(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE) as server:
        async with running(make_node(tmp_path, mosquitto.port)):
            await until(lambda: server.live)
        await until(lambda: server.statuses[-1].status is Online.OFFLINE)
        assert server.statuses[-1].session == server.statuses[0].session
        assert status(tmp_path)["is_connected"] is False
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as late:
        await late.subscribe(topics.up(NODE, Up.STATUS))
        message = await anext(aiter(late.messages))
        assert b'"offline"' in bytes(message.payload)


async def test_half_open_connection_is_noticed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with (
        FaultProxy("127.0.0.1", mosquitto.port) as proxy,
        StubServer(mosquitto.port, NODE) as server,
        running(make_node(tmp_path, proxy.port, keepalive_s=2)) as probes,
    ):
        await until(lambda: server.live)
        await proxy.set(Network.BLACK_HOLE)
        event = await probes.of().press()
        await until(lambda: not status(tmp_path)["is_connected"], what="the loss is noticed")
        await proxy.set(Network.OK)
        await until(lambda: event in server.event_ids)


async def test_verdict_that_changes_is_sent_soon(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config = make_node(tmp_path, mosquitto.port)
    config.write_text(config.read_text().replace("interval_s = 0.5", "interval_s = 200.0"))
    async with StubServer(mosquitto.port, NODE) as server, running(config) as probes:
        await until(lambda: any(h.evidence for h in server.live))
        probes.of().verdict = Verdict.FAILED
        await until(lambda: server.live[-1].evidence[0].verdict is Verdict.FAILED)


async def test_desired_configuration_is_applied_reported_and_survives(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config = make_node(tmp_path, mosquitto.port)
    async with StubServer(mosquitto.port, NODE) as server:
        async with running(config) as probes:
            await until(lambda: server.reported)
            await server.send(Down.DESIRED, Desired(VERSION, 3, 0.6, {BTN: {"colour": "red"}}), retain=False)
            await until(lambda: server.reported[-1].desired_version == 3)
            assert server.reported[-1].heartbeat_interval_s == 0.6
            await until(lambda: probes.of().settings.get("colour") == "red")
            assert "presses" in probes.of().settings, "absent settings stay the node's own"
        async with running(config) as probes:
            assert probes.of().settings.get("colour") == "red"


@pytest.mark.parametrize(
    ("desired", "says"),
    [
        (Desired(VERSION, 4, None, {BTN: {"bad": True}}), "bad"),
        (Desired(VERSION, 4, None, {BTN: {"odd": True}}), "KeyError"),
        (Desired(VERSION, 4, None, {Channel("cam-9"): {}}), "cam-9"),
    ],
)
async def test_wrong_desired_configuration_is_refused_whole(mosquitto: Mosquitto, tmp_path: Path, desired: Desired, says: str) -> None:
    async with StubServer(mosquitto.port, NODE) as server, running(make_node(tmp_path, mosquitto.port)) as probes:
        await until(lambda: server.reported)
        before = probes.of()
        await server.send(Down.DESIRED, desired)
        await until(lambda: server.reported[-1].error)
        assert says in server.reported[-1].error
        assert server.reported[-1].desired_version == 4
        assert probes.of().settings == before.settings
        made = len(server.live)
        await until(lambda: len(server.live) > made + 1, what="the agent goes on")


def command(command_id: str, *, expires_at_ms: int = FAR_MS, channel: str = "btn-1", args: dict[str, object] | None = None) -> Command:
    return Command(VERSION, CommandId(command_id), Channel(channel), Action.LAMP_OVERRIDE, 0, expires_at_ms, args or {})


async def test_command_is_done_once_and_answered_as_often_as_asked(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config = make_node(tmp_path, mosquitto.port)
    async with StubServer(mosquitto.port, NODE) as server:
        async with running(config):
            await until(lambda: server.reported)
            await server.send(Down.COMMAND, command("c1"))
            await until(lambda: server.results)
            await server.send(Down.COMMAND, command("c1"))
            await until(lambda: len(server.results) == 2)
        async with running(config):
            await until(lambda: len(server.statuses) >= 3)
            await server.send(Down.COMMAND, command("c1", expires_at_ms=1))
            await until(lambda: len(server.results) == 3)
        assert server.results[0] == server.results[1] == server.results[2]
        assert server.results[0].status is ResultStatus.SUCCEEDED
        assert server.results[0].measured == {"power_w": 58.9}


async def test_command_that_cannot_be_done_is_answered(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE) as server, running(make_node(tmp_path, mosquitto.port)):
        await until(lambda: server.reported)
        await server.send(Down.COMMAND, command("late", expires_at_ms=1))
        await server.send(Down.COMMAND, command("nowhere", channel="cam-9"))
        await server.send(Down.COMMAND, command("raises", args={"raise": True}))
        await until(lambda: len(server.results) == 3)
        found = {r.command_id: r.status for r in server.results}
        assert found == {"late": ResultStatus.EXPIRED, "nowhere": ResultStatus.REJECTED, "raises": ResultStatus.FAILED}


async def test_nonsense_of_the_server_is_counted_and_changes_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE) as server, running(make_node(tmp_path, mosquitto.port)) as probes:
        await until(lambda: server.live)
        for kind in Down:
            await server.send_raw(kind, b"\xff{nonsense")
        await server.send(Down.ACK, Ack(VERSION, events=[EventId(f"{NODE}:{'f' * 16}:99")]))
        event = await probes.of().press()
        await until(lambda: probes.of().acked == [event])
        await until(lambda: status(tmp_path)["bad_messages"] >= 2)


async def test_report_that_is_too_large_ends_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    config = make_node(tmp_path, mosquitto.port)
    strange = f'kind = "camera"\ndriver = "{"x" * 60}"\n'
    config.write_text(config.read_text() + "".join(f'\n[[channel]]\nchannel = "c-{n}"\n{strange}' for n in range(300)))
    async with StubServer(mosquitto.port, NODE) as server, running(config) as probes:
        await until(lambda: len(server.live) >= 3)
        event = await probes.of().press()
        await until(lambda: probes.of().acked == [event])
        assert server.reported == []


async def test_driver_that_crashes_is_unknown_and_comes_back(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with StubServer(mosquitto.port, NODE) as server, running(make_node(tmp_path, mosquitto.port)) as probes:
        await until(lambda: any(h.evidence for h in server.live))
        probes.of().crash = True
        await until(lambda: any(e.cause == "driver_error" for h in server.live for e in h.evidence))
        await until(lambda: len(probes.made) == 2)
        await until(lambda: server.live[-1].evidence[0].verdict is Verdict.WORKING)
        assert any("probe crashed" in channel.error for r in server.reported for channel in r.channels)


async def test_many_sessions_leak_nothing(mosquitto: Mosquitto, tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with (
        FaultProxy("127.0.0.1", mosquitto.port) as proxy,
        StubServer(mosquitto.port, NODE) as server,
        running(make_node(tmp_path, proxy.port)),
    ):
        await until(lambda: server.live)
        before = open_files()
        for _ in range(15):
            births = len(server.statuses)
            await proxy.set(Network.CUT)
            await proxy.set(Network.OK)
            await server.birth_after(births)
        assert open_files() <= before + 12
