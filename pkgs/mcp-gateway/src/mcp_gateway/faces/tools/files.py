"""`GET /api/files/{ticket}`: what answers of the tool API link to, for whoever follows the link.

A browser that is shown a link has no key. The link is its own right (`gateway/tickets.py`): to one resource
or one kept file of the caller whose answer it stood in. What a server wrote is saved and never shown as a
page of ours.
"""

import asyncio
import re
from dataclasses import replace
from typing import Annotated, Final

import msgspec
from fastapi import FastAPI, Path
from msgspec import Raw
from starlette.requests import Request
from starlette.responses import Response

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import CallCancelled, GatewayError, Kind
from mcp_gateway.faces import calls
from mcp_gateway.faces.artifacts import ArtifactResponse, attachment
from mcp_gateway.faces.connect import reached_at
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import PUBLIC, Let
from mcp_gateway.faces.tools.results import UNTYPED, decoded, media_type_of, text_of
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.artifacts import KEEP_S, META
from mcp_gateway.gateway.tickets import MAX_CHARS
from mcp_gateway.wire.envelope import read_members
from mcp_gateway.wire.results import entries

PREFIX: Final = "/api/files/"
UNPACKED_BYTES_MAX: Final = 64 * 1024 * 1024  # of a result that a file is taken out of, in memory
LINK_S: Final = KEEP_S  # as long as a file is kept
_PURPOSE: Final = "file"
_RESOURCE: Final = "resource"
_ARTIFACT: Final = "artifact"
_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_CHARS: Final = 80
_TICKET: Final = "^[A-Za-z0-9_=-]+$"


class Links:
    """Links in the answers of one server to one caller (`results.Files`), under the URL of this gateway."""

    def __init__(self, gateway: Gateway, visit: Visit, server: str) -> None:
        self._gateway = gateway
        self._caller: Caller = visit.caller
        self._server = server
        public = gateway.config.gateway.public_url
        self._base = (public[0] if public else reached_at(visit)) + PREFIX

    def to_resource(self, server_uri: str) -> str | None:
        ticket = self._ticket(_RESOURCE, self._server, server_uri)
        return self._base + ticket if len(ticket) <= MAX_CHARS else None

    def to_artifact(self, artifact_id: str) -> str:
        return self._base + self._ticket(_ARTIFACT, artifact_id, "")

    async def keep(self, data: Raw, media_type: str) -> tuple[str, int] | None:
        if (file := decoded(data)) is None:
            return None
        try:
            artifacts = self._gateway.artifacts
            kept = await artifacts.keep_file(self._caller.id, self._server, "file", file, media_type)
        except OSError:
            return None
        return self.to_artifact(kept.id), len(file)

    def _ticket(self, *subject: str) -> str:
        return self._gateway.tickets.issue(self._caller, _PURPOSE, "\0".join(subject), LINK_S)


def add(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        PREFIX + "{ticket}",
        dependencies=[PUBLIC],
        tags=["calls"],
        summary="A file that an answer of the tool API linked to",
    )
    async def read_file(
        visit: Let, request: Request, ticket: Annotated[str, Path(pattern=_TICKET)]
    ) -> Response:
        """The link is its own right, for an hour. Reading from a server is a call of who got the link."""
        caller, subject = gateway.tickets.redeem(ticket, _PURPOSE)
        kind, of, uri = subject.split("\0", 2)
        if kind == _ARTIFACT:
            return ArtifactResponse(gateway.read_artifact(caller, of), visit.headers)
        # Whoever follows a link says nothing of themselves in the name of its caller: headers may go on.
        call = calls.read_resource(gateway, replace(visit, caller=caller, query=b"", headers={}), of, uri)
        await calls.until_ended(call, request.receive)
        try:
            return await _file(await _whole(gateway, caller, call.result()), uri)
        except CallCancelled as cancelled:
            raise calls.cancelled_problem(call, cancelled) from None


async def _whole(gateway: Gateway, caller: Caller, result: Raw) -> Raw:
    """The result itself, where a small document answers in place of it (`gateway/artifacts.py`).

    Raises:
        GatewayError: `lost`, it is too large to be taken out of its JSON; `unknown`, it is gone already.
    """
    about = read_members(read_members(result).get("_meta", b"{}"))
    if META not in about:
        return result
    try:
        of = msgspec.json.decode(about[META], type=_Facts)
    except msgspec.MsgspecError:
        return result  # a server's own idea
    reading = gateway.read_artifact(caller, of.id)
    try:
        size = reading.artifact.size
        if size > UNPACKED_BYTES_MAX:
            detail = f"The server answered with {size:,} bytes, too many for a file: read the resource by MCP"
            raise GatewayError(Kind.LOST, detail)
        return Raw(await asyncio.to_thread(reading.read, 0, size))
    finally:
        reading.close()


class _Facts(msgspec.Struct):
    id: str


async def _file(result: Raw, uri: str) -> Response:
    """The first of its contents, as what it is.

    Raises:
        GatewayError: `lost`, there is none.
    """
    for raw in entries(read_members(result).get("contents", Raw(b"[]"))):
        members = read_members(raw)
        media_type = media_type_of(members.get("mimeType"))
        if "blob" in members:
            data = await asyncio.to_thread(decoded, members["blob"])
        else:
            text = await asyncio.to_thread(text_of, members.get("text"))
            data = None if text is None else text.encode()
            media_type = "text/plain; charset=utf-8" if media_type == UNTYPED else media_type
        if data is None:
            continue
        name = _NAME.sub("-", uri.partition("?")[0].rstrip("/").rpartition("/")[2])[-_NAME_CHARS:].strip(".-")
        headers = {key.decode(): value.decode() for key, value in attachment(name or "file")}
        return Response(data, headers=headers | {"cache-control": "private, no-store"}, media_type=media_type)
    raise GatewayError(Kind.LOST, "The server answered without the contents of this resource")
