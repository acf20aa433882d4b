"""Whose connection is it: real sockets, real processes of other users, and the traps of the kernel's tables.

What is asked is always asked of the connection as the web server has it. Sockets that are about to be asked
about are never read by the loop, so that it cannot notice a farewell before the kernel is asked.
"""

import asyncio
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
import uvloop

from mcp_gateway.faces.connection import Connection
from mcp_gateway.faces.peers import PEER, Peer, owner_of
from tests.harness import until
from tests.strangers import LIMIT_S, NOBODY, SOMEBODY, need_root, open_directory, stranger

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close says so at once and leaves nothing behind
# /proc/net/tcp
FIN_WAIT_2, TIME_WAIT = "05", "06"


class Doorman:
    """The loop of the gateway in a thread: takes connections, and asks about them when told to."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, answer: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await answer

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(LIMIT_S)

    def listen(self, sock: socket.socket) -> "Door":
        return Door(self, sock)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LIMIT_S)
        self.loop.close()


class Door:
    """One listening socket, and who came through it."""

    def __init__(self, doorman: Doorman, sock: socket.socket) -> None:
        self.doorman = doorman
        self.address = sock.getsockname()
        self.came: list[asyncio.Transport] = []
        self.turn = 0
        self.server = doorman.run(self._open(sock))

    async def _open(self, sock: socket.socket) -> asyncio.Server:
        door = self

        class Visitor(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                door.came.append(transport)

        return await asyncio.get_running_loop().create_server(Visitor, sock=sock)

    def next(self) -> Peer:
        """The other end of the next connection, from now on without a look at what comes from there."""

        async def look_away(transport: asyncio.Transport) -> None:
            transport.pause_reading()

        until(lambda: len(self.came) > self.turn, LIMIT_S, "somebody came")
        self.transport = self.came[self.turn]
        self.turn += 1
        self.doorman.run(look_away(self.transport))
        return Peer(self.transport)

    def ask(self, peer: Peer) -> int | None:
        uid: int | None = self.doorman.run(peer.uid())
        return uid

    def close(self) -> None:
        async def close() -> None:
            self.server.close()
            for one in self.came:
                one.abort()
            await self.server.wait_closed()

        self.doorman.run(close())


@pytest.fixture(scope="module")
def doorman() -> Iterator[Doorman]:
    doorman = Doorman()
    yield doorman
    doorman.stop()


@contextmanager
def door(doorman: Doorman, host: str = "127.0.0.1", **how: Any) -> Iterator[Door]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = doorman.listen(socket.create_server((host, 0), family=family, **how))
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def unix_door(doorman: Doorman, path: Path) -> Iterator[Door]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    path.chmod(0o666)
    opened = doorman.listen(sock)
    try:
        yield opened
    finally:
        opened.close()


def need_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


def rows_between(client: Any, server: Any) -> list[list[str]]:
    """The rows of /proc/net/tcp with these two ports, in this order, as lists of fields."""
    ports = [f"{client[1]:04X}", f"{server[1]:04X}"]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row for row in rows if [end.rpartition(":")[2] for end in row[1:3]] == ports]


# -- who it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [0, NOBODY, SOMEBODY])
def test_a_process_on_loopback_is_known_by_its_uid(doorman: Doorman, uid: int) -> None:
    need_root()
    with door(doorman) as way, stranger(uid, way.address):
        assert way.ask(way.next()) == uid


def test_our_own_processes_are_known_too(doorman: Doorman) -> None:
    with door(doorman) as way, stranger(os.getuid(), way.address):
        assert way.ask(way.next()) == os.getuid()


def test_two_users_at_one_door_are_told_apart(doorman: Doorman) -> None:
    need_root()
    with ExitStack() as stack:
        way = stack.enter_context(door(doorman))
        uids = [0, SOMEBODY, NOBODY, SOMEBODY, 0]
        peers = []
        for uid in uids:
            stack.enter_context(stranger(uid, way.address))
            peers.append(way.next())
        assert [way.ask(peer) for peer in reversed(peers)] == uids[::-1]


def test_any_address_of_the_loopback_net_will_do(doorman: Doorman) -> None:
    with door(doorman) as way, stranger(os.getuid(), way.address, ("127.3.2.1", 0)):
        assert way.ask(way.next()) == os.getuid()


@pytest.mark.parametrize(
    ("bound", "dualstack", "asked"),
    [
        ("::1", False, "::1"),
        ("::", True, "::1"),
        ("::", True, "127.0.0.1"),  # an IPv4 socket, which an IPv6 socket of ours sees as ::ffff:127.0.0.1
        ("::", True, "::ffff:127.0.0.1"),  # both ends IPv6, the address IPv4
        ("127.0.0.1", False, "::ffff:127.0.0.1"),  # an IPv6 socket that our IPv4 socket sees as 127.0.0.1
    ],
)
def test_ipv6_and_ipv4_written_as_ipv6_are_looked_up(
    doorman: Doorman, bound: str, dualstack: bool, asked: str
) -> None:
    need_ipv6()
    need_root()
    with ExitStack() as stack:
        way = stack.enter_context(door(doorman, bound, dualstack_ipv6=dualstack))
        stack.enter_context(stranger(SOMEBODY, (asked, way.address[1])))
        assert way.ask(way.next()) == SOMEBODY


@pytest.mark.parametrize("uid", [0, SOMEBODY])
def test_a_process_on_a_unix_socket_is_known_by_its_uid(doorman: Doorman, uid: int) -> None:
    need_root()
    with ExitStack() as stack:
        way = stack.enter_context(unix_door(doorman, stack.enter_context(open_directory()) / "socket"))
        stack.enter_context(stranger(uid, way.address))
        assert way.ask(way.next()) == uid


# -- who it is not --------------------------------------------------------------------------------------


def test_beyond_loopback_nobody_is_known_not_even_ourselves(doorman: Doorman) -> None:
    with door(doorman, "0.0.0.0") as way:
        for host in _own_addresses():
            with stranger(os.getuid(), (host, way.address[1])):
                assert way.ask(way.next()) is None
    # A client elsewhere has no socket here at all.
    assert owner_of(("192.0.2.1", 4711), ("192.0.2.2", 8085)) is None
    assert owner_of(("127.0.0.1", 4711), ("192.0.2.2", 8085)) is None
    assert owner_of(("2001:db8::1", 4711, 0, 0), ("::1", 8085, 0, 0)) is None


def test_who_has_left_is_nobody_although_the_table_says_root(doorman: Doorman) -> None:
    """The kernel writes uid 0 for a socket that nobody holds: closed, or waiting for its end."""
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, stranger(os.getuid(), listening.getsockname()) as visitor:
        held, client = listening.accept()
        server = held.getsockname()
        assert owner_of(client, server) == os.getuid()
        visitor.close()
        [orphan] = until(
            lambda: _in_state(FIN_WAIT_2, client, server), LIMIT_S, "the farewell is acknowledged"
        )
        assert (orphan[7], orphan[9]) == ("0", "0")
        assert owner_of(client, server) is None
        held.close()
        [waiting] = until(lambda: _in_state(TIME_WAIT, client, server), LIMIT_S, "both ends are closed")
        assert (waiting[7], waiting[9]) == ("0", "0")
        assert owner_of(client, server) is None


def test_who_says_goodbye_before_the_answer_is_not_known(doorman: Doorman) -> None:
    with door(doorman) as way, stranger(os.getuid(), way.address) as visitor:
        peer = way.next()
        with visitor.hand_over() as client:
            client.shutdown(socket.SHUT_WR)
            assert way.ask(peer) is None


def test_who_comes_from_a_port_after_another_left_does_not_vouch_for_that_one(doorman: Doorman) -> None:
    """A forger sends, slams the door, and hopes that root gets the same port before we look."""
    with ExitStack() as stack:
        way = stack.enter_context(door(doorman))
        # An address that no other connection of this machine has the port on.
        forger = stack.enter_context(stranger(os.getuid(), way.address, ("127.8.5.1", 0)))
        forger.send(ASK)
        before = way.next()
        old = way.transport
        with forger.hand_over() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            port = client.getsockname()
            forger.close()
        after = socket.socket()
        stack.enter_context(after)
        after.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        after.bind(port)
        after.connect(way.address)
        # The trap is set: the table names an owner for exactly these two addresses, and the loop holds on.
        assert owner_of(port, way.address) == os.getuid()
        assert not old.is_closing()
        assert way.ask(before) is None
        assert way.ask(way.next()) == os.getuid()


def test_a_connection_that_we_have_closed_proves_nothing(doorman: Doorman) -> None:
    with door(doorman) as way, stranger(os.getuid(), way.address):
        peer = way.next()
        doorman.loop.call_soon_threadsafe(way.transport.abort)
        assert way.ask(peer) is None


def test_who_opened_the_connection_counts_not_who_holds_it(doorman: Doorman) -> None:
    need_root()
    with door(doorman) as way:
        with stranger(SOMEBODY, way.address) as visitor, visitor.hand_over():
            assert way.ask(way.next()) == SOMEBODY  # although root can write on it, too
        # The other way round: what root opened and gave away is root's word.
        become = f"import os, sys; os.setgid({SOMEBODY}); os.setuid({SOMEBODY})"
        heir = f"{become}; print(flush=True); sys.stdin.read()"
        with socket.create_connection(way.address) as given:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", heir],
                pass_fds=[given.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline()
            assert way.ask(way.next()) == 0
            process.kill()


def test_a_user_without_a_name_in_our_namespace_is_not_known(tmp_path: Path) -> None:
    """In a user namespace all users of outside have one uid, 65534: that one can prove nothing."""
    need_root("only root can start processes of two other users")
    source = (
        "import socket; from mcp_gateway.faces.peers import owner_of\n"
        "door = socket.create_server(('127.0.0.1', 0))\n"
        "print(door.getsockname()[1], flush=True)\n"
        "for _ in range(2):\n"
        "    held, client = door.accept()\n"
        "    print(owner_of(client, held.getsockname()), flush=True)\n"
    )
    inside = ["unshare", "--user", "--map-root-user", sys.executable, "-c", source]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout is not None
            address = ("127.0.0.1", int(gateway.stdout.readline()))
            for uid, told in ((0, "0"), (SOMEBODY, "None")):
                with stranger(uid, address):
                    assert gateway.stdout.readline().strip() == told
        finally:
            gateway.kill()


# -- asked once, of this connection only ----------------------------------------------------------------


async def answer_with_uid(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    uid = str(await scope[PEER].uid()).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(uid))]}
    )
    await send({"type": "http.response.body", "body": uid})


@pytest.fixture
def served(doorman: Doorman) -> Iterator[Any]:
    """uvicorn with our connections; answers every request with the uid."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(answer_with_uid, http=Connection, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.run_coroutine_threadsafe(server.serve(sockets=[sock]), doorman.loop)
    yield sock.getsockname()
    server.should_exit = True
    running.result(LIMIT_S)


