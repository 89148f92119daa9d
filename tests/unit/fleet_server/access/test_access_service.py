"""Who gets in, who does not, and who not any more."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fleet_server.access import audit, store
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import LINK_MS, SESSION_MS, Access
from fleet_server.errors import Conflict, Forbidden, NotFound, Rejected
from fleet_server.problems import TooManyTries, Unauthenticated
from fleet_server.storage import Database

PASSWORD = "ถูกต้อง ม้า แบตเตอรี่ 42"
Person = Callable[..., Principal]
LUMPINI = "/bpp/n1/lumpini/"


class _Slow(PasswordHasher):
    """Answers nobody before it is told to."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.may_go_on = threading.Event()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002  # the library's name
        assert self.may_go_on.wait(30)
        return super().verify(hash, password)


def acts(database: Database) -> list[str]:
    with database.read() as connection:
        return [entry.action for entry in reversed(audit.entries(connection, scope=Scope.ALL))]


def wrong(access: Access, user: str = "somchai", address: str = "10.0.0.1") -> None:
    with pytest.raises(Unauthenticated, match=r"User name or password is wrong\."):
        access.log_in(user, "not the password", address=address)


class TestSigningIn:
    def test_first_administrator_comes_by_a_link(self, access: Access, database: Database) -> None:
        link = access.create_account("Admin", Role.ADMINISTRATOR, "/", by=Principal.LOCAL)
        assert access.user_of_link(link.secret) == "admin"
        assert access.use_link(link.secret, PASSWORD) == "admin"
        principal = access.principal_of_session(access.log_in(" ADMIN ", PASSWORD, address="10.0.0.1"))
        assert principal == Principal("admin", Role.ADMINISTRATOR, Scope.ALL, "session")
        assert acts(database) == ["account.create", "account.set_password", "session.begin"]

    def test_there_is_no_default_password(self, access: Access) -> None:
        access.create_account("admin", Role.ADMINISTRATOR, "/", by=Principal.LOCAL)
        for guess in ("", "admin", "password", "None"):
            with pytest.raises(Unauthenticated):
                access.log_in("admin", guess, address=guess)

    def test_unknown_user_and_wrong_password_say_the_same(self, access: Access, person: Person) -> None:
        person()
        wrong(access)
        wrong(access, "nobody")
        wrong(access, "x" * 5000)
        wrong(access, "nul\x00")

    def test_unknown_user_costs_a_hash_too(self, access: Access, person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        person()
        verified: list[str] = []
        verify = PasswordHasher.verify

        def count(self: PasswordHasher, hashed: str, password: str) -> bool:
            verified.append(hashed)
            return verify(self, hashed, password)

        monkeypatch.setattr(PasswordHasher, "verify", count)
        wrong(access)
        wrong(access, "nobody")
        assert len(verified) == 2

    def test_same_password_of_another_keyboard(self, access: Access) -> None:
        link = access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)
        access.use_link(link.secret, "caf\u00e9 caf\u00e9 caf\u00e9")
        assert access.log_in("somchai", "cafe\u0301 cafe\u0301 cafe\u0301", address="a")

    def test_guessing_gets_slow_for_that_account_and_address_only(self, access: Access, person: Person, clock: Any) -> None:
        person()
        for _ in range(5):
            wrong(access)
        with pytest.raises(TooManyTries) as caught:
            access.log_in("somchai", PASSWORD, address="10.0.0.1")
        assert caught.value.retry_after_s >= 1
        assert access.log_in("somchai", PASSWORD, address="10.0.0.2")
        wrong(access, "other")
        clock.advance(2_000)
        wrong(access)
        clock.advance(2_000)
        with pytest.raises(TooManyTries):
            access.log_in("somchai", PASSWORD, address="10.0.0.1")
        clock.advance(2_000)
        assert access.log_in("somchai", PASSWORD, address="10.0.0.1")
        for _ in range(4):
            wrong(access)

    def test_many_guesses_at_once_gain_nothing(self, access: Access, person: Person) -> None:
        person()

        def guess(number: int) -> type[Exception] | None:
            try:
                access.log_in("somchai", f"guess number {number}", address="10.0.0.1")
            except Exception as error:
                return type(error)
            return None

        with ThreadPoolExecutor(8) as pool:
            ends = list(pool.map(guess, range(24)))
        assert (ends.count(Unauthenticated), ends.count(TooManyTries)) == (5, 19)

    def test_flood_of_sign_ins_is_sent_away_at_once(self, person: Person, database: Database, clock: Any) -> None:
        person()
        hasher = _Slow()
        access = Access(database, clock, hasher=hasher)

        def guess(number: int) -> type[Exception] | None:
            try:
                access.log_in(f"user{number}", "not the password", address="10.0.0.1")
            except Exception as error:
                return type(error)
            return None

        with ThreadPoolExecutor(40) as pool:
            guesses = [pool.submit(guess, number) for number in range(40)]
            sent_away = [guess for _, guess in zip(range(32), as_completed(guesses, timeout=30), strict=False)]
            with pytest.raises(TooManyTries):
                access.log_in("somchai", PASSWORD, address="10.0.0.2")
            hasher.may_go_on.set()
        assert [guess.result() for guess in sent_away] == [TooManyTries] * 32
        assert [guess.result() for guess in guesses].count(Unauthenticated) == 8
        assert access.log_in("somchai", PASSWORD, address="10.0.0.2")

    def test_session_ends_by_itself(self, access: Access, person: Person, clock: Any) -> None:
        person()
        secret = access.log_in("somchai", PASSWORD, address="a")
        clock.advance(SESSION_MS - 1)
        assert access.principal_of_session(secret).name == "somchai"
        clock.advance(1)
        with pytest.raises(Unauthenticated):
            access.principal_of_session(secret)

    def test_log_out_ends_this_session_only(self, access: Access, person: Person, database: Database) -> None:
        person()
        one, other = (access.log_in("somchai", PASSWORD, address="a") for _ in range(2))
        access.log_out(one)
        access.log_out(one)
        with pytest.raises(Unauthenticated):
            access.principal_of_session(one)
        assert access.principal_of_session(other).name == "somchai"
        assert acts(database).count("session.end") == 1

    @pytest.mark.parametrize("secret", ["", "x", "\x00", "\ud800", "a" * 100_000])
    def test_nonsense_is_nobody(self, access: Access, secret: str) -> None:
        with pytest.raises(Unauthenticated):
            access.principal_of_session(secret)
        with pytest.raises(Unauthenticated):
            access.principal_of_token(secret)
        with pytest.raises(NotFound):
            access.use_link(secret, PASSWORD)


