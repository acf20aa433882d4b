"""The files that browsers load: scripts, styles, icons, as `ui/build.py` made them.

Kept in memory, they are small. Their address holds the version of all of them together, so a browser may keep
what it has for good. An installation without them serves plain pages and says so in its log.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.responses import Response

from mcp_gateway.faces.http import Visit

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/ui/static/"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_GOOD: Final = "public, max-age=31536000, immutable"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    packed: bytes | None
    media_type: str


class Assets:
    """Read at the first page and kept."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files: dict[str, _Asset] | None = None
        self._version = "none"

    def address(self, name: str) -> str:
        """Where a browser finds an asset, such as `app.css`."""
        self._load()
        return f"{PREFIX}{self._version}/{name}"

    def answer(self, visit: Visit, version: str, name: str) -> Response | None:
        """The asset; None for one that there is not."""
        asset = self._load().get(name)
        if asset is None:
            return None
        # A page from before an upgrade asks for the version it knows, and shall not keep this one as that.
        headers = {
            "cache-control": _FOR_GOOD if version == self._version else "no-store",
            "vary": "accept-encoding",
            "cross-origin-resource-policy": "same-origin",
        }
        if asset.packed is not None and b"gzip" in visit.headers.get(b"accept-encoding", b""):
            headers["content-encoding"] = "gzip"
            return Response(asset.packed, headers=headers, media_type=asset.media_type)
        return Response(asset.body, headers=headers, media_type=asset.media_type)

    def _load(self) -> dict[str, _Asset]:
        if self._files is None:
            self._files = {}
            try:
                self._version = str(json.loads((self._folder / "build.json").read_text())["version"])
            except (OSError, ValueError, KeyError):
                logger.error("the web UI's files are not there; build them with `make ui`")
                return self._files
            for path in self._folder.rglob("*"):
                if path.suffix in _TYPES and path.is_file():
                    packed = path.with_name(path.name + ".gz")
                    body = packed.read_bytes() if packed.exists() else None
                    name = path.relative_to(self._folder).as_posix()
                    self._files[name] = _Asset(path.read_bytes(), body, _TYPES[path.suffix])
        return self._files
