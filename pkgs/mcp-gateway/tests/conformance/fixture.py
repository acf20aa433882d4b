"""The server that the official suite is run against, behind the gateway and, over HTTP, without it.

`python -m tests.conformance.fixture [--era dual|legacy|modern]` serves over stdio, with `--http PORT` over
Streamable HTTP instead (0 picks a port; the port is the one line it prints). With `--revision DATE` it speaks
that one alone, and refuses requests in which something of the other era is left. What it offers is in
`offered.py`; here is how things are said and asked in each era: to a client of the handshake era a tool sends
requests and goes on when they are answered; in the modern era its answer is what it wants to know, and it
begins again when the call comes back with that. Transports are those of the other servers of the tests.
Standard library only.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import signal
import sys
from functools import partial
from itertools import count as counter
from typing import Any

from tests import hostile
from tests.bare_http import Request, Response
from tests.conformance import offered
from tests.conformance.offered import Answers, Ask, Json, Pause, Refusal, Steps
from tests.hostile import HANDSHAKE_REVISIONS, INVALID_PARAMS, META, METHOD_NOT_FOUND, MODERN_REVISION
from tests.twin import Exchange, Options, Session, Twin, revision_for, tool_called

ERAS = {"dual": "dual", "legacy": "handshake", "modern": "modern"}  # our names -> those of the transports
LIFE_S = 900  # a server nobody ends still ends
INVALID_REQUEST = -32600
NOT_FOUND = -32002  # a resource, for clients of the handshake era
INFO = {"name": "conformance-fixture", "title": "Conformance fixture", "version": "1.0.0"}
CAPABILITIES: Json = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}
LISTENED = ("tools", "prompts", "resources")
CACHED = {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"} | {
    "resources/read"
}
HANDSHAKE_ONLY = {"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"}
MODERN_ONLY = {"server/discover", "subscriptions/listen"}
BEFORE_ELICITATION = HANDSHAKE_REVISIONS[:2]
MODERN_PARAMS = {"inputResponses", "requestState"}
asks = counter(1)


class Guest:
    """A client of the handshake era, as it introduced itself."""

    def __init__(self) -> None:
        self.capabilities: Json = {}


class House:
    """What all clients of one process share."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        self.grown: set[str] = set()  # lists that have one more entry now
        self.listeners: list[tuple[hostile.Server, Any, Json]] = []  # with their ids, and what they want

    def sealed(self, state: Json) -> str:
        body = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
        return f"{body}.{self.mark(body)}"

    def opened(self, state: Any) -> Json:
        body, _, mark = state.rpartition(".") if isinstance(state, str) else ("", "", "")
        if not hmac.compare_digest(mark.encode(), self.mark(body).encode()):
            raise Refusal(INVALID_PARAMS, "This requestState is none of ours")
        opened: Json = json.loads(base64.urlsafe_b64decode(body))
        return opened

    def mark(self, body: str) -> str:
        return hmac.new(self.key, body.encode(), hashlib.sha256).hexdigest()

    def listed(self, kind: str, known: dict[str, tuple[Json, Any]]) -> list[Json]:
        more: list[Json] = [{"name": "test_grown", "description": "There since the last change"}]
        if kind == "tools":
            more[0] |= {"inputSchema": {"type": "object"}}
        return [entry for entry, _ in known.values()] + (more if kind in self.grown else [])

    def tell_listeners(self, method: str, kind: str) -> None:
        self.listeners = [one for one in self.listeners if one[1] in one[0].running]
        for server, listen_id, wanted in self.listeners:
            if wanted.get(f"{kind}ListChanged") is True:
                server.notify(method, {"_meta": {META + "subscriptionId": listen_id}})


