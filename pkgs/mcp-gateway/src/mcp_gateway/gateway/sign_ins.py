"""Signing in on the page, with the operator's password or the one-time code, and how long that holds.

A sign-in is a text of 256 bit of chance, which faces keep in a cookie. Here it is known by its hash and in
memory only, so a restart ends all of them. Guessing is slowed down for each address and for all of them
together, and tells nothing by its time or its words. Knows no cookie and no header.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Final, Literal

from mcp_gateway import clock
from mcp_gateway.access.caller import (
    CONSOLE,
    CONSOLE_ID,
    NOBODY,
    OPERATOR,
    OPERATOR_ID,
    Caller,
    Grant,
    Right,
    unlimited,
)
from mcp_gateway.access.limits import Buckets
from mcp_gateway.access.policy import require_everywhere
from mcp_gateway.config.model import SIGN_IN_PLACE, Config
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.actions import Actions
from mcp_gateway.gateway.console import Console

IDLE_S: Final = 12 * 3600.0  # a night passes, a forgotten browser does not stay in for long
ABSOLUTE_S: Final = 7 * 86_400.0  # after which even a page that is always open asks again
ELEVATED_S: Final = 600.0  # administration, from the moment the password or the code was given
MAX_SIGN_INS: Final = 1_000
MAX_PER_CALLER: Final = 100  # browsers of one person; the one not seen for longest goes
MAX_SECRET_CHARS: Final = 1_024  # of what is looked at; more is no password
_TOKEN_BYTES: Final = 32
_ID_BYTES: Final = 5
RECORD_S: Final = 5.0  # a disk that hangs must not keep a sign-in from being ended

# Wrong attempts: so many at once, and as many again in a minute.
WRONG_OF_ONE: Final = 10
WRONG_OF_ALL: Final = 30  # whoever owns many addresses tries 43,000 passwords a day
_MINUTE_S: Final = 60.0
# One verification takes 0.15 s of a processor and 64 MiB.
VERIFIED_AT_ONCE: Final = 2
_SAME_OWNER_BITS: Final = 64  # of an IPv6 address; the rest is chosen by who has it
# Nobody's password, with the parameters of argon2-cffi: what is verified where there is none.
_NOBODYS: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$AlLBSkFhhwq5VxQGdOpyCA$qFlgJPSZwgqLDQz4PZ2FQ8nWL1V6WA2Zn0uKLGCHlag"
)
_HASH_PREFIX: Final = "$argon2"

Way = Literal["password", "code"]
_SHOWN: Final[dict[Way, str]] = {"password": "with the password", "code": "with the one-time code"}
_CALLER_IDS: Final[dict[Way, str]] = {"password": OPERATOR_ID, "code": CONSOLE_ID}
_ADMINISTRATION: Final = frozenset({Right.EXEC, Right.ADMIN})
_USUAL: Final = {name: unlimited(name, *OPERATOR) for name in _CALLER_IDS.values()}
_ELEVATED: Final = {name: unlimited(name, *CONSOLE) for name in _CALLER_IDS.values()}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SignIn:
    """`caller_id` is who it makes of somebody, or, where it `adds`, to whom it adds rights.

    `began` and `used` in seconds of the monotonic clock. `id` is for who administers: it opens nothing and is
    made of nothing that does. `name` is what a proxy calls the person; `peer` the address it was done from,
    empty for the unix socket. `is_over`: it was ended, and not only replaced by another of the same browser.
    """

    digest: bytes
    caller_id: str
    adds: bool
    way: Way
    began: float
    used: float
    name: str = ""
    peer: str = ""
    face: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(_ID_BYTES))
    is_over: bool = False

    @property
    def until(self) -> float:
        return min(self.used + IDLE_S, self.began + ABSOLUTE_S)

    @property
    def elevated_until(self) -> float:
        return self.began + ELEVATED_S


class SignIns:
    """`gone` is told the id of a caller whose password holds no more, `left` of one who has signed out."""

    def __init__(
        self,
        config: Config,
        actions: Actions,
        console: Console,
        now: Callable[[], float] = clock.now_s,
    ) -> None:
        self._actions = actions
        self._console = console
        self._now = now
        self._secret = _secret_of(config)
        self._sign_ins: OrderedDict[bytes, SignIn] = OrderedDict()  # by digest; last used last
        self._wrong = Buckets()
        self._verifying = asyncio.Semaphore(VERIFIED_AT_ONCE)
        self.gone: Callable[[str], None] = lambda _caller_id: None
        self.left: Callable[[str], None] = lambda _caller_id: None

    def configure(self, config: Config) -> None:
        """Takes another configuration; another password ends what was signed in with the one before."""
        before, self._secret = self._secret, _secret_of(config)
        if before != self._secret:
            ended = [one for one in self._sign_ins.values() if one.way == "password"]
            for one in ended:
                one.is_over = True
                del self._sign_ins[one.digest]
            for caller_id in {one.caller_id for one in ended if not one.adds}:
                self.gone(caller_id)

    def __len__(self) -> int:
        return len(self._sign_ins)

    @property
    def has_password(self) -> bool:
        return self._secret is not None

    # Signing in

    async def sign_in(
        self, way: Way, secret: str, known: Caller, peer: str, *, before: SignIn | None = None, face: str
    ) -> tuple[str, SignIn]:
        """Signs somebody in who is `known` otherwise, or `NOBODY`; the text to show from now on.

        `peer` is the address at the other end, `before` the sign-in that this one takes the place of.

        Raises:
            GatewayError: `unauthenticated`; `refused` for a known caller who may not operate; `busy` after
                too many wrong ones; `unavailable` when it could not be recorded.
        """
        detail = _described(way, peer)
        if known is not NOBODY and Right.OPERATE not in known.everywhere:
            self._actions.note(known, None, "sign-in.failed", detail=detail, outcome="refused", face=face)
            raise GatewayError(
                Kind.REFUSED,
                f"You are known as `{known.id}`, who does not have the right `operate`; signing in adds "
                "administration to that right and nothing to others",
            )
        pools = self._take_attempt(way, peer)
        try:
            if way == "password":
                await self._check_password(secret)
            else:
                await self._console.redeem(secret[:MAX_SECRET_CHARS], "sign-in")
        except GatewayError as problem:
            if problem.kind is Kind.UNAUTHENTICATED:
                outcome = problem.kind.value
                self._actions.note(known, None, "sign-in.failed", detail=detail, outcome=outcome, face=face)
            raise
        for pool in pools:
            self._wrong.give_back(pool)
        return await self._begin(way, known, peer, before, face)

    async def _begin(
        self, way: Way, known: Caller, peer: str, before: SignIn | None, face: str
    ) -> tuple[str, SignIn]:
        text, now, checked = secrets.token_urlsafe(_TOKEN_BYTES), self._now(), self._secret
        is_nobody = known is NOBODY
        caller_id = _CALLER_IDS[way] if is_nobody else known.id
        made = SignIn(_digest(text), caller_id, not is_nobody, way, now, now, known.name, peer, face)
        detail = _described(way, peer)
        await self._actions.commit(self.caller(made, known), None, "sign-in", detail=detail, face=face)
        if way == "password" and self._secret != checked:
            raise _wrong_password()  # another one holds since a moment ago
        if before is not None:
            self._sign_ins.pop(before.digest, None)
        self._make_room(caller_id)
        self._sign_ins[made.digest] = made
        return text, made

    def _make_room(self, caller_id: str) -> None:
        of_caller = [one for one in self._sign_ins.values() if one.caller_id == caller_id]
        if len(of_caller) >= MAX_PER_CALLER:
            self._end(of_caller[0])
        elif len(self._sign_ins) >= MAX_SIGN_INS:
            self._end(next(iter(self._sign_ins.values())))

    def _take_attempt(self, way: Way, peer: str) -> tuple[str, str]:
        """An attempt counts as wrong until it is known to be right, also when whoever made it leaves."""
        pools = f"{way} {_owner(peer)}", way
        for pool, allowed in zip(pools, (WRONG_OF_ONE, WRONG_OF_ALL), strict=True):
            wait_s = self._wrong.take(pool, allowed / _MINUTE_S, allowed, self._now())
            if wait_s:
                detail = "There were too many wrong attempts to sign in; wait a little"
                raise GatewayError(Kind.BUSY, detail, retry_after_s=wait_s)
        return pools

    async def _check_password(self, password: str) -> None:
        checked = self._secret
        async with self._verifying:
            is_right = await asyncio.to_thread(_verify, checked, password)
        if not is_right or checked != self._secret:
            raise _wrong_password()

    # Being signed in

    def find(self, text: str, known: Caller) -> SignIn | None:
        """The sign-in that a text shows, if it says something about who is `known` otherwise."""
        found = self._sign_ins.get(_digest(text))
        if found is None:
            return None
        now = self._now()
        if found.until <= now:
            self._end(found)
            return None
        if found.adds:
            holds = known.id == found.caller_id and Right.OPERATE in known.everywhere
        else:
            holds = known is NOBODY  # who is somebody by other proof does not become another
        if not holds:
            return None
        found.used = now
        self._sign_ins.move_to_end(found.digest)
        return found

    def caller(self, sign_in: SignIn, known: Caller) -> Caller:
        """Who somebody is by a sign-in that was found for them."""
        is_elevated = self.elevated_for(sign_in) > 0
        if not sign_in.adds:
            return (_ELEVATED if is_elevated else _USUAL)[sign_in.caller_id]
        if not is_elevated:
            return known
        return Caller(known.id, (*known.grants, Grant(known.everywhere | _ADMINISTRATION)), known.name)

    def age(self, sign_in: SignIn) -> float:
        """For how many seconds somebody has been signed in."""
        return self._now() - sign_in.began

    def holds_for(self, sign_in: SignIn) -> float:
        """For how many seconds more, if nothing is asked until then."""
        return sign_in.until - self._now()

    def elevated_for(self, sign_in: SignIn) -> float:
        """For how many seconds more administration is open; 0 when it is not."""
        return max(0.0, sign_in.elevated_until - self._now())

    def require_current(self, sign_in: SignIn) -> None:
        """That a sign-in by which somebody was let in was not ended since.

        Raises:
            GatewayError: `unauthenticated`.
        """
        if sign_in.is_over:
            raise GatewayError(Kind.UNAUTHENTICATED, "What you had signed in with was ended; sign in again")

    # Administration

    def shown_to(self, caller: Caller, own: SignIn | None) -> list[dict[str, Any]]:
        """Who is signed in, the last seen first; times in seconds since 1970. `own` is the caller's.

        Raises:
            GatewayError: `refused`.
        """
        require_everywhere(caller, Right.ADMIN)
        self.sweep()
        to_wall = clock.wall_s() - self._now()
        return [
            {
                "id": one.id,
                "caller": one.caller_id,
                "name": one.name or None,
                "way": one.way,
                "adds": one.adds,
                "face": one.face,
                "from": one.peer or None,
                "since": round(one.began + to_wall, 3),
                "seen": round(one.used + to_wall, 3),
                "until": round(one.until + to_wall, 3),
                "elevatedUntil": round(one.elevated_until + to_wall, 3) if self.elevated_for(one) else None,
                "yours": one is own,
            }
            for one in reversed(self._sign_ins.values())
        ]

    async def end(self, caller: Caller, sign_in_id: str, face: str) -> None:
        """Ends somebody's sign-in: its cookie is worth nothing from now on, and what is open for who had it
        ends as if they had signed out.

        It is recorded before. Where that fails it is ended all the same: a full disk must not keep a stolen
        cookie alive.

        Raises:
            GatewayError: `refused`, `unknown`.
        """
        require_everywhere(caller, Right.ADMIN)
        self.sweep()
        found = next((one for one in self._sign_ins.values() if one.id == sign_in_id), None)
        if found is None:
            raise GatewayError(Kind.UNKNOWN, "There is no such sign-in; it may have ended by itself")
        detail = f"{found.id} of {found.caller_id}, {_described(found.way, found.peer)}"
        try:
            async with asyncio.timeout(RECORD_S):
                await self._actions.commit(caller, Right.ADMIN, "sign-in.end", detail=detail, face=face)
        except (GatewayError, TimeoutError):
            logger.error("the end of a sign-in could not be recorded: %s", detail)
        self._end(found)

    def sign_out(self, sign_in: SignIn, caller: Caller, face: str) -> None:
        self._actions.note(caller, None, "sign-out", face=face)
        self._end(sign_in)

    def sweep(self) -> None:
        """Ends those whose time is over and who do not come to hear of it; asked now and then."""
        now = self._now()
        for one in [one for one in self._sign_ins.values() if one.until <= now]:
            self._end(one)

    def _end(self, sign_in: SignIn) -> None:
        sign_in.is_over = True
        if self._sign_ins.pop(sign_in.digest, None) is not None and not sign_in.adds:
            self.left(sign_in.caller_id)


def _secret_of(config: Config) -> str | None:
    """The hash of the password, or the password; None where there is none, or its file cannot be read."""
    declared = config.gateway.auth.password
    if declared is None:
        return None
    return declared.hash if declared.hash is not None else config.texts.get(SIGN_IN_PLACE) or None


def _verify(secret: str | None, password: str) -> bool:
    """One verification of a hash, whatever is wrong, so that the time tells nothing; in a thread."""
    given = password[:MAX_SECRET_CHARS].encode("utf-8", "surrogatepass")
    if secret is not None and secret.startswith(_HASH_PREFIX):
        is_right = _is_hashed(secret, given)
    else:
        _is_hashed(_NOBODYS, given)
        expected = (secret or "").encode("utf-8", "surrogatepass")
        is_equal = compare_digest(sha256(given).digest(), sha256(expected).digest())
        is_right = is_equal and secret is not None
    return is_right and len(password) <= MAX_SECRET_CHARS


def _is_hashed(hashed: str, given: bytes) -> bool:
    # Imported here: most gateways have no password, and it costs every start.
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

    try:
        return PasswordHasher().verify(hashed, given)
    except VerifyMismatchError:
        return False
    except (VerificationError, InvalidHashError) as problem:
        logger.error("the hash of the password cannot be used, so nobody gets in by it: %s", problem)
        return False


def _described(way: Way, peer: str) -> str:
    return f"{_SHOWN[way]}, from {peer or 'a unix socket'}"


def _wrong_password() -> GatewayError:
    return GatewayError(Kind.UNAUTHENTICATED, "This is not the password")


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _owner(peer: str) -> str:
    """Whose address it is, as far as the address tells."""
    if not peer:
        return ""
    address = ip_address(peer)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Network((int(address), _SAME_OWNER_BITS), strict=False))
    return peer
