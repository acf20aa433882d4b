"""What may be asked of a server beside its tools: to read a resource, to get a prompt, to complete a word,
and what the gateway knows nothing of.

The rules for `calls.py`, which sends it: who may see a server as a whole may ask for what it has, and to
everybody else it is unknown, in the words of what is not there. Knows no face.
"""

from typing import Final, Protocol

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.policy import require_on_whole_server, sees_whole_server
from mcp_gateway.errors import METHOD_NOT_FOUND, GatewayError, Kind
from mcp_gateway.shelves import COMPLETIONS, PROMPTS, RESOURCES
from mcp_gateway.upstream.client import Client
from mcp_gateway.upstream.upstream import Upstream

CALL_TOOL: Final = "tools/call"
READ_RESOURCE: Final = "resources/read"
GET_PROMPT: Final = "prompts/get"
COMPLETE: Final = "completion/complete"
METHODS: Final = frozenset({CALL_TOOL, READ_RESOURCE, GET_PROMPT, COMPLETE})

STARTING_RETRY_S: Final = 1.0
MAX_METHOD_CHARS: Final = 80  # of a method that nobody knows, in an error
MAX_SHOWN_CHARS: Final = 200  # of a name or URI that nobody knows, in an error
_NEEDED: Final = {READ_RESOURCE: RESOURCES, GET_PROMPT: PROMPTS, COMPLETE: COMPLETIONS}


class Wish(Protocol):
    """The part of `calls.Request` that is looked at. `target` is a URI, a template or a prompt's name."""

    @property
    def method(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def is_prompt(self) -> bool: ...
    @property
    def client(self) -> Client: ...


def may_pass(caller: Caller, wish: Wish, upstream: Upstream) -> None:
    """Whether a method that the gateway does not know may be sent to the server, which the caller sees.

    Raises:
        GatewayError: `unknown`, `refused` or `unavailable`.
    """
    if not sees_whole_server(caller, wish.server):
        raise not_offered(wish.method)
    require_on_whole_server(caller, Right.CALL, wish.server)
    require_same_era(wish, upstream)


def require_same_era(wish: Wish, upstream: Upstream) -> None:
    """What is not translated is only for a server that speaks the client's era.

    Raises:
        GatewayError: `unknown`, or `unavailable` as long as that is not known.
    """
    if upstream.opened is None:
        upstream.check_coming()
        detail = f"The server `{wish.server}` has not said yet what it speaks"
        raise GatewayError(Kind.UNAVAILABLE, detail, server=wish.server, retry_after_s=STARTING_RETRY_S)
    if wish.client.era not in upstream.opened.eras:
        raise not_offered(wish.method)


def not_offered(method: str) -> GatewayError:
    detail = f"The method `{method[:MAX_METHOD_CHARS]}` is not offered"
    return GatewayError(Kind.UNKNOWN, detail, rpc_code=METHOD_NOT_FOUND)


def may_ask(caller: Caller, wish: Wish, upstream: Upstream) -> None:
    """Whether this may be sent to the server, which the caller sees.

    Raises:
        GatewayError: `unknown` or `refused`.
    """
    unknown = unknown_prompt(wish.target) if wish.is_prompt else unknown_resource(wish.target)
    if not sees_whole_server(caller, wish.server):
        raise unknown
    require_on_whole_server(caller, Right.CALL, wish.server)
    if not upstream.life.is_coming:
        return  # `submit` says what is wrong with it
    shelf = upstream.shelf
    if not shelf.may_have(_NEEDED[wish.method]):
        if wish.method == COMPLETE:
            detail = f"The server `{wish.server}` completes nothing"
            raise GatewayError(Kind.UNKNOWN, detail, server=wish.server, rpc_code=METHOD_NOT_FOUND)
        raise unknown
    # Of resources no list is complete: a server may have more than it lists, and says so itself.
    if (
        wish.is_prompt
        and upstream.knows_its_prompts
        and not any(one.name == wish.target for one in shelf.prompts)
    ):
        raise unknown


def unknown_resource(uri: str) -> GatewayError:
    return GatewayError(Kind.UNKNOWN, f"There is no resource `{uri[:MAX_SHOWN_CHARS]}`")


def unknown_prompt(name: str) -> GatewayError:
    return GatewayError(Kind.UNKNOWN, f"There is no prompt `{name[:MAX_SHOWN_CHARS]}`")
