import asyncio
import threading
import time

from prometheus_client import CollectorRegistry, generate_latest

from fleet_server.workers import LOOP, WorkerMetrics, Workers


def _burn(seconds: float) -> str:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass
    return "done"


async def test_work_is_charged_to_the_task_that_sent_it() -> None:
    workers, registry = Workers(), CollectorRegistry()
    asyncio.get_running_loop().set_default_executor(workers)
    WorkerMetrics(workers, registry)

    assert await asyncio.create_task(asyncio.to_thread(_burn, 0.05), name="presence") == "done"
    _burn(0.02)

    spent = workers.spent_s()
    assert spent["presence"] >= 0.05
    assert spent[LOOP] >= 0.02
    assert registry.get_sample_value("ssz_cpu_seconds_total", {"task": "presence"}) == spent["presence"]
    assert b'ssz_cpu_seconds_total{task="event-loop"}' in generate_latest(registry)


async def test_what_fails_costs_too_and_fails_as_it_did() -> None:
    workers = Workers()
    asyncio.get_running_loop().set_default_executor(workers)

    def fail() -> None:
        _burn(0.01)
        raise ValueError("no")

    task = asyncio.create_task(asyncio.to_thread(fail), name="uptime")
    await asyncio.wait([task])

    assert isinstance(task.exception(), ValueError)
    assert workers.spent_s()["uptime"] >= 0.01


def test_work_sent_from_outside_a_loop_is_other_work() -> None:
    with Workers(threads=1) as workers:
        assert workers.submit(_burn, 0.01).result() == "done"
    assert workers.spent_s()["other"] >= 0.01


async def test_a_crowd_of_requests_keeps_no_part_of_the_server_waiting() -> None:
    workers, ends = Workers(threads=1, visitors=1), threading.Event()
    asyncio.get_running_loop().set_default_executor(workers)
    crowd = [asyncio.create_task(asyncio.to_thread(ends.wait)) for _ in range(20)]
    try:
        async with asyncio.timeout(20):
            assert await asyncio.create_task(asyncio.to_thread(_burn, 0), name="ingest-writer") == "done"
    finally:
        ends.set()
        await asyncio.gather(*crowd)
