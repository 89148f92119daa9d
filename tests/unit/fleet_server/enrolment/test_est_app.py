"""The enrolment listener when something behind it is broken, or somebody before it is slow: 503 or 408, never 500."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette

from fleet_server.access.model import Scope
from fleet_server.enrolment.est_app import est_app
from fleet_server.enrolment.service import EnrolmentService
from fleet_server.errors import Untrusted
from fleet_server.storage import StorageFull, StorageUnavailable
from provisioning.errors import Transient
from provisioning.pki import Pki
from tests.unit.fleet_server.enrolment.fakes import CountingSigner, Nodes

ENROL = "/.well-known/est/simpleenroll"


def client_of(app: Starlette) -> httpx.AsyncClient:
    # uvicorn answers what the application has sent, though the exception goes on to its log
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="https://fleet")


@pytest.fixture
def body() -> bytes:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.DER))


@pytest.mark.parametrize(
    "failure",
    [StorageUnavailable("away"), StorageFull("full"), Untrusted("odd"), RuntimeError("nobody foresaw this"), ValueError("nor this")],
)
async def test_whatever_breaks_the_node_is_told_to_come_back(
    service: EnrolmentService, pki: Pki, body: bytes, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise failure

    monkeypatch.setattr(service, "simpleenroll", fail)
    async with client_of(est_app(service, [pki.root])) as client:
        answer = await client.post(ENROL, content=body, auth=("SSZ-1", "code"))
    assert (answer.status_code, answer.headers["retry-after"], answer.text) == (503, "30", "Try again later.\n")


async def test_a_signer_that_is_away(
    service: EnrolmentService, pki: Pki, nodes: Nodes, signer: CountingSigner, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    nodes.add("SSZ-1")
    claim = service.register("SSZ-1", actor="somchai", scope=Scope.ALL, approve=True)
    signer.fails_with = Transient("the signer does not answer")
    async with client_of(est_app(service, [pki.root])) as client:
        assert (await client.post(ENROL, content=body, auth=("SSZ-1", claim.code))).status_code == 503
        assert "the signer does not answer" in caplog.text
        assert claim.code not in caplog.text
        signer.fails_with = None
        assert (await client.post(ENROL, content=body, auth=("SSZ-1", claim.code))).status_code == 200


async def test_a_slow_sender_is_cut_off(service: EnrolmentService, pki: Pki) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"MIIB"
        await asyncio.sleep(30)

    async with client_of(est_app(service, [pki.root], body_timeout_s=0.05)) as client:
        answer = await client.post(ENROL, content=drip(), auth=("SSZ-1", "code"))
    assert (answer.status_code, answer.text) == (408, "The request came too slowly.\n")


async def test_too_many_wrong_tries(service: EnrolmentService, pki: Pki, body: bytes) -> None:
    async with client_of(est_app(service, [pki.root])) as client:
        for _ in range(30):
            assert (await client.post(ENROL, content=body, auth=("SSZ-1", "wrong"))).status_code == 401
        answer = await client.post(ENROL, content=body, auth=("SSZ-1", "wrong"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "601")


async def test_libest_gets_lines(service: EnrolmentService, pki: Pki) -> None:
    async with client_of(est_app(service, [pki.root])) as client:
        plain = await client.get("/.well-known/est/cacerts")
        wrapped = await client.get("/.well-known/est/cacerts", headers={"User-Agent": "libest/3.2.0p"})
    assert plain.content.count(b"\n") == 1
    assert max(len(line) for line in wrapped.content.splitlines()) == 64
    assert wrapped.content.replace(b"\n", b"") == plain.content.replace(b"\n", b"")
