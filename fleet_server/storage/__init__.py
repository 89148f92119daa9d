"""One SQL database, SQLite or PostgreSQL, behind one way to read and one way to write."""

from fleet_server.storage.database import Database, StorageFull, StorageUnavailable, metadata

__all__ = ["Database", "StorageFull", "StorageUnavailable", "metadata"]
