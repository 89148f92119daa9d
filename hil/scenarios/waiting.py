"""Waiting for conditions, with a bound; never for luck."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from hil.demo.errors import DemoFailed
from hil.scenarios.errors import TookTooLong

_EVERY_S = 0.1

Condition = Callable[[], bool | Awaitable[bool]]


async def until(condition: Condition, what: str, *, within_s: float = 40.0) -> None:
    """Wait until `condition` holds. A server that does not answer meanwhile counts as "not yet".

    Raises:
        TookTooLong: it did not within `within_s`; `what` completes the sentence "it took too long until …".
    """
    last = ""
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    if await _holds(condition):
                        return
                except DemoFailed as error:
                    last = f" (last answer: {error})"
                await asyncio.sleep(_EVERY_S)
    except TimeoutError as error:
        raise TookTooLong(f"It took over {within_s:.0f} s until {what}{last}.") from error


async def _holds(condition: Condition) -> bool:
    found = condition()
    return await found if inspect.isawaitable(found) else found