def uids(client: socket.socket, requests: int, together: bool = False) -> list[str]:
    """What the gateway takes us for, in each of some requests on one connection."""
    told = []
    with client.makefile("rb") as answers:
        if together:
            client.sendall(ASK * requests)
        for _ in range(requests):
            if not together:
                client.sendall(ASK)
            length = 0
            while (line := answers.readline().strip().lower()) != b"":
                name, _, value = line.partition(b": ")
                length = int(value) if name == b"content-length" else length
            told.append(answers.read(length).decode())
    return told


@pytest.mark.parametrize("together", [False, True], ids=["kept-alive", "pipelined"])
def test_requests_on_one_connection_share_one_look_and_others_get_their_own(
    served: Any, together: bool
) -> None:
    need_root()
    with socket.create_connection(served) as first, socket.create_connection(served) as second:
        assert uids(first, 1) == ["0"]
        # Root may give a socket away, and the table follows: who asked before has the answer already.
        os.fchown(first.fileno(), SOMEBODY, -1)
        os.fchown(second.fileno(), SOMEBODY, -1)
        assert owner_of(first.getsockname(), served) == SOMEBODY
        assert uids(first, 5, together) == ["0"] * 5
        assert uids(second, 5, together) == [str(SOMEBODY)] * 5


def test_a_request_that_is_given_up_leaves_the_answer_to_the_next(doorman: Doorman) -> None:
    with door(doorman) as way, stranger(os.getuid(), way.address):
        peer = way.next()

        async def give_up_and_ask() -> int | None:
            first = asyncio.ensure_future(peer.uid())
            await asyncio.sleep(0)
            first.cancel()
            return await peer.uid()

        assert doorman.run(give_up_and_ask()) == os.getuid()


def _in_state(state: str, client: Any, server: Any) -> list[list[str]]:
    return [row for row in rows_between(client, server) if row[3] == state]


def _own_addresses() -> list[str]:
    found = [one for addresses in psutil.net_if_addrs().values() for one in addresses]
    return [
        one.address for one in found if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
