"""Templates into answers: what stands around every page, the headers of every document, text made visible.

One template per thing: it serves the first page, the reply to a click and the live update. Everything that
is written into a template is escaped, and what would act or hide in a line is made visible; there is no way
around that, and a test reads the templates for one.
"""

import asyncio
import gzip
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_gateway import clock
from mcp_gateway.access.caller import NOBODY, Right
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces.http import Visit, error_headers
from mcp_gateway.faces.ui.assets import Assets
from mcp_gateway.faces.ui.hours import Hours
from mcp_gateway.faces.ui.kept import Kept
from mcp_gateway.gateway import Gateway
from mcp_gateway.version import VERSION
from mcp_gateway.visible import safe

# S31. Styles and scripts come from files of ours alone; pictures and sounds of results are data of the page.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src data:; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; report-uri /ui/csp-reports"
)
HEADERS: Final = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding, hx-request",
}
PATH_CHARS: Final = 2_000  # a form gives it back, beside a secret, and may be so large
PACK_FROM_BYTES: Final = 2_048  # below, compressing costs more than it saves
PACK_ASIDE_BYTES: Final = 400_000  # from where it takes more than a few milliseconds
PACK_LEVEL: Final = 4  # 1 ms for 200 kB, a tenth larger than the best
_HTMX: Final = b"hx-request"
MORPH: Final = "outerMorph"

# Something on a page, by its selector, its template and that one's context, and how it goes there (MORPH).
Part = tuple[str, str, Mapping[str, Any]] | tuple[str, str, Mapping[str, Any], str]


@dataclass(frozen=True, slots=True)
class Place:
    """A page that the frame leads to, for who has one of the rights."""

    path: str
    name: str
    icon: str
    rights: tuple[Right, ...]


PLACES: Final = (
    Place("/", "Servers", "server", (Right.READ,)),
    Place("/ui/tools", "Tools", "wrench", (Right.READ,)),
    Place("/ui/resources", "Resources", "file-text", (Right.READ,)),
    Place("/ui/prompts", "Prompts", "message-square-text", (Right.READ,)),
    Place("/ui/activity", "Activity", "activity", (Right.READ,)),
    Place("/ui/connect", "Connect", "plug", (Right.READ, Right.CALL)),
    Place("/docs", "API", "braces", (Right.READ, Right.CALL)),
    Place("/ui/add", "Add a server", "plus", (Right.OPERATE,)),
    Place("/ui/access", "Access", "shield", (Right.OPERATE,)),
)


