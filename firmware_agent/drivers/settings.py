"""A driver's settings, parsed once and strictly into a frozen value."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from firmware_agent.contract.ids import Channel
from firmware_agent.errors import ConfigurationError


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every driver understands."""

    model: str = ""
    """Maker and model of the device, for people."""
    serial: str = ""
    """Its serial number, for people."""
    is_simulated: bool = False
    """No real device; marks the channel."""


S = TypeVar("S", bound=Settings)


def parse(settings: Mapping[str, Any], kind: type[S], channel: Channel) -> S:
    """Return the settings as `kind`.

    Raises:
        ConfigurationError: a setting is missing, unknown or wrong; the message names channel and setting.
    """
    try:
        return msgspec.convert(dict(settings), kind)
    except msgspec.ValidationError as error:
        what, separator, where = str(error).rpartition(" - at `$.")
        raise ConfigurationError(f"{channel}: {where.rstrip('`')}: {what}" if separator else f"{channel}: {error}") from error