class Doing:
    """One `tools/call` or `prompts/get`, under way: the `Task` of what it calls."""

    def __init__(self, house: House, guest: Guest, server: hostile.Server, message: Json) -> None:
        params = message.get("params") or {}
        self.house = house
        self.server = server
        self.call = hostile.Call(server, message)
        self.arguments = self.call.arguments
        self.is_modern = server.era == "modern"
        declared = self.call.meta.get(META + "clientCapabilities") if self.is_modern else guest.capabilities
        self.capabilities: Json = declared or {}
        self.state_held = "requestState" in params
        self.answers: Answers = {}
        if self.state_held:
            state = house.opened(params["requestState"])
            if state["name"] != self.call.name:
                raise Refusal(INVALID_PARAMS, "This requestState is that of another call")
            self.answers = state["answers"]
        given = params.get("inputResponses", {})
        if not isinstance(given, dict) or not all(isinstance(answer, dict) for answer in given.values()):
            raise Refusal(INVALID_PARAMS, "inputResponses must be an object of objects")
        self.answers |= given
        self.steps: Steps | None = None
        server.running[self.call.id] = self.call

    # -- what a tool may do -------------------------------------------------------------------------

    def can(self, capability: str) -> bool:
        return capability in self.capabilities

    def require(self, capability: str) -> None:
        if not self.can(capability):
            missing: Json = {"requiredCapabilities": {capability: {}}}
            raise Refusal(offered.MISSING_CAPABILITY, f"The client did not declare `{capability}`", missing)

    def log(self, words: str) -> None:
        if self.is_wanted and (not self.is_modern or META + "logLevel" in self.call.meta):
            self.server.notify("notifications/message", {"level": "info", "logger": "fixture", "data": words})

    def progress(self, done: int, total: int) -> None:
        if self.is_wanted:
            self.call.progress(done, total)

    def changed(self, kind: str) -> None:
        self.house.grown ^= {kind}
        method = f"notifications/{kind}/list_changed"
        self.house.tell_listeners(method, kind)
        if isinstance(self.server, FixtureExchange):
            for session in self.server.fixture.sessions.values():
                session.standalone.emit(hostile.encode({"jsonrpc": "2.0", "method": method}))
        elif not self.is_modern:
            self.server.notify(method, {})

    def release(self) -> None:
        if isinstance(self.server, Exchange) and not self.is_modern:
            self.server.events().release()

    # -- how it goes on -----------------------------------------------------------------------------

    @property
    def is_wanted(self) -> bool:
        """Whether it was not cancelled."""
        return self.server.running.get(self.call.id) is self.call

    def begin(self, does: offered.Does) -> None:
        """Raises:
        Refusal: of what is called.
        """
        made = does(self)
        if isinstance(made, dict):
            self.finish(made)
        else:
            self.steps = made
            self.go_on(None)

    def go_on(self, answers: Answers | None) -> None:
        assert self.steps is not None, "only what waits goes on"
        while self.is_wanted:
            try:
                # A generator that has not begun takes nothing but None.
                wish = next(self.steps) if answers is None else self.steps.send(answers)
            except StopIteration as end:
                self.finish(end.value)
                return
            except Refusal as refusal:
                self.refuse(refusal)
                return
            if isinstance(wish, Pause):
                self.server.after(wish.seconds, partial(self.go_on, None))
                return
            answers = self.answered(wish)
            if answers is None:
                return

    def answered(self, ask: Ask) -> Answers | None:
        """The answers, if they are there; if not, it is asked, or refused."""
        if ask.requests.keys() <= self.answers.keys():
            return {name: self.answers[name] for name in ask.requests}
        try:
            for request in ask.requests.values():
                self.require(offered.CAPABILITY_OF[request["method"]])
        except Refusal as refusal:
            self.refuse(refusal)
            return None
        if self.is_modern:
            result: Json = {"resultType": "input_required", "inputRequests": ask.requests}
            if ask.is_remembered:
                result["requestState"] = self.house.sealed({"name": self.call.name, "answers": self.answers})
            self.finish(result)
        else:
            for name, request in ask.requests.items():
                self.push(name, request, ask)
        return None

    def push(self, name: str, request: Json, ask: Ask) -> None:
        """Asks in the handshake era; the last answer lets the tool go on."""

        def hear(message: Json) -> None:
            if "error" in message:
                self.finish(offered.result(offered.text(json.dumps(message["error"])), failed=True))
                return
            self.answers[name] = message["result"]
            if ask.requests.keys() <= self.answers.keys():
                self.state_held = True  # it never left
                self.go_on({known: self.answers[known] for known in ask.requests})

        ask_id = f"ask-{next(asks)}"
        self.server.waiting_for[ask_id] = hear
        self.server.send({"jsonrpc": "2.0", "id": ask_id, **request})

    def finish(self, result: Json) -> None:
        if self.is_wanted:
            self.server.reply(self.call.id, marked(self.server, "", result))

    def refuse(self, refusal: Refusal) -> None:
        if not self.is_wanted:
            return
        if self.is_modern or refusal.code != offered.MISSING_CAPABILITY:
            self.server.refuse(self.call.id, refusal.code, refusal.message, refusal.data)
        else:  # that code is younger than this era
            self.finish(offered.result(offered.text(refusal.message), failed=True))


