"""S54, S09: what decides who may do what is on the disk before it takes effect, and a disk that fails opens
nothing: no key is made, and one that was revoked lets nobody in.

The disk of the running gateway is taken away with the limit that its kernel puts on the size of its files.
"""

import ast
import json
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_gateway.config import load
from mcp_gateway.errors import GatewayError
from mcp_gateway.gateway import Gateway as Inside
from mcp_gateway.store import Store
from mcp_gateway.upstream.process import Nursery
from tests.faces.knocking import check_problem
from tests.harness import until
from tests.security.cast import Guarded, hash_of

SOURCE = Path(__file__).parents[2] / "src" / "mcp_gateway"
USUAL = {"rights": ["read", "call"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded({}, tmp_path_factory.mktemp("records"), keys={"user": USUAL}) as gateway:
        yield gateway


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Guarded]:
    """For what leaves a gateway as no other test wants to find it."""
    with Guarded({}, tmp_path, keys={"leaving": USUAL}) as gateway:
        yield gateway


@contextmanager
def full_disk(gateway: Guarded) -> Iterator[None]:
    """No file of the gateway can be written, its log among them."""
    before = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, before)


def recovered(gateway: Guarded) -> None:
    """Waits until the store writes again; it tries by itself."""

    def revoked() -> bool:
        return gateway.request("POST", "/api/keys", {"name": "probe", "scopes": USUAL}).status == 201

    until(revoked, 20, "the disk is written again")


def keys_on_disk(gateway: Guarded) -> list[tuple[str, str]]:
    """Of a gateway that was killed: a living one has its database for itself."""
    with closing(sqlite3.connect(gateway.state_dir / "gateway.sqlite3")) as database:
        rows: list[tuple[str, str]] = database.execute("SELECT id, name FROM keys").fetchall()
        return rows


def actions(gateway: Guarded) -> list[dict[str, Any]]:
    rows = gateway.get("/api/calls?limit=500").json()["calls"]
    return [row for row in rows if row["action"] is not None]


def test_S54_no_key_is_made_that_is_not_on_the_disk(gateway: Guarded) -> None:
    before = gateway.get("/api/keys").json()["keys"]
    with full_disk(gateway):
        answer = gateway.request("POST", "/api/keys", {"name": "lost", "scopes": USUAL})
        check_problem(answer, 503, "unavailable", "nothing was done")
        assert b"mgk_" not in answer.body
        shown = gateway.get("/api/keys").json()["keys"]
        assert [key["id"] for key in shown] == [key["id"] for key in before]
    recovered(gateway)
    assert "lost" not in json.dumps(actions(gateway))


def test_S09_a_revoked_key_is_refused_though_the_disk_does_not_know(gateway: Guarded) -> None:
    key_id, caller = gateway.make_key("leaving-now", **USUAL)
    assert caller.get("/api/me").status == 200
    with full_disk(gateway):
        answer = gateway.request("DELETE", f"/api/keys/{key_id}")
        check_problem(answer, 503, "unavailable", "revoke it again")
        check_problem(caller.get("/api/me"), 401, "unauthenticated")
        assert gateway.as_("user").get("/api/me").status == 200  # who was let in before still is
    recovered(gateway)
    check_problem(caller.get("/api/me"), 401, "unauthenticated")
    gateway.revoke(key_id)


def test_S54_a_code_that_cannot_be_recorded_does_nothing_and_is_used_up(another: Guarded) -> None:
    code = (another.state_dir / "one-time-code").read_text().strip()
    with full_disk(another):
        for status in (503, 401):
            answer = another.nobody.request("GET", "/api/keys", headers={"Mcp-Gateway-Code": code})
            assert answer.status == status, answer


def test_S09_a_key_that_is_taken_out_of_the_file_is_gone_on_a_full_disk_too(another: Guarded) -> None:
    caller = another.as_("leaving")
    assert caller.get("/api/me").status == 200
    del another.keys["leaving"]
    another.reconfigure()
    with full_disk(another):
        assert another.request("POST", "/api/reload").status == 200
        check_problem(caller.get("/api/me"), 401, "unauthenticated")


