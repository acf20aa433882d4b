"""The edge in front of every face: who may knock, how much they may send, and how errors are told.

Runs before any routing, so no route can be reached around it, in two steps. `Edge.admit` looks at the
request alone: Host, Origin and the browser's word of where it comes from, then the credential in it.
`Edge.identify` does what takes time: one-time codes, and the proof that a proxy is who it must be.
Neither looks at `request.url`, which a crafted Host header can bend (CVE-2026-48710).

In open mode a direct request on loopback, with a loopback Host and no sign of a proxy or a foreign page, is
the local operator. Else the gateway is guarded: every request but those in `PUBLIC` needs an identity, and
what a proxy says counts only where the configuration names it and it is proven.

A browser sends cookies with whatever any page makes it ask for, and a page of a sibling port is of the same
site (SameSite does not help). So each request, whatever it asks, must not come from another origin by its
`Origin` or `Sec-Fetch-Site`; and one that could change something and is known by a cookie must have one of
them, since every browser sends `Origin` with such a request. Programs, which send neither, have keys; those
that are known without one, by a proxy or by being here, are let in, because a browser would have said more.
"""

import re
from dataclasses import replace
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from mcp_gateway import clock
from mcp_gateway.access.caller import LOCAL_OPERATOR, NOBODY, Caller
from mcp_gateway.access.limits import BURST_S, Buckets, rate_of
from mcp_gateway.access.proven import (
    PROXY_SECRET,
    TAILSCALE_CAPABILITIES,
    TAILSCALE_FUNNEL,
    TAILSCALE_LOGIN,
    TAILSCALE_NAME,
    proxy_caller,
    tailscale_caller,
)
from mcp_gateway.config.model import PROXY_PLACE, GatewayConfig, TrustedProxy
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces import cookies
from mcp_gateway.faces.http import Headers, Scope, Unclear, Visit, unauthenticated
from mcp_gateway.faces.peers import PEER
from mcp_gateway.gateway import Gateway
from mcp_gateway.wire.headers import BETWEEN_LINES, repeats_the_body

# Any of these says that something forwarded the request: then "from loopback" says nothing about who.
_PROXY_MARKS: Final = frozenset(
    b"forwarded via x-real-ip x-client-ip x-cluster-client-ip "
    b"x-original-host x-original-forwarded-for x-original-url x-rewrite-url true-client-ip cf-connecting-ip "
    b"cf-ray cf-visitor cf-ipcountry fastly-client-ip fly-client-ip x-envoy-external-address "
    b"x-appengine-user-ip x-azure-clientip x-amzn-trace-id tailscale-user-login tailscale-user-name "
    b"tailscale-user-profile-pic tailscale-funnel-request tailscale-headers-info "
    b"tailscale-app-capabilities x-authenticated-user x-remote-user remote-user "
    b"x-auth-request-user x-auth-request-email x-scheme cdn-loop".split()
)
_PROXY_FAMILY: Final = b"x-forwarded"
# A second one of these would let two readers see two requests.
_ONCE: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-length", b"authorization"}
    | {b"mcp-session-id", b"last-event-id"}
    | {TAILSCALE_LOGIN, TAILSCALE_NAME, TAILSCALE_CAPABILITIES, TAILSCALE_FUNNEL, PROXY_SECRET}
    | {b"mcp-gateway-code", b"x-forwarded-host", b"sec-fetch-mode", b"sec-fetch-dest"}
)
_LOOPBACK_HOST: Final = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_OWN_PAGE: Final = (b"same-origin", b"none")
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")  # they change nothing here
# What anybody may ask: whether the gateway is there, the form to sign in with, and what a browser fetches
# without credentials to install the pages as an app. Exact, as sent.
PUBLIC: Final = frozenset(
    {(method, path) for method in ("GET", "HEAD") for path in (b"/health", b"/ready", b"/")}
    | {("GET", b"/docs"), ("GET", b"/manifest.webmanifest"), ("GET", b"/sw.js"), ("POST", b"/api/sign-in")}
)
# Pages let nobody in to say so with a form, each by its policy; below lies nothing that a program calls.
_PAGES: Final = b"/ui/"
# Links that are their own right (`gateway/tickets.py`), for who follows them and has no key.
_LINKS: Final = (b"/api/files/",)
_LINK_TO_CODE: Final = re.compile(rb"/api/openwebui/functions/[^/]+\.py")
CODE_HEADER: Final = b"mcp-gateway-code"
_BEARER: Final = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)
_USUAL_PORT: Final = {"http": 80, "https": 443}