# -- methods --------------------------------------------------------------------------------------------


def marked(server: hostile.Server, method: str, result: Json) -> Json:
    """The result with what the modern era wants in it."""
    if server.era != "modern":
        return result
    hints = {"ttlMs": 0, "cacheScope": "private"} if method in CACHED else {}
    return {**result, **hints, "_meta": {META + "serverInfo": INFO}}


def serve(house: House, guest: Guest, server: hostile.Server, message: Json) -> None:
    """Answers a request that its transport and era allow."""
    method, params = message["method"], message.get("params") or {}
    try:
        if method in ("tools/call", "prompts/get"):
            known = offered.TOOLS if method == "tools/call" else offered.PROMPTS
            if params.get("name") not in known:
                raise Refusal(INVALID_PARAMS, f"There is no `{params.get('name')}`")
            Doing(house, guest, server, message).begin(known[params["name"]][1])
        elif method == "subscriptions/listen" and server.era == "modern":
            listen(house, server, message)
        else:
            result = answer(house, server, method, params)
            server.reply(message["id"], marked(server, method, result))
    except Refusal as refusal:
        server.refuse(message["id"], refusal.code, refusal.message, refusal.data)


def answer(house: House, server: hostile.Server, method: str, params: Json) -> Json:
    is_modern = server.era == "modern"
    if method in (HANDSHAKE_ONLY if is_modern else MODERN_ONLY):
        raise Refusal(METHOD_NOT_FOUND, f"Method not found: {method}")
    match method:
        case "server/discover":
            return {"supportedVersions": [MODERN_REVISION], "capabilities": CAPABILITIES}
        case "tools/list":
            return {"tools": house.listed("tools", offered.TOOLS)}
        case "prompts/list":
            return {"prompts": house.listed("prompts", offered.PROMPTS)}
        case "resources/list":
            return {"resources": offered.resource_list()}
        case "resources/templates/list":
            return {"resourceTemplates": [offered.TEMPLATE]}
        case "resources/read":
            found = offered.read(str(params.get("uri")))
            if found is None:
                code = INVALID_PARAMS if is_modern else NOT_FOUND
                raise Refusal(code, "Resource not found", {"uri": params.get("uri")})
            return found
        case "completion/complete":
            return offered.complete(str((params.get("argument") or {}).get("value", "")))
        case _ if method in HANDSHAKE_ONLY:
            return {}
    raise Refusal(METHOD_NOT_FOUND, f"Method not found: {method}")


def introduce(guest: Guest, server: hostile.Server, message: Json) -> None:
    """Answers `initialize`."""
    declared: Json = (message.get("params") or {}).get("capabilities") or {}
    revision = revision_for(server.options, message) if isinstance(server.options, Options) else ""
    unknown = {"elicitation"} if revision in BEFORE_ELICITATION else set()
    guest.capabilities = {name: value for name, value in declared.items() if name not in unknown}
    server.reply(
        message["id"], {"protocolVersion": revision, "capabilities": CAPABILITIES, "serverInfo": INFO}
    )


