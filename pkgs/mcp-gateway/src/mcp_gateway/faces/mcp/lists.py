"""The four lists of MCP, of one server or of all, in the pages that the catalog has ready."""

from typing import Final

import msgspec

from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind
from mcp_gateway.faces.mcp import resources
from mcp_gateway.gateway import Gateway
from mcp_gateway.shelves import PROMPTS, RESOURCES, TEMPLATES, TOOLS
from mcp_gateway.wire.envelope import Message
from mcp_gateway.wire.revisions import Era

_NULL: Final = b"null"
METHODS: Final = {
    "tools/list": TOOLS,
    "resources/list": RESOURCES,
    "resources/templates/list": TEMPLATES,
    "prompts/list": PROMPTS,
}


def list_page(
    gateway: Gateway, caller: Caller, server: str | None, message: Message, era: Era = Era.HANDSHAKE
) -> bytes:
    """The result of one of these methods.

    Raises:
        GatewayError: `invalid`, for a cursor that leads nowhere.
    """
    kind = METHODS[message.method or ""]
    more = b""
    if kind == RESOURCES:
        more = resources.artifacts(gateway, caller, server)
    elif kind == TEMPLATES:
        more = resources.ARTIFACT_TEMPLATE
    return gateway.catalog(caller).page(kind, server, _cursor(message), more, era)


def _cursor(message: Message) -> str | None:
    raw = message.params.get("cursor", _NULL)
    try:
        return msgspec.json.decode(raw, type=str | None)
    except msgspec.MsgspecError:
        raise GatewayError(
            Kind.INVALID, "`params.cursor` must be a string", rpc_code=INVALID_PARAMS
        ) from None