class TestLinks:
    def test_works_once(self, access: Access) -> None:
        link = access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)
        access.use_link(link.secret, PASSWORD)
        with pytest.raises(NotFound, match="used already or has expired"):
            access.use_link(link.secret, PASSWORD)

    def test_two_at_once_one_wins(self, access: Access) -> None:
        link = access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)

        def use(number: int) -> bool:
            try:
                access.use_link(link.secret, f"{PASSWORD} {number}")
            except NotFound:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(use, range(4))) == 1

    def test_expires(self, access: Access, clock: Any) -> None:
        link = access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)
        clock.advance(LINK_MS)
        with pytest.raises(NotFound):
            access.use_link(link.secret, PASSWORD)

    def test_survives_a_weak_password(self, access: Access) -> None:
        link = access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)
        with pytest.raises(Rejected, match="at least 12"):
            access.use_link(link.secret, "short")
        assert access.use_link(link.secret, PASSWORD) == "somchai"

    def test_reset_kills_password_sessions_and_older_links(self, access: Access, person: Person) -> None:
        person()
        session = access.log_in("somchai", PASSWORD, address="a")
        older = access.reset("somchai", by=Principal.LOCAL)
        newer = access.reset("somchai", by=Principal.LOCAL)
        with pytest.raises(Unauthenticated):
            access.principal_of_session(session)
        with pytest.raises(Unauthenticated):
            access.log_in("somchai", PASSWORD, address="a")
        with pytest.raises(NotFound):
            access.use_link(older.secret, PASSWORD)
        access.use_link(newer.secret, "another good password")
        assert access.log_in("somchai", "another good password", address="a")


