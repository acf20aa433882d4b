"""Telling an Open WebUI of this gateway, and asking it whether it reaches the gateway.

    OpenWebUi   checks and makes connections, for whoever administrates both
    Sightings   requests that a check waits for: whether they arrived, and how they were answered

An Open WebUI keeps one list of connections and takes it back as a whole. So it is read, one entry is put in
the place of ours, every other goes back as the bytes it came in, and it is read again. Open WebUI says of a
connection that fails no more than that it fails; what is wrong with it the gateway tells from whether the
request arrived here. The keys that go along are used and forgotten. Knows no HTTP of our own side.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require_everywhere
from mcp_gateway.config.model import Scopes, is_loopback
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.actions import Actions
from mcp_gateway.gateway.keys import Keys
from mcp_gateway.upstream import errand
from mcp_gateway.upstream.trouble import Trouble

READ_S: Final = 10.0
# Open WebUI gives a document 10 s, and after a change it reads those of all connections before it answers.
ASK_S: Final = 15.0
LONG_S: Final = 9.0  # from here on Open WebUI has probably waited in vain
ANSWER_BYTES: Final = 8 << 20  # it repeats what it found: the schemas of all tools, and that may be a lot
CONNECTIONS_MAX: Final = 1_000
STATUSES_MAX: Final = 20  # of one check; over MCP it is a handful
KEY_NAME: Final = "open-webui"
SIGHTING: Final = "connection-check"  # the parameter that carries the word of a check
_PLACES: Final = "/api/v1/configs/tool_servers"
_MEMBER: Final = "TOOL_SERVER_CONNECTIONS"
_IS_KEY: Final = re.compile(r"[!-~]{1,4096}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be connected: the Open WebUI at `url`, whose administrator has `key`, with `connection`.

    That is an entry of Open WebUI's list, whole. `make_key`: a key of the gateway is made and put into it.
    `server` is the only one that it is for.
    """

    url: str
    key: str = field(repr=False)
    connection: dict[str, Any] = field(repr=False)
    make_key: bool = False
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """`tone`: `good`, `uneasy` or `bad`; `says` is a sentence for a person."""

    tone: str
    says: str


@dataclass(slots=True)
class Sighting:
    """Requests of one check that have arrived: how they were answered, and under which name they came."""

    statuses: list[int] = field(default_factory=list)
    host: str = ""

    def add(self, status: int, host: str) -> None:
        if len(self.statuses) < STATUSES_MAX:
            self.statuses.append(status)
        self.host = host

    @property
    def is_served(self) -> bool:
        return any(status < 300 for status in self.statuses)


class Sightings:
    """A check puts a word into the address that it has somebody else ask; the edge tells when it comes."""

    def __init__(self) -> None:
        self.open: dict[str, Sighting] = {}

    @contextmanager
    def awaited(self) -> Iterator[tuple[str, Sighting]]:
        word = secrets.token_hex(8)
        sighting = self.open[word] = Sighting()
        try:
            yield word, sighting
        finally:
            del self.open[word]

    def of(self, query: bytes) -> Sighting | None:
        """The check that a request with this query belongs to."""
        found = re.search(rb"(?:^|&)%b=([0-9a-f]{16})(?:&|$)" % SIGHTING.encode(), query)
        return None if found is None else self.open.get(found[1].decode())


class _List(msgspec.Struct):
    """Of every entry its bytes."""

    TOOL_SERVER_CONNECTIONS: list[msgspec.Raw]


class _Verified(msgspec.Struct):
    """What Open WebUI found: the tools over MCP, and over OpenAPI the document as it is."""

    specs: list[msgspec.Raw] | None = None
    paths: dict[str, msgspec.Raw] = {}


