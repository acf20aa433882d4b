"""Requests by the byte, over connections that other users opened."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.faces.knocking import Line, json_bytes
from tests.harness import Answer, Gateway, until
from tests.strangers import LIMIT_S, SOMEBODY, Address, stranger

# Who plays tailscaled, or the proxy. Not root: the gateway of the tests may be root, and so may its servers.
TRUSTED: Final = SOMEBODY


class Wire(Line):
    """One open connection, whoever opened it."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.socket.settimeout(LIMIT_S)

    def ask(self, *headers: bytes, method: str = "GET", path: str = "/api/me", body: Any = None) -> Answer:
        """One request with these header lines; the answer."""
        data = b"" if body is None else json_bytes(body)
        more = () if body is None else (b"Content-Type: application/json", b"Content-Length: %d" % len(data))
        self.send(f"{method} {path} HTTP/1.1".encode(), *headers, *more, body=data)
        return self.read(method)


@contextmanager
def visit(uid: int, address: Address) -> Iterator[Wire]:
    """A connection that a process of this user has opened."""
    with stranger(uid, address) as visitor, visitor.hand_over() as connected:
        yield Wire(connected)


def door(gateway: Gateway) -> Address:
    return ("127.0.0.1", gateway.port)


def caller(answer: Answer) -> str:
    """Who the gateway takes the sender of `GET /api/me` for; the kind of the problem where it is nobody."""
    return str(answer.json()["caller"]) if answer.status == 200 else answer.code


def wait_until_ready(wire: Wire, *headers: bytes, servers: int) -> None:
    """Waits as somebody who may read."""

    def states() -> list[str]:
        return [one["state"] for one in wire.ask(*headers, path="/api/servers").json()["servers"]]

    until(lambda: states() == ["ready"] * servers, LIMIT_S, "all servers are ready", lambda: str(states()))
