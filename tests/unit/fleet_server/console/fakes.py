"""A small fleet in memory behind the console's promises; tests change it and the pages follow."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access.guard import Guard
from fleet_server.access.service import Access
from fleet_server.console.facts import (
    DemoAct,
    FunctionNow,
    Hour,
    Node,
    Position,
    PositionDetail,
    Press,
    Unit,
    Viewer,
    Zone,
)
from fleet_server.console.services import ConsoleServices
from fleet_server.errors import Gone, NotFound, Rejected
from fleet_server.presence.layers import Layer, LayerStatus
from fleet_server.presence.model import Segment, State
from fleet_server.problems import Unauthenticated
from fleet_server.scoring.innovation import Innovation, TypeCount
from fleet_server.scoring.model import innovation
from fleet_server.storage.changes import Change
from fleet_server.uptime.model import Parts

NOW_MS = 1_795_487_112_000  # 2026-11-24 02:25:12 UTC, 09:25:12 in Bangkok
STATION = "/tsb/t1/tawan/"
SESSION = "session-of-somchai"
LINK = "one-time-link"
PASSWORD = "correct horse battery"
NODE_ID = "0b54f8c6-6c0d-4f7a-9a52-6f3a0f1f7a01"
PRESS_ID = f"{NODE_ID}:00112233445566aa:1"

_PLACES = (
    ("TWN-P01-CAM", Kind.CAMERA, "กล้อง เสา 1 ปากซอยตะวัน 3", "Camera, pole 1, Soi Tawan 3"),
    ("TWN-P02-CAM", Kind.CAMERA, "กล้อง เสา 2 หน้าตลาดตะวัน", "Camera, pole 2, Tawan market"),
    ("TWN-P03-CAM", Kind.CAMERA, "กล้อง เสา 3 สะพานลอย", "Camera, pole 3, footbridge"),
    ("TWN-P04-CAM", Kind.CAMERA, "กล้อง เสา 4 ป้ายรถเมล์", "Camera, pole 4, bus stop"),
    ("TWN-P01-SOS", Kind.PANIC_BUTTON, "ปุ่มฉุกเฉิน เสา 1", "Panic button, pole 1"),
    ("TWN-P02-SOS", Kind.PANIC_BUTTON, "ปุ่มฉุกเฉิน เสา 2", "Panic button, pole 2"),
    ("TWN-P04-SOS", Kind.PANIC_BUTTON, "ปุ่มฉุกเฉิน เสา 4", "Panic button, pole 4"),
    ("TWN-P01-LMP", Kind.STREET_LIGHT, "โคมไฟ เสา 1", "Street light, pole 1"),
    ("TWN-P02-LMP", Kind.STREET_LIGHT, "โคมไฟ เสา 2", "Street light, pole 2"),
    ("TWN-P03-LMP", Kind.STREET_LIGHT, "โคมไฟ เสา 3", "Street light, pole 3"),
    ("TWN-P04-LMP", Kind.STREET_LIGHT, "โคมไฟ เสา 4", "Street light, pole 4"),
    ("TWN-P03-AIR", Kind.SENSOR, "เซนเซอร์ฝุ่น เสา 3", "Dust sensor, pole 3"),
)
_TYPES = (("cctv", Kind.CAMERA), ("panic_button", Kind.PANIC_BUTTON), ("street_light", Kind.STREET_LIGHT))
_FIRST_FUNCTION = {
    Kind.CAMERA: Function.LIVE,
    Kind.PANIC_BUTTON: Function.PRESS,
    Kind.STREET_LIGHT: Function.LIT,
    Kind.SENSOR: Function.READING,
}


@dataclass
class FakeClock:
    """Stands still unless told otherwise."""

    wall_ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.wall_ms

    def mono_s(self) -> float:
        return self.wall_ms / 1000


class FakeWorld:
    """All promises of the console at once."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        began_ms = NOW_MS - 52 * 60_000
        self.by_code = {
            code: Position(
                code=code,
                kind=kind,
                label_th=label_th,
                label_en=label_en,
                unit_path=STATION,
                zone_code="TWN",
                state=State.WORKING,
                since_ms=began_ms,
                observed_at_ms=NOW_MS - 3_000,
                commissioned_at_ms=began_ms,
                is_simulated=True,
            )
            for code, kind, label_th, label_en in _PLACES
        }
        self.parts = {code: Parts(working_ms=51 * 60_000, unknown_ms=60_000) for code in self.by_code}
        self.node_list = [
            Node(NODE_ID, "DEMO-0001", "DEMO-0001", is_online=True, last_heartbeat_at_ms=NOW_MS - 2_000, agent="0.1.0", is_simulated=True),
            Node("n2", "DEMO-0002", "DEMO-0002", is_online=True, last_heartbeat_at_ms=NOW_MS - 4_000, agent="0.1.0", is_simulated=True),
        ]
        self.zone_list = [Zone("TWN", "ถนนตะวัน (โซนตัวอย่าง)", "Tawan Road (example zone)", STATION)]
        self.unit_list = [Unit(STATION, "สถานีตำรวจตะวัน (ตัวอย่าง)", "Tawan Station (example)")]
        self.press_list: list[Press] = []
        self.acknowledged: list[tuple[str, str]] = []
        self.sessions = {SESSION: Viewer("somchai", "ccoc_operator", STATION, may_acknowledge=True)}
        self.links = {LINK: "somchai"}
        self.numbers = 0
        self.kept_after = 0
        self.log: list[Change] = []
        self.acted: list[tuple[str, str]] = []

    def services(self, *, is_demo: bool = True, has_panel: bool = True) -> ConsoleServices:
        """Return the promises, with or without the demo."""
        return ConsoleServices(
            fleet=self,
            presses=self,
            accounts=self,
            guard=Guard(cast(Access, None)),
            changes=self,
            clock=self.clock,
            demo=FakeDemo(self) if has_panel else None,
            is_demo=is_demo,
        )

    # What tests do to the world

    def set_state(self, code: str, state: State, cause: str = "") -> None:
        self.by_code[code] = replace(self.by_code[code], state=state, cause=cause, since_ms=self.clock.wall_ms)
        self.tell("position", code)

    def press(self, *, code: str = "TWN-P02-SOS", is_drill: bool = False, age_ms: int = 12_000, n: int = 1) -> Press:
        position = self.by_code[code]
        happened_ms = self.clock.wall_ms - age_ms
        press = Press(
            event_id=f"{NODE_ID}:00112233445566aa:{n}",
            code=code,
            label_th=position.label_th,
            label_en=position.label_en,
            occurred_at_ms=happened_ms,
            stored_at_ms=happened_ms + 140,
            zone_code=position.zone_code,
            is_drill=is_drill,
        )
        self.press_list.insert(0, press)
        self.tell("press", press.event_id)
        return press

    def tell(self, kind: str, subject: str) -> None:
        self.numbers += 1
        self.log.append(Change(self.numbers, self.clock.wall_ms, STATION, kind, subject, {}))

    # Fleet

    def zones(self, unit_path: str) -> Sequence[Zone]:
        return [zone for zone in self.zone_list if zone.unit_path.startswith(unit_path)]

    def units(self, unit_path: str) -> Sequence[Unit]:
        return [unit for unit in self.unit_list if unit.path.startswith(unit_path)]

    def positions(self, unit_path: str) -> Sequence[Position]:
        return [position for position in self.by_code.values() if position.unit_path.startswith(unit_path)]

    def position(self, code: str, unit_path: str) -> PositionDetail:
        found = self.by_code.get(code)
        if found is None or not found.unit_path.startswith(unit_path):
            raise NotFound(f"there is no position {code}")
        is_ok = found.state is State.WORKING
        return PositionDetail(
            position=found,
            layers=[
                LayerStatus(Layer.SERVER, True),
                LayerStatus(Layer.LINK, True, since_ms=found.since_ms),
                LayerStatus(Layer.AGENT, True),
                LayerStatus(Layer.DEVICE, is_ok, found.cause, found.since_ms),
                LayerStatus(Layer.FUNCTION, True if is_ok else None),
            ],
            functions=[
                FunctionNow(
                    _FIRST_FUNCTION[found.kind],
                    found.state,
                    found.cause,
                    found.since_ms,
                    found.observed_at_ms,
                    {"fps": 10.0, "rtt_ms": 41.5} if found.kind is Kind.CAMERA else {},
                )
            ],
            node_serial="DEMO-0001",
            channel="cam-1",
            supervision_ms=90_000,
            latitude=13.74011,
            longitude=100.56021,
            owner="เทศบาลตัวอย่าง",
            maintainer="บริษัทตัวอย่าง",
        )

    def usage(self, codes: Sequence[str], *, from_ms: int, to_ms: int) -> Mapping[str, Parts]:
        return {code: self.parts[code] for code in codes}

    def segments(self, code: str, *, from_ms: int, to_ms: int) -> Sequence[Segment]:
        began_ms = max(from_ms, self.by_code[code].commissioned_at_ms or from_ms)
        cuts = [began_ms, began_ms + 60_000, to_ms - 600_000, to_ms - 480_000, to_ms]
        states = [State.UNKNOWN, State.WORKING, State.FAILED, self.by_code[code].state]
        return [Segment(begin, end, state) for begin, end, state in zip(cuts, cuts[1:], states, strict=False)]

    def hours(self, code: str, *, from_ms: int, to_ms: int) -> Sequence[Hour]:
        hour_ms = 3_600_000
        first_ms = to_ms - to_ms % hour_ms - 20 * hour_ms
        return [
            Hour(
                at,
                min(to_ms, at + hour_ms),
                Parts(working_ms=3_000_000, failed_ms=600_000 if index % 7 == 3 else 0, unknown_ms=index * 9_000),
            )
            for index, at in enumerate(range(first_ms, to_ms, hour_ms))
        ]

    def nodes(self, unit_path: str) -> Sequence[Node]:
        return self.node_list

    def innovation(self, unit_path: str) -> Innovation:
        types = []
        for name, kind in _TYPES:
            states = [position.state for position in self.by_code.values() if position.kind is kind]
            working = sum(state is State.WORKING for state in states)
            types.append(TypeCount(name, working, len(states)))
        return Innovation(tuple(types), innovation(sum(type_.counts for type_ in types)), is_demo=True)

    # Presses

    def presses(self, unit_path: str, *, limit: int, is_open: bool | None = None) -> Sequence[Press]:
        return [press for press in self.press_list if is_open is None or press.is_open is is_open][:limit]

    def acknowledge(self, event_id: str, viewer: Viewer) -> None:
        for index, press in enumerate(self.press_list):
            if press.event_id == event_id:
                self.press_list[index] = replace(press, acknowledged_at_ms=self.clock.wall_ms, acknowledged_by=viewer.name)
                self.acknowledged.append((event_id, viewer.name))
                self.tell("press", event_id)
                return
        raise NotFound("there is no such press")

    # Accounts

    def viewer(self, session: str) -> Viewer | None:
        return self.sessions.get(session)

    def log_in(self, user: str, password: str, *, address: str) -> str:
        if (user, password) != ("somchai", PASSWORD):
            raise Unauthenticated("user or password is wrong")
        return SESSION

    def log_out(self, session: str) -> None:
        self.sessions.pop(session, None)

    def link_user(self, link: str) -> str:
        if link not in self.links:
            raise Rejected("the link is spent")
        return self.links[link]

    def use_link(self, link: str, password: str) -> None:
        self.link_user(link)
        del self.links[link]

    # Changes

    def newest(self) -> int:
        return self.numbers

    async def follow(self, number: int, *, unit_path: str) -> AsyncGenerator[list[Change], None]:
        while True:
            if not self.kept_after <= number <= self.numbers:
                raise Gone("purged", newest=self.numbers)
            news = [change for change in self.log if change.number > number]
            if news:
                number = news[-1].number
                yield news
            else:
                await asyncio.sleep(0.02)


