"""What the gateway is exposed to, and which rule is in force: as facts, and in sentences for a person.

Says what holds now: where it listens is what was bound at the start, the rest what the configuration of this
moment says. Who comes in is decided by `faces/edge.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_gateway.access.caller import Caller, Right
from mcp_gateway.access.limits import BURST_S, DEFAULT_CONCURRENCY, DEFAULT_RATE
from mcp_gateway.access.policy import require_everywhere
from mcp_gateway.config.model import PROXY_PLACE, Config, GatewayConfig, TrustedProxy, is_loopback
from mcp_gateway.gateway.console import FILE_NAME, Console
from mcp_gateway.gateway.keys import Keys
from mcp_gateway.gateway.sign_ins import SignIns

_UNENCRYPTED: Final = "everybody on the way can read keys, passwords and results"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the port is: the address as it is bound, and the path of a unix socket beside it."""

    address: str = "127.0.0.1"
    port: int = 0
    socket: str | None = None

    @property
    def is_exposed(self) -> bool:
        """Whether other machines reach it."""
        return not is_loopback(self.address)

    @property
    def is_everywhere(self) -> bool:
        """Whether it is every address of this machine."""
        return ip_address(self.address).is_unspecified

    @property
    def url(self) -> str:
        """What a program on this machine opens."""
        address = self.address
        if self.is_everywhere:
            address = "::1" if ":" in address else "127.0.0.1"
        return f"http://[{address}]:{self.port}" if ":" in address else f"http://{address}:{self.port}"


HERE: Final = Listening()


