"""Files the pages load, read once at start and served from memory under an address that changes with their content."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from fleet_server.errors import NotFound

ASSET_DIR: Final = Path(__file__).parent / "assets"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_PACKED: Final = frozenset({".css", ".js", ".svg"})


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and packed (None where packing gains nothing)."""

    media_type: str
    body: bytes
    packed: bytes | None


class Assets:
    """All files of a folder, by their path below it."""

    def __init__(self, folder: Path = ASSET_DIR) -> None:
        """Read everything that browsers may ask for."""
        files = sorted(path for path in folder.rglob("*") if path.suffix in _TYPES)
        self._by_name: Final = {path.relative_to(folder).as_posix(): _read(path) for path in files}
        digest = hashlib.sha256()
        for name, asset in self._by_name.items():
            digest.update(name.encode() + asset.body)
        self.version: Final = digest.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Return the address of a file.

        Raises:
            KeyError: there is no such file; a template is wrong.
        """
        if name not in self._by_name:
            raise KeyError(name)
        return f"/assets/{self.version}/{name}"

    def get(self, name: str) -> Asset:
        """Return a file.

        Raises:
            NotFound: there is none of this name.
        """
        try:
            return self._by_name[name]
        except KeyError as error:
            raise NotFound("there is no such file") from error


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(media_type, body, gzip.compress(body, mtime=0) if path.suffix in _PACKED else None)


def router(assets: Assets) -> APIRouter:
    """Serve the files; any version in the address answers, so that a page from before an update still finds its style."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/assets/{version}/{name:path}")
    def asset(version: str, name: str, request: Request) -> Response:
        found = assets.get(name)
        is_current = version == assets.version
        headers = {"Cache-Control": "public, max-age=31536000, immutable" if is_current else "no-cache", "Vary": "Accept-Encoding"}
        if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.packed, media_type=found.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(found.body, media_type=found.media_type, headers=headers)

    return routes
