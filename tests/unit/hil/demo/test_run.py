"""A demo that somebody leaves running goes on."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hil.demo.errors import DemoFailed
from hil.demo.place import Place, Ports
from hil.demo.run import Run, Wishes
from hil.processes import ProcessFailed


async def test_server_that_does_not_answer_once_ends_nothing_but_one_that_ended_does(tmp_path: Path) -> None:
    answers: list[Any] = [DemoFailed("The server does not answer /innovation"), {"count": 2}]
    is_alive = True

    async def get(path: str) -> Any:
        answer = answers.pop(0) if answers else {"count": 3}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check() -> None:
        if not is_alive:
            raise ProcessFailed("the fleet server ended with status 1")

    run = Run(Place(tmp_path), Ports(1, 2, 3), tmp_path, Wishes())
    run._zone = cast(Any, SimpleNamespace(check=check, api=SimpleNamespace(get=get)))
    watching = asyncio.create_task(run._watch())
    async with asyncio.timeout(20):
        while run._count != 3:  # noqa: ASYNC110  # what is watched offers no event
            await asyncio.sleep(0.02)
    assert [moment.innovation_count for moment in run._timeline] == [2, 3]
    is_alive = False
    with pytest.raises(ProcessFailed):
        await asyncio.wait_for(watching, 20)
