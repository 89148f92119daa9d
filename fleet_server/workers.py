"""The threads that blocking work runs in, and what each part of the server costs: processor time by the task that asked for it.

The event loop's own time is that of receiving, decoding and HTTP; a room's is that of the work which its task sent to a thread.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

LOOP: Final = "event-loop"
OTHER: Final = "other"
"""Work of tasks without a name of ours, which are those of requests."""
_MAX_THREADS: Final = 16
_MAX_VISITORS: Final = 8
_SWITCH_S: Final = 0.001
"""A thread that computes may keep the interpreter for so long. With Python's 5 ms the event loop, which needs it often and briefly,
spends most of its time waiting for it on a busy server."""

R = TypeVar("R")


class Workers(ThreadPoolExecutor):
    """The default executor of an event loop. Make it inside the loop; it measures the loop's thread too, and lets it run often.

    Requests have threads of their own, so that a crowd before the pages keeps no press from being stored and raised.
    """

    def __init__(self, *, threads: int = _MAX_THREADS, visitors: int = _MAX_VISITORS) -> None:
        """`threads` at most for the server's own parts and `visitors` for requests; none is started before it is needed."""
        super().__init__(threads, "worker")
        self._visitors = ThreadPoolExecutor(visitors, "visitor")
        sys.setswitchinterval(_SWITCH_S)
        self._lock = threading.Lock()
        self._spent_s: dict[str, float] = {}
        self._loop_clock = time.pthread_getcpuclockid(threading.get_ident())

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        """See `Executor`; the time is charged to the asyncio task that submits."""
        name = _task_name()
        submit = self._visitors.submit if name == OTHER else super().submit
        return submit(self._measured, name, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor`."""
        self._visitors.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _measured(self, name: str, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        begin_s = time.thread_time()
        try:
            return fn(*args, **kwargs)
        finally:
            spent_s = time.thread_time() - begin_s
            with self._lock:
                self._spent_s[name] = self._spent_s.get(name, 0.0) + spent_s

    def spent_s(self) -> dict[str, float]:
        """Return processor seconds by task, since the start."""
        with self._lock:
            return {**self._spent_s, LOOP: time.clock_gettime(self._loop_clock)}


class WorkerMetrics(Collector):
    """`ssz_cpu_seconds_total{task}`."""

    def __init__(self, workers: Workers, registry: CollectorRegistry) -> None:
        """Register the name once."""
        self._workers = workers
        registry.register(self)

    def describe(self) -> Iterable[CounterMetricFamily]:
        """See `Collector`."""
        return [self._family()]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See `Collector`."""
        family = self._family()
        for name, spent_s in sorted(self._workers.spent_s().items()):
            family.add_metric([name], spent_s)
        return [family]

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily("ssz_cpu_seconds", "Processor time by task of the server.", labels=["task"])


def _task_name() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return OTHER
    name = OTHER if task is None else task.get_name()
    return OTHER if name.startswith("Task-") else name
