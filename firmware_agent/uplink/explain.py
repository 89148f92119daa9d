"""Why a connection failed, in one sentence a technician can act on."""

import socket
import ssl

from firmware_agent.clock import Clock, show

_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NAMES = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH

_ALERTS = {
    "certificate_revoked": "the broker refuses our certificate: it is revoked",
    "certificate revoked": "the broker refuses our certificate: it is revoked",
    "certificate_expired": "the broker refuses our certificate: it has expired",
    "certificate expired": "the broker refuses our certificate: it has expired",
    "unknown_ca": "the broker does not know the CA of our certificate",
    "unknown ca": "the broker does not know the CA of our certificate",
    "certificate_required": "the broker asks for a certificate and got none",
    "bad_certificate": "the broker refuses our certificate",
    "bad certificate": "the broker refuses our certificate",
}


def explain(error: BaseException, *, where: str, clock: Clock) -> str:
    """Translate what the socket, TLS or MQTT layer raised."""
    match error:
        case ssl.SSLCertVerificationError():
            return _certificate(error, where, clock)
        case ssl.SSLError():
            return alert(str(error)) or f"TLS with {where} fails: {error.reason or error}"
        case TimeoutError():
            return f"{where} does not answer in time"
        case socket.gaierror():
            return f"the name in {where} cannot be resolved"
        case ConnectionRefusedError():
            return f"nothing listens at {where}"
        case OSError(strerror=str(text)):
            return f"{where} cannot be reached: {text}"
        case _:
            return f"{where}: {str(error) or type(error).__name__}"


def _certificate(error: ssl.SSLCertVerificationError, where: str, clock: Clock) -> str:
    now = show(clock.wall_ms())
    if error.verify_code == _NOT_YET_VALID:
        return f"the clock of this node shows {now}, before the validity of the certificate of {where}; waiting for the right time"
    if error.verify_code == _EXPIRED:
        return f"by the clock of this node ({now}) the certificate of {where} has expired; is the clock right?"
    if error.verify_code in _NAMES:
        return f"the certificate of {where} is for another name ({error.verify_message})"
    return f"{where} is not certified by our CA ({error.verify_message})"


def alert(text: str) -> str:
    """Return what a TLS alert of the broker means, empty when the text holds none we know."""
    return next((meaning for word, meaning in _ALERTS.items() if word in text.lower()), "")