class _Rules:
    """What one configuration says of the edge, as the headers write it."""

    def __init__(self, settings: GatewayConfig, is_guarded: bool) -> None:
        self.settings = settings
        self.is_guarded = is_guarded
        self.hosts: dict[bytes, bool] = {}  # public ones, and whether they are https
        for url in settings.public_url:
            parts = urlsplit(url)
            self.hosts[parts.netloc.encode()] = parts.scheme == "https"
            if parts.port is None:
                self.hosts[f"{parts.netloc}:{_USUAL_PORT[parts.scheme]}".encode()] = parts.scheme == "https"
        self.origins = frozenset(url.encode() for url in settings.public_url)
        self.cors = frozenset(origin.encode() for origin in settings.cors_origins)
        # Headers that may say who is asking, if their sender is proven.
        proxy = settings.trusted_proxy
        named = () if proxy is None else (proxy.user_header.lower().encode(),)
        tailscale = (TAILSCALE_LOGIN, TAILSCALE_CAPABILITIES) if settings.tailscale.identity else ()
        self.identity_headers = frozenset((*named, *tailscale))
        self.once = _ONCE | self.identity_headers


class Edge:
    """Lets requests in, by the configuration that holds at that moment."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._buckets = Buckets()
        self._rules = _Rules(gateway.config.gateway, gateway.is_guarded)

    def rules(self) -> _Rules:
        settings = self._gateway.config.gateway
        if settings is not self._rules.settings:
            self._rules = _Rules(settings, self._gateway.is_guarded)
        return self._rules

    def is_named_page(self, scope: Scope) -> bool:
        """Whether a page that the operator named asks, under a name of ours: it may read the answer."""
        rules = self.rules()
        if not rules.cors:
            return False
        try:
            headers = _joined(scope["headers"], rules.once)
            _check_host(headers, scope, rules)
        except GatewayError:
            return False  # `let_in` says why
        return headers.get(b"origin") in rules.cors

    async def let_in(self, scope: Scope) -> Visit:
        """The request, with who sent it.

        Raises:
            GatewayError: `refused`, saying which sign of a stranger was seen; `unauthenticated`; `busy` for
                one request too many; `invalid` for repeated headers.
        """
        rules = self.rules()
        visit = self._admit(scope, rules)
        if visit.caller is NOBODY:
            visit = await self._identify(visit, scope, rules)
        # Nobody in particular shares no bucket: one stranger must not make a probe fail for another.
        if visit.caller is not NOBODY:
            self.charge(visit.caller)
        return visit

    def charge(self, caller: Caller, requests: int = 1) -> None:
        """Counts what a caller sends against their rate; a request may turn out to hold several.

        Raises:
            GatewayError: `busy`.
        """
        rate = rate_of(self.rules().settings.limits, caller)
        if rate is not None:
            wait_s = self._buckets.take(caller.id, rate, rate * BURST_S, clock.now_s(), requests)
            if wait_s:
                detail = (
                    f"You send more than {rate} requests a second, which is as many as one caller may send"
                )
                raise GatewayError(Kind.BUSY, detail, retry_after_s=wait_s)

    def _admit(self, scope: Scope, rules: _Rules) -> Visit:
        """What can be told at once; `NOBODY` where it takes more."""
        pairs = scope["headers"]
        headers: Headers = dict(pairs)
        if len(headers) != len(pairs):
            headers = _joined(pairs, rules.once)
        values = b"\n".join(headers.values()) + b"\n"
        if b" \n" in values or b"\t\n" in values:
            # The parser keeps blanks after a value; they are no part of it (RFC 9112, section 5.1).
            headers = {name: value.rstrip(b" \t") for name, value in headers.items()}
        if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            raise Unclear("the body's Transfer-Encoding must be `chunked` and nothing else")
        is_secure = _check_host(headers, scope, rules)
        if not rules.is_guarded:
            _check_direct(headers, scope)
        is_foreign = _check_page(headers, scope, rules)
        caller = NOBODY
        authorization = headers.get(b"authorization")
        if authorization is not None:
            caller = self._gateway.keys.caller_of(_bearer(authorization))
        elif not (rules.is_guarded or is_foreign or CODE_HEADER in headers or b"cookie" in headers):
            caller = LOCAL_OPERATOR
        return Visit(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            headers,
            caller,
            is_secure,
            require_current=self._gateway.require_current,
        )

    async def _identify(self, visit: Visit, scope: Scope, rules: _Rules) -> Visit:
        """Who it is by what takes time to find out, or who needs to be nobody in particular."""
        headers = visit.headers
        is_foreign = headers.get(b"origin") in rules.cors
        code = headers.get(CODE_HEADER)
        if is_foreign:
            # A page that the operator named may call with a key; it is never the person in front of it.
            raise unauthenticated("A page of another origin needs an API key")
        if code is not None:
            what_for = f"{visit.method} {_shown(visit.path)}"
            return replace(visit, caller=await self._gateway.console.redeem(code.decode("latin-1"), what_for))
        caller = NOBODY if rules.is_guarded else LOCAL_OPERATOR
        if not rules.identity_headers.isdisjoint(headers):
            caller = await self._proven(headers, scope, rules) or caller
        text = cookies.read(headers, visit.is_secure)
        sign_in = None if text is None else self._gateway.sign_ins.find(text, caller)
        if sign_in is not None:
            _check_sender(visit)
            signed_in = self._gateway.sign_ins.caller(sign_in, caller)
            return replace(
                visit,
                caller=signed_in,
                sign_in=sign_in,
                known=caller,
                require_current=lambda _caller: self._gateway.sign_ins.require_current(sign_in),
            )
        if caller is NOBODY and not is_public(visit.method, visit.path):
            raise unauthenticated("This needs an API key, or to be signed in")
        return replace(visit, caller=caller)

    async def _proven(self, headers: Headers, scope: Scope, rules: _Rules) -> Caller | None:
        """Who a proxy says is asking, where every proof that the configuration names holds."""
        settings = rules.settings
        peer = scope.get(PEER)
        uid = None if peer is None else await peer.uid()
        if settings.tailscale.identity and uid is not None and uid == settings.tailscale.uid:
            caller = tailscale_caller(settings.tailscale, headers)
            if caller is not None:
                return caller
        proxy = settings.trusted_proxy
        if proxy is not None and self._is_proxy(proxy, headers, uid, scope):
            return proxy_caller(proxy, headers)
        return None

    def _is_proxy(self, proxy: TrustedProxy, headers: Headers, uid: int | None, scope: Scope) -> bool:
        if proxy.uid is not None and uid != proxy.uid:
            return False
        if proxy.addresses and not _is_from(proxy.addresses, scope):
            return False
        if proxy.secret is not None:
            secret = self._gateway.config.texts.get(PROXY_PLACE)
            sent = headers.get(PROXY_SECRET, b"")
            return secret is not None and compare_digest(secret.encode(), sent)
        return True


def _check_host(headers: Headers, scope: Scope, rules: _Rules) -> bool:
    """Whether the browser sees https; a Host that is not ours is refused, whoever asks (DNS rebinding)."""
    host = headers.get(b"host", b"")
    if _LOOPBACK_HOST.fullmatch(host) is not None:
        forwarded = headers.get(b"x-forwarded-host")
        if rules.is_guarded and forwarded is not None and is_unix(scope):
            # A proxy in front of the unix socket calls it localhost; from here on it is what browsers see.
            headers[b"host"] = host = forwarded
        else:
            return False
    is_secure = rules.hosts.get(host.lower())
    if is_secure is not None:
        return is_secure
    if rules.is_guarded and not is_unix(scope) and host in _own_address(*scope["server"]):
        return False
    known = "its public names and addresses" if rules.is_guarded else "direct requests to localhost only"
    raise _refused(f"the Host header is `{_shown(host)}`; this gateway answers to {known}")


def is_unix(scope: Scope) -> bool:
    """Whether a request came over the unix socket."""
    return scope["server"] is None or scope["server"][1] is None


def _own_address(address: str, port: int) -> tuple[bytes, ...]:
    """The address that the connection came in at, as a Host header says it: no name leads a page there."""
    shown = (f"[{address}]" if ":" in address else address).encode()
    return (shown, b"%b:%d" % (shown, port)) if port == 80 else (b"%b:%d" % (shown, port),)


def _check_direct(headers: Headers, scope: Scope) -> None:
    if not _PROXY_MARKS.isdisjoint(headers):
        raise _proxied(min(_PROXY_MARKS.intersection(headers)))
    if _PROXY_FAMILY in b"\n".join(headers):
        raise _proxied(_PROXY_FAMILY)
    if scope["http_version"] == "1.0":
        # A proxy that was set up by nobody speaks 1.0 to what is behind it and may add no other mark.
        raise _refused("it was sent as HTTP/1.0, as proxies do that say nothing else of themselves")


def _check_page(headers: Headers, scope: Scope, rules: _Rules) -> bool:
    """Whether a page of another origin asks, which the operator has named; any other is refused."""
    origin = headers.get(b"origin")
    if origin is not None:
        if origin in rules.cors:
            return True
        host = headers.get(b"host", b"")
        is_own = origin in rules.origins or (
            host.lower() not in rules.hosts and origin in (b"http://" + host, b"https://" + host)
        )
        if not is_own:
            raise _refused(f"it comes from a page of another origin, `{_shown(origin)}`")
    if headers.get(b"sec-fetch-site", b"none") not in _OWN_PAGE and not (
        # Where nobody is let in for being here, or nobody is let in but by the link itself: an answer of the
        # tool API is shown on the page of somebody else. What changes state is no link.
        (rules.is_guarded or scope["raw_path"].startswith(_LINKS))
        and scope["method"] in ("GET", "HEAD")
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
    ):
        raise _refused("it comes from a page of another site; open the address directly")
    return False


def _check_sender(visit: Visit) -> None:
    """Refuses what a cookie alone vouches for and might change something."""
    if visit.method not in _SAFE_METHODS and not visit.headers.keys() & {b"origin", b"sec-fetch-site"}:
        raise _refused(
            "it has the cookie of a browser and neither Origin nor Sec-Fetch-Site, which browsers send; "
            "programs use an API key"
        )


def is_public(method: str, path: bytes) -> bool:
    """Whether anybody gets to the route, whatever it asks for then."""
    if (method, path) in PUBLIC or path.startswith(_PAGES):
        return True
    return method == "GET" and (path.startswith(_LINKS) or _LINK_TO_CODE.fullmatch(path) is not None)


def is_page(path: bytes) -> bool:
    return path in (b"/", b"/docs") or path.startswith(_PAGES)


def is_loopback_host(headers: Headers) -> bool:
    return _LOOPBACK_HOST.fullmatch(headers.get(b"host", b"")) is not None


def _bearer(authorization: bytes) -> str:
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise unauthenticated("The Authorization header is not `Bearer` and an API key")
    return found[1].decode("ascii")


def _is_from(networks: tuple[str, ...], scope: Scope) -> bool:
    client = scope["client"]
    if client is None:
        return False
    address = ip_address(client[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # Everybody on this machine comes from loopback: that proves nothing.
    return not address.is_loopback and any(address in ip_network(network) for network in networks)


def _proxied(mark: bytes) -> GatewayError:
    return _refused(f"the header `{_shown(mark)}` says that a proxy forwarded it, and none is configured")


def _refused(why: str) -> GatewayError:
    return GatewayError(Kind.REFUSED, f"The request was refused: {why}")


def _joined(pairs: list[tuple[bytes, bytes]], once: frozenset[bytes]) -> Headers:
    """Headers of which some were sent in several lines: those that are lists (RFC 9110, section 5.3).

    What MCP repeats in headers may come once, too; of that both lines are kept, for the face to refuse in the
    words of MCP.
    """
    headers: Headers = {}
    for name, value in pairs:
        if name not in headers:
            headers[name] = value
            continue
        if name in once:
            raise GatewayError(Kind.INVALID, f"The header `{_shown(name)}` may be sent only once")
        between = b", "
        if name == b"cookie":
            between = b"; "  # RFC 9113, section 8.2.3
        elif repeats_the_body(name):
            between = BETWEEN_LINES
        headers[name] += between + value
    return headers


def _shown(value: bytes) -> str:
    return value[:80].decode("ascii", "backslashreplace")
