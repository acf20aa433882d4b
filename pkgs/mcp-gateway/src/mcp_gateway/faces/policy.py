"""What each route asks for: its rights, declared where the route is, and checked before its body is read."""

from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute

from mcp_gateway.access.caller import NOBODY, Right
from mcp_gateway.access.policy import require
from mcp_gateway.faces import sign_in
from mcp_gateway.faces.http import Visit, unauthenticated

_OF_A_FRESH_SIGN_IN: Final = frozenset({Right.EXEC, Right.ADMIN})


def visit_of(request: Request) -> Visit:
    visit: Visit = request.scope["mcp_gateway.visit"]
    return visit


Let = Annotated[Visit, Depends(visit_of)]


def require_somebody(visit: Visit) -> None:
    """Of whom nothing is known has no rights, and is told how to say who they are.

    Raises:
        GatewayError: `unauthenticated`.
    """
    if visit.caller is NOBODY:
        raise unauthenticated("This needs an API key, or to be signed in")


class Policy:
    """What a route asks for: one of the rights, or nothing where it is public. Every route has one."""

    def __init__(self, rights: tuple[Right, ...]) -> None:
        self.rights = rights

    async def __call__(self, request: Request) -> None:
        if self.rights:
            visit = visit_of(request)
            require_somebody(visit)
            if visit.sign_in is not None and _OF_A_FRESH_SIGN_IN.issuperset(self.rights):
                sign_in.require_fresh(visit)
            require(visit.caller, *self.rights)


def needs(*rights: Right) -> Any:
    """A route's policy; checked before its body is read."""
    return Depends(Policy(rights))


PUBLIC: Final = needs()
READ: Final = needs(Right.READ)
MINE: Final = needs(Right.READ, Right.CALL)  # what belongs to the caller, whichever of the rights made it
CALL: Final = needs(Right.CALL)
OPERATE: Final = needs(Right.OPERATE)
ADMIN: Final = needs(Right.ADMIN)


def policies(app: FastAPI) -> dict[tuple[str, str], tuple[Right, ...]]:
    """The rights that each route asks for, one of them, by method and path.

    Raises:
        LookupError: a route has no policy; such a house does not open.
    """
    found: dict[tuple[str, str], tuple[Right, ...]] = {}
    for route in app.routes:
        dependencies = route.dependant.dependencies if isinstance(route, APIRoute) else []
        policy = next((one.call for one in dependencies if isinstance(one.call, Policy)), None)
        if policy is None or not isinstance(route, APIRoute):
            raise LookupError(f"the route {route} has no policy")
        found |= {(method, route.path): policy.rights for method in route.methods or ()}
    return found
