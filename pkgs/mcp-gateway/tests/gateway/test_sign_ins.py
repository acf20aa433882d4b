"""Sign-ins over a real store: what proves what, how long it holds, and how guessing is slowed down."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from mcp_gateway import clock
from mcp_gateway.access.caller import LOCAL_OPERATOR, NOBODY, OPERATOR, USER, Caller, Grant, Right, unlimited
from mcp_gateway.config.model import SIGN_IN_PLACE, Auth, Config, GatewayConfig, Password
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway import sign_ins as room
from mcp_gateway.gateway.actions import Actions
from mcp_gateway.gateway.console import Console
from mcp_gateway.gateway.events import Events
from mcp_gateway.gateway.sign_ins import (
    ABSOLUTE_S,
    ELEVATED_S,
    IDLE_S,
    MAX_SECRET_CHARS,
    WRONG_OF_ALL,
    WRONG_OF_ONE,
    SignIn,
    SignIns,
)
from mcp_gateway.store import CallQuery, Store, StoreError

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery staple"
HERE = "192.0.2.1"
ADMINISTRATION = frozenset({Right.EXEC, Right.ADMIN})


def hashed(password: str = PASSWORD) -> Config:
    """The configuration of a gateway with this password."""
    auth = Auth(password=Password(hash=CHEAP.hash(password)))
    return Config(gateway=GatewayConfig(auth=auth))


def in_file(text: str | None) -> Config:
    """The same with a file that holds `text`, or cannot be read."""
    auth = Auth(password=Password(file="/run/secrets/password"))
    return Config(gateway=GatewayConfig(auth=auth), texts={} if text is None else {SIGN_IN_PLACE: text})


class Desk:
    """Sign-ins with a clock that is set by hand."""

    def __init__(self, directory: Path, config: Config) -> None:
        self.now_s = 1_000.0
        self.store = Store.open(directory)
        actions = Actions(self.store, clock.CallIds(), Events())
        self.console = Console(directory, actions)
        self.console.prepare()
        self.sign_ins = SignIns(config, actions, self.console, lambda: self.now_s)
        self.gone: list[str] = []
        self.left: list[str] = []
        self.sign_ins.gone, self.sign_ins.left = self.gone.append, self.left.append

    async def password(
        self,
        text: str = PASSWORD,
        known: Caller = NOBODY,
        peer: str = HERE,
        before: SignIn | None = None,
    ) -> str:
        shown, _ = await self.sign_ins.sign_in("password", text, known, peer, before=before, face="rest")
        return shown

    async def code(self, known: Caller = NOBODY) -> str:
        text, _ = await self.sign_ins.sign_in("code", self.console.code, known, HERE, face="rest")
        return text

    async def refused(self, kind: Kind, text: str = "wrong", peer: str = HERE) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.password(text, peer=peer)
        assert caught.value.kind is kind
        return caught.value

    def found(self, text: str, known: Caller = NOBODY) -> SignIn:
        sign_in = self.sign_ins.find(text, known)
        assert sign_in is not None
        return sign_in

    def caller(self, text: str, known: Caller = NOBODY) -> Caller:
        return self.sign_ins.caller(self.found(text, known), known)

    async def rows(self) -> list[tuple[str, str, str]]:
        """Action, caller and outcome of every record, oldest first."""
        page = await self.store.calls(CallQuery(limit=100))
        return [(row["action"], row["caller"], row["outcome"]) for row in reversed(page.rows)]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path, hashed())
    yield made
    await made.store.close()


ADMIN = unlimited("key:admin", Right.ADMIN)


# -- administration -------------------------------------------------------------------------------------


async def test_who_administers_sees_who_is_signed_in_and_nothing_that_opens(desk: Desk) -> None:
    first = await desk.password(peer="192.0.2.7")
    desk.now_s += ELEVATED_S
    ann = Caller("proxy:ann", (Grant(frozenset(OPERATOR)),), "Ann")
    second = await desk.password(known=ann, peer="")
    of_first, of_second = desk.found(first), desk.found(second, ann)
    shown = desk.sign_ins.shown_to(ADMIN, of_first)
    assert [(one["caller"], one["name"], one["adds"], one["from"], one["yours"]) for one in shown] == [
        ("proxy:ann", "Ann", True, None, False),
        ("operator", None, False, "192.0.2.7", True),
    ]
    now = clock.wall_s()
    assert [one["elevatedUntil"] is None for one in shown] == [False, True]
    assert [round(now - one["since"], -1) for one in shown] == [0, ELEVATED_S]
    assert [round(one["until"] - now, -1) for one in shown] == [IDLE_S, IDLE_S]
    for text, one in ((first, of_first), (second, of_second)):
        for secret in (text, one.digest.hex(), b64encode(one.digest).decode().rstrip("=")):
            assert secret not in json.dumps(shown)
        # Neither the id nor anything made of it opens what it names.
        assert desk.sign_ins.find(one.id, NOBODY) is None
        assert one.id not in text + one.digest.hex()
    desk.now_s += ABSOLUTE_S
    assert desk.sign_ins.shown_to(ADMIN, None) == []


async def test_only_who_administers_everything_sees_and_ends_sign_ins(desk: Desk) -> None:
    made = desk.found(await desk.password())
    narrow = Caller("key:narrow", (Grant(frozenset({Right.ADMIN}), servers=("git",)),))
    for caller in (NOBODY, LOCAL_OPERATOR, unlimited("key:x", *OPERATOR), narrow):
        with pytest.raises(GatewayError) as caught:
            desk.sign_ins.shown_to(caller, None)
        assert caught.value.kind is Kind.REFUSED
        with pytest.raises(GatewayError) as caught:
            await desk.sign_ins.end(caller, made.id, "rest")
        assert caught.value.kind is Kind.REFUSED
    assert len(desk.sign_ins) == 1


async def test_one_that_is_ended_opens_nothing_and_what_is_open_for_it_ends(desk: Desk) -> None:
    text, other = await desk.password(), await desk.password()
    made = desk.found(text)
    desk.sign_ins.require_current(made)
    await desk.sign_ins.end(ADMIN, made.id, "rest")
    assert desk.sign_ins.find(text, NOBODY) is None
    assert desk.left == ["operator"]
    assert desk.sign_ins.find(other, NOBODY) is not None
    with pytest.raises(GatewayError) as caught:
        desk.sign_ins.require_current(made)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert (await desk.rows())[-1] == ("sign-in.end", "key:admin", "ok")
    for unknown in (made.id, "", "x" * 10_000, text, made.digest.hex()):
        with pytest.raises(GatewayError) as caught:
            await desk.sign_ins.end(ADMIN, unknown, "rest")
        assert caught.value.kind is Kind.UNKNOWN
    assert len(desk.sign_ins) == 1


async def test_one_that_only_adds_is_ended_and_its_caller_goes_on_without_it(desk: Desk) -> None:
    text = await desk.code(LOCAL_OPERATOR)
    await desk.sign_ins.end(ADMIN, desk.found(text, LOCAL_OPERATOR).id, "ui")
    assert desk.sign_ins.find(text, LOCAL_OPERATOR) is None
    assert desk.left == []


@pytest.mark.parametrize("fault", [StoreError("the disk is full"), None])
async def test_a_disk_that_takes_nothing_keeps_no_sign_in_alive(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: StoreError | None
) -> None:
    text = await desk.password()
    made = desk.found(text)
    seen: list[bool] = []

    async def commit(_record: object) -> None:
        seen.append(desk.sign_ins.find(text, NOBODY) is made)  # recorded before it takes effect
        if fault is not None:
            raise fault
        await asyncio.Event().wait()  # it hangs

    monkeypatch.setattr(desk.store, "commit", commit)
    monkeypatch.setattr(room, "RECORD_S", 0.01)
    await desk.sign_ins.end(ADMIN, made.id, "rest")
    assert seen == [True]
    assert desk.sign_ins.find(text, NOBODY) is None
    assert "the end of a sign-in could not be recorded" in caplog.text
    caplog.clear()  # it was meant


async def test_what_is_replaced_in_its_own_browser_cuts_off_nothing(desk: Desk) -> None:
    before = desk.found(await desk.password())
    after = desk.found(await desk.password(before=before))
    desk.sign_ins.require_current(before)
    assert after.id != before.id
    desk.sign_ins.configure(hashed("another password of theirs"))
    with pytest.raises(GatewayError):
        desk.sign_ins.require_current(after)


# -- what proves what -----------------------------------------------------------------------------------


async def test_the_password_makes_the_operator_and_opens_administration_for_ten_minutes(desk: Desk) -> None:
    text = await desk.password()
    assert desk.caller(text) == unlimited("operator", *OPERATOR, *ADMINISTRATION)
    desk.now_s += ELEVATED_S - 1
    assert Right.ADMIN in desk.caller(text).rights
    desk.now_s += 1
    assert desk.caller(text) == unlimited("operator", *OPERATOR)
    assert desk.sign_ins.elevated_for(desk.found(text)) == 0


async def test_the_code_makes_the_console_of_nobody_and_works_once(desk: Desk) -> None:
    code = desk.console.code
    assert desk.caller(await desk.code()).id == "console"
    with pytest.raises(GatewayError) as caught:
        await desk.sign_ins.sign_in("code", code, NOBODY, HERE, face="rest")
    assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_a_local_operator_stays_who_they_are_and_gets_more_rights(desk: Desk) -> None:
    text = await desk.code(LOCAL_OPERATOR)
    risen = desk.caller(text, LOCAL_OPERATOR)
    assert (risen.id, risen.everywhere) == ("local", frozenset(OPERATOR) | ADMINISTRATION)
    desk.now_s += ELEVATED_S
    assert desk.caller(text, LOCAL_OPERATOR) is LOCAL_OPERATOR
    # Where being at this machine proves nothing any more, it adds to nobody.
    assert desk.sign_ins.find(text, NOBODY) is None


async def test_what_adds_rights_adds_them_to_that_caller_while_they_operate(desk: Desk) -> None:
    ann = unlimited("tailscale:ann", *OPERATOR)
    text = await desk.password(known=ann)
    assert desk.caller(text, ann).rights >= ADMINISTRATION
    for other in (
        NOBODY,
        LOCAL_OPERATOR,
        unlimited("tailscale:bob", *OPERATOR),
        unlimited("tailscale:ann", *USER),
    ):
        assert desk.sign_ins.find(text, other) is None


async def test_a_sign_in_does_not_make_somebody_else_of_who_is_known(desk: Desk) -> None:
    text = await desk.password()
    assert desk.sign_ins.find(text, unlimited("proxy:ann", *OPERATOR)) is None
    assert desk.caller(text).id == "operator"


async def test_only_who_operates_everything_may_rise(desk: Desk) -> None:
    some = Caller("tailscale:ann", (Grant(frozenset(OPERATOR), servers=("git",)),))
    for known in (unlimited("tailscale:bob", *USER), some):
        with pytest.raises(GatewayError) as caught:
            await desk.password(known=known)
        assert caught.value.kind is Kind.REFUSED
    assert len(desk.sign_ins) == 0
    assert await desk.rows() == [
        ("sign-in.failed", "tailscale:bob", "refused"),
        ("sign-in.failed", "tailscale:ann", "refused"),
    ]


# -- passwords ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [hashed(), in_file(PASSWORD), in_file(CHEAP.hash(PASSWORD))],
    ids=["hash", "file", "hash in a file"],
)
async def test_a_password_is_declared_as_hash_or_file(tmp_path: Path, config: Config) -> None:
    desk = Desk(tmp_path, config)
    assert desk.sign_ins.has_password
    await desk.refused(Kind.UNAUTHENTICATED, PASSWORD + "x")
    await desk.refused(Kind.UNAUTHENTICATED, "")
    assert desk.caller(await desk.password()).id == "operator"
    await desk.store.close()


@pytest.mark.parametrize("config", [Config(), in_file(None), in_file("")])
async def test_without_a_password_nobody_gets_in_in_the_words_of_a_wrong_one(
    tmp_path: Path, desk: Desk, config: Config
) -> None:
    bare = Desk(tmp_path / "bare", config)
    assert not bare.sign_ins.has_password
    wrong = await desk.refused(Kind.UNAUTHENTICATED)
    assert (await bare.refused(Kind.UNAUTHENTICATED)).facts() == wrong.facts()
    await bare.store.close()


async def test_a_hash_that_cannot_be_read_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, in_file("$argon2id$v=19$broken"))
    await desk.refused(Kind.UNAUTHENTICATED, "$argon2id$v=19$broken")
    assert "the hash of the password cannot be used" in caplog.text
    caplog.clear()  # it was meant to be told
    await desk.store.close()


async def test_a_text_longer_than_a_password_may_be_is_wrong(tmp_path: Path) -> None:
    longest = "x" * MAX_SECRET_CHARS
    desk = Desk(tmp_path, hashed(longest))
    await desk.refused(Kind.UNAUTHENTICATED, longest + "x")
    await desk.refused(Kind.UNAUTHENTICATED, "\ud800")  # no character, but it can be sent
    assert await desk.password(longest)
    await desk.store.close()


async def test_another_password_ends_what_was_signed_in_with_the_one_before(desk: Desk) -> None:
    by_password, by_code = await desk.password(), await desk.code()
    desk.sign_ins.configure(hashed("another"))
    assert desk.sign_ins.find(by_password, NOBODY) is None
    assert desk.caller(by_code).id == "console"
    assert desk.gone == ["operator"]
    await desk.refused(Kind.UNAUTHENTICATED, PASSWORD)
    assert await desk.password("another")


async def test_the_same_password_after_a_reload_ends_nothing(tmp_path: Path) -> None:
    config = hashed()
    desk = Desk(tmp_path, config)
    text = await desk.password()
    desk.sign_ins.configure(Config(gateway=config.gateway.model_copy(update={"port": 1})))
    assert desk.caller(text).id == "operator"
    assert desk.gone == []
    await desk.store.close()


async def test_a_password_that_changes_while_it_is_looked_at_lets_nobody_in(desk: Desk) -> None:
    signing_in = asyncio.ensure_future(desk.password())
    await asyncio.sleep(0)  # it is with the thread now
    desk.sign_ins.configure(hashed("another"))
    with pytest.raises(GatewayError) as caught:
        await signing_in
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert len(desk.sign_ins) == 0


# -- how long it holds ----------------------------------------------------------------------------------


async def test_a_sign_in_that_is_not_used_for_half_a_day_is_over(desk: Desk) -> None:
    text = await desk.password()
    for _ in range(3):
        desk.now_s += IDLE_S - 1
        desk.found(text)
    desk.now_s += IDLE_S
    assert desk.sign_ins.find(text, NOBODY) is None
    assert desk.left == ["operator"]


async def test_a_sign_in_that_is_used_all_the_time_is_over_after_a_week(desk: Desk) -> None:
    text = await desk.password()
    began = desk.now_s
    while desk.now_s + IDLE_S / 2 < began + ABSOLUTE_S:
        desk.now_s += IDLE_S / 2
        desk.found(text)
    assert desk.sign_ins.holds_for(desk.found(text)) == pytest.approx(began + ABSOLUTE_S - desk.now_s)
    desk.now_s = began + ABSOLUTE_S
    assert desk.sign_ins.find(text, NOBODY) is None


async def test_what_nobody_comes_back_to_is_swept(desk: Desk) -> None:
    await desk.password()
    desk.now_s += IDLE_S - 1
    desk.sign_ins.sweep()
    assert len(desk.sign_ins) == 1
    desk.now_s += 1
    desk.sign_ins.sweep()
    assert len(desk.sign_ins) == 0
    assert desk.left == ["operator"]


async def test_signing_in_again_takes_the_place_of_the_one_before(desk: Desk) -> None:
    first = await desk.password()
    second = await desk.password(before=desk.found(first))
    assert first != second
    assert desk.sign_ins.find(first, NOBODY) is None
    assert desk.caller(second).id == "operator"


async def test_signing_out_is_over_at_once_and_recorded(desk: Desk) -> None:
    text = await desk.password()
    sign_in = desk.found(text)
    desk.sign_ins.sign_out(sign_in, desk.caller(text), "ui")
    assert desk.sign_ins.find(text, NOBODY) is None
    assert desk.left == ["operator"]
    assert await desk.rows() == [("sign-in", "operator", "ok"), ("sign-out", "operator", "ok")]


async def test_too_many_browsers_of_one_put_out_the_one_not_seen_for_longest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_PER_CALLER", 2)
    other = await desk.code()
    first, second = await desk.password(), await desk.password()
    desk.found(first)
    third = await desk.password()
    assert [desk.sign_ins.find(text, NOBODY) is None for text in (first, second, third)] == [
        False,
        True,
        False,
    ]
    assert desk.caller(other).id == "console"


async def test_too_many_of_all_put_out_the_one_not_seen_for_longest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_SIGN_INS", 2)
    oldest, kept = await desk.code(), await desk.password()
    newest = await desk.password()
    assert desk.sign_ins.find(oldest, NOBODY) is None
    assert len(desk.sign_ins) == 2
    assert desk.caller(kept) == desk.caller(newest)


# -- records and guessing -------------------------------------------------------------------------------


async def test_what_cannot_be_recorded_does_not_happen(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.store.close()
    with pytest.raises(GatewayError) as caught:
        await desk.password()
    assert caught.value.kind is Kind.UNAVAILABLE
    assert len(desk.sign_ins) == 0
    caplog.clear()  # the store's trouble was told


async def test_wrong_ones_are_recorded(desk: Desk) -> None:
    await desk.refused(Kind.UNAUTHENTICATED)
    with pytest.raises(GatewayError):
        await desk.sign_ins.sign_in("code", "wrong", NOBODY, HERE, face="ui")
    assert await desk.rows() == [
        ("sign-in.failed", "nobody", "unauthenticated"),
        ("code.wrong", "nobody", "unauthenticated"),
        ("sign-in.failed", "nobody", "unauthenticated"),
    ]


async def test_one_address_may_be_wrong_ten_times_and_then_once_in_six_seconds(desk: Desk) -> None:
    for _ in range(WRONG_OF_ONE):
        await desk.refused(Kind.UNAUTHENTICATED)
    busy = await desk.refused(Kind.BUSY, PASSWORD)
    assert busy.facts()["retryAfter"] == 6
    # Others are not held up.
    assert await desk.password(peer="192.0.2.2")
    desk.now_s += 6
    assert await desk.password()
    assert len(await desk.rows()) == WRONG_OF_ONE + 2  # what was not looked at is no record


async def test_right_ones_are_not_counted(desk: Desk) -> None:
    for _ in range(WRONG_OF_ONE + 1):
        await desk.password()
    await desk.refused(Kind.UNAUTHENTICATED)


async def test_one_who_leaves_before_the_answer_has_tried_all_the_same(desk: Desk) -> None:
    for _ in range(WRONG_OF_ONE):
        trying = asyncio.ensure_future(desk.password("wrong"))
        await asyncio.sleep(0)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
    await desk.refused(Kind.BUSY)


async def test_many_addresses_together_are_slowed_down_and_the_code_still_works(desk: Desk) -> None:
    for number in range(WRONG_OF_ALL):
        await desk.refused(Kind.UNAUTHENTICATED, peer=f"198.51.100.{number}")
    await desk.refused(Kind.BUSY, PASSWORD, "203.0.113.1")
    assert desk.caller(await desk.code()).id == "console"


@pytest.mark.parametrize(
    ("peers", "kind"),
    [
        ([f"2001:db8:0:1::{number:x}" for number in range(WRONG_OF_ONE + 1)], Kind.BUSY),
        ([f"2001:db8:0:{number:x}::1" for number in range(WRONG_OF_ONE + 1)], Kind.UNAUTHENTICATED),
        ([f"::ffff:192.0.2.{number}" for number in range(WRONG_OF_ONE + 1)], Kind.UNAUTHENTICATED),
        ([""] * (WRONG_OF_ONE + 1), Kind.BUSY),
    ],
    ids=["one network", "many networks", "IPv4 in IPv6", "a unix socket"],
)
async def test_an_address_counts_for_whom_it_belongs_to(desk: Desk, peers: list[str], kind: Kind) -> None:
    for peer in peers[:-1]:
        await desk.refused(Kind.UNAUTHENTICATED, peer=peer)
    await desk.refused(kind, peer=peers[-1])
