"""How payloads are stored: zstd with a dictionary of the contract's words, which halves what a heartbeat of 20 devices takes.

The dictionary is part of the format on disk: **never change it**. A stored payload starts with zstd's magic number (byte 0x28);
a later format would start with another byte, and old rows would stay readable by this one.
"""

from typing import Final

import zstandard

_LEVEL: Final = 3

_WORDS: Final = (
    b'{"v":1,"session":"","channels":[{"channel":"cam-1","kind":"camera","driver":"camera","functions":["live","recording"],'
    b'"is_simulated":true,"model":"","serial":"","error":""},{"channel":"btn-1","kind":"panic_button","driver":"panic_button",'
    b'"functions":["press"]},{"channel":"lamp-1","kind":"street_light","driver":"street_light","functions":["lit"]},'
    b'{"channel":"air-1","kind":"sensor","driver":"sensor","functions":["reading"]}],"desired_version":1,"heartbeat_interval_s":10.0}'
    b'{"v":1,"command_id":"","session":"","channel":"lamp-1","status":"succeeded","clock":{},"message":"","measured":{"power_w":0.0}}'
    b'{"v":1,"status":"online","session":"","agent":"0.1.0","is_simulated":true,"clock":{},"held":[{"stream":"","floor":1,"top":1}],'
    b'"events_held":1}{"v":1,"status":"offline","session":""}{"v":1,"event_id":"","session":"","channel":"btn-1","type":"press",'
    b'"occurred_at_ms":179,"clock":{},"is_drill":true,"is_boot_asserted":true,"cause":"release stuck stuck_cleared fault fault_cleared '
    b'tamper"}"cause":"http_401 http_404 refused timeout no_frames frozen black blurred moved lamp_failure lamp_power_too_low '
    b'lamp_power_too_high not_checkable no_drill wire_broken driver_error unreachable"'
    b'{"v":1,"session":"","stream":"","seq":1,"floor":1,"clock":{"wall_ms":179,"mono_ms":8,"boot":"","quality":"holdover"},"evidence":['
    b'{"channel":"air-1","function":"reading","verdict":"working","observed_at_ms":179,"ttl_ms":75000,"metrics":{"reading":1.0}},'
    b'{"channel":"lamp-1","function":"lit","verdict":"degraded","observed_at_ms":179,"ttl_ms":150000,"cause":"",'
    b'"metrics":{"power_w":31.5,"voltage_v":228.4,"level_percent":100.0}},'
    b'{"channel":"btn-1","function":"press","verdict":"working","observed_at_ms":179,"ttl_ms":25000,"metrics":{"drill_age_s":259200.0}},'
    b'{"channel":"cam-2","function":"recording","verdict":"unknown","observed_at_ms":179,"ttl_ms":37500,"cause":""},'
    b'{"channel":"cam-2","function":"live","verdict":"failed","observed_at_ms":179,"ttl_ms":37500,"cause":"refused"},'
    b'{"channel":"cam-1","function":"live","verdict":"working","observed_at_ms":179,"ttl_ms":37500,'
    b'"metrics":{"rtt_ms":3.2,"fps":15.0,"kbps":912.5,"luma":108.0}}],"health":{"cpu_percent":3.1,"memory_percent":41.0,'
    b'"disk_free_mb":11873.0,"temperature_c":51.5,"is_throttled":false,"uptime_s":86412.0,"outbox_heartbeats":4,"outbox_events":1,'
    b'"clock_offset_ms":1.8}}"quality":"ntp"},"evidence":[{"channel":"cam-'
)

_DICTIONARY: Final = zstandard.ZstdCompressionDict(_WORDS, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_DICTIONARY.precompute_compress(level=_LEVEL)


class Compressor:
    """Makes stored payloads. Not thread-safe: make one where it is needed, it costs little."""

    def __init__(self) -> None:
        """Use the dictionary of this format."""
        self.compress: Final = zstandard.ZstdCompressor(level=_LEVEL, dict_data=_DICTIONARY).compress


class Decompressor:
    """Reads stored payloads. Not thread-safe either."""

    def __init__(self) -> None:
        """Use the dictionary of this format."""
        self.decompress: Final = zstandard.ZstdDecompressor(dict_data=_DICTIONARY).decompress
