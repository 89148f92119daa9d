"""The schema's versions: Alembic migrations, applied when the server starts and never by hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from fleet_server.errors import Rejected
from fleet_server.storage.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS: Final = Path(__file__).parent / "migrations"


class SchemaTooNew(Rejected):
    """The database was made by a later version of this server."""


def open_database(url: str) -> Database:
    """Open the database at `url` and bring it to this version's schema.

    Raises:
        StorageUnavailable: it does not answer.
        SchemaTooNew: a later version of this server made it.
    """
    database = Database(url)
    upgrade(database)
    return database


def upgrade(database: Database) -> None:
    """Bring the database to this version's schema; nothing happens when it is there already.

    Raises:
        SchemaTooNew: it is beyond what this version knows; nothing was changed.
        StorageUnavailable: the database does not answer.
    """
    if current_revision(database) == newest_revision():
        return
    from alembic import command  # takes half a second to load, and most starts need none of it
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = alembic_config(database)
    scripts = ScriptDirectory.from_config(config)
    with database.write() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise SchemaTooNew(
                f"The database has schema {current}, which this version does not know. Run the version that made it, or a later one."
            )
        if current == scripts.get_current_head():
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def newest_revision() -> str:
    """Return the revision that this version's schema has: the number that the newest script's file name begins with."""
    return max(path.name.partition("_")[0] for path in (_SCRIPTS / "versions").glob("[0-9]*_*.py"))


def current_revision(database: Database) -> str | None:
    """Return the revision of the database, None for a new one.

    Raises:
        StorageUnavailable: the database does not answer.
    """
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if revision is None else str(revision)


def alembic_config(database: Database) -> "Config":
    """Return Alembic's configuration for `database`, with no file of its own."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["url"] = database.url
    return config
