"""From a machine word for what is wrong to what happened and what to do, in plain words. A table; one line a cause."""

from types import MappingProxyType
from typing import Final, NamedTuple

from firmware_agent.contract.vocabulary import Kind
from fleet_server.console.i18n import N_
from fleet_server.presence.model import State


class Explanation(NamedTuple):
    """Two msgids: a clause that says what is the case, and a request that says what to do (empty: nothing)."""

    what: str
    todo: str = ""


CAUSES: Final = MappingProxyType(
    {
        # from any driver
        "unreachable": Explanation(N_("The device does not answer"), N_("Check its power and its cable to the node")),
        "timeout": Explanation(N_("The device answers too late or not at all"), N_("Check its power and its cable to the node")),
        "refused": Explanation(N_("The device refuses the connection"), N_("Check its address, and that its service runs")),
        "modbus_exception": Explanation(N_("The device refuses the question"), N_("Check the device's profile in the node's settings")),
        "driver_error": Explanation(N_("The program that watches this device stumbles"), N_("See the node's log")),
        "driver_config": Explanation(N_("The node's settings for this device are wrong"), N_("See the node's log")),
        "not_checkable": Explanation(N_("This cannot be checked on this device")),
        # cameras
        "silent": Explanation(N_("No picture: the camera answers too late"), N_("Check the camera's power and its cable")),
        "closed": Explanation(N_("The camera hangs up"), N_("Restart the camera; then check its cable")),
        "bad_reply": Explanation(N_("The camera's answer makes no sense"), N_("Restart the camera; then check its cable")),
        "no_video": Explanation(N_("The camera sends no video"), N_("Check the stream settings of the camera")),
        "undecodable": Explanation(N_("The picture cannot be decoded"), N_("Check the stream settings of the camera")),
        "stalled": Explanation(N_("The picture stopped coming"), N_("Restart the camera; then check its cable")),
        "frozen": Explanation(N_("The picture is frozen"), N_("Restart the camera")),
        "black": Explanation(N_("The picture is black"), N_("Look at the lens and the infra-red light")),
        "covered": Explanation(N_("Something covers the lens"), N_("Look at the camera on site")),
        "blurred": Explanation(N_("The picture is blurred"), N_("Clean the lens and focus it")),
        "moved": Explanation(N_("The camera looks elsewhere"), N_("Aim it again")),
        "overexposed": Explanation(N_("The picture is too bright"), N_("Check the exposure and what shines into the lens")),
        "low_fps": Explanation(N_("Too few pictures a second"), N_("Check the line's capacity")),
        "no_baseline": Explanation(N_("The picture may be frozen; it cannot be told yet"), N_("Look at the picture")),
        "worker_failed": Explanation(N_("The node could not look at the picture"), N_("See the node's log")),
        "http_401": Explanation(N_("The camera refuses our password"), N_("Correct the password in the node's settings")),
        "http_403": Explanation(N_("The camera refuses our password"), N_("Correct the password in the node's settings")),
        "http_404": Explanation(N_("The camera does not know this stream"), N_("Correct the stream address in the node's settings")),
        "http_453": Explanation(N_("The camera is overloaded"), N_("See who else is watching it")),
        "http_503": Explanation(N_("The camera is overloaded"), N_("See who else is watching it")),
        # street lights
        "lamp_failure": Explanation(N_("The lamp is switched on but draws no power"), N_("Replace the lamp or its driver")),
        "lamp_power_too_low": Explanation(N_("The lamp draws too little power"), N_("Replace the lamp or its driver")),
        "lamp_power_too_high": Explanation(N_("The lamp draws too much power"), N_("Check lamp and wiring")),
        "lamp_unexpected_on": Explanation(N_("The lamp burns when it should be off"), N_("Check the relay")),
        "relay_failure": Explanation(N_("The relay does not follow its command"), N_("Check the relay")),
        "cycling_failure": Explanation(N_("The lamp goes on and off by itself"), N_("Replace the lamp or its driver")),
        "supply_loss": Explanation(N_("No mains power at the lamp"), N_("Check the fuse; ask the electricity authority")),
        "supply_voltage": Explanation(
            N_("The mains voltage is out of bounds; the lamp cannot be judged"), N_("Ask the electricity authority")
        ),
        "warming_up": Explanation(N_("Switched on a moment ago; it cannot be judged yet")),
        "not_seen_lit": Explanation(N_("Off by schedule, and not seen lit lately"), N_("Light it once by command")),
        "meter_implausible": Explanation(N_("The power meter's figures are impossible"), N_("Check or replace the meter")),
        # panic buttons
        "stuck": Explanation(N_("The button is stuck"), N_("Free the button on site")),
        "wire_fault": Explanation(N_("The button's wire is cut or shorted"), N_("Check the wire")),
        "not_delivered": Explanation(N_("A press was not confirmed by the server in time"), N_("Check the node's line")),
        "gpio_unreadable": Explanation(N_("The node cannot read the button's contact"), N_("See the node's log")),
        "lights_unavailable": Explanation(N_("The button's lights cannot be switched"), N_("See the node's log")),
        "test_overdue": Explanation(N_("No test press for too long"), N_("Press it once as a marked test")),
        "never_tested": Explanation(N_("Never tested from button to server"), N_("Press it once as a marked test")),
        "clock_untrusted": Explanation(
            N_("The node's clock is not set, so the last test cannot be dated"), N_("Give the node a time server")
        ),
        # sensors
        "out_of_range": Explanation(N_("The reading is impossible"), N_("Check or replace the sensor")),
        # the server itself
        "node_offline": Explanation(N_("The node is not connected"), N_("Check the node's power and its line")),
        "agent_silent": Explanation(N_("The node is connected but says nothing"), N_("Restart the program on the node")),
        "no_evidence": Explanation(N_("The node says nothing about this device"), N_("Check that the node's settings name it")),
        "never_seen": Explanation(N_("Never heard of since it was registered"), N_("Finish its commissioning")),
        "not_installed": Explanation(N_("No device is installed here"), N_("Install one, or retire the position")),
        "server_blind": Explanation(N_("The server itself was not listening")),
    }
)

