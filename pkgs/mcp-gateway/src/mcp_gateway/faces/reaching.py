"""Whether an Open WebUI will reach this gateway at an address, as far as the gateway itself can know.

Two programs go there: Open WebUI's server, which may live in a container, and the browser of each user, for
the tool servers that users add themselves. Pure: an `Around` in, findings out. Whether it is so, only they
can tell: `gateway/openwebui.py` asks the one, a script on the Connect page the other.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Tone = Literal["good", "uneasy", "bad"]
_USUAL_PORT: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Around:
    """What the gateway knows of itself. `listening` is the address that is bound, and `port` its port."""

    listening: str
    port: int
    public: tuple[str, ...]
    cors: tuple[str, ...]
    is_guarded: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """`side` is who goes there: Open WebUI's `server` or a user's `browser`."""

    side: Literal["server", "browser"]
    tone: Tone
    says: str


def suggested(around: Around) -> str:
    """The address that Open WebUI's server most probably has for this gateway."""
    if around.public:
        return around.public[0]
    return f"http://{_shown(around.listening)}:{around.port}"


def findings(
    around: Around, for_server: str, for_browser: str, page: str | None = None
) -> list[dict[str, Any]]:
    """For an address each; `page` is the origin of Open WebUI's pages, where that is known."""
    found = [
        *(Finding("server", tone, says) for tone, says in _of_the_server(around, for_server)),
        *(Finding("browser", tone, says) for tone, says in _of_the_browser(around, for_browser, page)),
    ]
    return [asdict(finding) for finding in found]


def _of_the_server(around: Around, base: str) -> Iterator[tuple[Tone, str]]:
    parts = urlsplit(base)
    host = parts.hostname or ""
    if _is_here(host):
        yield (
            "uneasy",
            f"`{host}` is Open WebUI's own machine: right if both run on one, wrong from within a container. "
            "From there the gateway needs another name, and `host` and `publicUrl` in its configuration.",
        )
        return
    if not _is_known(around, base):
        yield (
            "bad",
            f"The gateway does not answer to `{parts.netloc}`: put {base} into `publicUrl`.",
        )
    if _is_here(around.listening) and not _is_public(around, base):
        yield (
            "bad",
            f"The gateway listens on {around.listening} only, where no other machine and no container comes "
            "in: set `host`, or put a proxy in front.",
        )
    elif _is_here(around.listening):
        yield (
            "uneasy",
            f"The gateway itself listens on {around.listening} only: {base} works if a proxy leads here.",
        )
    if parts.scheme == "https" and not _is_public(around, base):
        yield "bad", "The gateway itself speaks http: for https a proxy has to stand in front of it."
    if parts.scheme == "http" and around.is_guarded:
        yield "uneasy", "The key travels unencrypted; that is for a network of your own."
    is_https_ours = parts.scheme == "http" or _is_public(around, base)
    if _is_known(around, base) and not _is_here(around.listening) and is_https_ours:
        yield "good", f"The gateway listens on {around.listening} and answers to `{parts.netloc}`."


def _of_the_browser(around: Around, base: str, page: str | None) -> Iterator[tuple[Tone, str]]:
    host = urlsplit(base).hostname or ""
    if page is not None and page.startswith("https:") and base.startswith("http:") and not _is_here(host):
        yield (
            "bad",
            f"{page} is https, so browsers let its pages go to https only, and {base} is http.",
        )
    if page is not None and page in around.cors:
        yield "good", f"Pages of {page} may call with a key."
    elif page is not None:
        yield "bad", f"Pages of {page} may not call: put that into `corsOrigins`."
    elif not around.cors:
        yield (
            "bad",
            "No page of another origin may call: put the address of Open WebUI, as users open it, into "
            "`corsOrigins`.",
        )
    else:
        listed = ", ".join(f"`{origin}`" for origin in around.cors)
        yield "good", f"Pages of {listed} may call with a key; Open WebUI's address has to be among them."
    if _is_here(host):
        yield "uneasy", f"`{host}` is the machine of whoever uses the browser: right for you alone."


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_known(around: Around, base: str) -> bool:
    """Whether a request with this name in it is let in."""
    return _is_public(around, base) or (around.is_guarded and _is_own_address(around, base))


def _is_public(around: Around, base: str) -> bool:
    return _place(base) in {_place(url) for url in around.public}


def _place(url: str) -> tuple[str, int | None]:
    """Host and port. A proxy may be https where it says http, and the name counts all the same."""
    parts = urlsplit(url)
    return (parts.hostname or "", parts.port or _USUAL_PORT.get(parts.scheme))


def _is_own_address(around: Around, base: str) -> bool:
    """Whether it may be an address of this machine, which counts as a name of ours when it is called."""
    parts = urlsplit(base)
    try:
        address, listening = ip_address(parts.hostname or ""), ip_address(around.listening)
    except ValueError:
        return False
    port = parts.port or _USUAL_PORT.get(parts.scheme)
    return port == around.port and (listening.is_unspecified or address == listening)


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address