def test_S54_what_was_answered_survives_a_kill(another: Guarded) -> None:
    kept_id, kept = another.make_key("kept", **USUAL)
    gone_id, gone = another.make_key("gone", **USUAL)
    another.revoke(gone_id)
    another.kill()
    assert keys_on_disk(another) == [(kept_id, "kept")]
    another.start()
    for caller, status in ((kept, 200), (gone, 401)):
        caller.port = another.port
        assert caller.get("/api/me").status == status
    told = {(row["action"], row["caller"], row["right"]) for row in actions(another)}
    assert told >= {("key.create", "key:full", "admin"), ("key.revoke", "key:full", "admin")}


def test_S54_security_events_are_shown_to_who_operates_and_hold_no_secret(gateway: Guarded) -> None:
    key_id, made = gateway.make_key("shown", **USUAL)
    code = (gateway.state_dir / "one-time-code").read_text().strip()
    wrong = "0123456789"
    assert gateway.nobody.request("GET", "/api/me", headers={"Mcp-Gateway-Code": wrong}).status == 401
    assert gateway.nobody.request("GET", "/api/me", headers={"Mcp-Gateway-Code": code}).status == 200
    gateway.revoke(key_id)
    shown = actions(gateway)
    assert {row["action"] for row in shown} >= {"key.create", "key.revoke", "code.use", "code.wrong"}
    assert {row["caller"] for row in shown if row["action"] == "code.wrong"} == {"nobody"}
    text = json.dumps(shown)
    for secret in (made.texts["shown"], gateway.texts["full"], code, wrong):
        assert secret not in text
    user = gateway.as_("user")
    assert user.get("/api/calls").json()["calls"] == []


def test_S09_no_file_of_the_gateway_holds_a_key(gateway: Guarded) -> None:
    _, made = gateway.make_key("secret", **USUAL)
    assert made.get("/api/me").status == 200
    assert gateway.as_("user").get("/api/me").status == 200
    assert (
        gateway.nobody.request("GET", "/api/me", headers={"Authorization": "Bearer mgk_x_wrong"}).status
        == 401
    )
    listed = gateway.get("/api/keys").body
    assert hash_of(made.texts["secret"])[-64:].encode() not in listed
    files = [path for path in gateway.state_dir.rglob("*") if path.is_file()] + [gateway.log]
    for path in files:
        data = path.read_bytes()
        assert b"mgk_x_wrong" not in data
        for text in (made.texts["secret"], gateway.texts["user"], gateway.texts["full"]):
            assert text.split("_", 2)[2].encode() not in data, path
    assert gateway.state_dir.stat().st_mode & 0o077 == 0
    assert (gateway.state_dir / "one-time-code").stat().st_mode & 0o777 == 0o600
    assert b"mgk_" not in Path(f"/proc/{gateway.pid}/cmdline").read_bytes()


# -- how it is compared -------------------------------------------------------------------------------------


class Unread(str):
    """A text that may be hashed by a digest, and compared with nothing."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a key was compared as a text")

    def __hash__(self) -> int:
        raise AssertionError("a key was looked up as a text")


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    store = Store.open(tmp_path / "state")
    try:
        yield Inside(load.empty(), store, Nursery("test", {}), {}, tmp_path)
    finally:
        await store.close()


async def test_S09_a_key_is_known_by_its_digest_alone(inside: Inside) -> None:
    for text in ("mgk_x_y", "", "mgk_" + "A" * 5_000, "\ud800"):
        with pytest.raises(GatewayError) as refused:
            inside.keys.caller_of(Unread(text))
        assert refused.value.detail == "This API key is not known here: it may have expired or been revoked"


@pytest.mark.parametrize(
    ("file", "function"), [("gateway/console.py", "redeem"), ("faces/edge.py", "_is_proxy")]
)
def test_S09_a_secret_that_is_kept_as_a_text_is_compared_in_constant_time(file: str, function: str) -> None:
    tree = ast.parse((SOURCE / file).read_text())
    wanted = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = next(node for node in ast.walk(tree) if isinstance(node, wanted) and node.name == function)
    compared = [node for node in ast.walk(found) if isinstance(node, ast.Compare)]
    called = [ast.unparse(node.func) for node in ast.walk(found) if isinstance(node, ast.Call)]
    assert called.count("compare_digest") == 1
    for node in compared:
        if isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            assert {ast.unparse(node.left), *map(ast.unparse, node.comparators)} <= {"uid", "proxy.uid"}
