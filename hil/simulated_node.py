"""One simulated node against a server that runs elsewhere: devices at their real protocols, watched by the real agent.

    python -m hil.simulated_node register --data /srv/fleet --out /srv/node      beside the server: what it watches, its claim code
    python -m hil.simulated_node run --data /srv/node --server … --mqtt-host …   anywhere; SIGUSR1 presses its button

`docker-compose.yml` runs both (profile `simulated`).
"""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hil.demo import layout
from hil.demo.place import write_whole

if TYPE_CHECKING:
    from hil.simulators.gpio import Button

SERIAL: Final = "SIM-0001"
_CLAIM: Final = "claim.json"
_ANCHORS: Final = "anchors.pem"
_CHANNELS: Final = {"cam-1": "camera", "btn-1": "panic_button", "lamp-1": "street_light", "air-1": "sensor"}
_POSITIONS: Final = f"""\
code,zone,station,kind,label_th,label_en,lat,lon,node_serial,channel
TWN-SIM-CAM,TWN,{layout.STATION},camera,กล้องจำลอง,Simulated camera,13.74011,100.56021,{SERIAL},cam-1
TWN-SIM-SOS,TWN,{layout.STATION},panic_button,ปุ่มฉุกเฉินจำลอง,Simulated panic button,13.74011,100.56021,{SERIAL},btn-1
TWN-SIM-LMP,TWN,{layout.STATION},street_light,โคมไฟจำลอง,Simulated street light,13.74011,100.56021,{SERIAL},lamp-1
TWN-SIM-AIR,TWN,{layout.STATION},sensor,เซนเซอร์ฝุ่นจำลอง,Simulated dust sensor,13.74011,100.56021,{SERIAL},air-1
"""

app = typer.Typer(help="One simulated node.", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def register(
    data: Annotated[Path, typer.Option(help="Data folder of the fleet server.")],
    out: Annotated[Path, typer.Option(help="Data folder of the node: its claim code and the fleet's root are written there.")],
) -> None:
    """Make an example station with this node's positions known to the server. Safe to run again."""
    _import(data, "units", layout.units_csv())
    _import(data, "zones", layout.zones_csv())
    claim = out / _CLAIM
    if not claim.exists():
        where = ("--data", data, "--serial", SERIAL, "--unit", layout.STATION)
        made = json.loads(_call("fleet", "node", "add", *where, "--approve", "--simulated", "--json"))
        write_whole(claim, json.dumps({"serial": SERIAL, "code": made["code"]}) + "\n")
    write_whole(out / _ANCHORS, (data / "pki" / "trust" / "servers.pem").read_text())
    _import(data, "positions", _POSITIONS)
    typer.echo(f"{SERIAL} is known")


@app.command()
def run(
    server: Annotated[str, typer.Option(help="EST address, https://host:port.")],
    mqtt_host: Annotated[str, typer.Option(help="The broker.")],
    data: Annotated[Path, typer.Option(help="Data folder of the node, where register has written.")],
    mqtt_port: Annotated[int, typer.Option(help="The broker's port for nodes.")] = 8883,
) -> None:
    """Enrol once, then run the agent on simulated devices until SIGTERM."""
    if not (data / "identity" / "cert.pem").exists():
        known = json.loads((data / _CLAIM).read_text())
        node = ("--serial", known["serial"], "--code", known["code"], "--data", data)
        typer.echo(_call("zone-agent", "enrol", "--server", server, "--ca", data / _ANCHORS, *node, "--wait", "120").strip())
    raise typer.Exit(asyncio.run(_run(data / "node.toml", mqtt_host, mqtt_port)))


def _import(data: Path, kind: str, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".csv") as file:
        file.write(text)
        file.flush()
        _call("fleet", "import", kind, file.name, "--data", data)


def _call(program: str, *arguments: str | Path) -> str:
    """Run one of our commands to its end; what went wrong is its own sentence, and our exit status."""
    done = subprocess.run([_program(program), *arguments], stdout=subprocess.PIPE, text=True, check=False, timeout=180)
    if done.returncode:
        raise typer.Exit(1)
    return done.stdout


async def _run(config: Path, mqtt_host: str, mqtt_port: int) -> int:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssz-")))  # short, for the socket
        settings, button = await _devices(stack, folder)
        await asyncio.to_thread(write_whole, config, _config(settings, mqtt_host, mqtt_port))
        agent = await asyncio.create_subprocess_exec(_program("zone-agent"), "run", "--config", config)
        pressing: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: pressing.add(asyncio.create_task(button.press(), name="press")))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, agent.terminate)
        return await agent.wait()


async def _devices(stack: AsyncExitStack, folder: Path) -> tuple[dict[str, dict[str, Any]], "Button"]:
    """Start the simulators; return each channel's driver settings, and the button."""
    from hil.simulators.gpio import GpioSimulator  # not needed to register, beside a server that has no library for video
    from hil.simulators.modbus import ModbusSimulator
    from hil.simulators.rtsp import CameraSimulator

    gpio, bus = GpioSimulator(folder / "gpio.sock"), ModbusSimulator()
    button, lamp, sensor = gpio.button("btn-1"), bus.add_lamp("lamp-1"), bus.add_sensor("air-1")
    camera = await stack.enter_async_context(CameraSimulator("cam-1"))
    await stack.enter_async_context(gpio)
    await stack.enter_async_context(bus)
    settings = {"cam-1": camera.settings(), "btn-1": button.settings(), "lamp-1": lamp.settings(), "air-1": sensor.settings()}
    return settings, button


def _config(settings: dict[str, dict[str, Any]], mqtt_host: str, mqtt_port: int) -> str:
    parts = [
        "# Written anew by each start of the simulated node.",
        '[node]\ndata_dir = "."\nis_simulated = true',
        f'[server]\nmqtt_host = "{mqtt_host}"\nmqtt_port = {mqtt_port}',
        '[clock]\nassume = "ntp"',
    ]
    for channel, kind in _CHANNELS.items():
        parts.append(f'[[channel]]\nchannel = "{channel}"\nkind = "{kind}"\ndriver = "{kind}"\n[channel.settings]')
        parts += [f"{key} = {_toml(value)}" for key, value in settings[channel].items()]
    return "\n".join(parts) + "\n"


def _toml(value: Any) -> str:
    """JSON is TOML for strings, numbers, booleans, and lists of them."""
    return json.dumps(value)


def _program(name: str) -> Path:
    return Path(sys.executable).parent / name


if __name__ == "__main__":
    app()
