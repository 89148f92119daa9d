"""The network breaks as named, and heals."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hil.faults.proxy import FaultProxy, Network


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, within_s: float = 5.0) -> bytes:
    writer.write(b"hello")
    async with asyncio.timeout(within_s):
        return await reader.readexactly(5)


async def test_line_carries_both_ways(echo_port: int) -> None:
    async with FaultProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await say(reader, writer) == b"hello"
        writer.close()


async def test_cut_resets_and_refuses_and_heals_on_the_same_port(echo_port: int) -> None:
    async with FaultProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await say(reader, writer) == b"hello"
        await proxy.set(Network.CUT)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(5):
                await reader.readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.set(Network.OK)
        reader, again = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await say(reader, again) == b"hello"
        for each in (writer, again):
            each.close()


async def test_black_hole_swallows_without_a_word(echo_port: int) -> None:
    async with FaultProxy("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await proxy.set(Network.BLACK_HOLE)
        with pytest.raises(TimeoutError):
            await say(reader, writer, within_s=0.3)
        writer.close()


async def test_black_hole_does_not_tell_the_end_of_a_connection() -> None:
    """Who vanishes in it must be missed by his silence."""
    has_come, has_ended = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_come.set()
        await reader.read()
        has_ended.set()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await asyncio.wait_for(has_come.wait(), 5)
        await proxy.set(Network.BLACK_HOLE)
        writer.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(has_ended.wait(), 0.3)
        await proxy.set(Network.OK)
        await asyncio.wait_for(has_ended.wait(), 5)
    server.close()


async def test_connection_that_was_being_made_is_cut_too(echo_port: int) -> None:
    is_reaching, may_reach = asyncio.Event(), asyncio.Event()

    class Slow(FaultProxy):
        async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            is_reaching.set()
            await may_reach.wait()
            return await super()._reach()

    async with Slow("127.0.0.1", echo_port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await asyncio.wait_for(is_reaching.wait(), 5)
        await proxy.set(Network.CUT)
        may_reach.set()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await say(reader, writer)
        writer.close()


async def test_target_that_is_down_is_a_reset(echo_port: int) -> None:
    closed = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    async with FaultProxy("127.0.0.1", port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await say(reader, writer)
        writer.close()