class Renderer:
    """Makes pages and parts. One per application."""

    def __init__(self, gateway: Gateway, assets: Assets) -> None:
        self.gateway = gateway
        self.assets = assets
        self.hours = Hours(gateway)
        self._environment = environment()
        self._environment.globals.update(asset=assets.address, version=VERSION, now=clock.wall_s)
        self._environment.globals["icon"] = self._icon
        self._icons: dict[str, Markup] = {}
        self._kept = Kept()

    def part(self, name: str, /, **context: Any) -> str:
        """A template alone, such as what a click or a change puts in the place of what stands there."""
        return self._environment.get_template(name).render(context)

    def markup(self, name: str, /, **context: Any) -> Markup:
        """The same, to be put into another template as it is."""
        # A module of a template knows that it is markup; a text would have to be trusted.
        return escape(self._environment.get_template(name).make_module(context))

    def kept(self, slot: Hashable, facts: object, name: str, /, **context: Any) -> Markup:
        """As `markup`, but what was made of the same facts stays: see `Kept`. The slot says whose it is."""
        return self._kept.of((name, slot), facts, lambda: self.markup(name, **context))

    def kept_part(
        self, slot: Hashable, facts: object, selector: str, template: str, /, **context: Any
    ) -> Markup:
        """As `parts` of one thing on a page, with `kept`."""
        return self.kept(
            (template, slot),
            facts,
            "_part.html",
            selector=selector,
            swap=MORPH,
            template=template,
            **context,
        )

    def parts(self, parts: Iterable[Part]) -> str:
        """What replaces several things on a page, or is added to them."""
        return "".join(
            self.part(
                "_part.html",
                selector=selector,
                swap=swap[0] if swap else MORPH,
                template=template,
                **context,
            )
            for selector, template, context, *swap in parts
        )

    def page(
        self,
        visit: Visit,
        template: str,
        /,
        *,
        title: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        """A whole document. `title` is the page's; `context` is its template's."""
        caller = visit.caller
        body = self.part(
            template,
            title=title,
            at="/" + visit.path.decode("latin-1").strip("/"),
            me=None if caller is NOBODY else _me(self.gateway, visit),
            places=[place for place in PLACES if not caller.rights.isdisjoint(place.rights)],
            may=_Rights(visit),
            warnings=self.gateway.warnings() if Right.OPERATE in caller.everywhere else (),
            **context,
        )
        return html(visit, body, status, headers)

    def failed(self, visit: Visit, problem: GatewayError) -> Response:
        """What a person sees when something was refused or went wrong: a notice over the page, or a page."""
        headers = {name.decode(): value.decode() for name, value in error_headers(problem)}
        if is_htmx(visit):
            said = self.part("_said.html", tone="bad", text=problem.detail)
            return html(visit, said, problem.status, headers)
        title = "That did not work" if problem.status != 404 else "Not here"
        return self.page(
            visit, "failed.html", title=title, status=problem.status, headers=headers, problem=problem
        )

    def _icon(self, name: str) -> Markup:
        """One of `ui/icons.txt`; decoration beside words, so it has none of its own."""
        drawn = self._icons.get(name)
        if drawn is None:  # names are the templates', so there are as many as in the set
            address = f"{self.assets.address('icons.svg')}#{name}"
            drawn = Markup('<svg class="icon" aria-hidden="true"><use href="{}"/></svg>').format(address)
            self._icons[name] = drawn
        return drawn


def environment() -> Environment:
    """Templates, with everything escaped and every name that is not there an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        # Each template is read and compiled at its first use, and stays; looking whether its file is another
        # one now would cost more than many of them take.
        auto_reload=False,
        cache_size=-1,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Of schemas the order of members says what comes first in a form.
    made.policies["json.dumps_kwargs"] = {}
    made.filters |= {
        "amount": amount,
        "field_time": field_time,
        "segment": segment,
        "size": size,
        "span": span,
        "stamp": stamp,
        "ticks": ticks,
        "took": took,
    }
    return made


def is_htmx(visit: Visit) -> bool:
    """Whether a part is wanted and no document."""
    return visit.headers.get(_HTMX) == b"true"


def html(visit: Visit, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """HTML with the headers of every document, compressed where that is worth it."""
    data = body.encode("utf-8", "replace")
    every = dict(HEADERS)
    if len(data) >= PACK_FROM_BYTES and b"gzip" in visit.headers.get(b"accept-encoding", b""):
        every["content-encoding"] = "gzip"
        if len(data) >= PACK_ASIDE_BYTES:
            return _PackedAside(data, status, every | dict(headers or {}), "text/html; charset=utf-8")
        data = gzip.compress(data, PACK_LEVEL, mtime=0)
    return Response(data, status, every | dict(headers or {}), "text/html; charset=utf-8")


class _PackedAside(Response):
    """One that is compressed as it is sent, in a thread, so that nobody waits who did not ask for it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = await asyncio.to_thread(gzip.compress, bytes(self.body), PACK_LEVEL, mtime=0)
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def own_path(text: str) -> str | None:
    """A path of our own pages as it may stand in a Location header, or None for anything else."""
    is_ours = text == "/" or text.startswith("/ui/")
    is_plain = text.isascii() and text.isprintable() and "\\" not in text and len(text) <= PATH_CHARS
    return text if is_ours and is_plain else None


class _Rights:
    """What the person may do, for templates: `may.operate`, `may.call`, `may.admin`."""

    def __init__(self, visit: Visit) -> None:
        held = visit.caller.rights
        self.read = Right.READ in held
        self.call = Right.CALL in held
        self.operate = Right.OPERATE in held
        self.operate_all = Right.OPERATE in visit.caller.everywhere
        self.admin = Right.ADMIN in held


def _me(gateway: Gateway, visit: Visit) -> dict[str, Any]:
    caller, sign_in = visit.caller, visit.sign_in
    return {
        "id": caller.id,
        "name": caller.name,
        "is_guarded": gateway.is_guarded,
        "signed_in_s": None if sign_in is None else gateway.sign_ins.age(sign_in),
        "elevated_s": 0.0 if sign_in is None else gateway.sign_ins.elevated_for(sign_in),
    }


def _visible(value: object) -> object:
    """Every value that a template writes comes by here; our own markup passes."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return safe(value)
    return "" if value is None else value


# Filters: numbers and times as people say them


def amount(number: float) -> str:
    """1,234; from a hundred thousand on 123k and 4.5M."""
    for limit, unit, name in ((10_000_000, 1_000_000, "M"), (100_000, 1_000, "k")):
        if number >= limit:
            return f"{number / unit:,.0f}{name}"
    return f"{number:,.0f}"


def size(count: float) -> str:
    """Bytes, in the unit that needs the fewest digits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


_SPANS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """A length of time with its two largest units: `3 d 4 h`, `12 s`."""
    left = max(0, round(seconds))
    for index, (unit, length) in enumerate(_SPANS):
        if left >= length:
            rest_unit, rest_length = _SPANS[index + 1] if index + 1 < len(_SPANS) else ("", 1)
            rest = left % length // rest_length if rest_unit else 0
            return f"{left // length} {unit} {rest} {rest_unit}" if rest else f"{left // length} {unit}"
    return "0 s"


def took(milliseconds: float | None) -> str:
    """How long a call took."""
    if milliseconds is None:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 60_000 else span(milliseconds / 1000)


def stamp(seconds: float, *, whole: bool = False) -> Markup:
    """A moment, with its day where `whole`; scripts write it in the reader's own time zone."""
    moment = time.gmtime(seconds)
    shown = "%Y-%m-%d %H:%M:%S" if whole else "%H:%M:%S"
    return Markup('<time datetime="{}" data-at="{}"{}>{} UTC</time>').format(
        time.strftime("%Y-%m-%dT%H:%M:%SZ", moment),
        f"{seconds:.3f}",
        Markup(" data-whole") if whole else "",
        time.strftime(shown, moment),
    )


def field_time(seconds: float | None) -> str:
    """A moment as a field for one takes it, in UTC."""
    return "" if seconds is None else time.strftime("%Y-%m-%dT%H:%M", time.gmtime(seconds))


def ticks(text: str) -> Markup:
    """A sentence of ours, with what stands in backticks as code."""
    pieces = safe(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if at % 2 else piece for at, piece in enumerate(pieces)
    )


def segment(text: str) -> str:
    """A name as one segment of a path."""
    return quote(text, safe="")
