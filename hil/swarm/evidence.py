"""What simulated devices say: mostly that they work, with numbers that move as real ones do. Pure, and the same again for the same beat."""

from collections.abc import Sequence
from typing import Final

from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId
from firmware_agent.contract.messages import VERSION, Clock, Evidence, Health, Heartbeat
from firmware_agent.contract.vocabulary import FUNCTIONS, METRICS, ClockQuality, Kind, Verdict
from hil.swarm.outbox import Beat, Outbox
from hil.swarm.plan import Device

BOOT: Final = BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")
FAILING_PER_MILLE: Final = 5
"""So many devices of a thousand are out of order at any time; each lot is another one after `SPELL_MS`."""
SPELL_MS: Final = 60_000
_LEAST_TTL_MS: Final = 30_000
_CAUSES: Final = {Kind.CAMERA: "no_frames", Kind.PANIC_BUTTON: "wire_broken", Kind.STREET_LIGHT: "lamp_failure", Kind.SENSOR: "unreachable"}
_AROUND: Final = {
    "rtt_ms": 3.0,
    "fps": 15.0,
    "kbps": 900.0,
    "luma": 108.0,
    "drill_age_s": 86_400.0,
    "power_w": 31.0,
    "voltage_v": 228.0,
    "level_percent": 100.0,
    "reading": 24.0,
}
_STEADY: Final = frozenset({"fps", "level_percent"})


class Speaker:
    """Writes the heartbeats of one node."""

    def __init__(self, number: int, devices: Sequence[Device], *, interval_s: float) -> None:
        """`number` makes this node differ from others."""
        self._number = number
        self._ttl_ms = max(_LEAST_TTL_MS, int(interval_s * 2_500))
        self._devices = [(index, Channel(device.channel), Kind(device.kind)) for index, device in enumerate(devices)]

    def heartbeat(self, beat: Beat, outbox: Outbox, session: SessionId) -> Heartbeat:
        """Return a heartbeat as it is, or was, sent."""
        return Heartbeat(
            v=VERSION,
            session=session,
            stream=outbox.stream,
            seq=beat.seq,
            floor=min(outbox.floor, beat.seq),
            clock=Clock(wall_ms=beat.wall_ms, mono_ms=beat.mono_ms, boot=BOOT, quality=ClockQuality.NTP),
            evidence=[self._evidence(index, channel, kind, beat) for index, channel, kind in self._devices],
            health=Health(
                cpu_percent=3.0 + beat.seq % 7, memory_percent=41.0, disk_free_mb=11_873.0, temperature_c=51.5, uptime_s=86_412.0
            ),
        )

    def _evidence(self, index: int, channel: Channel, kind: Kind, beat: Beat) -> Evidence:
        at_ms = beat.wall_ms - 100 - 37 * index  # devices are looked at one after the other
        chance = _mixed(self._number, index, beat.wall_ms // SPELL_MS)
        function = FUNCTIONS[kind][0]
        if chance % 1000 < FAILING_PER_MILLE:
            return Evidence(channel, function, Verdict.FAILED, at_ms, self._ttl_ms, _CAUSES[kind])
        noise = _mixed(self._number, index, beat.seq)
        metrics = {
            name: _AROUND[name] if name in _STEADY else round(_AROUND[name] * (1 + (noise >> 7 * place & 127) / 1270), 1)
            for place, name in enumerate(METRICS[kind])
        }
        return Evidence(channel, function, Verdict.WORKING, at_ms, self._ttl_ms, "", metrics)


def _mixed(*numbers: int) -> int:
    """Return 32 bits that look random, the same for the same numbers. Source: FNV-1a, with the finaliser of MurmurHash3."""
    mixed = 2_166_136_261
    for number in numbers:
        mixed = (mixed ^ number) * 16_777_619 & 0xFFFF_FFFF
    mixed = (mixed ^ mixed >> 16) * 0x85EB_CA6B & 0xFFFF_FFFF
    mixed = (mixed ^ mixed >> 13) * 0xC2B2_AE35 & 0xFFFF_FFFF
    return mixed ^ mixed >> 16


def number_of(node: NodeId) -> int:
    """Return a number of a node's own."""
    return int(node[:8], 16)
