"""Settings and profiles of a street light."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from firmware_agent.drivers.settings import Settings
from firmware_agent.drivers.street_light.inference import Lamp
from firmware_agent.modbus import Coil, Register

Unit = Annotated[int, Meta(ge=1, le=247)]
Hours = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]
Offset = Annotated[str, Meta(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")]


class RelayProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """What switches the lamp."""

    description: str
    coil: Coil
    source: str = ""


class MeterProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """What measures the lamp."""

    description: str
    power_w: Register
    voltage_v: Register
    source: str = ""


class LightSettings(Settings, frozen=True):
    """How the lamp is wired, what it should draw, and when it should burn."""

    bus: str
    """`tcp://host:port`, `rtu-tcp://host:port` or `rtu:///dev/ttyUSB0?baudrate=9600&parity=N`."""
    relay_unit: Unit
    meter_unit: Unit
    rated_w: Annotated[float, Meta(gt=0, le=10_000)]
    """Power of the lit lamp, watts."""
    relay_channel: Annotated[int, Meta(ge=0, le=255)] = 0
    relay_profile: str = "coil_relay"
    meter_profile: str = "eastron_sdm230"
    """A shipped profile or a path ending in `.toml`."""
    standby_w: Annotated[float, Meta(ge=0, le=100)] = 0.5
    rated_v: Annotated[float, Meta(gt=0, le=1000)] = 230.0
    warm_up_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    """LED 30 s, discharge lamps 600 s."""
    schedule: Literal["always_on", "always_off", "hours"] = "always_on"
    hours: tuple[Hours, ...] = ()
    """Lit between, local time, such as `18:00-06:00`; for `schedule = "hours"`."""
    utc_offset: Offset = "+07:00"
    poll_interval_s: Annotated[float, Meta(ge=0.2, le=3600)] = 30.0
    timeout_s: Annotated[float, Meta(ge=0.05, le=30)] = 1.0
    proof_max_age_h: Annotated[float, Meta(gt=0, le=168)] = 36.0
    """How long a lamp that is off by schedule counts as it was last seen lit."""

    @property
    def lamp(self) -> Lamp:
        """What the lamp should draw."""
        return Lamp(self.rated_w, self.standby_w, self.rated_v, self.warm_up_s)
