"""EST client: the two requests a node makes, over the standard library.

Source: RFC 7030 §4.1, §4.2; RFC 8951 (bodies are base64 whatever the Content-Transfer-Encoding says).
"""

import base64
import binascii
import http.client
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs7

from firmware_agent.clock import Clock, show
from firmware_agent.errors import Rejected, Transient, Untrusted

_WELL_KNOWN: Final = "/.well-known/est"
_MAX_BODY: Final = 256 * 1024
_NOT_YET_VALID: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_HOSTNAME: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@dataclass(frozen=True)
class NotYet:
    """The server has the request and waits for a person to approve it."""

    retry_after_s: float


class Busy(Transient):
    """The server asks to come back later."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        """`retry_after_s` as the server says."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EstClient:
    """One EST server, trusted by the anchors of a file.

    All methods block, for at most `timeout_s` per network wait, and raise:
        Transient: not reachable, overloaded, or the clock of this node is in the way; try again.
        Rejected: the request is refused, or this is no EST server.
        Untrusted: the server is not who it should be.
    """

    def __init__(self, url: str, ca_file: Path, *, clock: Clock, timeout_s: float = 10.0) -> None:
        """`url` is `https://host:port`, with or without `/.well-known/est`."""
        try:
            parts = urlsplit(url)
            self._host, self._port = (parts.hostname or "").encode("idna").decode(), parts.port or 443
        except ValueError:
            parts, self._host = urlsplit(""), ""
        if parts.scheme != "https" or not self._host:
            raise Rejected(f"The server must be given as https://host:port, not {url!r}.")
        self._prefix = parts.path.rstrip("/").removesuffix(_WELL_KNOWN) + _WELL_KNOWN
        self._ca_file = ca_file
        self._clock = clock
        self._timeout_s = timeout_s
        try:
            self._tls = ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise Rejected(f"The CA file {ca_file} cannot be used: {error}.") from error
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def where(self) -> str:
        """The server, for people."""
        return f"{self._host}:{self._port}"

    def cacerts(self) -> Sequence[x509.Certificate]:
        """Fetch the CA certificates the server publishes."""
        status, _, body = self._ask("GET", "/cacerts")
        if status != 200:
            raise Rejected(f"{self.where} does not answer as an EST server (cacerts: status {status}).")
        return self._certificates(body)

    def simpleenroll(self, request: bytes, *, serial: str, code: str) -> Sequence[x509.Certificate] | NotYet:
        """Ask for a certificate with a PKCS#10 request (DER)."""
        secret = base64.b64encode(f"{serial}:{code}".encode()).decode()
        headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        status, retry_after_s, body = self._ask("POST", "/simpleenroll", base64.b64encode(request) + b"\n", headers)
        match status:
            case 200:
                return self._certificates(body)
            case 202:
                return NotYet(retry_after_s or 10.0)
            case 401:
                raise Rejected(
                    f"The server refuses serial {serial} with this code: the serial is unknown, or the code is wrong, expired, locked"
                    " after too many tries, or was used by another key. Check both; a supervisor can issue a new code."
                )
            case 429 | 503:
                raise Busy(f"{self.where} is busy (status {status}).", retry_after_s or 10.0)
            case _ if status >= 500:
                raise Transient(f"{self.where} has a fault of its own (status {status}).")
            case _:
                raise Rejected(f"{self.where} refuses the request (status {status}{_reason(body)}).")

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, float, bytes]:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)
        try:
            connection.request(method, self._prefix + path, body, headers or {})
            response = connection.getresponse()
            return response.status, _seconds(response.getheader("Retry-After"), self._clock), response.read(_MAX_BODY + 1)
        except ssl.SSLCertVerificationError as error:
            raise self._distrust(error) from error
        except (TimeoutError, socket.gaierror, OSError, http.client.HTTPException) as error:
            raise Transient(f"{self.where} cannot be reached: {_why(error)}.") from error
        finally:
            connection.close()

    def _distrust(self, error: ssl.SSLCertVerificationError) -> Exception:
        now = show(self._clock.wall_ms())
        match error.verify_code:
            case code if code == _NOT_YET_VALID:
                return Transient(
                    f"By the clock of this node ({now}) the certificate of {self.where} is not valid yet; the clock must be set first."
                )
            case code if code == _EXPIRED:
                return Transient(
                    f"By the clock of this node ({now}) the certificate of {self.where} has expired; check the clock, then the server."
                )
            case code if code in _HOSTNAME:
                return Untrusted(f"The certificate of {self.where} is for another name ({error.verify_message}).")
            case _:
                return Untrusted(
                    f"{self.where} is not certified by the CA in {self._ca_file} ({error.verify_message}): a wrong CA file, or somebody"
                    " in between."
                )

    def _certificates(self, body: bytes) -> Sequence[x509.Certificate]:
        try:
            return pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(body.split()), validate=True))
        except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
            raise Rejected(f"{self.where} answered with something that is no certificate ({error}).") from error


def _seconds(header: str | None, clock: Clock) -> float:
    """Read Retry-After (seconds or a date), at most an hour; 0 when there is none."""
    if not header:
        return 0.0
    if header.strip().isdigit():
        return min(float(header), 3600.0)
    date = parsedate_tz(header)
    return min(max(0.0, mktime_tz(date) - clock.wall_ms() / 1000), 3600.0) if date else 0.0


def _reason(body: bytes) -> str:
    text = " ".join(body[:200].decode(errors="replace").split())
    return f": {text}" if text and text.isprintable() else ""


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case socket.gaierror():
            return "its name cannot be resolved"
        case ConnectionRefusedError():
            return "nothing listens there"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error) or type(error).__name__
