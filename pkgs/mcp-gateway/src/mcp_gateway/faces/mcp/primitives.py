"""From requests of MCP to what is asked of a server, and back: names and URIs are exchanged, nothing else.

At `/mcp` a request names a tool, a prompt or a resource as all servers' lists show it; the server is found in
the catalog. At `/servers/{id}/mcp` names and URIs are the server's own and pass as they are.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, GatewayError, Kind, UpstreamAnswered
from mcp_gateway.gateway import (
    CALL_TOOL,
    GET_PROMPT,
    READ_RESOURCE,
    Call,
    Client,
    Gateway,
    Request,
    not_valid,
    tasks,
    unknown_prompt,
    unknown_resource,
)
from mcp_gateway.shelves import COMPLETIONS, LOGGING, PROMPTS, RESOURCES, SUBSCRIPTIONS, TOOLS
from mcp_gateway.version import CLIENT_INFO
from mcp_gateway.wire.bridge import STATE
from mcp_gateway.wire.envelope import Message, encode, read_members
from mcp_gateway.wire.inbound import require_mirrored
from mcp_gateway.wire.results import with_uris
from mcp_gateway.wire.revisions import APPS, TASKS_EXTENSION, Era

_PROMPT_REF: Final = "ref/prompt"
_RESOURCE_REF: Final = "ref/resource"
_LIST_CHANGED: Final = {"listChanged": True}
_EMPTY: Final = b"{}"
_EXTENSIONS: Final = "extensions"
_OURS: Final = frozenset({TOOLS, RESOURCES, PROMPTS, COMPLETIONS, LOGGING, _EXTENSIONS})
_TASKS: Final = "tasks"
_TASKS_OF_ALL: Final[dict[str, Any]] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
_Said = Mapping[str, Raw]

# Parts of MCP in which every method is the gateway's business, and single methods of others. What else a
# server may have is between it and its clients.
_RESERVED_PARTS: Final = frozenset(
    {"tools", "completion", "logging", "subscriptions", "notifications", "sampling", "elicitation", "roots"}
    | {"server", "tasks"}
)
_RESERVED: Final = frozenset(
    {"initialize", "ping", "resources/list", "resources/templates/list", "resources/read"}
    | {"resources/subscribe", "resources/unsubscribe", "prompts/list", "prompts/get"}
)
_METHOD: Final = re.compile(r"(?!rpc\.)[a-z0-9$._-]+(/[a-z0-9$._-]+)*", re.IGNORECASE)
_MAX_METHOD_CHARS: Final = 128
_TASK_METHODS: Final = {
    Era.HANDSHAKE: frozenset({tasks.GET, tasks.RESULT, tasks.CANCEL, tasks.LIST}),
    Era.MODERN: frozenset({tasks.GET, tasks.UPDATE, tasks.CANCEL}),
}


def capabilities(
    gateway: Gateway, caller: Caller, server: str | None, era: Era = Era.HANDSHAKE
) -> dict[str, Any]:
    """What an endpoint promises to a client of this era: what one of its servers can, or may turn out to be
    able to, as far as it is relayed.

    Tools and resources always: a list may be empty, and large results are resources.
    """
    catalog = gateway.catalog(caller)
    said = gateway.introductions(caller, server, era)
    known = [one.capabilities for one in said if one is not None and one.era is era]
    found: dict[str, Any] = {"tools": _LIST_CHANGED, "resources": _LIST_CHANGED}
    if catalog.may_have(SUBSCRIPTIONS, server):
        found["resources"] = {"subscribe": True, **_LIST_CHANGED}
    if catalog.may_have(PROMPTS, server):
        found["prompts"] = _LIST_CHANGED
    if catalog.may_have(COMPLETIONS, server):
        found["completions"] = {}
    every = [one.capabilities for one in said if one is not None]
    if None in said or any(LOGGING in one for one in every):
        found[LOGGING] = {}
    is_whole = server is not None and server in catalog.shelves
    if extensions := _extensions(known, every, era, is_whole):
        found[_EXTENSIONS] = extensions
    if is_whole:  # its methods and members pass there, and so do promises that we do not know
        for one in known:
            theirs = {name: said for name, said in one.items() if name not in _OURS and _is_object(said)}
            found |= theirs
    elif era is Era.HANDSHAKE and any(_takes_tasks(one) for one in known):
        found[_TASKS] = _TASKS_OF_ALL
    return found


def _extensions(known: Sequence[_Said], every: Sequence[_Said], era: Era, is_whole: bool) -> dict[str, Raw]:
    """Those that reach the servers: a modern client declares what it can with each of its requests, a link of
    the handshake era once for everybody. Views need no more than what passes anyhow."""
    found: dict[str, Raw] = {}
    for one in every:
        for name, value in read_members(one.get(_EXTENSIONS, Raw(_EMPTY))).items():
            is_passed = era is Era.MODERN and (is_whole or name == TASKS_EXTENSION) and one in known
            if _is_object(value) and (name == APPS or is_passed):
                found.setdefault(name, value)
    return found


def _takes_tasks(said: _Said) -> bool:
    """Whether tools may be called as tasks (2025-11-25, experimental)."""
    raw = said.get(_TASKS, Raw(_EMPTY))
    for member in ("requests", "tools", "call"):
        raw = read_members(raw).get(member, Raw(b"null"))
    return _is_object(raw)


def _is_object(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"{"


def passes(era: Era, server: str | None, method: str) -> bool:
    """Whether a method that is none of the gateway's goes to a server, if that speaks this era."""
    if method in _TASK_METHODS[era]:
        return server is not None or method in tasks.OF_ONE
    if server is None or len(method) > _MAX_METHOD_CHARS or _METHOD.fullmatch(method) is None:
        return False
    folded = method.casefold()  # a lenient server might take one for the other
    return folded not in _RESERVED and folded.partition("/")[0] not in _RESERVED_PARTS


