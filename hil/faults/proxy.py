"""A TCP proxy that breaks a network in named ways, between a node and its broker."""

import asyncio
import socket
import struct
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Final

_CHUNK: Final = 65_536
_CONNECT_S: Final = 5.0


class Network(StrEnum):
    """How the line behaves."""

    OK = "ok"
    CUT = "cut"
    """Connections are reset and new ones refused, as when a cable is pulled at the router."""
    BLACK_HOLE = "black_hole"
    """Bytes vanish and nothing is said, not even the end of a connection: it stays half-open until the line is mended."""


class FaultProxy:
    """Carries TCP from a port of its own to a target, until told otherwise.

    `latency_s` delays each chunk in both directions; `network` may be changed at any time with `set`.
    """

    def __init__(self, target_host: str, target_port: int = 0, *, latency_s: float = 0.0) -> None:
        """The target need not be up yet; a host that begins with `/` is the path of a Unix socket."""
        self.port = 0
        self.latency_s = latency_s
        self._target: Final = (target_host, target_port)
        self._network = Network.OK
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None]] = set()

    @property
    def network(self) -> Network:
        """How the line behaves now."""
        return self._network

    async def __aenter__(self) -> "FaultProxy":
        """Listen on a free loopback port (`port`), or on the same one as before."""
        await self._listen()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop all connections and stop."""
        self._speaks.set()
        await self._close()
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=_CONNECT_S + 1)

    async def set(self, network: Network) -> None:
        """Change how the line behaves; a cut resets what is connected."""
        if network is self._network:
            return
        self._network = network
        self._speaks.clear() if network is Network.BLACK_HOLE else self._speaks.set()
        if network is Network.CUT:
            await self._close()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._lines):
            _reset(writer)
        self._lines.clear()
        await asyncio.sleep(0)

    async def _carry(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "runs in a task"
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        try:
            async with asyncio.timeout(_CONNECT_S):
                far_reader, far_writer = await self._reach()
        except (OSError, TimeoutError):
            _reset(near_writer)
            return
        if self._server is None:  # cut meanwhile
            for writer in (near_writer, far_writer):
                _reset(writer)
            return
        self._lines |= {near_writer, far_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(near_reader, far_writer), name="proxy up")
                group.create_task(self._copy(far_reader, near_writer), name="proxy down")
        finally:
            self._lines -= {near_writer, far_writer}
            for writer in (near_writer, far_writer):
                writer.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target
        return await (asyncio.open_unix_connection(host) if host.startswith("/") else asyncio.open_connection(host, port))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                if self._network is Network.BLACK_HOLE:
                    continue
                writer.write(chunk)
                await writer.drain()
        await self._speaks.wait()
        with suppress(OSError):
            writer.write_eof() if writer.can_write_eof() else writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    with suppress(OSError):
        raw = writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport = writer.transport
    if not transport.is_closing():
        transport.abort()
