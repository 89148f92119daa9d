"""The signer signs nodes, and nothing else, with whatever key they have shown."""

from collections.abc import Callable
from datetime import datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from firmware_agent.contract.ids import NodeId, new_node_id
from provisioning.errors import Missing, Rejected
from provisioning.pki import Pki, key_path, load_pki
from provisioning.profile import ProfileName
from provisioning.signer import FileSigner, IssueRequest

Spki = Callable[[ec.EllipticCurvePrivateKey], bytes]


async def test_it_signs_what_was_asked(pki: Pki, made_at: datetime, node_key: ec.EllipticCurvePrivateKey, spki: Spki) -> None:
    signer = FileSigner.of(pki, now=lambda: made_at)
    request = IssueRequest(profile=ProfileName.DEVICE, node_id=new_node_id(), serial_label="SSZ-1", public_key=spki(node_key))
    first, second = await signer.issue(request), await signer.issue(request)
    first.verify_directly_issued_by(pki.certificate(ProfileName.DEVICE_CA))
    assert first.public_key() == node_key.public_key()
    assert first.serial_number != second.serial_number


@pytest.mark.parametrize("profile", [p for p in ProfileName if p is not ProfileName.DEVICE])
async def test_it_signs_no_other_profile(
    pki: Pki, made_at: datetime, node_key: ec.EllipticCurvePrivateKey, spki: Spki, profile: ProfileName
) -> None:
    request = IssueRequest(profile=profile, node_id=new_node_id(), serial_label="SSZ-1", public_key=spki(node_key))
    with pytest.raises(Rejected, match="device certificates only"):
        await FileSigner.of(pki, now=lambda: made_at).issue(request)


@pytest.mark.parametrize(("node_id", "serial"), [("#", "SSZ-1"), (str(new_node_id()), "a b"), ("svc-core", "SSZ-1")])
async def test_it_signs_no_dangerous_name(
    pki: Pki, made_at: datetime, node_key: ec.EllipticCurvePrivateKey, spki: Spki, node_id: str, serial: str
) -> None:
    request = IssueRequest(profile=ProfileName.DEVICE, node_id=NodeId(node_id), serial_label=serial, public_key=spki(node_key))
    with pytest.raises(Rejected):
        await FileSigner.of(pki, now=lambda: made_at).issue(request)


async def test_it_signs_no_strange_key(pki: Pki, made_at: datetime) -> None:
    strange = (ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256K1()))
    spkis = [key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) for key in strange]
    for key, message in (*((spki, "not on the curve") for spki in spkis), (b"garbage", "cannot be read")):
        request = IssueRequest(profile=ProfileName.DEVICE, node_id=new_node_id(), serial_label="SSZ-1", public_key=key)
        with pytest.raises(Rejected, match=message):
            await FileSigner.of(pki, now=lambda: made_at).issue(request)


def test_without_the_key_there_is_no_signer(own_pki: Pki, made_at: datetime) -> None:
    key_path(own_pki.folder, ProfileName.DEVICE_CA).unlink()
    with pytest.raises(Missing, match="key of the device-ca"):
        FileSigner.of(load_pki(own_pki.folder), now=lambda: made_at)
