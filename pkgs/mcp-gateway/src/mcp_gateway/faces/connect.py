"""What stands behind the page "Connect": the addresses of this gateway, and what every client is told.

The texts are `connecting.py`'s. Here it is found out how this very request came here, because the address
that worked for a browser is the one to give to a program beside it.
"""

from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from starlette.responses import Response

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import connecting, reaching
from mcp_gateway.faces.edge import is_loopback_host, is_unix
from mcp_gateway.faces.http import Visit
from mcp_gateway.faces.routing import MINE, Let, json_response
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.calls import unknown_server

Users = Literal["all", "administrators"]

_USUAL_PORT: Final = {"http": ":80", "https": ":443"}


def addresses(gateway: Gateway, visit: Visit, *, is_socket: bool) -> list[str]:
    """Where the gateway is reached, `scheme://host[:port]`; first the address that this request came to.

    `is_socket`: it came over the unix socket, whose `localhost` is no address.
    """
    listening, public = gateway.exposure.listening, gateway.config.gateway.public_url
    is_here = is_loopback_host(visit.headers)
    found = [] if is_here and is_socket else [reached_at(visit)]
    found += public
    if not (found and is_here and not is_socket):  # two names of one door would only puzzle
        found.append(listening.url)
    return list(dict.fromkeys(found))


def base_of(gateway: Gateway, visit: Visit, url: str | None, *, is_socket: bool) -> str:
    """The address that was asked for, which is one of the gateway's; without one, where this request came to.

    Raises:
        GatewayError: `unknown`, it has no such address.
    """
    offered = addresses(gateway, visit, is_socket=is_socket)
    if url is not None and url not in offered:
        detail = "This is not an address of the gateway; those it knows of are in `urls.offered`"
        raise GatewayError(Kind.UNKNOWN, f"{detail} of `GET /api/connect`")
    return url or offered[0]


def reached_at(visit: Visit) -> str:
    """The address as the browser has it; the edge has looked at the Host."""
    scheme = "https" if visit.is_secure else "http"
    host = visit.headers.get(b"host", b"").decode("latin-1").lower()
    return f"{scheme}://{host.removesuffix(_USUAL_PORT[scheme])}"


def around(gateway: Gateway) -> reaching.Around:
    """What the gateway knows of how others may reach it."""
    settings, listening = gateway.config.gateway, gateway.exposure.listening
    return reaching.Around(
        listening.address, listening.port, settings.public_url, settings.cors_origins, gateway.is_guarded
    )


def endpoint(
    gateway: Gateway,
    visit: Visit,
    *,
    server: str | None,
    url: str | None,
    is_socket: bool,
    users: str = "all",
) -> connecting.Endpoint:
    """What is to be connected: all servers or one, at one of the addresses.

    Raises:
        GatewayError: `unknown`, the server or the address; `refused`.
    """
    if server is not None and not gateway.has_server(visit.caller, server):
        raise unknown_server(server)
    return connecting.Endpoint(
        base_of(gateway, visit, url, is_socket=is_socket),
        server,
        needs_key=gateway.is_guarded,
        is_mcp_open=gateway.exposure.is_mcp_open,
        knows_tailnet=gateway.config.gateway.tailscale.identity,
        for_all_users=users == "all",
    )


def document(
    gateway: Gateway,
    visit: Visit,
    *,
    server: str | None,
    url: str | None,
    is_socket: bool,
    users: Users = "all",
) -> dict[str, Any]:
    """The document of `GET /api/connect`: for all servers or one, at one of the addresses.

    Raises:
        GatewayError: see `endpoint`.
    """
    at = endpoint(gateway, visit, server=server, url=url, is_socket=is_socket, users=users)
    known = around(gateway)
    for_server = at.base if at.reach != "machine" else reaching.suggested(known)
    return {
        "urls": {
            "base": at.base,
            "mcp": at.url if at.is_mcp_open else None,
            "sse": at.sse_url if at.is_mcp_open else None,
            "tools": at.tools_url,
            "offered": addresses(gateway, visit, is_socket=is_socket),
        },
        "server": server,
        "users": users,
        "reach": at.reach,
        "needsKey": at.needs_key,
        "notes": connecting.notes(at),
        "openWebUi": {
            "forServer": for_server,
            "forBrowser": at.base,
            "findings": reaching.findings(known, for_server, at.base),
        },
        "clients": connecting.clients(at),
    }


def add(app: FastAPI, gateway: Gateway) -> None:
    @app.get(
        "/api/connect",
        name="connect",
        dependencies=[MINE],
        tags=["gateway"],
        summary="What to paste into each client, to connect it to all servers or one",
    )
    async def show(
        visit: Let,
        request: Request,
        server: str | None = None,
        url: str | None = None,
        users: Users = "all",
    ) -> Response:
        """For the address that this request came to, or another of `urls.offered`."""
        return json_response(
            document(gateway, visit, server=server, url=url, is_socket=is_unix(request.scope), users=users)
        )
