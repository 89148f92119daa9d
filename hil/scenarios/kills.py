"""Processes killed and lines cut at random points, in the middle of presses and heartbeats."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hil.faults.proxy import Network
from hil.scenarios.world import World

Blow = Callable[[World], Awaitable[None]]


async def kill_broker(world: World) -> None:
    """SIGKILL the broker; the server starts it again."""
    await world.server.kill_broker()


async def kill_server(world: World) -> None:
    """SIGKILL the server (its embedded parts die with it), and start it again a little later."""
    await world.server.kill()
    await _a_while(world)
    await world.server.start()


async def kill_agent(world: World) -> None:
    """SIGKILL one agent, and start it again a little later."""
    node = world.rng.choice(world.nodes)
    await node.kill()
    await _a_while(world)
    await node.start()


async def stop_agent(world: World) -> None:
    """SIGTERM to one agent, and start it again a little later."""
    await world.stop(world.rng.choice(world.nodes))
    await _a_while(world)
    await world.resume()


async def kill_all(world: World) -> None:
    """SIGKILL everything at nearly the same time, and start it again in any order."""
    await asyncio.gather(world.server.kill(), *(node.kill() for node in world.nodes))
    await _a_while(world)
    await asyncio.gather(world.server.start(), *(node.start() for node in world.nodes))


async def cut_line(world: World) -> None:
    """Reset a node's connections and refuse new ones, for some heartbeats."""
    await _break_line(world, Network.CUT)


async def swallow_line(world: World) -> None:
    """Let the bytes of a node vanish without a word, for some heartbeats."""
    await _break_line(world, Network.BLACK_HOLE)


BLOWS: Sequence[Blow] = (kill_broker, kill_all, swallow_line, kill_agent, stop_agent, kill_server, cut_line)


async def play_kills(world: World) -> None:
    """Strike all blows, shuffled, at random points while buttons are pressed; then nothing may be lost or doubled."""
    await world.resume()
    world.fingers.start()
    await world.heartbeats(2)
    for blow in world.rng.sample(BLOWS, len(BLOWS)):
        await _a_while(world)
        world.say((blow.__doc__ or "").strip())
        await blow(world)
        await world.connected()
    await world.heartbeats(2)
    await world.settle()
    await world.audit()


async def _break_line(world: World, network: Network) -> None:
    node = world.rng.choice(world.nodes)
    await node.line.set(network)
    await world.heartbeats(6)
    await node.line.set(Network.OK)


async def _a_while(world: World) -> None:
    """Let a random time pass: the point at which something strikes is what is tried."""
    await asyncio.sleep(world.rng.uniform(0.1, 1.5))
