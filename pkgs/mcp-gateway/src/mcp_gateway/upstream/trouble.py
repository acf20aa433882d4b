"""How an exchange with a remote server comes to nothing. A word only; knows nothing of connections."""

from mcp_gateway.errors import Kind
from mcp_gateway.upstream.lifecycle import Ended
from mcp_gateway.upstream.link import Failure


class Trouble(Exception):
    """An exchange over HTTP came to nothing; `failure` is told to whoever waits for it.

    `counts`: against the server's transport; `is_down`: there is no way to it, nothing was sent;
    `is_cut`: the connection broke before an answer began; `ends`: the whole link is of no use any more;
    `is_personal`: one caller was refused for what came along with its call, which says nothing of others.
    """

    def __init__(
        self,
        reason: str,
        kind: Kind = Kind.LOST,
        *,
        retry_after_s: float | None = None,
        counts: bool = True,
        is_down: bool = False,
        is_cut: bool = False,
        is_personal: bool = False,
        ends: Ended | None = None,
    ) -> None:
        super().__init__(reason)
        self.failure = Failure(kind, reason, retry_after_s)
        self.counts = counts
        self.is_down = is_down
        self.is_cut = is_cut
        self.is_personal = is_personal
        self.ends = ends
