"""The form to sign in with, in the place of a page or on it where more rights are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from mcp_gateway.access.caller import NOBODY, Right
from mcp_gateway.errors import GatewayError
from mcp_gateway.faces.edge import is_loopback_host
from mcp_gateway.faces.http import Visit, error_headers, unauthenticated
from mcp_gateway.faces.ui.render import Renderer, own_path
from mcp_gateway.gateway import Gateway
from mcp_gateway.gateway.sign_ins import Way

_FORMS: Final = (b"/ui/sign-in", b"/ui/sign-out")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the forms say: the `ways` that work here, what went wrong, whether others can read along.

    `tried` is the way in which it was tried just now; `next` the page to come back to.
    """

    ways: Sequence[Way]
    next: str
    problem: str | None = None
    tried: Way | None = None
    is_readable: bool = False


def desk(
    gateway: Gateway,
    visit: Visit,
    problem: GatewayError | None = None,
    tried: Way | None = None,
    next_: str = "",
) -> Desk | None:
    """The forms for whoever looks at the page; None for who has nothing to gain by them."""
    sign_in = visit.sign_in
    if visit.caller is not NOBODY:
        # Who may not operate has nothing to add administration to.
        known = visit.caller if sign_in is None else visit.known
        if not (Right.OPERATE in known.everywhere or sign_in is not None):
            return None
    ways: tuple[Way, ...] = ("password", "code") if gateway.sign_ins.has_password else ("code",)
    if sign_in is not None and not sign_in.adds:
        # Another way than last time would make another caller of who is nobody by other proof.
        ways = (sign_in.way,)
    here = next_ or _page_of(visit)
    is_readable = not visit.is_secure and not is_loopback_host(visit.headers)
    return Desk(ways, here, None if problem is None else problem.detail, tried, is_readable)


def _page_of(visit: Visit) -> str:
    """The page that was asked for; what a form was sent to is none to come back to."""
    if visit.method != "GET" or visit.path in _FORMS:
        return "/"
    query = visit.query.decode("latin-1")
    path = visit.path.decode("latin-1")
    return own_path(f"{path}?{query}" if query else path) or own_path(path) or "/"


def sign_in_page(
    renderer: Renderer,
    visit: Visit,
    problem: GatewayError | None = None,
    tried: Way | None = None,
    next_: str = "",
) -> Response:
    """What somebody sees of whom nothing is known."""
    forms = desk(renderer.gateway, visit, problem, tried, next_)
    said = problem or unauthenticated("Nobody is signed in")
    if forms is None:
        return renderer.failed(visit, said)
    headers = {name.decode(): value.decode() for name, value in error_headers(said)}
    return renderer.page(
        visit, "sign_in.html", title="Sign in", status=said.status, headers=headers, desk=forms
    )