class TestAccounts:
    def test_closed_account_is_out_at_once(self, access: Access, person: Person) -> None:
        person()
        other = person("malee")
        session = access.log_in("malee", PASSWORD, address="a")
        token = access.create_token("export", Role.VENDOR, Scope.ALL, by=other)
        pending = access.reset("malee", by=Principal.LOCAL)
        access.disable("malee", by=Principal.LOCAL)
        for dead in (access.principal_of_session, access.principal_of_token):
            with pytest.raises(Unauthenticated):
                dead(session if dead == access.principal_of_session else token)
        with pytest.raises(NotFound):
            access.use_link(pending.secret, PASSWORD)
        with pytest.raises(Unauthenticated):
            access.log_in("malee", PASSWORD, address="a")
        with pytest.raises(Conflict, match="closed"):
            access.reset("malee", by=Principal.LOCAL)
        access.enable("malee", by=Principal.LOCAL)
        assert access.principal_of_token(token).name == "export"

    def test_token_made_by_a_token_closes_with_the_account_too(self, access: Access, person: Person) -> None:
        first = access.create_token("first", Role.ADMINISTRATOR, Scope(LUMPINI), by=person("malee", Role.ADMINISTRATOR, LUMPINI))
        second = access.create_token("second", Role.VENDOR, Scope(LUMPINI), by=access.principal_of_token(first))
        assert access.principal_of_token(second).name == "second"
        access.disable("malee", by=Principal.LOCAL)
        with pytest.raises(Unauthenticated):
            access.principal_of_token(second)

    def test_last_administrator_cannot_close(self, access: Access, person: Person) -> None:
        me = person()
        person("malee", Role.ADMINISTRATOR, LUMPINI)
        with pytest.raises(Conflict, match="last administrator"):
            access.disable("somchai", by=me)
        person("prasit")
        access.disable("somchai", by=me)

    @pytest.mark.parametrize("user", ["Somchai!", "", "a b", "สมชาย"])
    def test_bad_user_name(self, access: Access, user: str) -> None:
        with pytest.raises(Rejected, match="user name"):
            access.create_account(user, Role.VENDOR, "/", by=Principal.LOCAL)

    def test_taken_user_name(self, access: Access) -> None:
        access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)
        with pytest.raises(Conflict):
            access.create_account("SOMCHAI", Role.VENDOR, "/", by=Principal.LOCAL)

    def test_one_name_asked_for_twice_at_once(self, access: Access) -> None:
        def make(_number: int) -> bool:
            try:
                access.create_account("somchai", Role.VENDOR, "/", by=Principal.LOCAL)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(make, range(4))) == 1

    def test_nobody_gives_more_than_they_have(self, access: Access, person: Person) -> None:
        chief = person("chief", Role.STATION_CHIEF, LUMPINI)
        local = person("local", Role.ADMINISTRATOR, LUMPINI)
        for by, role, unit in ((chief, Role.ADMINISTRATOR, LUMPINI), (local, Role.VENDOR, "/bpp/"), (local, Role.VENDOR, "/bpp/n2/")):
            with pytest.raises(Forbidden):
                access.create_account("new", role, unit, by=by)
            with pytest.raises(Forbidden):
                access.create_token("new", role, Scope(unit), by=by)
        with pytest.raises(Rejected, match="no unit path"):
            access.create_account("new", Role.VENDOR, "lumpini", by=local)
        assert access.create_account("new", Role.VENDOR, LUMPINI, by=local).user == "new"

    def test_accounts_of_other_units_do_not_exist(self, access: Access, person: Person) -> None:
        person()
        local = person("local", Role.ADMINISTRATOR, LUMPINI)
        for act in (access.disable, access.enable, access.reset):
            with pytest.raises(NotFound):
                act("somchai", by=local)
            with pytest.raises(NotFound):
                act("no\x00body", by=local)
        assert [account.user for account in access.accounts(local.scope)] == ["local"]

    def test_list_goes_page_by_page(self, access: Access) -> None:
        for user in ("cc", "aa", "bb"):
            access.create_account(user, Role.VENDOR, "/", by=Principal.LOCAL)
        assert [a.user for a in access.accounts(Scope.ALL, limit=2)] == ["aa", "bb"]
        assert [a.user for a in access.accounts(Scope.ALL, after="bb")] == ["cc"]
        assert not access.accounts(Scope.ALL)[0].has_password


