"""Certificates from a public CA by ACME (RFC 8555), with the challenge HTTP-01. Blocks; the library is loaded when it is used."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet_server.certificates.challenge import answering
from fleet_server.certificates.pair import Pair
from fleet_server.errors import Rejected, Transient
from provisioning.files import SECRET, write_file

if TYPE_CHECKING:
    from acme import client, messages

LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"
"""The CA that is asked unless another one is named."""

_log = logging.getLogger(__name__)
_TIMEOUT_S: Final = 30
_TRY_AGAIN: Final = frozenset({"rateLimited", "serverInternal", "badNonce"})


class AcmeUnavailable(Transient):
    """The CA does not answer, or not now; nothing was issued."""


class AcmeRefused(Rejected):
    """The CA will not issue; the message is its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeOrder:
    """What is ordered where, and how we prove that the hosts are ours."""

    directory_url: str
    hosts: Sequence[str]
    email: str
    account_file: Path
    """Our account's key and address at the CA; made with the first order."""
    challenge_host: str = ""
    """Address to answer the CA's question at; empty: all."""
    challenge_port: int = 80
    ca_file: Path | None = None
    """Whom to trust for the directory's own https; None: what this machine trusts."""

    def place(self) -> Pair:
        """Order a certificate with a new key, and wait for it: seconds, at most about two minutes.

        Raises:
            AcmeUnavailable: the CA cannot be reached, is busy, or took too long.
            AcmeRefused: it will not issue, for example because it could not see our answer.
            Rejected: the port for its question cannot be used.
        """
        with _translated(self.directory_url):
            from acme import messages

            try:
                return self._placed(_Account.of(self))
            except messages.Error as error:
                if error.code != "accountDoesNotExist":
                    raise
                _log.warning("The CA has forgotten our account; a new one is made")
                _Account.forget(self)
                return self._placed(_Account.of(self))

    def _placed(self, account: "_Account") -> Pair:
        return account.order(self.hosts, lambda answers: answering(answers, host=self.challenge_host, port=self.challenge_port))


class _Account:
    def __init__(self, session: "client.ClientV2") -> None:
        self._session = session

    @classmethod
    def of(cls, order: AcmeOrder) -> "_Account":
        """Open our account at the CA, or make one. An account of another CA is kept beside it."""
        from acme import client, messages
        from josepy.jwa import ES256
        from josepy.jwk import JWKEC

        known = _load(order.account_file)
        stored = known.get(order.directory_url)
        key = JWKEC.from_json(stored["key"]) if stored else JWKEC(key=_new_key())
        verify: Any = str(order.ca_file) if order.ca_file else True  # the library hands it to requests, which takes a path too
        net = client.ClientNetwork(key, alg=ES256, user_agent="smart-safety-zone-fleet", timeout=_TIMEOUT_S, verify_ssl=verify)
        session = client.ClientV2(client.ClientV2.get_directory(order.directory_url, net), net)
        if stored:
            net.account = messages.RegistrationResource(body=messages.Registration(), uri=stored["uri"])
        else:
            registration = messages.NewRegistration.from_data(email=order.email or None, terms_of_service_agreed=True)
            made = session.new_account(registration)
            known[order.directory_url] = {"uri": made.uri, "key": key.to_json()}
            write_file(order.account_file, json.dumps(known, indent=2).encode(), SECRET)
        return cls(session)

    @staticmethod
    def forget(order: AcmeOrder) -> None:
        """Drop what is known of our account."""
        known = _load(order.account_file)
        known.pop(order.directory_url, None)
        write_file(order.account_file, json.dumps(known, indent=2).encode(), SECRET)

    def order(self, hosts: Sequence[str], listen: Callable[[dict[str, str]], AbstractContextManager[None]]) -> Pair:
        from acme import challenges

        key_pem = _key_pem()
        order = self._session.new_order(_request(key_pem, hosts))
        key = self._session.net.key
        assert key is not None
        asked = [_http_01(authorization) for authorization in order.authorizations if authorization.body.status.name == "pending"]
        answers = {body.chall.path: body.chall.validation(key) for body in asked if isinstance(body.chall, challenges.HTTP01)}
        with listen(answers):
            for body in asked:
                self._session.answer_challenge(body, body.response(key))
            done = self._session.poll_and_finalize(order)
        return Pair(done.fullchain_pem.encode(), key_pem)


def _http_01(authorization: "messages.AuthorizationResource") -> "messages.ChallengeBody":
    from acme import challenges

    for body in authorization.body.challenges:
        if isinstance(body.chall, challenges.HTTP01):
            found: messages.ChallengeBody = body
            return found
    raise AcmeRefused(f"The CA does not offer the challenge http-01 for {authorization.body.identifier.value}.")


def _request(key_pem: bytes, hosts: Sequence[str]) -> bytes:
    import ipaddress

    from acme import crypto_util

    names, addresses = [], []
    for host in hosts:
        try:
            addresses.append(ipaddress.ip_address(host))
        except ValueError:
            names.append(host)
    return crypto_util.make_csr(key_pem, names, ipaddrs=addresses)


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_pem() -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = _new_key().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem


def _load(file: Path) -> dict[str, Any]:
    """Return accounts by directory."""
    try:
        known: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Rejected(
            f"The account at the CA cannot be read from {file}: {error}. Move the file away to have a new account made."
        ) from error
    return known


@contextmanager
def _translated(directory_url: str) -> Iterator[None]:
    from acme import errors, messages
    from josepy.errors import Error as JoseError

    try:
        yield
    except OSError as error:  # all that requests raises is one
        raise AcmeUnavailable(f"The CA at {directory_url} cannot be reached: {_short(error)}.") from error
    except errors.ValidationError as error:
        raise AcmeRefused(f"The CA does not believe that these hosts are ours: {_failures(error)}") from error
    except errors.IssuanceError as error:
        raise AcmeRefused(f"The CA does not issue: {error.error.detail or error.error.typ}") from error
    except errors.TimeoutError as error:
        raise AcmeUnavailable(f"The CA at {directory_url} took too long to decide.") from error
    except messages.Error as error:
        kind = AcmeUnavailable if error.code in _TRY_AGAIN else AcmeRefused
        raise kind(f"The CA at {directory_url} says: {error.detail or error.typ}") from error
    except (errors.Error, JoseError) as error:
        raise AcmeUnavailable(f"What {directory_url} answers is not ACME: {_short(error)}.") from error


def _failures(error: Any) -> str:
    """Say for each host what the CA saw."""
    said = [
        f"{authorization.body.identifier.value}: {body.error.detail}"
        for authorization in error.failed_authzrs
        for body in authorization.body.challenges
        if body.error is not None
    ]
    return "; ".join(said) + ". Its port 80 must reach this machine."


def _short(error: BaseException) -> str:
    """Return the innermost cause in a few words: the library wraps what the network said several times."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error.__context__
    return _short(inner) if inner is not None else (str(error)[:200] or type(error).__name__)
