"""The one vocabulary of the pages: states, kinds, layers, functions, roles, readings of the score. Msgids, in English."""

from types import MappingProxyType
from typing import Final, NamedTuple

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.console.i18n import N_
from fleet_server.presence.layers import Layer
from fleet_server.presence.model import State

STATES: Final = MappingProxyType(
    {
        State.WORKING: N_("working"),
        State.DEGRADED: N_("degraded"),
        State.FAILED: N_("failed"),
        State.UNKNOWN: N_("unknown"),
        State.MAINTENANCE: N_("maintenance"),
        State.EXCUSED: N_("excused"),
    }
)

KINDS: Final = MappingProxyType(
    {
        Kind.CAMERA: N_("Cameras"),
        Kind.PANIC_BUTTON: N_("Panic buttons"),
        Kind.STREET_LIGHT: N_("Street lights"),
        Kind.SENSOR: N_("Sensors"),
    }
)

KIND: Final = MappingProxyType(
    {
        Kind.CAMERA: N_("Camera"),
        Kind.PANIC_BUTTON: N_("Panic button"),
        Kind.STREET_LIGHT: N_("Street light"),
        Kind.SENSOR: N_("Sensor"),
    }
)
"""What one is."""

KIND_ICONS: Final = MappingProxyType({Kind.CAMERA: "cctv", Kind.PANIC_BUTTON: "siren", Kind.STREET_LIGHT: "lamp", Kind.SENSOR: "gauge"})

FUNCTIONS: Final = MappingProxyType(
    {
        Function.LIVE: N_("Live picture"),
        Function.RECORDING: N_("Recording"),
        Function.PRESS: N_("Calling for help"),
        Function.LIT: N_("Lighting"),
        Function.READING: N_("Reading"),
    }
)

LAYERS: Final = MappingProxyType(
    {
        Layer.SERVER: N_("This server"),
        Layer.LINK: N_("Link to the node"),
        Layer.AGENT: N_("Program on the node"),
        Layer.DEVICE: N_("Device"),
        Layer.FUNCTION: N_("Function"),
    }
)

INNOVATIONS: Final = MappingProxyType(
    {
        "cctv": N_("CCTV"),
        "panic_button": N_("Emergency button"),
        "street_light": N_("Networked street lighting"),
        "line_incident": N_("Incident reports by LINE"),
        "patrol_room": N_("Patrol operations room"),
        "patrol_4": N_("Digital patrol"),
        "analytics": N_("Video analytics"),
        "drone": N_("Drone"),
    }
)

METRICS: Final = MappingProxyType(
    {
        "rtt_ms": N_("Answer time %(value)s ms"),
        "fps": N_("%(value)s pictures a second"),
        "kbps": N_("Data rate %(value)s kbit/s"),
        "luma": N_("Brightness %(value)s of 255"),
        "drill_age_s": N_("Last proven drill %(value)s s before"),
        "power_w": N_("Power %(value)s W"),
        "voltage_v": N_("Voltage %(value)s V"),
        "level_percent": N_("Dimming level %(value)s %%"),
        "reading": N_("Reading %(value)s"),
    }
)

RULINGS: Final = MappingProxyType(
    {
        "table": N_("The table is read as it is written."),
        "without_doubtful_types": N_("Without the types that are open to question"),
        "one_type_more": N_("With one more type"),
        "one_type_less": N_("With one type less"),
    }
)

ROLES: Final = MappingProxyType(
    {
        "administrator": N_("Administrator"),
        "technician": N_("Technician"),
        "ccoc_operator": N_("Command centre operator"),
        "evaluator": N_("Evaluator"),
        "station_chief": N_("Station chief"),
        "command_signer": N_("Signer for the command"),
        "hq_compiler": N_("Headquarters compiler"),
        "asset_owner": N_("Asset owner"),
        "vendor": N_("Vendor"),
        "auditor": N_("Auditor"),
        "demo": N_("Demo visitor"),
    }
)

ACT_ICONS: Final = MappingProxyType(
    {
        "press": "siren",
        "kill_camera": "camera-off",
        "kill_all_cameras": "camera-off",
        "cut_lamp": "lightbulb-off",
        "cut_network": "unplug",
        "restore_camera": "rotate-ccw",
        "restore_cameras": "rotate-ccw",
        "restore_lamp": "rotate-ccw",
        "restore_network": "rotate-ccw",
    }
)

MEANINGS: Final = (
    (State.WORKING, N_("Proven by evidence that is still fresh.")),
    (State.DEGRADED, N_("It does its work, but not as it should.")),
    (State.FAILED, N_("Proven not to do its work.")),
    (State.UNKNOWN, N_("No fresh evidence. Never counted as working.")),
    (State.MAINTENANCE, N_("Approved before it began; not held against anybody.")),
    (State.EXCUSED, N_("Another party or a disaster is the cause, with a document.")),
)


class Problem(NamedTuple):
    """Two msgids: what is the case, what to do."""

    what: str
    todo: str


PROBLEMS: Final = MappingProxyType(
    {
        400: Problem(N_("That request could not be understood"), N_("Go back, check what you entered, and try again.")),
        401: Problem(N_("You are not logged in, or no longer"), N_("Log in, then do it again.")),
        403: Problem(N_("You may not do this"), N_("Your role or your unit does not cover it. Ask the administrator of your unit.")),
        404: Problem(N_("There is no such page"), N_("It may have moved, or it lies outside your unit.")),
        409: Problem(N_("Somebody was faster"), N_("It was changed meanwhile. Look again, then decide.")),
        422: Problem(N_("Something is missing or out of bounds"), N_("Go back, check what you entered, and try again.")),
        429: Problem(N_("Too many tries"), N_("Wait a little, then try again.")),
        500: Problem(N_("This server has a defect"), N_("It was logged. Try again; if it stays, tell whoever runs this server.")),
        503: Problem(N_("Not possible right now"), N_("Nothing was changed. Try again in a moment.")),
    }
)


def problem(status: int) -> Problem:
    """Return the words for an HTTP status; one without words of its own gets those of its class."""
    return PROBLEMS.get(status) or PROBLEMS[400 if status < 500 else 500]
