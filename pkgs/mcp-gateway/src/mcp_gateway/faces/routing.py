"""What every group of routes by FastAPI needs: who visits, what a route asks for, bodies in and JSON out.

A group is a module of its own with `add(app, gateway)`, called from `rest.build`. Knows no route.
"""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_gateway.access.caller import NOBODY, Right
from mcp_gateway.access.policy import require
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import sign_in
from mcp_gateway.faces.http import Visit, require_json, unauthenticated
from mcp_gateway.wire import sse
from mcp_gateway.wire.envelope import encode, scan_object


class _WholePath(PathConvertor):
    """The rest of a path, whatever is in it.

    The framework's own ends where a line does: a server could name a tool so that nobody can switch it off.
    """

    regex = r"[\s\S]*"


register_url_convertor("path", _WholePath())

BODY_BYTES: Final = 64 * 1024  # of what is sent to switch something
_OF_A_FRESH_SIGN_IN: Final = frozenset({Right.EXEC, Right.ADMIN})
_Shape = TypeVar("_Shape", bound=BaseModel)


def visit_of(request: Request) -> Visit:
    visit: Visit = request.scope["mcp_gateway.visit"]
    return visit


Let = Annotated[Visit, Depends(visit_of)]


def nobody() -> GatewayError:
    return unauthenticated("This needs an API key, or to be signed in")


def require_somebody(visit: Visit) -> None:
    """Of whom nothing is known has no rights, and is told how to say who they are.

    Raises:
        GatewayError: `unauthenticated`.
    """
    if visit.caller is NOBODY:
        raise nobody()


class Policy:
    """What a route asks for: one of the rights, or nothing where it is public. Every route has one."""

    def __init__(self, rights: tuple[Right, ...]) -> None:
        self.rights = rights

    async def __call__(self, request: Request) -> None:
        if self.rights:
            visit = visit_of(request)
            require_somebody(visit)
            if visit.sign_in is not None and _OF_A_FRESH_SIGN_IN.issuperset(self.rights):
                sign_in.require_fresh(visit)
            require(visit.caller, *self.rights)


def needs(*rights: Right) -> Any:
    """A route's policy; checked before its body is read."""
    return Depends(Policy(rights))


PUBLIC: Final = needs()
READ: Final = needs(Right.READ)
MINE: Final = needs(Right.READ, Right.CALL)  # what belongs to the caller, whichever of the rights made it
CALL: Final = needs(Right.CALL)
OPERATE: Final = needs(Right.OPERATE)
ADMIN: Final = needs(Right.ADMIN)


def policies(app: FastAPI) -> dict[tuple[str, str], tuple[Right, ...]]:
    """The rights that each route asks for, one of them, by method and path.

    Raises:
        LookupError: a route has no policy; such a house does not open.
    """
    found: dict[tuple[str, str], tuple[Right, ...]] = {}
    for route in app.routes:
        dependencies = route.dependant.dependencies if isinstance(route, APIRoute) else []
        policy = next((one.call for one in dependencies if isinstance(one.call, Policy)), None)
        if policy is None or not isinstance(route, APIRoute):
            raise LookupError(f"the route {route} has no policy")
        found |= {(method, route.path): policy.rights for method in route.methods or ()}
    return found


def json_response(value: Any, status_code: int = 200) -> Response:
    return Response(encode(value), status_code, media_type="application/json")


class EventStream(StreamingResponse):
    """An answer in events. Its end is told in any case: a reader can be gone before the first one is made."""

    def __init__(self, events: AsyncIterator[bytes], at_end: Callable[[], None]) -> None:
        headers = {name.decode(): value.decode() for name, value in sse.HEADERS}
        super().__init__(events, headers=headers)
        self._at_end = at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._at_end()


async def read_json(request: Request, shape: type[_Shape], limit: int = BODY_BYTES) -> _Shape:
    """A body of JSON, read as strictly as a call's.

    Raises:
        GatewayError: `invalid`.
        RequestValidationError: it has another shape.
    """
    require_json(visit_of(request).headers)
    body = await read_bytes(request, limit)
    try:
        return shape.model_validate(scan_object(body))
    except ValueError as problem:
        raise RequestValidationError(getattr(problem, "errors", list)()) from None


async def read_bytes(request: Request, limit: int) -> bytes:
    """A whole body of so many bytes at most, and that its sender may still go on.

    Raises:
        GatewayError: `invalid`, `unauthenticated`.
    """
    parts = bytearray()
    try:
        async for part in request.stream():
            parts += part
            if len(parts) > limit:
                raise GatewayError(Kind.INVALID, f"The body is larger than {limit} bytes", status=413)
    except ClientDisconnect:
        raise GatewayError(Kind.INVALID, "The client left while sending the body") from None
    visit = visit_of(request)
    visit.require_current(visit.caller)
    return bytes(parts)