_BY_KIND: Final = MappingProxyType(
    {
        (Kind.CAMERA, "unreachable"): Explanation(
            N_("No picture: the camera does not answer"), N_("Check the camera's power and its cable")
        ),
        (Kind.CAMERA, "refused"): Explanation(N_("No picture: the camera does not answer"), N_("Check the camera's power and its cable")),
        (Kind.CAMERA, "timeout"): Explanation(N_("No picture: the camera answers too late"), N_("Check the camera's power and its cable")),
        (Kind.STREET_LIGHT, "unreachable"): Explanation(N_("The lamp's controller does not answer"), N_("Check the power at the pole")),
        (Kind.STREET_LIGHT, "timeout"): Explanation(N_("The lamp's controller does not answer"), N_("Check the power at the pole")),
    }
)

_BY_STATE: Final = MappingProxyType(
    {
        State.WORKING: Explanation(N_("Proven working")),
        State.DEGRADED: Explanation(N_("Works, but not as it should"), N_("Look at the details")),
        State.FAILED: Explanation(N_("Proven not working"), N_("Send somebody to look")),
        State.UNKNOWN: Explanation(N_("No evidence at present"), N_("Check the node and its line first")),
        State.MAINTENANCE: Explanation(N_("Under approved maintenance")),
        State.EXCUSED: Explanation(N_("Excused with a document")),
    }
)


EXEMPTED: Final = frozenset({State.MAINTENANCE, State.EXCUSED})
"""Of these the cause is the reason that somebody wrote, not a word of ours."""


def explain(kind: Kind, state: State, cause: str) -> Explanation:
    """Return the words for a state and its cause; a cause without words of its own gets those of its state."""
    if state is State.WORKING or state in EXEMPTED:
        return _BY_STATE[state]
    return _BY_KIND.get((kind, cause)) or CAUSES.get(cause) or _BY_STATE[state]
