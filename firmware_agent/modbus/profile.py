"""How a device lays out its registers: data, not code. Profiles are TOML files beside the drivers, or of your own.

description = "Eastron SDM230, float32 input registers"
source = "Eastron SDM230 protocol, V1.4"
[power_w]
table = "input"      # input (FC4) or holding (FC3)
address = 0x0C       # as on the wire, from 0
datatype = "float32" # int16 uint16 int32 uint32 float32; big-endian
scale = 1.0          # value = raw × scale
min = -100000        # outside is not believed: Modbus TCP carries no checksum
max = 100000
"""

import math
import struct
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from firmware_agent.errors import ConfigurationError

Address = Annotated[int, Meta(ge=0, le=65_535)]


class Table(StrEnum):
    """Where a register stands."""

    INPUT = "input"
    HOLDING = "holding"


class Datatype(StrEnum):
    """How its bits are read."""

    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    FLOAT32 = "float32"


_FORMATS: Final = {
    Datatype.INT16: ">h",
    Datatype.UINT16: ">H",
    Datatype.INT32: ">i",
    Datatype.UINT32: ">I",
    Datatype.FLOAT32: ">f",
}


class Register(Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a device."""

    table: Table
    address: Address
    datatype: Datatype
    scale: float = 1.0
    unit: str = ""
    min: float = -math.inf
    max: float = math.inf
    is_little_word_order: bool = False

    @property
    def count(self) -> int:
        """How many 16-bit registers it takes."""
        return struct.calcsize(_FORMATS[self.datatype]) // 2

    def decode(self, registers: Sequence[int]) -> float:
        """Return the number; it may be NaN or out of `min`…`max`.

        Raises:
            ValueError: these are not `count` registers.
        """
        if len(registers) != self.count:
            raise ValueError(f"{len(registers)} registers instead of {self.count}")
        words = reversed(registers) if self.is_little_word_order else registers
        raw = struct.unpack(_FORMATS[self.datatype], b"".join(word.to_bytes(2, "big") for word in words))[0]
        return round(float(raw) * self.scale, 6)

    def is_plausible(self, value: float) -> bool:
        """Return whether the value can be true."""
        return self.min <= value <= self.max


class Coil(Struct, frozen=True, forbid_unknown_fields=True):
    """One switch of a device: the coil of channel n is at `address` + n."""

    address: Address = 0


P = TypeVar("P", bound=Struct)


def load_profile(name: str, kind: type[P], package: str) -> P:
    """Read a profile: a name of those shipped in `package`, or a path ending in `.toml`.

    Raises:
        ConfigurationError: there is none, or it is wrong; the message names file and field.
    """
    try:
        return msgspec.convert(_read(name, package), kind)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"profile {name}: {error}") from error


def _read(name: str, package: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    folder = resources.files(package) / "profiles"
    shipped = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in shipped:
        raise ConfigurationError(f"profile: there is no {name!r}; shipped are {', '.join(shipped)}; or give a path ending in .toml")
    return tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