class OpenWebUi:
    def __init__(self, actions: Actions, keys: Keys, is_guarded: Callable[[], bool]) -> None:
        self.sightings = Sightings()
        self._actions = actions
        self._keys = keys
        self._is_guarded = is_guarded
        self._connecting = asyncio.Lock()  # two at once would each write back the list without the other

    async def check(self, caller: Caller, wanted: Wanted) -> dict[str, Any]:
        """Whether the key is good, and whether Open WebUI reaches the gateway; changes nothing there.

        Raises:
            GatewayError: `refused`; `invalid` for what cannot be asked at all.
        """
        require_everywhere(caller, Right.ADMIN)
        there = _There(wanted)
        self._actions.note(caller, Right.ADMIN, "openwebui.check", detail=there.described)
        findings: list[Finding] = []
        told: dict[str, Any] = {"connected": False, "tools": None, "others": None, "replaces": None}
        try:
            before = await there.read()
            place = _place_of(before, wanted.connection)
            told |= {"others": len(before) - (place is not None), "replaces": place is not None}
            findings.append(_of_the_list(told))
            key_id = await self._make_key(caller, wanted, there) if wanted.make_key else None
            try:
                told["tools"], finding = await self._verified(there)
            finally:
                if key_id is not None:
                    await self._keys.revoke(caller, key_id)
            findings.append(finding)
        except GatewayError as problem:
            if problem.kind is Kind.REFUSED:
                raise
            findings.append(Finding("bad", problem.detail))
        return told | {"ok": all(one.tone != "bad" for one in findings), "findings": _views(findings)}

    async def connect(self, caller: Caller, wanted: Wanted) -> dict[str, Any]:
        """Puts the connection into Open WebUI's list, in the place of the one that has its id.

        Nothing is written unless Open WebUI can use it, and it is on record before.

        Raises:
            GatewayError: `refused`, `invalid`, `unavailable`, `timed_out`, `lost`; `invalid` with status 409
                when the list was changed by somebody else meanwhile, or is another after the writing.
        """
        require_everywhere(caller, Right.ADMIN)
        there = _There(wanted)
        async with self._connecting:
            await there.read()  # whether the key is good, before another one is made
            key_id = await self._make_key(caller, wanted, there) if wanted.make_key else None
            try:
                return await self._connected(caller, there)
            except BaseException:
                if key_id is not None and not there.may_be_written:
                    await self._keys.revoke(caller, key_id)
                raise

    async def _connected(self, caller: Caller, there: "_There") -> dict[str, Any]:
        tools, finding = await self._verified(there)
        if finding.tone == "bad":
            raise GatewayError(Kind.INVALID, finding.says)
        before = await there.read()  # anew: the check may have taken a while
        place = _place_of(before, there.connection)
        await self._actions.commit(caller, Right.ADMIN, "openwebui.connect", detail=there.described)
        wanted = list(before)
        if place is None:
            wanted.append(_raw(there.connection))
        else:
            wanted[place] = _raw(_renewed(json.loads(bytes(before[place])), there.connection))
        await there.write(wanted)
        after = await there.read()
        if not _is(wanted, after):
            if _is(before, after):
                there.may_be_written = False
                raise GatewayError(Kind.LOST, "Open WebUI did not keep the connection; its list is as before")
            detail = (
                "Open WebUI's list of connections is not what was written: somebody changed it at the same "
                "moment. Look at it there, then connect again"
            )
            raise GatewayError(Kind.INVALID, detail, status=409)
        told = {"connected": True, "tools": tools, "others": len(before) - (place is not None)}
        told["replaces"] = place is not None
        tools, again = await self._verified(there)
        findings = [_of_the_writing(told), again if again.tone == "bad" else finding]
        return told | {
            "ok": all(one.tone != "bad" for one in findings),
            "findings": _views(findings),
        }

    async def _make_key(self, caller: Caller, wanted: Wanted, there: "_There") -> str:
        servers = None if wanted.server is None else [wanted.server]
        scopes = Scopes.model_validate(
            {"rights": ["read", "call"]} | ({} if servers is None else {"servers": servers})
        )
        made = await self._keys.create(caller, KEY_NAME, scopes, None)
        there.connection |= {"auth_type": "bearer", "key": made["key"]}
        key_id: str = made["id"]
        return key_id

    async def _verified(self, there: "_There") -> tuple[int | None, Finding]:
        """How many tools Open WebUI finds by the connection, and what is to be said of that."""
        with self.sightings.awaited() as (word, sighting):
            began = clock.now_s()
            tools = await there.verify(word)
            took_s = clock.now_s() - began
        if tools is None:
            return None, Finding("bad", _why(there, sighting, took_s, is_guarded=self._is_guarded()))
        if not sighting.is_served:
            return tools, Finding(
                "uneasy",
                f"Open WebUI got an answer at {there.gateway}, but not from this gateway: something else "
                "answers there. Look at the address.",
            )
        if not tools:
            return tools, Finding(
                "uneasy",
                "Open WebUI reaches the gateway and finds no tool: none is on, or the key covers none.",
            )
        return tools, Finding("good", f"Open WebUI reaches the gateway and finds {_count(tools, 'tool')}.")


