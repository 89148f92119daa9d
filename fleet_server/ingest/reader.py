"""Reads the journal for one consumer that derives something from rare messages, such as events or results."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from firmware_agent.contract.topics import Up
from fleet_server.errors import Transient
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Row

_log = logging.getLogger(__name__)

_BATCH: Final = 500
_REST_S: Final = 0.02
"""Rest after a look that found nothing, so that a flood of heartbeats costs little; bounds what it adds to a press."""
_REMEMBER_EVERY: Final = 20_000
"""Other messages after which the cursor is written all the same."""


class JournalReader:
    """Hands batches, in order, to `take(rows, seen)`, which stores what it derives and moves the cursor to `seen` in one transaction."""

    def __init__(self, journal: Journal, cursor: str, topics: Sequence[Up], take: Callable[[Sequence[Row], int], None]) -> None:
        """`cursor` names the consumer; `take` blocks, and is called again with the same rows when it raised."""
        self._journal = journal
        self._cursor = cursor
        self._topics = topics
        self._take = take
        self._seen: int | None = None
        self._remembered = 0

    async def run(self) -> None:
        """Follow the journal until cancelled. While the database is away nothing is lost: it goes on where it was."""
        while True:
            try:
                newest = await self._journal.wait_beyond(await asyncio.to_thread(self._start))
                if not await asyncio.to_thread(self.advance, newest):
                    await asyncio.sleep(_REST_S)
            except Transient as error:
                _log.warning("%s wait: %s", self._cursor, error)
                await asyncio.sleep(random.uniform(0.2, 1.0))

    def advance(self, newest: int) -> int:
        """Take what there is up to message `newest`, one batch at most; return how many messages of the topics there were.

        Raises:
            StorageUnavailable: nothing was changed; call again.
        """
        start = self._start()
        rows = self._journal.after(start, limit=_BATCH, topics=self._topics)
        seen = rows[-1].id if len(rows) == _BATCH else max(newest, start, *(row.id for row in rows))
        if rows or seen - self._remembered > _REMEMBER_EVERY:
            self._take(rows, seen)
            self._remembered = seen
        self._seen = seen
        return len(rows)

    def _start(self) -> int:
        if self._seen is None:
            self._seen = self._remembered = self._journal.cursor(self._cursor)
        return self._seen
