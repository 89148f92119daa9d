"""An EST server reduced to its answers, over real TLS."""

import base64
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from tests.integration.agent.certificates import Ca, public_key_of, write

Answer = tuple[int, dict[str, str], bytes]


class StubEst:
    """`answers` are taken one by one by simpleenroll; when none is left, it issues."""

    def __init__(self, folder: Path, root: Ca, devices: Ca, server: tuple[bytes, bytes], node: str, port: int = 0) -> None:
        self.root, self.devices, self.node = root, devices, node
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, bytes]] = []
        self.issue: Callable[[bytes], x509.Certificate] = lambda csr: devices.node(public_key_of(csr), node)
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(write(folder, "est.pem", server[0]), write(folder, "est.key", server[1]))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that distrust us are no news
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, credentials: str, csr: bytes) -> Answer:
        self.asked.append((credentials, csr))
        if self.answers:
            return self.answers.pop(0)
        return 200, {}, certs_only(self.issue(csr))


class _Handler(BaseHTTPRequestHandler):
    stub: StubEst

    def do_GET(self) -> None:
        assert self.path == "/.well-known/est/cacerts"
        self._say(200, {}, certs_only(self.stub.root.certificate, self.stub.devices.certificate))

    def do_POST(self) -> None:
        assert self.path == "/.well-known/est/simpleenroll"
        body = base64.b64decode(self.rfile.read(int(self.headers["Content-Length"])))
        credentials = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        self._say(*self.stub.answer(credentials, body))

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base class
        return


def certs_only(*certificates: x509.Certificate) -> bytes:
    """Return a body as RFC 8951 allows it: base64, wrapped."""
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), Encoding.DER))
