"""Databases down and back, brokers restarted, a server restored from an old backup."""

import asyncio

from hil.faults.proxy import FaultProxy, Network
from hil.scenarios.errors import BrokenPromise
from hil.scenarios.waiting import until
from hil.scenarios.world import World

MANY = 20
"""Heartbeats of each node during an outage; an hour of them in the field is 360, the ways they take are the same."""


async def play_influx_down(world: World) -> None:
    """InfluxDB is away for many heartbeats: nodes do not notice, and all of it is charted later."""
    world.say("InfluxDB goes away")
    line = _needed(world.influx_line, "InfluxDB")
    await world.resume()
    world.fingers.start()
    await line.set(Network.CUT)
    await world.heartbeats(MANY)
    await until(lambda: _is_behind(world), "the server notices that InfluxDB is away", within_s=30)
    await world.acknowledged()  # while it is still away: an acknowledgement never waits for time series
    if line.network is not Network.CUT:
        raise BrokenPromise("InfluxDB was back too early")
    await line.set(Network.OK)
    await world.settle()
    await world.audit()
    await world.charted()


async def play_sql_down(world: World) -> None:
    """The database is away for many heartbeats: nothing is acknowledged, nodes hold it all, and nothing is lost."""
    world.say("the database goes away")
    line = _needed(world.database_line, "PostgreSQL")
    await world.resume()
    world.fingers.start()
    await world.heartbeats(2)
    await line.set(Network.CUT)
    await until(lambda: _is_not_ready(world), "the server says that it is not ready")
    await world.heartbeats(MANY)
    if any(node.held < MANY - 2 for node in world.nodes):
        raise BrokenPromise("heartbeats were acknowledged while there was no database")
    await line.set(Network.OK)
    await world.settle()
    await world.audit()


async def play_broker_restarts(world: World) -> None:
    """The broker is killed three times in a row, faster than everybody comes back."""
    world.say("the broker is killed three times")
    await world.resume()
    world.fingers.start()
    for _ in range(3):
        await world.server.kill_broker()
        await asyncio.sleep(world.rng.uniform(0.5, 2.0))
    await world.settle()
    await world.audit()


async def play_restored(world: World) -> None:
    """The server comes back with the database of its first minute: no journal. Nodes go on; what they still hold is stored."""
    await world.resume()
    await world.acknowledged()
    await asyncio.gather(*(node.line.set(Network.CUT) for node in world.nodes))
    await world.heartbeats(MANY)
    await world.server.stop()
    world.server.restore()
    await world.server.start()
    held = {node.serial: (node.made - node.held, node.made) for node in world.nodes}
    await asyncio.gather(*(node.line.set(Network.OK) for node in world.nodes))
    world.fingers.start()
    await world.connected()
    await world.heartbeats(4)
    await world.fingers.stop()
    await until(lambda: all(node.events_held == 0 for node in world.nodes), "new events are acknowledged")
    await until(lambda: all(node.held <= 6 for node in world.nodes), "the held heartbeats are acknowledged")
    for node in world.nodes:
        forgotten, made = held[node.serial]
        streams = await world.server.api.get(f"/nodes/{node.serial}/streams")
        stored = sum(stream["stored"] for stream in streams)
        if len(streams) != 1 or streams[0]["gaps"] or stored < made - forgotten:
            raise BrokenPromise(f"{node.serial} held {made - forgotten} heartbeats, the new journal says {streams}")
    presses = await world.server.api.all("/presses")
    if not any(touch.is_green_seen for touch in world.fingers.touches) or not presses:
        raise BrokenPromise("no press reached the restored server")


async def _is_behind(world: World) -> bool:
    return await world.server.metric("ssz_telemetry_lag_rows") > 0 and await world.server.metric("ssz_telemetry_up") == 0


async def _is_not_ready(world: World) -> bool:
    return not await world.server.api.is_ready()


def _needed(line: FaultProxy | None, what: str) -> FaultProxy:
    if line is None:
        raise BrokenPromise(f"this scenario needs {what}; name one")
    return line
