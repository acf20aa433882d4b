"""The Connect page: for each client what to paste where, at the address by which this page was reached.

Of Open WebUI it does more: tries the address from this browser, asks Open WebUI's server, and puts the
connection there. The secrets of that form are never written into a page again.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from mcp_gateway.access.caller import Right
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import connect, pushing
from mcp_gateway.faces.connect import Users
from mcp_gateway.faces.edge import is_unix
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.pushing import Asked
from mcp_gateway.faces.routing import ADMIN, MINE, Let
from mcp_gateway.faces.ui.render import CSP, Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import read_form
from mcp_gateway.faces.ui.signing import desk

_FIRST: Final = "claude-code"
_OPEN_WEBUI: Final = "open-webui-openapi"
# As a policy can name one; it knows no addresses of IPv6.
_IS_SOURCE: Final = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
_FIELDS: Final = ("url", "gatewayUrl", "way", "users")  # what may be seen again
_WORDS: Final = {
    "url": "The address of Open WebUI",
    "key": "The key of Open WebUI",
    "gatewayUrl": "The address of the gateway",
    "gatewayKey": "The key of the gateway",
}


def add(router: APIRouter, renderer: Renderer) -> None:
    gateway = renderer.gateway

    @router.get("/ui/connect", dependencies=[MINE])
    async def page(
        visit: Let,
        request: Request,
        server: str = "",
        url: str = "",
        client: Annotated[str, Query(max_length=100)] = _FIRST,
        users: Users = "all",
    ) -> Response:
        return _page(visit, request, client, server, url, users)

    @router.post("/ui/connect/open-webui", dependencies=[ADMIN])
    async def push(visit: Let, request: Request) -> Response:
        given = dict(await read_form(request))

        async def connected(asked: Asked) -> dict[str, Any]:
            return await gateway.open_webui.connect(visit.caller, pushing.wanted(gateway, visit, asked))

        return await _answered(visit, request, given, connected)

    @router.post("/ui/connect/open-webui/check", dependencies=[ADMIN])
    async def check(visit: Let, request: Request) -> Response:
        given = dict(await read_form(request))
        return await _answered(visit, request, given, lambda asked: pushing.check(gateway, visit, asked))

    async def _answered(
        visit: Visit,
        request: Request,
        given: dict[str, str],
        ask: Callable[[Asked], Awaitable[dict[str, Any]]],
    ) -> Response:
        checked: dict[str, Any] | None = None
        problem: GatewayError | None = None
        try:
            checked = await ask(_asked(given, gateway.is_guarded))
        except GatewayError as error:
            problem = error
        status = 200 if problem is None else problem.status
        if is_htmx(visit):
            body = renderer.part("_pushed.html", findings=_findings(checked, problem))
            # A status of failure would keep the part from being put there.
            return html(visit, body)
        return _page(
            visit,
            request,
            _OPEN_WEBUI,
            given.get("server", "") if problem is None or problem.kind is not Kind.UNKNOWN else "",
            status=status,
            given=given,
            checked=checked,
            problem=problem,
        )

    def _page(
        visit: Visit,
        request: Request,
        client: str,
        server: str,
        url: str = "",
        users: Users = "all",
        *,
        status: int = 200,
        given: Mapping[str, str] | None = None,
        checked: dict[str, Any] | None = None,
        problem: GatewayError | None = None,
    ) -> Response:
        told = connect.document(
            gateway,
            visit,
            server=server or None,
            url=url or None,
            is_socket=is_unix(request.scope),
            users=users,
        )

        usual = {"url": "", "gatewayUrl": told["openWebUi"]["forServer"], "way": "openapi", "users": users}
        return renderer.page(
            visit,
            "connect.html",
            title="Connect",
            status=status,
            headers={"content-security-policy": _policy(told["urls"]["offered"], connect.reached_at(visit))},
            told=told,
            chosen=client,
            servers=gateway.list_servers(visit.caller) if Right.READ in visit.caller.rights else [],
            asked=_Choice(server, url),
            given={name: (given or usual).get(name, "") for name in _FIELDS},
            findings=_findings(checked, problem),
            desk=None if Right.ADMIN in visit.caller.everywhere else desk(gateway, visit),
        )


@dataclass(frozen=True, slots=True)
class _Choice:
    """What was chosen on the page."""

    server: str
    url: str

    def link(self, client: str, users: str, url: str = "") -> str:
        """The page with this client open, for these users of it, and at another address if one is given."""
        asked = {"client": client, "server": self.server, "url": url or self.url, "users": users}
        return f"/ui/connect?{urlencode({name: text for name, text in asked.items() if text})}"


def _findings(checked: dict[str, Any] | None, problem: GatewayError | None) -> list[dict[str, str]]:
    """What is to be said of what was asked."""
    if problem is not None:
        return [{"tone": "bad", "says": problem.detail}]
    return [] if checked is None else checked["findings"]


def _policy(offered: list[str], own: str) -> str:
    """The page may ask the gateway at its other addresses, too; they are the operator's."""
    others = [origin for origin in offered if origin != own and _IS_SOURCE.fullmatch(origin)]
    return CSP.replace("connect-src 'self'", " ".join(["connect-src 'self'", *others]))


def _asked(given: Mapping[str, str], is_guarded: bool) -> Asked:
    """What the form asks for.

    Raises:
        GatewayError: `invalid`.
    """
    texts = {name: given.get(name, "").strip() for name in (*_WORDS, "server", "way")}
    try:
        return Asked.model_validate(
            {
                **texts,
                "server": texts["server"] or None,
                "makeKey": is_guarded and not texts["gatewayKey"],
                "forAllUsers": given.get("users") == "all",
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0])
        words = _WORDS.get(place, place)
        raise GatewayError(Kind.INVALID, f"{words}: {first['msg']}") from None
