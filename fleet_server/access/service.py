"""Accounts, sessions, tokens: who is asking, and who may ask at all. Each act leaves one row in the audit trail."""

import hashlib
import logging
import secrets
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import Connection

from fleet_server.access import audit, store
from fleet_server.access.audit import AuditEntry
from fleet_server.access.model import (
    MAX_PASSWORD_LENGTH,
    PERMISSIONS,
    Account,
    Principal,
    Role,
    Scope,
    Token,
    password_fault,
    user_fault,
)
from fleet_server.access.throttle import Throttle
from fleet_server.clock import Clock
from fleet_server.errors import Conflict, Forbidden, NotFound, Rejected
from fleet_server.problems import TooManyTries, Unauthenticated
from fleet_server.storage import Database
from fleet_server.storage.database import serialise

_log = logging.getLogger(__name__)

SESSION_MS: Final = 12 * 3600 * 1000
LINK_MS: Final = 24 * 3600 * 1000
TOKEN_PREFIX: Final = "ssz_"  # noqa: S105  # what tokens begin with, so that scanners for leaked secrets find them
_LOCK: Final = 7_306
_AT_ONCE: Final = 2
"""Passwords hashed at the same time: each takes 64 MiB."""
_WAITING: Final = 6
"""More than these may not wait for it: strangers who sign in must not keep the threads that answer everybody else."""


@dataclass(frozen=True, slots=True)
class Link:
    """A secret that sets a password once; shown once."""

    user: str
    secret: str
    expires_at_ms: int


