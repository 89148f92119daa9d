"""Unfinished messages, as drivers and assembler make them."""

from firmware_agent.contract.ids import BootId, Channel, EventId, SessionId, StreamId
from firmware_agent.contract.messages import VERSION, Clock, Event, Evidence, Heartbeat
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Function, Verdict

WALL_MS = 1_795_485_600_000
SESSION = SessionId("a1b2c3d4e5f60718")


def clock(wall_ms: int = WALL_MS, quality: ClockQuality = ClockQuality.NTP) -> Clock:
    return Clock(wall_ms, 1_000_000, BootId("boot-1"), quality)


def heartbeat(wall_ms: int = WALL_MS, *, quality: ClockQuality = ClockQuality.NTP, padding: int = 0) -> Heartbeat:
    evidence = [Evidence(Channel("cam-1"), Function.LIVE, Verdict.WORKING, wall_ms, 37_500)] * (1 + padding // 100)
    return Heartbeat(VERSION, SESSION, StreamId("0" * 16), 1, 1, clock(wall_ms, quality), evidence)


def press(wall_ms: int = WALL_MS) -> Event:
    return Event(VERSION, EventId("0" * 56), SESSION, Channel("btn-1"), EventType.PRESS, wall_ms, clock(wall_ms))
