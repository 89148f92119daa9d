"""Answers the CA's question whether we are the host that we say: HTTP-01, a small listener that lives while an order runs.

Source: RFC 8555 §8.3.
"""

import errno
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from fleet_server.errors import Rejected

_TIMEOUT_S: Final = 10


@contextmanager
def answering(answers: Mapping[str, str], *, host: str, port: int) -> Iterator[None]:
    """Listen on `host` and `port` while the block runs; `answers` are texts by path, and may change meanwhile.

    Raises:
        Rejected: the port is taken, or needs rights that we do not have.
    """
    server = _listen(answers, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="acme-challenge", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_TIMEOUT_S)


def _listen(answers: Mapping[str, str], host: str, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S
        server_version = "fleet"
        sys_version = ""

        def do_GET(self) -> None:
            """Answer what the CA asks for; nothing else is here."""
            answer = answers.get(self.path)
            body = (answer if answer is not None else "There is nothing here.\n").encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/octet-stream" if answer is not None else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: strangers knock at port 80 all day."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise Rejected(_why(error, host, port)) from error


def _why(error: OSError, host: str, port: int) -> str:
    forward = "or set [acme] challenge_port (fleet init --acme-port) and have port 80 forwarded to it"
    match error.errno:
        case errno.EADDRINUSE:
            return f"The CA asks at port 80, but port {port} is taken by another program: stop it, {forward}."
        case errno.EACCES:
            rights = "rights that this user does not have (CAP_NET_BIND_SERVICE)"
            return f"The CA asks at port 80, and port {port} needs {rights}: grant them, {forward}."
        case _:
            return f"Cannot listen on {host or '*'}:{port} for the CA's question: {error.strerror}."
