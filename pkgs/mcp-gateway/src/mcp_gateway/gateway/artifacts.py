"""Results too large to hand over whole: files that their callers may read for an hour.

A file belongs to one caller; to anybody else it does not exist. Ids are known to memory alone, so nothing
of an earlier run can be reached: its files are deleted at the start. Knows no HTTP, and nothing of how a
result came into its file.
"""

import asyncio
import json
import logging
import os
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final

from mcp_gateway import clock
from mcp_gateway.upstream.framing import Spooled, room_bytes, spare_bytes
from mcp_gateway.wire.envelope import encode

KEEP_S: Final = 3600.0  # product.md: an hour
MAX_COUNT: Final = 1_000
MAX_BYTES: Final = 2 * 1024**3  # eight results of the largest size that is allowed by default
# Older artifacts make room before a new message is given up for want of it (`upstream/framing.py`).
FREE_BYTES: Final = 512 * 1024 * 1024
FREE_PART: Final = 10  # of a small disk, the part that is left free instead
FIRST_BYTES: Final = 16 * 1024  # of the result, in the document that answers instead: some pages of text
ID_BYTES: Final = 16  # 128 bit of chance; who knows an id still has to be its caller
URI_PREFIX: Final = "mcp-gateway://artifacts/"
URL_PREFIX: Final = "/api/artifacts/"
META: Final = "mcp-gateway/artifact"
MIME_TYPE: Final = "application/json"