def server_info(gateway: Gateway, caller: Caller, server: str | None) -> Raw | dict[str, str]:
    """The `Implementation` of an endpoint: of its one server as that sent it, once it is known; else ours."""
    for one in gateway.introductions(caller, server, Era.HANDSHAKE) if server is not None else ():
        if one is not None and _is_implementation(one.server_info):
            return one.server_info
    return CLIENT_INFO


class _Implementation(msgspec.Struct):
    name: str
    version: str


def _is_implementation(raw: Raw) -> bool:
    """Whether clients can read it; they end the session over one that lacks a member."""
    try:
        msgspec.json.decode(raw, type=_Implementation)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


class Wish:
    """One request on its way through an endpoint; `server` None is that of all servers."""

    __slots__ = ("_caller", "_client", "_gateway", "_log_level", "_message", "_server", "_uri", "method")

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        server: str | None,
        message: Message,
        client: Client,
        log_level: str | None,
    ) -> None:
        self._client = client
        self._log_level = log_level
        self._gateway = gateway
        self._caller = caller
        self._server = server
        self._message = message
        self._uri = ""  # of a resource that is read, as the caller wrote it
        self.method = message.method or ""

    def open(self, headers: Mapping[bytes, bytes], request_bytes: int) -> Call:
        """Sends it to its server.

        Raises:
            GatewayError: nothing was sent; the record is written.
        """
        try:
            request = self._request(headers, request_bytes)
            self._require_no_state(request)
        except GatewayError as error:
            self.refuse(request_bytes, error)
            raise
        try:
            return self._gateway.open_call(request)
        except GatewayError as error:
            self._tell(error)
            raise

    @property
    def asked(self) -> str:
        """The name or URI that is asked for, as the client writes it."""
        if isinstance(self._message.name, str):
            return self._message.name
        return self._uri or _text(self._message.params.get("uri", b'""'), "`params.uri`")

    def refuse(self, request_bytes: int, error: GatewayError) -> None:
        """Records a request that names nothing that could be asked."""
        name = self._message.name if isinstance(self._message.name, str) else ""
        tool = name if self.method == CALL_TOOL else ""
        target = name if self.method == GET_PROMPT else self._uri
        self._gateway.refuse_call(
            self._caller,
            "mcp",
            self._server or "",
            tool,
            request_bytes,
            error,
            method=self.method,
            target=target,
        )
        self._tell(error)

    def _tell(self, error: GatewayError) -> None:
        is_unknown = error.kind is Kind.UNKNOWN and not isinstance(error, UpstreamAnswered)
        if is_unknown and self.method == READ_RESOURCE:
            error.rpc_code = RESOURCE_NOT_FOUND

    def show(self, call: Call, result: Raw) -> Raw:
        """The result with URIs as the lists of this endpoint show them; nearly always as it came."""
        if self._server is not None:
            return result
        server, asked = call.record.server, self._uri
        uris = self._gateway.catalog(self._caller).uris
        if server not in uris.movers and asked == call.target:
            return result

        def seen(uri: str) -> str:
            return asked if asked and uri == call.target else uris.exposed(server, uri)

        return with_uris(self.method, result, seen)

    # What goes to the server

    def _request(self, headers: Mapping[bytes, bytes], request_bytes: int) -> Request:
        tool = target = task = ""
        is_prompt = False
        match self.method:
            case "tools/call":
                server, tool, arguments = self._tool(headers)
            case "resources/read":
                server, target, arguments = self._resource()
            case "prompts/get":
                server, target, arguments = self._prompt()
                is_prompt = True
            case "completion/complete":
                server, target, arguments, is_prompt = self._completion()
            case _:
                server, task, arguments = self._other()
        return Request(
            self._caller,
            "mcp",
            server,
            tool,
            self._message.params,
            arguments,
            request_bytes,
            headers=headers,
            method=self.method,
            target=target,
            is_prompt=is_prompt,
            client=self._client,
            task=task,
            log_level=self._log_level,
        )

    def _require_no_state(self, request: Request) -> None:
        """A server that is known to give none gets none back: it would take the request for a new one."""
        has_state = STATE in request.params and self._client.era is Era.MODERN
        if has_state and not self._gateway.speaks(request.server, Era.MODERN):
            raise not_valid()

    def _tool(self, headers: Mapping[bytes, bytes]) -> tuple[str, str, bytes]:
        name, arguments = self._name(), self._arguments()
        catalog = self._gateway.catalog(self._caller)
        server, tool = self._server, name
        if server is not None:
            entry = catalog.by_server.get(server, {}).get(name)  # one that is not listed yet may be there
        else:
            entry = catalog.by_exposed.get(name)
            if entry is None:
                raise GatewayError(Kind.UNKNOWN, f"There is no tool `{name[:200]}`")
            server, tool = entry.server, entry.tool
            self._message.params["name"] = tool
        if entry is not None and self._client.era is Era.MODERN:
            require_mirrored(entry.mirrors, arguments, headers)
        return server, tool, arguments

    def _resource(self) -> tuple[str, str, bytes]:
        params = self._message.params
        self._uri = uri = _text(params.get("uri"), "`params.uri`")
        server = self._server
        if server is None:
            found = self._gateway.catalog(self._caller).uris.find(uri)
            if found is None:
                raise unknown_resource(uri)
            server, uri = found
            params["uri"] = uri
        return server, uri, encode({"uri": uri})

    def _prompt(self) -> tuple[str, str, bytes]:
        name, arguments = self._name(), self._arguments()
        if self._server is not None:
            return self._server, name, arguments
        server, prompt = self._exposed_prompt(name)
        self._message.params["name"] = prompt
        return server, prompt, arguments

    def _exposed_prompt(self, name: str) -> tuple[str, str]:
        entry = self._gateway.catalog(self._caller).prompts_by_exposed.get(name)
        if entry is None:
            raise unknown_prompt(name)
        return entry.server, entry.prompt

    def _completion(self) -> tuple[str, str, bytes, bool]:
        """What is filled in: a prompt by name, or a resource by its template or URI."""
        if not self._gateway.catalog(self._caller).may_have(COMPLETIONS, self._server):
            detail = f"The method `{self.method}` is not offered"  # nor was it promised
            raise GatewayError(Kind.UNKNOWN, detail, rpc_code=METHOD_NOT_FOUND)
        params = self._message.params
        ref = read_members(params.get("ref", _EMPTY))
        kind = _text(ref.get("type"), "`params.ref.type`")
        if kind not in (_PROMPT_REF, _RESOURCE_REF):
            raise GatewayError(
                Kind.INVALID, f"`params.ref.type` must be `{_PROMPT_REF}` or `{_RESOURCE_REF}`"
            )
        is_prompt = kind == _PROMPT_REF
        member = "name" if is_prompt else "uri"
        target = _text(ref.get(member), f"`params.ref.{member}`")
        if not is_prompt:
            self._uri = target
        server = self._server
        if server is None:
            server, target = self._exposed_prompt(target) if is_prompt else self._exposed_template(target)
            params["ref"] = {**ref, member: target}
        return server, target, bytes(params.get("argument", _EMPTY)), is_prompt

    def _other(self) -> tuple[str, str, bytes]:
        """What goes to the server as it is; of a task, to where it runs."""
        params = self._message.params
        arguments = encode({name: value for name, value in params.items() if name != "_meta"})
        if self.method not in tasks.OF_ONE:
            assert self._server is not None, "over all servers nothing else passes"
            return self._server, "", arguments
        task = _text(params.get("taskId"), "`params.taskId`")
        return self._server or self._gateway.server_of_task(self._caller, task), task, arguments

    def _exposed_template(self, text: str) -> tuple[str, str]:
        uris = self._gateway.catalog(self._caller).uris
        found = uris.find_template(text) or uris.find(text)
        if found is None:
            raise unknown_resource(text)
        return found

    def _name(self) -> str:
        name = self._message.name
        if not isinstance(name, str):
            raise GatewayError(Kind.INVALID, "`params.name` must be a string")
        return name

    def _arguments(self) -> bytes:
        arguments = bytes(self._message.params.get("arguments", _EMPTY))
        if arguments[:1] != b"{":
            raise GatewayError(Kind.INVALID, "`params.arguments` must be an object")
        return arguments


def _text(raw: Any, what: str) -> str:
    try:
        return msgspec.json.decode(raw or b"null", type=str)
    except msgspec.MsgspecError:
        raise GatewayError(Kind.INVALID, f"{what} must be a string") from None
