"""The static files of the page at `/`: read once, sent with an ETag and a strict security policy.

The files lie in the folder `page` beside this module and are sent as they are: no build step, and
nothing is loaded from another host.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER: Final = Path(__file__).parent / "page"
INDEX: Final = "index.html"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What a browser may do with the page: load files of this server, and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFile:
    """One static file as it is sent."""

    data: bytes
    media_type: str
    etag: str
    """Quoted hash of the data."""


def read_page(folder: Path = FOLDER) -> dict[str, PageFile]:
    """Return the static files by the path at which each is served."""
    named = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in _MEDIA_TYPES}
    return {"/" if name == INDEX else f"/page/{name}": _read(path) for name, path in named.items()}


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return PageFile(data=data, media_type=_MEDIA_TYPES[path.suffix], etag=etag)


def page_routes(files: dict[str, PageFile]) -> list[Route]:
    """Return one route for each static file."""

    async def send(request: Request) -> Response:
        return _respond(files[request.url.path], request.headers.get("if-none-match", ""))

    return [Route(path, send) for path in files]


def _respond(file: PageFile, known: str) -> Response:
    """Return a file, or status 304 when the browser holds the file already."""
    headers = {"Cache-Control": "no-cache", "ETag": file.etag, **SECURITY_HEADERS}
    if file.etag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers={**headers, "Content-Type": file.media_type})