class _There:
    """One Open WebUI, for one check.

    Raises:
        GatewayError: `invalid`, the address or the key is none.
    """

    def __init__(self, wanted: Wanted) -> None:
        try:
            parts = urlsplit(wanted.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise GatewayError(Kind.INVALID, "The address of Open WebUI begins with http:// or https://")
        is_written = all("!" <= letter <= "~" for letter in wanted.url)
        if parts.username is not None or parts.query or parts.fragment or not is_written:
            raise GatewayError(
                Kind.INVALID, "The address of Open WebUI is as in `https://chat.example.com`, and no more"
            )
        if _IS_KEY.fullmatch(wanted.key) is None:
            raise GatewayError(Kind.INVALID, "The key of Open WebUI has characters that no key has")
        self._base = wanted.url.rstrip("/")
        self._key = wanted.key
        self.connection = dict(wanted.connection)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.origin = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"
        self.gateway = _origin(str(wanted.connection["url"]))
        self.may_be_written = False

    @property
    def described(self) -> str:
        """What is done, without a secret."""
        grants = self.connection["config"]["access_grants"]
        return (
            f"`{self.connection['info']['id']}` at {self.origin}, for {self.connection['url']} over "
            f"{'MCP' if self.connection['type'] == 'mcp' else 'OpenAPI'}, for "
            f"{'all users' if grants else 'administrators'}"
        )

    async def read(self) -> list[msgspec.Raw]:
        brought = await self._ask("GET", _PLACES, None, READ_S)
        _require_success(brought.status)
        try:
            found = msgspec.json.decode(brought.body, type=_List).TOOL_SERVER_CONNECTIONS
            heads = [json.loads(bytes(raw)) for raw in found]
        except (ValueError, RecursionError):
            found, heads = [], [None]
        if not all(isinstance(head, dict) for head in heads) or len(found) > CONNECTIONS_MAX:
            raise GatewayError(
                Kind.LOST, "What answers there is no Open WebUI, or one of a version that is not known here"
            )
        return found

    async def write(self, connections: list[msgspec.Raw]) -> None:
        """An answer that does not come is not told: what is read afterwards says whether it was written."""
        self.may_be_written = True
        body = msgspec.json.encode({_MEMBER: connections})
        try:
            brought = await self._ask("POST", _PLACES, body, ASK_S)
        except GatewayError as problem:
            if problem.kind not in (Kind.TIMED_OUT, Kind.LOST):
                self.may_be_written = False  # there was no way to it
                raise
        else:
            self.may_be_written = brought.status < 400 or brought.status >= 500
            _require_success(brought.status)

    async def verify(self, word: str) -> int | None:
        """How many tools Open WebUI finds, or None where it fails."""
        asked = dict(self.connection)
        carrier = "url" if asked["type"] == "mcp" else "path"
        asked[carrier] = f"{asked[carrier]}?{SIGHTING}={word}"
        brought = await self._ask("POST", f"{_PLACES}/verify", msgspec.json.encode(asked), ASK_S)
        if brought.status == 400:
            return None
        _require_success(brought.status)
        try:
            found = msgspec.json.decode(brought.body, type=_Verified)
        except msgspec.ValidationError:
            return None  # whatever stands at that address, it is no document: Open WebUI takes any YAML
        except (ValueError, RecursionError):
            detail = "Open WebUI's answer to the check is none that is known here"
            raise GatewayError(Kind.LOST, detail) from None
        return len(found.paths if found.specs is None else found.specs)

    async def _ask(self, method: str, path: str, body: bytes | None, within_s: float) -> errand.Brought:
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            return await errand.run(
                method, self._base + path, headers, body, within_s=within_s, max_bytes=ANSWER_BYTES
            )
        except Trouble as trouble:
            failure = trouble.failure
            wait_s = 5.0 if failure.kind is Kind.UNAVAILABLE else None
            detail = f"Open WebUI at {self.origin}: {failure.reason}"
            raise GatewayError(failure.kind, detail, retry_after_s=wait_s) from None


def _require_success(status: int) -> None:
    """What Open WebUI's own words are is not told: they are a stranger's, and may repeat what was sent."""
    if status == 200:
        return
    if status == 401:
        detail = "Open WebUI does not accept the key, or it is not one of an administrator"
    elif status == 403:
        detail = (
            "Open WebUI refuses the key: API keys may be switched off in its settings (Admin Panel > "
            "Settings > General), or this one may not do that"
        )
    elif 300 <= status < 400:
        detail = (
            "What answers there leads elsewhere (a redirect), which is not followed with a key: "
            "give the address itself, with https where it has that"
        )
    elif status in (404, 405):
        detail = "What answers there is no Open WebUI: it has no list of tool servers"
    elif status == 422:
        detail = "Open WebUI does not take such a connection; it may be of a version that is not known here"
    else:
        raise GatewayError(Kind.LOST, f"Open WebUI answers with a mistake of its own (HTTP {status})")
    raise GatewayError(Kind.INVALID, detail)


def _why(there: _There, sighting: Sighting, took_s: float, *, is_guarded: bool) -> str:
    """Why Open WebUI does not get at the tools, in a sentence or two."""
    if not sighting.statuses:
        return _why_nothing_came(there, took_s)
    status = sighting.statuses[-1]
    came = f"Open WebUI's request reached the gateway as `{sighting.host}`"
    if sighting.is_served:
        return f"{came} and was answered, but Open WebUI could not use the answer; is it up to date?"
    if status == 401:
        if not there.connection["key"] and is_guarded:
            return f"{came}, which wants a key, and there is none in the connection."
        return f"{came}, which does not know the key in the connection."
    if status == 403:
        return (
            f"{came} and was refused. Either it does not answer to that name: then put {there.gateway} into "
            "`publicUrl`. Or the key has neither the right `read` nor `call`."
        )
    if status == 404:
        return f"{came}, which has nothing there for this key: the server may be unknown to it."
    return f"{came}, which answered HTTP {status}."


def _why_nothing_came(there: _There, took_s: float) -> str:
    parts = urlsplit(there.gateway)
    begin = f"Open WebUI does not reach {there.gateway}: no request of it came here"
    if is_loopback(parts.hostname or ""):
        return (
            f"{begin}. For Open WebUI, `{parts.hostname}` is its own machine, and in a container the "
            "container itself. Give the name that the gateway has from there."
        )
    if took_s >= LONG_S:
        return f"{begin} within {took_s:.0f} s. A firewall may swallow it, or nobody has that address."
    if parts.scheme == "https":
        return (
            f"{begin}. It may not trust the certificate, not know the name, or something in between "
            "refuses it."
        )
    return (
        f"{begin}. It may not know the name, or nothing takes connections there: the gateway has to listen "
        "on an address that Open WebUI reaches (`host`), on that port."
    )


def _place_of(connections: list[msgspec.Raw], ours: dict[str, Any]) -> int | None:
    """Where the entry with our id stands; of several, the one of the same type."""
    heads = [json.loads(bytes(raw)) for raw in connections]
    same = [at for at, head in enumerate(heads) if _id_of(head) == ours["info"]["id"]]
    typed = [at for at in same if (heads[at].get("type") or "openapi") == ours["type"]]
    return next(iter([*typed, *same]), None)


def _renewed(old: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Our entry, with what somebody has set there besides: a name, a filter of tools, headers."""
    kept = (old.get(name) for name in ("config", "info"))
    config, info = (one if isinstance(one, dict) else {} for one in kept)
    decided = {name: ours["config"][name] for name in ("enable", "access_grants")}
    inner = {"config": {**ours["config"], **config, **decided}, "info": {**ours["info"], **info}}
    return {**old, **ours, **inner}


def _raw(connection: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(connection))


def _id_of(head: dict[str, Any]) -> object:
    info = head.get("info")
    return info.get("id") if isinstance(info, dict) else None


def _is(sent: list[msgspec.Raw], read: list[msgspec.Raw]) -> bool:
    return len(sent) == len(read) and all(map(_keeps, sent, read))


def _keeps(sent: msgspec.Raw, read: msgspec.Raw) -> bool:
    """Whether an entry is what was written; Open WebUI adds members that have a default."""
    before, after = json.loads(bytes(sent)), json.loads(bytes(read))
    return all(name in after and after[name] == value for name, value in before.items())


def _of_the_list(told: dict[str, Any]) -> Finding:
    others = _count(told["others"], "other connection")
    what = "one with this id, which would be replaced" if told["replaces"] else "none with this id yet"
    return Finding("good", f"The key is good. Open WebUI has {others}, and {what}.")


def _of_the_writing(told: dict[str, Any]) -> Finding:
    others = _count(told["others"], "other connection")
    kept = f"{others} {'stays' if told['others'] == 1 else 'stay'} as before"
    how = "in the place of the one it had" if told["replaces"] else "as a new one"
    return Finding(
        "good", f"Open WebUI has the connection, {how}; {kept if told['others'] else 'it has no other'}."
    )


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _views(findings: list[Finding]) -> list[dict[str, str]]:
    return [{"tone": one.tone, "says": one.says} for one in findings]