def listen(house: House, server: hostile.Server, message: Json) -> None:
    """A subscription: acknowledged as far as it can be kept, and open until its client leaves."""
    wanted = (message.get("params") or {}).get("notifications") or {}
    honoured = {f"{kind}ListChanged": True for kind in LISTENED if wanted.get(f"{kind}ListChanged") is True}
    if isinstance(wanted.get("resourceSubscriptions"), list):
        honoured["resourceSubscriptions"] = wanted["resourceSubscriptions"]
    server.running[message["id"]] = hostile.Call(server, message)
    house.listeners.append((server, message["id"], honoured))
    meta = {META + "subscriptionId": message["id"]}
    server.notify("notifications/subscriptions/acknowledged", {"notifications": honoured, "_meta": meta})


# -- transports -----------------------------------------------------------------------------------------


class FixtureProcess(hostile.Server):
    """The fixture over stdio: one client, whose first request decides about the era."""

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.house = House()
        self.guest = Guest()

    def take_request(self, message: Json) -> None:
        method = message["method"]
        if self.era is None:
            self.choose_era(message)
        if method == "initialize" and self.options.era == "modern":
            self.refuse_version(message)
        elif self.era == "handshake" and (strange := self.strange_in(message)):
            self.refuse(message["id"], INVALID_REQUEST, f"What is this: {', '.join(strange)}?")
        elif method == "initialize" and self.era == "handshake":
            introduce(self.guest, self, message)
        elif self.era == "handshake" or self.check_modern(message):
            serve(self.house, self.guest, self, message)

    def strange_in(self, message: Json) -> list[str]:
        """What a server of one revision of the handshake era has never heard of."""
        if not self.options.revision or message["method"] in MODERN_ONLY:
            return []
        params = message.get("params") or {}
        meta = params.get("_meta") or {}
        return [name for name in meta if name.startswith(META)] + sorted(params.keys() & MODERN_PARAMS)


class FixtureExchange(Exchange):
    """One request over HTTP."""

    def __init__(
        self, fixture: "Fixture", request: Request, response: Response, session: Session | None, era: str
    ) -> None:
        super().__init__(fixture, request, response, session, era)
        self.fixture = fixture

    def take_request(self, message: Json) -> None:
        guest = self.fixture.guests.setdefault(self.session.name if self.session else "", Guest())
        if message["method"] == "initialize" and self.era == "handshake":
            introduce(guest, self, message)
        else:
            serve(self.fixture.house, guest, self, message)


class Fixture(Twin):
    """The fixture over Streamable HTTP."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.house = House()
        self.guests: dict[str, Guest] = {}  # by their sessions

    def exchange(
        self, request: Request, response: Response, session: Session | None, era: str, mode: str
    ) -> FixtureExchange:
        return FixtureExchange(self, request, response, session, era)

    def wrong_with(self, request: Request, message: Json) -> tuple[int, str, Any] | None:
        wrong = super().wrong_with(request, message)
        if wrong is None and message["method"] == "tools/call" and tool_called(message) == offered.MIRRORED:
            return self.wrong_with_mirrors(request, message["params"].get("arguments") or {})
        return wrong

    def mirrors(self) -> dict[str, tuple[str, str]]:
        return offered.MIRRORS


def main(argv: list[str]) -> None:
    given = dict(zip(argv[::2], argv[1::2], strict=True))
    unknown = given.keys() - {"--era", "--http", "--revision"}
    revision = given.get("--revision", "")
    if (
        unknown
        or given.get("--era", "dual") not in ERAS
        or revision not in ("", *HANDSHAKE_REVISIONS, MODERN_REVISION)
    ):
        hostile.complain("usage: fixture [--era dual|legacy|modern | --revision DATE] [--http PORT]")
        os._exit(64)
    options = Options(["good", "--era", ERAS[given.get("--era", "dual")]])
    if revision:
        options.era = "modern" if revision == MODERN_REVISION else "handshake"
        options.revision = revision
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.alarm(LIFE_S)
    if "--http" in given:
        options.port = int(given["--http"])
        fixture = Fixture(options)
        print(fixture.main.port, flush=True)
        fixture.loop.run()
    else:
        FixtureProcess(options).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
