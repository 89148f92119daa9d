"""The simulated devices of the demo zone, the network of each node, and the agents' configuration for them."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hil.demo.acts import Act
from hil.demo.layout import NODES, POSITIONS, DemoPosition, of_kind, of_node
from hil.demo.place import Place, write_whole
from hil.faults.proxy import FaultProxy, Network
from hil.simulators.gpio import Button, GpioSimulator
from hil.simulators.modbus import Lamp, ModbusSimulator, SimulatedSensor
from hil.simulators.rtsp import CameraSimulator

Device = CameraSimulator | Button | Lamp | SimulatedSensor

HEARTBEAT_S: Final = 2.0
PACE: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "camera": {"probe_interval_s": 1.5, "sample_interval_s": 3.0, "sample_s": 1.0},
        "panic_button": {"check_interval_s": 2.0},
        "street_light": {"poll_interval_s": 1.5, "warm_up_s": 1.0},
        "sensor": {"poll_interval_s": 2.0},
    }
)
"""Everything happens faster than in the field, so that a visitor sees it."""

SUPERVISION: Final = """[supervision]   # scaled down for the demo
panic_button_s = 10.0
camera_s = 12.0
street_light_s = 10.0
sensor_s = 10.0
node_s = 8.0

[ingest]
ack_interval_s = 2.0
"""


class Devices:
    """All simulators of the zone. `acts` is what can be done to them."""

    def __init__(self, runtime: Path) -> None:
        """`runtime` is a folder with a short path, for the sockets of the simulated GPIO."""
        self._runtime = runtime
        self._stack = AsyncExitStack()
        self._devices: dict[str, Device] = {}
        self._broken: set[str] = set()
        self.lines: dict[str, FaultProxy] = {}

    async def start(self, mqtt_port: int) -> None:
        """Start every simulator, and a proxy for each node in front of the broker."""
        for serial in NODES:
            gpio = GpioSimulator(self._runtime / f"{serial}.sock")
            bus = ModbusSimulator()
            for position in of_node(serial):
                self._devices[position.code] = await self._make(position, gpio, bus)
            await self._stack.enter_async_context(gpio)
            await self._stack.enter_async_context(bus)
            self.lines[serial] = await self._stack.enter_async_context(FaultProxy("127.0.0.1", mqtt_port))

    async def stop(self) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def press(self, code: str) -> None:
        """Press a button as a finger does."""
        button = self._devices[code]
        assert isinstance(button, Button), f"{code} is no button"
        await button.press()

    def acts(self) -> list[Act]:
        """Return all acts on the devices and networks, as the console's panel shows them."""
        acts = [self._press_act(position) for position in of_kind("panic_button")]
        acts += [act for position in of_kind("camera") for act in self._fault_acts(position, "camera", "dead", "กล้อง", "camera")]
        acts += self._all_cameras()
        acts += [act for position in of_kind("street_light") for act in self._fault_acts(position, "lamp", "burnt_out", "โคมไฟ", "lamp")]
        acts += [act for serial in NODES for act in self._network_acts(serial)]
        return acts

    async def _make(self, position: DemoPosition, gpio: GpioSimulator, bus: ModbusSimulator) -> Device:
        match position.kind:
            case "camera":
                return await self._stack.enter_async_context(CameraSimulator(position.channel))
            case "panic_button":
                return gpio.button(position.channel)
            case "street_light":
                return bus.add_lamp(position.channel)
            case "sensor":
                return bus.add_sensor(position.channel)
            case other:
                raise ValueError(f"no simulator for {other!r}")

    async def _fault(self, codes: list[str], fault: str) -> None:
        for code in codes:
            await self._devices[code].fault(fault)
            self._broken = self._broken - {code} if fault == "ok" else self._broken | {code}

    def _press_act(self, position: DemoPosition) -> Act:
        return Act("press", position.code, f"กด{position.label_th}", f"Press: {position.label_en}", partial(self.press, position.code))

    def _fault_acts(self, position: DemoPosition, what: str, fault: str, thai: str, english: str) -> list[Act]:
        kill = "cut" if what == "lamp" else "kill"
        code = position.code
        return [
            Act(
                f"{kill}_{what}",
                code,
                f"ทำให้{position.label_th} เสีย",
                f"Break {english}: {position.label_en}",
                self._do([code], fault),
                lambda: code in self._broken,
            ),
            Act(f"restore_{what}", code, f"ซ่อม{position.label_th}", f"Restore {english}: {position.label_en}", self._do([code], "ok")),
        ]

    def _all_cameras(self) -> list[Act]:
        codes = [position.code for position in of_kind("camera")]
        return [
            Act(
                "kill_all_cameras",
                "",
                "ทำให้กล้องเสียทุกตัว",
                "Break all cameras",
                self._do(codes, "dead"),
                lambda: self._broken.issuperset(codes),
            ),
            Act("restore_cameras", "", "ซ่อมกล้องทุกตัว", "Restore all cameras", self._do(codes, "ok")),
        ]

    def _network_acts(self, serial: str) -> list[Act]:
        line = self.lines[serial]
        return [
            Act(
                "cut_network",
                serial,
                f"ตัดเครือข่ายของ {serial}",
                f"Cut the network of {serial}",
                partial(line.set, Network.CUT),
                lambda: line.network is not Network.OK,
            ),
            Act("restore_network", serial, f"ต่อเครือข่ายของ {serial}", f"Restore the network of {serial}", partial(line.set, Network.OK)),
        ]

    def _do(self, codes: list[str], fault: str) -> Callable[[], Awaitable[None]]:
        return partial(self._fault, codes, fault)

    def write_config(self, place: Place, serial: str) -> Path:
        """Write the configuration of one node's agent; return its path."""
        path = place.node(serial) / "node.toml"
        write_whole(path, self._config(serial))
        return path

    def _config(self, serial: str) -> str:
        lines = [
            "# Written anew by each start of the demo.",
            '[node]\ndata_dir = "."\nis_simulated = true',
            f'[server]\nmqtt_host = "127.0.0.1"\nmqtt_port = {self.lines[serial].port}',
            "keepalive_s = 4\nretry_max_s = 2.0\nreplay_interval_s = 0.2",
            f"[heartbeat]\ninterval_s = {HEARTBEAT_S}",
            '[clock]\nassume = "ntp"',
        ]
        for position in of_node(serial):
            settings = {**self._devices[position.code].settings(), **PACE[position.kind]}
            lines.append(
                f'[[channel]]\nchannel = "{position.channel}"\nkind = "{position.kind}"\ndriver = "{position.kind}"\n[channel.settings]'
            )
            lines += [f"{key} = {_toml(value)}" for key, value in settings.items()]
        return "\n".join(lines) + "\n"


def all_codes() -> list[str]:
    """Return the codes of all positions."""
    return [position.code for position in POSITIONS]


def _toml(value: Any) -> str:
    """Write a value of a driver's settings; JSON's scalars and lists are TOML's."""
    return json.dumps(value, ensure_ascii=False)
