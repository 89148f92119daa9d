"""A PostgreSQL cluster of our own: in a temporary folder, on a Unix socket, without fsync."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from tests.servers.not_run import Unavailable
from tests.servers.process import ServerProcess

_USER: Final = "ssz"
# Tests have nothing to lose at a power cut. `max_connections` leaves room for several server processes at once.
_SETTINGS: Final = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


def find_postgres() -> Path:
    """Return the folder with `initdb` and `postgres`, the newest version first.

    Raises:
        Unavailable: it is not installed.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: (len(p.parent.name), p.parent.name), reverse=True)
    on_path = [Path(found).resolve().parent for name in ("initdb", "postgres") if (found := shutil.which(name))]
    for folder in (*installed, *on_path):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise Unavailable("PostgreSQL's initdb and postgres are not installed (Debian: postgresql)")


class Cluster:
    """One running server with as many empty databases as tests ask for."""

    def __init__(self, programs: Path) -> None:
        """Prepare a cluster in a new temporary folder; PostgreSQL refuses to run as root, so root starts it as somebody else."""
        self._programs = programs
        self._user = _unprivileged_user()
        # A socket's path may have 107 bytes: no deep folder of pytest's.
        self._folder = Path(tempfile.mkdtemp(prefix="ssz-pg-", dir="/tmp" if len(tempfile.gettempdir()) > 60 else None))
        self._log = self._folder / "log"
        self._numbers = itertools.count(1)
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        argv: list[str | Path] = [programs / "postgres", "-D", self._folder / "data", "-k", self._folder, *settings]
        self._process = ServerProcess("postgres", argv, log=self._log, user=self._user)

    def start(self) -> None:
        """Make the cluster and start it."""
        try:
            if self._user is not None:
                shutil.chown(self._folder, self._user)
            self._initialise()
            self._process.start(is_ready=self._is_ready)
        except BaseException:
            self.close()
            raise

    def create(self) -> str:
        """Make a new empty database and return its name."""
        name = f"test_{next(self._numbers)}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return name

    def drop(self, name: str) -> None:
        """Remove a database with all connections to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def url(self, name: str) -> str:
        """Return SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://{_USER}@/{name}?host={self._folder}"

    def close(self) -> None:
        """Stop it and remove everything."""
        self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initialise(self) -> None:
        argv: list[str | Path] = [
            self._programs / "initdb",
            "-D",
            self._folder / "data",
            "-U",
            _USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        with self._log.open("ab") as log:
            group = pwd.getpwnam(self._user).pw_gid if self._user else None
            groups: list[str] | None = [] if self._user else None
            subprocess.run(
                argv, stdout=log, stderr=log, user=self._user, group=group, extra_groups=groups, cwd="/", check=True, timeout=120
            )

    def _is_ready(self) -> bool:
        try:
            self._execute(sql.SQL("SELECT 1"))
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(host=str(self._folder), user=_USER, dbname="postgres", autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement)


def _unprivileged_user() -> str | None:
    """Return whom root shall run it as, `None` for "as we are"."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise Unavailable("we are root, and there is no user postgres or nobody to run PostgreSQL as")
