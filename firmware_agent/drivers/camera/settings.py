"""Settings of a camera."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, unquote, urlsplit

from msgspec import Meta

from firmware_agent.drivers.settings import Settings
from firmware_agent.errors import ConfigurationError

_URL: Final = (
    "url: give rtsp://host[:port]/path, and the password in password_file (in an address / ? # of a password stand as %2F %3F %23)"
)

Seconds = Annotated[float, Meta(ge=0.1, le=3600)]


class CameraSettings(Settings, frozen=True):
    """Where the camera is and how often it is looked at."""

    url: str
    """`rtsp://host[:port]/path`; take the sub-stream. Credentials belong in `user` and `password_file`."""
    user: str = ""
    password: str = ""
    """For benches; in the field use `password_file`."""
    password_file: str = ""
    """Path of a file that holds the password and nothing else."""
    probe_interval_s: Seconds = 15.0
    sample_interval_s: Seconds = 60.0
    sample_s: Annotated[float, Meta(ge=0.5, le=30)] = 3.0
    """How much video is looked at."""
    timeout_s: Annotated[float, Meta(ge=0.2, le=30)] = 5.0
    min_fps: Annotated[float, Meta(ge=0, le=240)] = 5.0
    frozen_check: bool = True
    """Off for a scene without any noise or movement, which cannot be told from a frozen picture."""
    recording: bool = False
    """Whether the position must record. This driver cannot measure it and says so."""


class Target:
    """The camera's address without credentials, and the credentials apart."""

    def __init__(self, settings: CameraSettings) -> None:
        """Read the password file.

        Raises:
            ConfigurationError: no RTSP address, or the file cannot be read.
        """
        try:
            parts = urlsplit(settings.url)
            port = parts.port or 554
        except ValueError:  # its text would quote a part of the address, and what stands there may be a password
            raise ConfigurationError(_URL) from None
        if parts.scheme != "rtsp" or not parts.hostname:
            raise ConfigurationError(_URL)
        self.host = parts.hostname
        self.port = port
        self.user = settings.user or unquote(parts.username or "")
        self.password = _password(settings) or unquote(parts.password or "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.uri = f"rtsp://{host}:{port}{parts.path}{'?' + parts.query if parts.query else ''}"
        """As it stands in requests and in the digest."""

    @property
    def secret_url(self) -> str:
        """The address with credentials, for the worker's eyes only."""
        if not self.user:
            return self.uri
        return self.uri.replace("rtsp://", f"rtsp://{quote(self.user, safe='')}:{quote(self.password, safe='')}@", 1)


def _password(settings: CameraSettings) -> str:
    if not settings.password_file:
        return settings.password
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"password_file: {settings.password_file}: {error.strerror}") from error
    except ValueError:  # what is no text may still be a secret: it is not quoted
        raise ConfigurationError(f"password_file: {settings.password_file!r} is no file of UTF-8 text") from None