class Access:
    """Thread-safe. Only hashes of secrets are stored; a secret is returned once, by the call that makes it."""

    def __init__(self, database: Database, clock: Clock, *, hasher: PasswordHasher | None = None) -> None:
        """`hasher` is argon2id with the library's parameters unless a test wants cheaper ones. Source: RFC 9106, 4."""
        self._database = database
        self._clock = clock
        self._hasher = hasher or PasswordHasher()
        self._throttle = Throttle(clock)
        self._hashing = threading.Semaphore(_AT_ONCE)
        self._coming = threading.Semaphore(_AT_ONCE + _WAITING)
        self._decoy = ""

    def log_in(self, user: str, password: str, *, address: str) -> str:
        """Return the secret of a new session. Takes as long for an unknown user as for a wrong password.

        Raises:
            Unauthenticated: user or password is wrong, or the account is closed.
            TooManyTries: too many wrong tries from `address` at this account, or too many people at once.
        """
        user = user.strip().casefold()[:64]
        key = (user, address)
        with self._admitted():
            self._throttle.begin(key)
            row = None
            if user_fault(user) is None:
                with self._database.read() as connection:
                    row = store.account_row(connection, user)
            is_right = self._verify(None if row is None else row.password_hash, password)
        if row is None or not is_right or row.is_disabled:
            _log.warning("Sign-in refused for %r from %s", user, address)
            raise Unauthenticated("User name or password is wrong.")
        self._throttle.forget(key)
        secret = secrets.token_urlsafe(32)
        now_ms = self._clock.now_ms()
        with self._database.write() as connection:
            current = store.account_row(connection, user)
            if current is None or current.is_disabled or current.password_hash != row.password_hash:
                raise Unauthenticated("User name or password is wrong.")
            store.add_session(connection, _digest(secret), row.id, at_ms=now_ms, expires_at_ms=now_ms + SESSION_MS)
            self._write_down(connection, user, "session.begin", user, row.unit_path, {"address": address})
        return secret

    def log_out(self, session_secret: str) -> None:
        """End a session; harmless when it has ended."""
        digest = _digest(session_secret)
        with self._database.write() as connection:
            row = store.session_account(connection, digest, self._clock.now_ms())
            store.end_session(connection, digest)
            if row is not None:
                self._write_down(connection, row.user, "session.end", row.user, row.unit_path)

    def principal_of_session(self, secret: str) -> Principal:
        """Return who a session belongs to.

        Raises:
            Unauthenticated: it has ended, or never was, or its account is closed.
        """
        with self._database.read() as connection:
            row = store.session_account(connection, _digest(secret), self._clock.now_ms())
        if row is None:
            raise Unauthenticated("The session has ended. Sign in again.")
        return Principal(row.user, Role(row.role), Scope(row.unit_path), "session")

    def principal_of_token(self, secret: str) -> Principal:
        """Return who an API token speaks for.

        Raises:
            Unauthenticated: it is unknown, revoked or expired, or the account that made it is closed.
        """
        with self._database.read() as connection:
            token = store.token_behind(connection, _digest(secret), self._clock.now_ms())
        if token is None:
            raise Unauthenticated("The API token is unknown, revoked or expired.")
        return Principal(token.name, token.role, Scope(token.unit_path), "token")

    def create_account(self, user: str, role: Role, unit_path: str, *, by: Principal) -> Link:
        """Make an account; its one-time link sets the password. There is no default password.

        Raises:
            Rejected: the user name is not well-formed.
            Conflict: the user name is taken.
            Forbidden: `by` may not give that role there.
        """
        user = user.strip().casefold()
        if fault := user_fault(user):
            raise Rejected(fault)
        _check_gift(role, unit_path, by)
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            if store.account_row(connection, user) is not None:
                raise Conflict(f"The user name {user!r} is taken.")
            number = store.add_account(connection, user=user, role=role, unit_path=unit_path, at_ms=self._clock.now_ms())
            self._write_down(connection, by.actor, "account.create", user, unit_path, {"role": role.value})
            return self._link(connection, number, user)

    def disable(self, user: str, *, by: Principal) -> None:
        """Close an account: its sessions, links and tokens are dead at once.

        Raises:
            NotFound: there is no such account in the scope of `by`.
            Conflict: it is the last administrator.
        """
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            row = _mine(connection, user, by)
            if row.is_disabled:
                return
            if row.role == Role.ADMINISTRATOR and row.unit_path == "/" and store.administrators(connection) == 1:
                raise Conflict("This is the last administrator. Make another one first.")
            store.set_disabled(connection, row.id, is_disabled=True)
            store.forget_proofs(connection, row.id)
            self._write_down(connection, by.actor, "account.disable", row.user, row.unit_path)

    def enable(self, user: str, *, by: Principal) -> None:
        """Open an account again, with the password it had.

        Raises:
            NotFound: there is no such account in the scope of `by`.
        """
        with self._database.write() as connection:
            row = _mine(connection, user, by)
            if row.is_disabled:
                store.set_disabled(connection, row.id, is_disabled=False)
                self._write_down(connection, by.actor, "account.enable", row.user, row.unit_path)

    def reset(self, user: str, *, by: Principal) -> Link:
        """Take the password away and return a link to set a new one; sessions and older links are dead at once.

        Raises:
            NotFound: there is no such account in the scope of `by`.
            Conflict: the account is closed.
        """
        with self._database.write() as connection:
            row = _mine(connection, user, by)
            if row.is_disabled:
                raise Conflict("The account is closed: open it first.")
            store.set_password(connection, row.id, None)
            store.forget_proofs(connection, row.id)
            self._write_down(connection, by.actor, "account.reset", row.user, row.unit_path)
            return self._link(connection, row.id, row.user)

    def user_of_link(self, secret: str) -> str:
        """Return whose link this is, without using it.

        Raises:
            NotFound: it was used, has expired, or never was.
        """
        with self._database.read() as connection:
            return str(self._link_account(connection, secret).user)

    def use_link(self, secret: str, new_password: str) -> str:
        """Set the password; return the user name. A link works once.

        Raises:
            NotFound: it was used, has expired, or never was.
            Rejected: the password is too weak; the link still works.
            TooManyTries: too many people at once; the link still works.
        """
        user = self.user_of_link(secret)
        if fault := password_fault(_normal(new_password), user):
            raise Rejected(fault)
        with self._admitted(), self._hashing:
            password_hash = self._hasher.hash(_normal(new_password))
        with self._database.write() as connection:
            row = self._link_account(connection, secret)
            if not store.take_link(connection, _digest(secret)):
                raise NotFound("This link was used already.")
            store.forget_proofs(connection, row.id)
            store.set_password(connection, row.id, password_hash)
            self._write_down(connection, row.user, "account.set_password", row.user, row.unit_path)
        return user

    def accounts(self, scope: Scope, *, after: str | None = None, limit: int | None = None) -> list[Account]:
        """Return accounts by user name; `after` is the user name before the first one wanted."""
        with self._database.read() as connection:
            return store.accounts(connection, scope, after=after, limit=limit)

    def create_token(self, name: str, role: Role, scope: Scope, *, by: Principal, expires_in_s: int | None = None) -> str:
        """Make an API token; return its secret, which cannot be shown again.

        Raises:
            Rejected: the name is not well-formed.
            Conflict: the name is taken, also by a revoked one.
            Forbidden: `by` may not give that role there.
        """
        if fault := user_fault(name):
            raise Rejected(fault.replace("user name", "token's name"))
        _check_gift(role, scope.unit_path, by)
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now_ms = self._clock.now_ms()
        expires_at_ms = None if expires_in_s is None else now_ms + expires_in_s * 1000
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            if store.token_named(connection, name) is not None:
                raise Conflict(f"The name {name!r} is taken.")
            token = Token(name, role, scope.unit_path, by.actor, now_ms, expires_at_ms, None)
            store.add_token(connection, token, _digest(secret), _account_behind(connection, by))
            self._write_down(connection, by.actor, "token.create", name, scope.unit_path, {"role": role.value})
        return secret

    def revoke_token(self, name: str, *, by: Principal) -> None:
        """End a token at once.

        Raises:
            NotFound: there is no such token in the scope of `by`.
        """
        with self._database.write() as connection:
            token = None if user_fault(name) else store.token_named(connection, name)
            if token is None or not by.scope.contains(token.unit_path):
                raise NotFound(f"There is no token {name[:64]!r}.")
            if token.revoked_at_ms is None:
                store.revoke_token(connection, name, self._clock.now_ms())
                self._write_down(connection, by.actor, "token.revoke", name, token.unit_path)

    def tokens(self, scope: Scope, *, after: str | None = None, limit: int | None = None) -> list[Token]:
        """Return tokens by name, without their secrets; `after` is the name before the first one wanted."""
        with self._database.read() as connection:
            return store.tokens(connection, scope, after=after, limit=limit)

    def purge(self) -> int:
        """Forget some of the sessions and links whose time is over; return how many, 0 when there are no more.

        Raises:
            StorageUnavailable: nothing was forgotten.
        """
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            return store.purge_proofs(connection, self._clock.now_ms())

    def audit(self, scope: Scope, *, before_id: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return acts inside `scope`, newest first; `before_id` goes on after a page."""
        with self._database.read() as connection:
            return audit.entries(connection, scope=scope, before_id=before_id, limit=limit)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if not self._coming.acquire(blocking=False):
            raise TooManyTries("Too many people sign in at this moment. Wait a little, then try again.", retry_after_s=2)
        try:
            yield
        finally:
            self._coming.release()

    def _verify(self, password_hash: str | None, password: str) -> bool:
        """Compare with the stored hash, or with a decoy that nothing fits, at the same cost."""
        with self._hashing:
            if not self._decoy:
                self._decoy = self._hasher.hash(secrets.token_urlsafe(32))
            try:
                self._hasher.verify(password_hash or self._decoy, _normal(password)[: MAX_PASSWORD_LENGTH + 1])
            except (Argon2Error, InvalidHashError):
                return False
        return password_hash is not None

    def _link(self, connection: Connection, account_id: int, user: str) -> Link:
        link = Link(user, secrets.token_urlsafe(32), self._clock.now_ms() + LINK_MS)
        store.add_link(connection, _digest(link.secret), account_id, link.expires_at_ms)
        return link

    def _link_account(self, connection: Connection, secret: str) -> Any:
        row = store.link_account(connection, _digest(secret), self._clock.now_ms())
        if row is None:
            raise NotFound("This link was used already or has expired. Ask an administrator for a new one.")
        return row

    def _write_down(
        self, connection: Connection, actor: str, action: str, subject: str, unit_path: str, data: Mapping[str, Any] | None = None
    ) -> None:
        audit.append(connection, at_ms=self._clock.now_ms(), actor=actor, action=action, subject=subject, unit_path=unit_path, data=data)


def _check_gift(role: Role, unit_path: str, by: Principal) -> None:
    """Nobody gives away more than they have."""
    try:
        inside = by.scope.contains(Scope(unit_path).unit_path)
    except ValueError as error:
        raise Rejected(f"{unit_path[:200]!r} is no unit path such as /bpp/n1/lumpini/.") from error
    if not inside or not PERMISSIONS[role] <= PERMISSIONS[by.role]:
        raise Forbidden(f"You may not make a {role} of {unit_path}.")


def _account_behind(connection: Connection, by: Principal) -> int | None:
    """Return the account whose act it is in the end, None on the server itself: a token's token dies with that account too."""
    match by.via:
        case "session":
            row = store.account_row(connection, by.name)
            return None if row is None else int(row.id)
        case "token":
            return store.account_of_token(connection, by.name)
        case "local":
            return None


def _mine(connection: Connection, user: str, by: Principal) -> Any:
    user = user.strip().casefold()
    row = None if user_fault(user) else store.account_row(connection, user)
    if row is None or not by.scope.contains(row.unit_path):
        raise NotFound(f"There is no account {user[:64]!r}.")
    return row


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _normal(password: str) -> str:
    # Source: NIST SP 800-63B-4, 3.1.1.2: the same password typed on two keyboards must be the same.
    return unicodedata.normalize("NFKC", password)
