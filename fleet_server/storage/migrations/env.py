"""Alembic's entry: runs migrations on the connection it is handed."""

from alembic import context
from sqlalchemy import Connection

from fleet_server.storage.database import metadata


def run(connection: Connection) -> None:
    """Run what is asked for inside the caller's transaction."""
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
    context.run_migrations()


run(context.config.attributes["connection"])