class TestTokens:
    def test_speaks_for_its_role_and_scope(self, access: Access, database: Database) -> None:
        secret = access.create_token("grafana", Role.AUDITOR, Scope(LUMPINI), by=Principal.LOCAL)
        assert secret.startswith("ssz_")
        assert access.principal_of_token(secret) == Principal("grafana", Role.AUDITOR, Scope(LUMPINI), "token")
        assert acts(database) == ["token.create"]

    def test_revoked_and_expired(self, access: Access, clock: Any) -> None:
        short = access.create_token("short", Role.VENDOR, Scope.ALL, by=Principal.LOCAL, expires_in_s=60)
        long = access.create_token("long", Role.VENDOR, Scope.ALL, by=Principal.LOCAL)
        clock.advance(60_000)
        with pytest.raises(Unauthenticated):
            access.principal_of_token(short)
        access.revoke_token("long", by=Principal.LOCAL)
        access.revoke_token("long", by=Principal.LOCAL)
        with pytest.raises(Unauthenticated):
            access.principal_of_token(long)

    def test_name_stays_taken(self, access: Access) -> None:
        access.create_token("export", Role.VENDOR, Scope.ALL, by=Principal.LOCAL)
        access.revoke_token("export", by=Principal.LOCAL)
        with pytest.raises(Conflict):
            access.create_token("export", Role.VENDOR, Scope.ALL, by=Principal.LOCAL)

    def test_tokens_of_other_units_do_not_exist(self, access: Access, person: Person) -> None:
        access.create_token("export", Role.VENDOR, Scope.ALL, by=Principal.LOCAL)
        local = person("local", Role.ADMINISTRATOR, LUMPINI)
        for name in ("export", "nothing", "\x00"):
            with pytest.raises(NotFound):
                access.revoke_token(name, by=local)
        assert access.tokens(local.scope) == []
        assert [token.name for token in access.tokens(Scope.ALL)] == ["export"]


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(connection.execute(text(f'SELECT count(*) FROM "{table}"')).scalar_one())


def test_what_has_expired_is_purged_and_nothing_else(access: Access, person: Person, database: Database, clock: Any) -> None:
    person()
    access.create_account("malee", Role.VENDOR, "/", by=Principal.LOCAL)
    clock.advance(SESSION_MS - 1)
    fresh = access.log_in("somchai", PASSWORD, address="a")
    assert access.purge() == 0
    clock.advance(1)
    assert access.purge() == 1
    assert access.principal_of_session(fresh).name == "somchai"
    clock.advance(LINK_MS)
    assert access.purge() == 2
    assert access.purge() == count(database, "session") == count(database, "one_time_link") == 0
    assert count(database, "account") == 2


def test_many_expired_sessions_go_in_pieces(access: Access, person: Person, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PURGE_ROWS", 2)
    person()
    for _ in range(4):
        access.log_in("somchai", PASSWORD, address="a")
    clock.advance(SESSION_MS)
    assert [access.purge() for _ in range(4)] == [2, 2, 1, 0]


def test_only_hashes_are_stored(access: Access, person: Person, database: Database) -> None:
    person()
    secrets = [
        PASSWORD,
        access.log_in("somchai", PASSWORD, address="a"),
        access.create_token("export", Role.VENDOR, Scope.ALL, by=Principal.LOCAL),
        access.create_account("malee", Role.VENDOR, "/", by=Principal.LOCAL).secret,
    ]
    with database.read() as connection:
        tables = ("account", "session", "token", "one_time_link", "audit")
        stored = "".join(str(row) for table in tables for row in connection.execute(text(f'SELECT * FROM "{table}"')))
    assert not [secret for secret in secrets if secret in stored]
    assert "$argon2id$" in stored


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
def test_audit_trail_cannot_be_changed(access: Access, person: Person, database: Database, statement: str) -> None:
    person()
    with pytest.raises(DBAPIError, match="append-only"), database.write() as connection:
        connection.execute(text(statement))
    assert acts(database)


def test_audit_is_scoped_and_paged(access: Access, person: Person) -> None:
    person()
    person("local", Role.VENDOR, LUMPINI)
    mine = access.audit(Scope(LUMPINI))
    assert {entry.unit_path for entry in mine} == {LUMPINI}
    first = access.audit(Scope.ALL, limit=2)
    rest = access.audit(Scope.ALL, before_id=first[-1].id)
    assert first + rest == access.audit(Scope.ALL)