class FakeDemo:
    """The far side of the demo panel."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    async def acts(self) -> Sequence[DemoAct]:
        acts = []
        for position in self._world.by_code.values():
            is_broken = position.state is State.FAILED
            th, en = position.label_th, position.label_en
            match position.kind:
                case Kind.PANIC_BUTTON:
                    acts.append(DemoAct("press", position.code, f"กด{th}", f"Press: {en}"))
                case Kind.CAMERA:
                    acts.append(DemoAct("kill_camera", position.code, f"ทำให้{th}เสีย", f"Break: {en}", is_broken))
                    acts.append(DemoAct("restore_camera", position.code, f"ซ่อม{th}", f"Restore: {en}"))
                case Kind.STREET_LIGHT:
                    acts.append(DemoAct("cut_lamp", position.code, f"ทำให้{th}เสีย", f"Break: {en}", is_broken))
                    acts.append(DemoAct("restore_lamp", position.code, f"ซ่อม{th}", f"Restore: {en}"))
                case Kind.SENSOR:
                    pass
        acts.append(DemoAct("kill_all_cameras", "", "ทำให้กล้องเสียทุกตัว", "Break all cameras"))
        acts.append(DemoAct("restore_cameras", "", "ซ่อมกล้องทุกตัว", "Restore all cameras"))
        for node in self._world.node_list:
            acts.append(DemoAct("cut_network", node.serial, f"ตัดเครือข่ายของ {node.serial}", f"Cut the network of {node.serial}"))
            acts.append(DemoAct("restore_network", node.serial, f"ต่อเครือข่ายของ {node.serial}", f"Restore the network of {node.serial}"))
        return acts

    async def act(self, name: str, target: str) -> None:
        if name not in {act.name for act in await self.acts()}:
            raise Rejected("the demo knows no such act")
        self._world.acted.append((name, target))
        if name == "kill_camera":
            self._world.set_state(target, State.FAILED, "unreachable")
        if name == "restore_camera":
            self._world.set_state(target, State.WORKING)