# A result that begins with a text: its characters and whole escapes, as far as they go.
_FIRST_TEXT: Final = re.compile(
    rb'\s*\{\s*"content"\s*:\s*\[\s*\{\s*(?:"type"\s*:\s*"text"\s*,\s*)?"text"\s*:\s*'
    rb'"((?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)'
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One result, `size` bytes of JSON, or a file in one, of its own type; `start` bytes into a file of
    `file_bytes`.

    `created` and `expires` are seconds since 1970, `expires_at` is monotonic.
    """

    id: str
    path: Path
    start: int
    size: int
    file_bytes: int
    caller: str
    server: str
    tool: str
    created: float
    expires: float
    expires_at: float
    mime_type: str = MIME_TYPE

    @property
    def uri(self) -> str:
        return URI_PREFIX + self.id

    @property
    def url(self) -> str:
        return URL_PREFIX + self.id

    @property
    def until(self) -> str:
        return datetime.fromtimestamp(self.expires, UTC).strftime("%H:%M UTC")

    def facts(self) -> dict[str, Any]:
        return {"id": self.id, "uri": self.uri, "url": self.url, "size": self.size, "expires": self.expires}

    def link(self) -> dict[str, Any]:
        """As MCP lists it and links to it."""
        return {
            "uri": self.uri,
            "name": f"{self.server}/{self.tool}",
            "description": f"A result of {self.size:,} bytes, kept until {self.until}",
            "mimeType": self.mime_type,
            "size": self.size,
        }


class Reading:
    """An artifact that is being read; it stays readable when it expires meanwhile. To be closed."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self._number = os.open(artifact.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, at: int, size: int) -> bytes:
        """So much of the result, from `at` on; less at its end.

        On the event loop: what was written within the hour is in the page cache, where 256 KiB are copied
        faster than a thread can be asked to do it.

        Raises:
            OSError: the disk failed.
        """
        artifact = self.artifact
        return os.pread(self._number, max(0, min(size, artifact.size - at)), artifact.start + at)

    def close(self) -> None:
        os.close(self._number)


class Artifacts:
    """All artifacts, oldest first. Bounded in number, bytes and time; who holds the most makes room first."""

    def __init__(
        self,
        now: Callable[[], float] = clock.now_s,
        *,
        max_count: int = MAX_COUNT,
        max_bytes: int = MAX_BYTES,
        free_bytes: int = FREE_BYTES,
    ) -> None:
        self._now = now
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._free_bytes = free_bytes
        self._directory: Path | None = None
        self._artifacts: OrderedDict[str, Artifact] = OrderedDict()
        self._bytes = 0
        self._expiring: asyncio.TimerHandle | None = None

    def open(self, directory: Path, spool_dir: Path) -> None:
        """Begins; what an earlier run left in either directory is deleted, beside the event loop."""
        for place in (directory, spool_dir):
            place.mkdir(mode=0o700, exist_ok=True)
            for path in list(place.iterdir()):
                _delete_soon(path)
        self._directory = directory

    def close(self) -> None:
        """Ends: every artifact is deleted."""
        if self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
        for artifact in self._artifacts.values():
            _delete(artifact.path)
        self._artifacts.clear()
        self._bytes = 0

    def keep(self, caller: str, server: str, tool: str, large: Spooled) -> Artifact:
        """Makes an artifact of a result in a file, and room for it.

        Raises:
            OSError: it cannot be kept.
        """
        assert large.file is not None, "a result that is not on disk has ended its call as lost"
        start, end = large.result
        artifact = self._made(caller, server, tool, start, end - start, large.size)
        large.file.move(artifact.path)
        self._add(artifact)
        return artifact

    async def keep_file(self, caller: str, server: str, tool: str, data: bytes, mime_type: str) -> Artifact:
        """Makes an artifact of a file that came within a result, written beside the event loop.

        Raises:
            OSError: it cannot be kept.
        """
        artifact = self._made(caller, server, tool, 0, len(data), len(data), mime_type)
        await asyncio.to_thread(_write, artifact.path, data)
        self._add(artifact)
        return artifact

    def _made(
        self,
        caller: str,
        server: str,
        tool: str,
        start: int,
        size: int,
        file_bytes: int,
        mime_type: str = MIME_TYPE,
    ) -> Artifact:
        assert self._directory is not None, "no call ends before the gateway has started"
        artifact_id = secrets.token_urlsafe(ID_BYTES)
        created = clock.wall_s()
        return Artifact(
            id=artifact_id,
            path=self._directory / artifact_id,
            start=start,
            size=size,
            file_bytes=file_bytes,
            caller=caller,
            server=server,
            tool=tool,
            created=created,
            expires=created + KEEP_S,
            expires_at=self._now() + KEEP_S,
            mime_type=mime_type,
        )

    def _add(self, artifact: Artifact) -> None:
        self._artifacts[artifact.id] = artifact
        self._bytes += artifact.file_bytes
        self.expire()
        self._make_room()

    def find(self, caller: str, artifact_id: str) -> Artifact | None:
        """The caller's own artifact, while it is kept."""
        artifact = self._artifacts.get(artifact_id)
        if artifact is None or artifact.caller != caller or artifact.expires_at <= self._now():
            return None
        return artifact

    def of(self, caller: str) -> list[Artifact]:
        """The caller's own artifacts, oldest first."""
        return [artifact for id, artifact in self._artifacts.items() if self.find(caller, id) is artifact]

    def read(self, caller: str, artifact_id: str, server: str | None = None) -> Reading | None:
        """Opens the caller's own artifact; None when there is none, or its file was taken away.

        With `server`, artifacts of other servers are not there.
        """
        artifact = self.find(caller, artifact_id)
        if artifact is None or server not in (None, artifact.server):
            return None
        try:
            return Reading(artifact)
        except FileNotFoundError:
            self._drop(artifact)
            return None

    def expire(self) -> None:
        """Deletes what has been kept long enough; called by a timer, and before anything is kept."""
        now = self._now()
        while self._artifacts and self._oldest.expires_at <= now:
            self._drop(self._oldest)
        if self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
        if self._artifacts:
            loop = asyncio.get_running_loop()
            self._expiring = loop.call_later(self._oldest.expires_at - now, self.expire)

    @property
    def _oldest(self) -> Artifact:
        return next(iter(self._artifacts.values()))

    def _make_room(self) -> None:
        """The newest stays, whatever it takes: it was allowed to be as large as it is."""
        assert self._directory is not None, "something was kept in it"
        free = room_bytes(self._directory)
        wanted = spare_bytes(self._directory, self._free_bytes, FREE_PART)
        while len(self._artifacts) > 1 and (
            len(self._artifacts) > self._max_count or self._bytes > self._max_bytes or free < wanted
        ):
            leaving = self._least_fair()
            free += leaving.file_bytes
            logger.info("artifact %s was dropped for want of room", leaving.id[:6])
            self._drop(leaving)

    def _least_fair(self) -> Artifact:
        """The oldest of the caller who holds the most: nobody's results make way for another's many."""
        newest = next(reversed(self._artifacts.values()))
        held: Counter[str] = Counter()
        for artifact in self._artifacts.values():
            held[artifact.caller] += 1 if len(self._artifacts) > self._max_count else artifact.file_bytes
        older = [artifact for artifact in self._artifacts.values() if artifact is not newest]
        return max(older, key=lambda artifact: held[artifact.caller])  # the first of equals is the oldest

    def end_of(self, caller: str) -> None:
        """Deletes what was kept for a caller who may not come for it."""
        for artifact in [one for one in self._artifacts.values() if one.caller == caller]:
            self._drop(artifact)

    def _drop(self, artifact: Artifact) -> None:
        del self._artifacts[artifact.id]
        self._bytes -= artifact.file_bytes
        _delete_soon(artifact.path)


def _write(path: Path, data: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
    except OSError:
        _delete(path)  # a part of it, which nobody would know of
        raise


def _delete_soon(path: Path) -> None:
    """Beside the event loop: giving back the pages of a large file takes milliseconds."""
    asyncio.get_running_loop().run_in_executor(None, partial(_delete, path))


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        logger.warning("%s could not be deleted: %s", path, problem.strerror)


# What answers instead


class Form(Enum):
    """What kind of result a large one is answered with."""

    TOOL = "tools/call"
    RESOURCE = "resources/read"
    PROMPT = "prompts/get"


def document(
    artifact: Artifact, large: Spooled, *, is_error: bool, form: Form = Form.TOOL, uri: str = ""
) -> bytes:
    """The MCP result that answers in place of an artifact: its first part, and where the rest is.

    `uri` is that of the resource that was read.

    Raises:
        OSError: its file cannot be read.
    """
    what, first = first_part(large.read_result(0, FIRST_BYTES))
    where = (
        f"[The result is {artifact.size:,} bytes long, too long to be handed over whole; above is the "
        f"beginning of its {what}. All of it, as JSON, is kept until {artifact.until}: "
        f"GET {artifact.url} of the gateway, or the MCP resource {artifact.uri}]"
    )
    text = f"{first}\n\n{where}"
    link = {"type": "resource_link", **artifact.link()}
    about = {META: artifact.facts()}
    match form:
        case Form.RESOURCE:
            # What begins it is text, whatever type all of it has.
            return encode(
                {"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}], "_meta": about}
            )
        case Form.PROMPT:
            blocks = ({"type": "text", "text": text}, link)
            messages = [{"role": "user", "content": block} for block in blocks]
            return encode({"messages": messages, "_meta": about})
    content = [{"type": "text", "text": text}, link]
    return encode({"content": content, "isError": is_error, "_meta": about})


def first_part(beginning: bytes) -> tuple[str, str]:
    """What it is, and the text that a result begins with: of its first block, or else its JSON."""
    found = _FIRST_TEXT.match(beginning)
    if found is None:
        return "JSON", beginning.decode("utf-8", "ignore")  # ignored is only a character that was cut
    text = json.loads(f'"{found[1].decode("utf-8", "ignore")}"', strict=False)
    if "\ud800" <= text[-1:] <= "\udbff":
        text = text[:-1]  # its other half came later
    # Half characters that the server wrote: text of ours is whole.
    return "text", text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
