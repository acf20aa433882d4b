"""Which headers of a caller may be passed on to a remote server at all. A table and one question; pure.

`forwardHeaders` of a server names the headers that its calls pass on. Some can never be named, whoever
asks: what proves a caller to this gateway would let the server act as that caller (token passthrough);
what frames a message or speaks the protocol is for the gateway to write; and what proxies say about a
caller would be believed of the gateway, which has not proven it.
"""

from typing import Final

FORWARD_MAX: Final = 16  # a caller's key for a server, a tenant, a trace: nobody has needed more than four

_PROOF: Final = "it says who is calling this gateway, and that is never passed on"
_FRAME: Final = "it belongs to one connection or one body, and the gateway writes its own"
_SPOKEN: Final = "it belongs to the protocol, which the gateway itself speaks with the server"
_ORIGIN: Final = "it says where a request came from, and the server would take the gateway's word for it"

_NAMES: Final = {
    **dict.fromkeys(
        (
            *("authorization", "cookie", "cookie2", "set-cookie", "set-cookie2", "authentication-info"),
            *("www-authenticate", "remote-user", "x-remote-user", "x-authenticated-user"),
        ),
        _PROOF,
    ),
    **dict.fromkeys(
        (
            *("host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
            *("http2-settings", "x-http-method", "x-http-method-override", "x-method-override"),
        ),
        _FRAME,
    ),
    "last-event-id": _SPOKEN,
    **dict.fromkeys(
        (
            *("origin", "referer", "forwarded", "via", "cdn-loop", "true-client-ip", "x-real-ip"),
            *("x-client-ip", "x-cluster-client-ip", "x-scheme", "x-rewrite-url", "x-appengine-user-ip"),
            *("x-azure-clientip", "x-envoy-external-address", "fastly-client-ip", "fly-client-ip"),
            "x-amzn-trace-id",
        ),
        _ORIGIN,
    ),
}
_FAMILIES: Final = {
    "proxy-": _PROOF,
    "tailscale-": _PROOF,
    "mcp-gateway-": _PROOF,
    "x-auth-request-": _PROOF,
    "content-": _FRAME,
    "accept": _FRAME,
    "mcp-": _SPOKEN,
    "x-forwarded": _ORIGIN,
    "x-original-": _ORIGIN,
    "sec-": _ORIGIN,
    "cf-": _ORIGIN,
}


def plain(name: str) -> str:
    """The name as a server may read it: without case, and with `_` for `-`, which CGI cannot tell apart."""
    return name.lower().replace("_", "-")


def why_never(name: str) -> str | None:
    """Why a header of this name is never passed on; None when an operator may name it."""
    known = plain(name)
    if known in _NAMES:
        return _NAMES[known]
    return next((why for family, why in _FAMILIES.items() if known.startswith(family)), None)