class Exposure:
    """`is_mcp_open`: there are MCP URLs, which only a restart changes."""

    def __init__(
        self,
        listening: Listening,
        config: Callable[[], Config],
        keys: Keys,
        sign_ins: SignIns,
        console: Console,
    ) -> None:
        self.listening = listening
        self.is_mcp_open = config().gateway.mcp.enabled
        self._config = config
        self._keys = keys
        self._sign_ins = sign_ins
        self._console = console

    @property
    def is_guarded(self) -> bool:
        """Whether every request needs an identity, or one from this machine is its operator's."""
        return self.listening.is_exposed or self._config().gateway.is_guarded

    def view(self, caller: Caller) -> dict[str, Any]:
        """The document of `GET /api/access`.

        Raises:
            GatewayError: `refused`.
        """
        require_everywhere(caller, Right.OPERATE)
        settings, listening = self._config().gateway, self.listening
        proxy, tailscale, limits = settings.trusted_proxy, settings.tailscale, settings.limits
        return {
            "guarded": self.is_guarded,
            "because": self._because(settings),
            "listening": {
                "address": listening.address,
                "port": listening.port,
                "exposed": listening.is_exposed,
                "socket": listening.socket,
            },
            "publicUrls": list(settings.public_url),
            "corsOrigins": list(settings.cors_origins),
            "mcp": self.is_mcp_open,
            "tailscale": {
                "identity": tailscale.identity,
                "operators": list(tailscale.operators),
                "capability": tailscale.capability,
            },
            "trustedProxy": proxy
            and {
                "userHeader": proxy.user_header,
                "operators": list(proxy.operators),
                "uid": proxy.uid,
                "addresses": list(proxy.addresses),
                "secret": proxy.secret is not None,
            },
            "limits": {
                "body": limits.body_bytes,
                "rate": limits.rate or DEFAULT_RATE,
                "burst": (limits.rate or DEFAULT_RATE) * BURST_S,
                "concurrency": limits.concurrency or DEFAULT_CONCURRENCY,
            },
            "password": self._sign_ins.has_password,
            "code": self._console.is_written,
            "keys": self._keys.counts(),
            "signIns": len(self._sign_ins),
            "rules": list(self._rules(settings)),
            "warnings": list(self._warnings(settings)),
        }

    def _because(self, settings: GatewayConfig) -> list[str]:
        """The settings for which every request needs an identity; none where the gateway is open."""
        found = (
            ("host", self.listening.is_exposed),
            ("publicUrl", settings.public_url),
            ("auth.keys", settings.auth.keys),
            ("auth.password", settings.auth.password),
            ("tailscale.identity", settings.tailscale.identity),
            ("trustedProxy", settings.trusted_proxy),
        )
        return [name for name, is_set in found if is_set]

    def _rules(self, settings: GatewayConfig) -> Iterator[str]:
        """What is in force, a sentence or two for each."""
        yield from self._of_listening()
        yield from self._of_the_mode(settings)
        if settings.public_url:
            yield (
                f"Beside localhost and its own addresses it answers to {_listed(settings.public_url)}; "
                "a request under any other name is refused."
            )
        if settings.tailscale.identity:
            granted = settings.tailscale.capability
            others = "may read and call" if granted is None else f"may do what `{granted}` grants them"
            yield (
                "Who comes through `tailscale serve` is known by their log-in of the tailnet: "
                f"{_rights(settings.tailscale.operators, others)}."
            )
        if settings.trusted_proxy is not None:
            yield from _of_the_proxy(settings.trusted_proxy)
        if settings.cors_origins:
            yield f"Pages of {_listed(settings.cors_origins)} may call with an API key and nothing else."
        yield "MCP clients are served." if self.is_mcp_open else "MCP is closed, at every URL."
        yield from self._of_secrets()
        limits = settings.limits
        here = "" if limits.rate or limits.concurrency else "; the person at this machine has no such limit"
        yield (
            f"One caller may send {limits.rate or DEFAULT_RATE} requests a second and have "
            f"{limits.concurrency or DEFAULT_CONCURRENCY} calls under way{here}."
        )

    def _of_listening(self) -> Iterator[str]:
        listening = self.listening
        if not listening.is_exposed:
            where = f"{listening.address}, port {listening.port}: only programs on this machine reach it"
        elif listening.is_everywhere:
            where = f"port {listening.port} of every address of this machine: all networks it is in reach it"
        else:
            where = f"{listening.address}, port {listening.port}: whoever reaches this address reaches it"
        yield f"The gateway listens on {where}."
        if listening.socket is not None:
            yield f"It listens on the socket {listening.socket} as well, for its own user and group."

    def _of_the_mode(self, settings: GatewayConfig) -> Iterator[str]:
        because = self._because(settings)
        if because:
            yield (
                "It is guarded: everybody has to say who they are, because of "
                f"{_listed(f'`{name}`' for name in because)} in its configuration or at its start."
            )
            return
        yield (
            "It is open: whoever comes directly from this machine is its operator without signing in, and "
            "may read, call and switch. Administration takes the one-time code."
        )
        yield (
            "What a proxy has passed on, or a page of another origin asks for, is refused. Any of "
            "`publicUrl`, `auth`, `tailscale.identity` and `trustedProxy` makes it guarded."
        )

    def _of_secrets(self) -> Iterator[str]:
        counts = self._keys.counts()
        total = counts["declared"] + counts["made"]
        if total:
            expired = f", of which {counts['expired']} expired" if counts["expired"] else ""
            yield (
                f"There {_are(total, 'API key')}: {counts['declared']} declared and {counts['made']} made at "
                f"run time{expired}."
            )
        else:
            yield "There are no API keys."
        if self._sign_ins.has_password:
            yield "On the page one signs in with the operator's password, or with the one-time code."
        else:
            yield "There is no password: on the page one signs in with the one-time code."
        yield f"The code works once; the one that does is in the file `{FILE_NAME}` of the state directory."

    def _warnings(self, settings: GatewayConfig) -> Iterator[str]:
        """What a person should look at."""
        listening, texts = self.listening, self._config().texts
        if listening.is_exposed:
            yield (
                f"Port {listening.port} speaks plain http beyond this machine: {_UNENCRYPTED}. Better is "
                "`tailscale serve` or a proxy with TLS in front, and `host` 127.0.0.1."
            )
        for url in settings.public_url:
            if url.startswith("http:") and not is_loopback(urlsplit(url).hostname or ""):
                yield f"{url} is plain http: {_UNENCRYPTED}."
        if settings.auth.password is not None and not self._sign_ins.has_password:
            yield "The password that is declared cannot be read, so nobody gets in by it."
        if missing := len(settings.auth.keys) - self._keys.counts()["declared"]:
            yield f"There {_are(missing, 'declared key')} that cannot be read; who holds it does not get in."
        proxy = settings.trusted_proxy
        if proxy is not None and proxy.secret is not None and PROXY_PLACE not in texts:
            yield "The secret of the trusted proxy cannot be read, so it is not believed."
        if proxy is not None and proxy.addresses and proxy.secret is None:
            yield (
                "The trusted proxy is believed by its address alone: whoever sends from there can be "
                "anybody. With a `secret` only the proxy can."
            )
        if not self._console.is_written:
            yield "The one-time code could not be written to its file; a restart makes another."


def _of_the_proxy(proxy: TrustedProxy) -> Iterator[str]:
    proofs = (
        (f"it runs as the user {proxy.uid}", proxy.uid is not None),
        (f"it comes from {_listed(map(_address, proxy.addresses))}", proxy.addresses),
        ("it shows the secret", proxy.secret is not None),
    )
    yield (
        f"A proxy that signs people in says who they are in `{proxy.user_header}`, and is believed if "
        f"{_listed(words for words, is_asked in proofs if is_asked)}: "
        f"{_rights(proxy.operators, 'may read and call')}."
    )


def _rights(operators: Iterable[str], others: str) -> str:
    listed = _listed(f"`{name}`" for name in operators)
    return f"{listed} may operate, and all others {others}" if listed else f"all of them {others}"


def _address(network: str) -> str:
    """A network of one address as that address."""
    return network.removesuffix("/32").removesuffix("/128")


def _listed(names: Iterable[str]) -> str:
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _are(count: int, thing: str) -> str:
    return f"is 1 {thing}" if count == 1 else f"are {count} {thing}s"
