"""Who signs certificates of nodes. The key of the device CA sits behind this promise, so that it can move out of the server."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from firmware_agent.contract.ids import NodeId
from provisioning.errors import Rejected
from provisioning.pki import Pki, organisation_of
from provisioning.profile import NODE_CURVES, PROFILES, Distribution, Issuer, ProfileName, build, device_names


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueRequest:
    """What a certificate is asked for. All of it comes from the registry but the key."""

    profile: ProfileName
    """`device`; a signer refuses what it was not made for."""
    node_id: NodeId
    serial_label: str
    """The serial on the node's label."""
    public_key: bytes
    """DER of SubjectPublicKeyInfo."""


class Signer(Protocol):
    """Signs one certificate per call. Not idempotent: each call makes a new one, so the caller remembers what it got."""

    async def issue(self, request: IssueRequest) -> x509.Certificate:
        """Return a new certificate.

        Raises:
            Transient: the signer is away or busy; try again later.
            Rejected: a name, the key or the profile is not one this signer signs.
        """
        ...


class FileSigner:
    """Signs with a key in this process's memory (from a file, mode 0600), in a worker thread."""

    def __init__(self, issuer: Issuer, *, now: Callable[[], datetime], distribution: Distribution | None = None) -> None:
        """`issuer` is the device CA; `now` tells aware UTC time."""
        self._issuer = issuer
        self._now = now
        self._distribution = distribution

    @classmethod
    def of(cls, pki: Pki, *, now: Callable[[], datetime]) -> "FileSigner":
        """Return a signer with the device CA of `pki`.

        Raises:
            Missing: the CA or its key is not here.
        """
        return cls(pki.issuer(ProfileName.DEVICE_CA), now=now)

    async def issue(self, request: IssueRequest) -> x509.Certificate:
        """See `Signer`."""
        return await asyncio.to_thread(self._issue, request)

    def _issue(self, request: IssueRequest) -> x509.Certificate:
        if request.profile is not ProfileName.DEVICE:
            raise Rejected(f"This signer signs device certificates only, not {request.profile}.")
        try:
            key = load_der_public_key(request.public_key)
        except ValueError as error:
            raise Rejected("The public key cannot be read.") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, NODE_CURVES):
            raise Rejected("The public key is not on the curve P-256 (or P-384).")
        names = device_names(organisation_of(self._issuer.certificate), request.serial_label, request.node_id)
        return build(PROFILES[request.profile], names, key, issuer=self._issuer, now=self._now(), distribution=self._distribution)
