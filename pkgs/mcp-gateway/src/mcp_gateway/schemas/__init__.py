"""JSON Schemas of tools, as OpenAPI 3.1 has them and as models digest them, and arguments that fit. Pure.

Takes what a server says a tool takes and gives: decoded JSON, hostile in size, depth, names and references.
Knows nothing of tools, servers or routes; fetches nothing, evaluates no pattern, and never fails: what is too
large, too deep or no schema is made looser, and `why` says so. Called by the tool API and by generated code.
"""

from mcp_gateway.schemas.exact import Exact, exact
from mcp_gateway.schemas.fitting import Accepted, accepted, fit
from mcp_gateway.schemas.inlining import Inlined, inlined

__all__ = ["Accepted", "Exact", "Inlined", "accepted", "exact", "fit", "inlined"]
