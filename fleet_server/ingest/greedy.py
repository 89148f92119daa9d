"""A TLS socket that reads as much as there is at once, for a client library that asks for single bytes.

paho reads each packet in at least four pieces. Each reading of a TLS socket gives the interpreter away to other threads and has
to wait for it to come back, which on a busy server cost ten times as much as all work on the message itself.
"""

import ssl
from typing import Final

_RECORD: Final = 16_384
"""The most that one TLS record holds (RFC 8446 §5.1)."""
_AT_ONCE: Final = 64


class GreedySocket(ssl.SSLSocket):
    """What it has read ahead counts as pending. To be set as `SSLContext.sslsocket_class`."""

    _ahead = b""
    _taken = 0

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """See `SSLSocket`; never waits for more than the first bytes."""
        if self._taken >= len(self._ahead):
            self._ahead, self._taken = self._read_ahead(flags), 0
        begin = self._taken
        self._taken = min(begin + buflen, len(self._ahead))
        return self._ahead[begin : self._taken]

    def pending(self) -> int:
        """Return how many bytes can be read without asking the network."""
        return len(self._ahead) - self._taken or super().pending()

    def _read_ahead(self, flags: int) -> bytes:
        first = super().recv(_RECORD, flags)
        if not first or self.gettimeout() != 0.0:  # a blocking socket would wait for more than is there
            return first
        records = [first]
        try:
            while len(records) < _AT_ONCE and (more := super().recv(_RECORD, flags)):
                records.append(more)
        except OSError:  # nothing more for now; a connection that broke says so again at the next reading
            pass
        return b"".join(records)
