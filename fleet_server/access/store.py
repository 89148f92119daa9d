"""Tables of people and programs. Of passwords, sessions, tokens and links only hashes are kept."""

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, ForeignKey, Index, String, Table, delete, func, insert, select, update

from fleet_server.access.model import Account, Role, Scope, Token
from fleet_server.storage.database import RowNumber, metadata

_PURGE_ROWS: Final = 500

account = Table(
    "account",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("user", String(64), nullable=False, unique=True),
    Column("role", String(32), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("password_hash", String(255)),
    Column("is_disabled", Boolean, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_account_unit_path_user", "unit_path", "user"),
)

session = Table(
    "session",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("account_id", BigInteger, ForeignKey("account.id"), nullable=False, index=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
)

one_time_link = Table(
    "one_time_link",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("account_id", BigInteger, ForeignKey("account.id"), nullable=False, index=True),
    Column("expires_at_ms", BigInteger, nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("role", String(32), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("account_id", BigInteger, ForeignKey("account.id")),
    Column("created_by", String(128), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
)
"""`account_id` is whose act it was; a token dies with that account. None: made on the server itself."""


def add_account(connection: Connection, *, user: str, role: Role, unit_path: str, at_ms: int) -> int:
    """Write a new account without password; return its number."""
    values = {"user": user, "role": role.value, "unit_path": unit_path, "is_disabled": False, "created_at_ms": at_ms}
    return int(connection.execute(insert(account).values(**values).returning(account.c.id)).scalar_one())


def account_row(connection: Connection, user: str) -> Any | None:
    """Return an account's row."""
    return connection.execute(select(account).where(account.c.user == user)).first()


def accounts(connection: Connection, scope: Scope, *, after: str | None, limit: int | None) -> list[Account]:
    """Return accounts by user name."""
    query = select(account).where(account.c.unit_path.startswith(scope.unit_path, autoescape=True)).order_by(account.c.user)
    if after is not None:
        query = query.where(account.c.user > after)
    return [account_of(row) for row in connection.execute(query.limit(limit))]


def account_of(row: Any) -> Account:
    """Return what may be shown of an account's row."""
    return Account(row.user, Role(row.role), row.unit_path, row.is_disabled, row.password_hash is not None, row.created_at_ms)


def administrators(connection: Connection) -> int:
    """Return how many administrators of everything could sign in."""
    query = (
        select(func.count())
        .select_from(account)
        .where(account.c.role == Role.ADMINISTRATOR.value, account.c.unit_path == "/", account.c.is_disabled.is_(False))
    )
    return int(connection.execute(query).scalar_one())


def set_password(connection: Connection, account_id: int, password_hash: str | None) -> None:
    """Write a password's hash; None: nobody can sign in with a password."""
    connection.execute(update(account).where(account.c.id == account_id).values(password_hash=password_hash))


def set_disabled(connection: Connection, account_id: int, *, is_disabled: bool) -> None:
    """Close or open an account."""
    connection.execute(update(account).where(account.c.id == account_id).values(is_disabled=is_disabled))


def forget_proofs(connection: Connection, account_id: int) -> None:
    """End all sessions and links of an account."""
    connection.execute(delete(session).where(session.c.account_id == account_id))
    connection.execute(delete(one_time_link).where(one_time_link.c.account_id == account_id))


def add_session(connection: Connection, digest: str, account_id: int, *, at_ms: int, expires_at_ms: int) -> None:
    """Write a session."""
    connection.execute(insert(session).values(hash=digest, account_id=account_id, created_at_ms=at_ms, expires_at_ms=expires_at_ms))


def session_account(connection: Connection, digest: str, at_ms: int) -> Any | None:
    """Return the row of the account behind a session that is still good."""
    query = (
        select(account)
        .join(session, session.c.account_id == account.c.id)
        .where(session.c.hash == digest, session.c.expires_at_ms > at_ms, account.c.is_disabled.is_(False))
    )
    return connection.execute(query).first()


def purge_proofs(connection: Connection, at_ms: int) -> int:
    """Delete sessions and links whose time is over, some at a time; return how many, 0 when there are no more."""
    total = 0
    for table in (session, one_time_link):
        some = select(table.c.hash).where(table.c.expires_at_ms <= at_ms).limit(_PURGE_ROWS)
        total += connection.execute(delete(table).where(table.c.hash.in_(some))).rowcount
    return total


def end_session(connection: Connection, digest: str) -> None:
    """Delete a session."""
    connection.execute(delete(session).where(session.c.hash == digest))


def add_link(connection: Connection, digest: str, account_id: int, expires_at_ms: int) -> None:
    """Write a one-time link."""
    connection.execute(insert(one_time_link).values(hash=digest, account_id=account_id, expires_at_ms=expires_at_ms))


def link_account(connection: Connection, digest: str, at_ms: int) -> Any | None:
    """Return the row of the account behind a link that is still good."""
    query = (
        select(account)
        .join(one_time_link, one_time_link.c.account_id == account.c.id)
        .where(one_time_link.c.hash == digest, one_time_link.c.expires_at_ms > at_ms, account.c.is_disabled.is_(False))
    )
    return connection.execute(query).first()


def take_link(connection: Connection, digest: str) -> bool:
    """Delete a link; return whether it was there, which only one of two at once is told."""
    return connection.execute(delete(one_time_link).where(one_time_link.c.hash == digest)).rowcount > 0


def add_token(connection: Connection, value: Token, digest: str, account_id: int | None) -> None:
    """Write a token."""
    connection.execute(
        insert(token).values(
            name=value.name,
            hash=digest,
            role=value.role.value,
            unit_path=value.unit_path,
            account_id=account_id,
            created_by=value.created_by,
            created_at_ms=value.created_at_ms,
            expires_at_ms=value.expires_at_ms,
        )
    )


def token_named(connection: Connection, name: str) -> Token | None:
    """Return a token."""
    row = connection.execute(select(token).where(token.c.name == name)).first()
    return None if row is None else _token(row)


def account_of_token(connection: Connection, name: str) -> int | None:
    """Return the number of the account that a token dies with."""
    return connection.execute(select(token.c.account_id).where(token.c.name == name)).scalar_one_or_none()


def token_behind(connection: Connection, digest: str, at_ms: int) -> Token | None:
    """Return the token with this hash if it is still good and so is the account that made it."""
    query = (
        select(token)
        .join(account, token.c.account_id == account.c.id, isouter=True)
        .where(
            token.c.hash == digest,
            token.c.revoked_at_ms.is_(None),
            func.coalesce(token.c.expires_at_ms, at_ms + 1) > at_ms,
            func.coalesce(account.c.is_disabled, False).is_(False),
        )
    )
    row = connection.execute(query).first()
    return None if row is None else _token(row)


def tokens(connection: Connection, scope: Scope, *, after: str | None, limit: int | None) -> list[Token]:
    """Return tokens by name."""
    query = select(token).where(token.c.unit_path.startswith(scope.unit_path, autoescape=True)).order_by(token.c.name)
    if after is not None:
        query = query.where(token.c.name > after)
    return [_token(row) for row in connection.execute(query.limit(limit))]


def revoke_token(connection: Connection, name: str, at_ms: int) -> None:
    """End a token; its name stays taken, because the audit trail uses it."""
    connection.execute(update(token).where(token.c.name == name, token.c.revoked_at_ms.is_(None)).values(revoked_at_ms=at_ms))


def _token(row: Any) -> Token:
    return Token(row.name, Role(row.role), row.unit_path, row.created_by, row.created_at_ms, row.expires_at_ms, row.revoked_at_ms)
