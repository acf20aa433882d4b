"""Routes of pages: each with its rights, like every route, and with failures as people can read them.

The edge lets everybody under `/ui/` in, as nobody if it must; who is nobody then sees the form to sign in
with, in the place of the page.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from mcp_gateway.access.caller import NOBODY
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.http import MISTAKE, Visit
from mcp_gateway.faces.ui.render import Renderer, is_htmx, own_path
from mcp_gateway.faces.ui.signing import sign_in_page
from mcp_gateway.gateway.actions import WAY_IN

FORM_BYTES: Final = 64 * 1024
FORM_FIELDS: Final = 5_100  # a bulk of tools, and what goes with it
_FORM_TYPE: Final = b"application/x-www-form-urlencoded"


logger = logging.getLogger(__name__)


def router_of(renderer: Renderer) -> APIRouter:
    """A router whose routes answer with pages when something is wrong."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handled(request: Request) -> Response:
                visit: Visit = request.scope["mcp_gateway.visit"]
                WAY_IN.set("ui")
                try:
                    return await handle(request)
                except GatewayError as problem:
                    return _failed(renderer, visit, problem)
                except RequestValidationError as error:
                    first = error.errors()[0]
                    place = ".".join(str(part) for part in first["loc"])
                    return _failed(renderer, visit, GatewayError(Kind.INVALID, f"{place}: {first['msg']}"))
                except Exception:
                    logger.exception("the page %s could not be made", visit.path)
                    return _failed(renderer, visit, GatewayError(Kind.INTERNAL, MISTAKE))

            return handled

    return APIRouter(route_class=PageRoute, include_in_schema=False)


def _failed(renderer: Renderer, visit: Visit, problem: GatewayError) -> Response:
    # Of a page only: whoever watches something live, or clicked, is told and comes back by themselves.
    if is_htmx(visit):
        return renderer.failed(visit, problem)
    if b"text/html" not in visit.headers.get(b"accept", b"").lower():
        raise problem  # to a program, as everywhere else
    if visit.caller is NOBODY and problem.kind is Kind.UNAUTHENTICATED:
        return sign_in_page(renderer, visit)
    return renderer.failed(visit, problem)


async def read_form(request: Request, limit: int = FORM_BYTES) -> list[tuple[str, str]]:
    """The fields of a form, in their order.

    Raises:
        GatewayError: `invalid`, also of who left meanwhile; `unauthenticated` of who is not let in any more.
    """
    visit: Visit = request.scope["mcp_gateway.visit"]
    kind = visit.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM_TYPE:
        raise GatewayError(Kind.INVALID, f"The form must be sent as {_FORM_TYPE.decode()}", status=415)
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise GatewayError(Kind.INVALID, f"The form is larger than {limit} bytes", status=413)
    except ClientDisconnect:
        raise GatewayError(Kind.INVALID, "The client left while sending the form") from None
    visit.require_current(visit.caller)
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=FORM_FIELDS, errors="strict"
        )
    except ValueError:
        raise GatewayError(Kind.INVALID, "The form was not filled in as it is meant to be") from None


def back(request: Request, fallback: str) -> Response:
    """Where a form without scripts leads: to the page that it stood on."""
    visit: Visit = request.scope["mcp_gateway.visit"]
    try:
        referrer = urlsplit(visit.headers.get(b"referer", b"").decode("latin-1"))
    except ValueError:  # of what no browser sends
        referrer = urlsplit("")
    here = ""
    if referrer.netloc == visit.headers.get(b"host", b"").decode("latin-1"):
        here = f"{referrer.path}?{referrer.query}" if referrer.query else referrer.path
    return Response(status_code=303, headers={"location": own_path(here) or fallback})
