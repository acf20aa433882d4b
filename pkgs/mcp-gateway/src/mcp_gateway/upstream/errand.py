"""One request to an address that an operator named just now, and its whole answer: bounded in time and size.

For what no server is, such as a chat program that is to be told of this gateway. Follows no redirect, keeps
no cookie and no connection, asks for no compression, uses no proxy of the environment; certificates are
checked as those of servers. Knows nothing of what it carries.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from mcp_gateway.errors import Kind
from mcp_gateway.upstream.pool import Pool, Response
from mcp_gateway.upstream.remote import address
from mcp_gateway.upstream.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Brought:
    status: int
    body: bytes


async def run(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    within_s: float,
    max_bytes: int,
) -> Brought:
    """The answer of any status. `url` is http or https.

    Raises:
        Trouble: nothing came of it. Its reason names host and port at most.
    """
    pool: Pool | None = None
    try:
        async with asyncio.timeout(within_s):
            target = _target(url)
            pool = Pool(target, headers)
            async with pool.exchange(method, {}, body, target) as response:
                return Brought(response.status, await _whole(response, max_bytes))
    except TimeoutError:
        raise Trouble(f"it did not answer within {within_s:g} s", Kind.TIMED_OUT) from None
    except ValueError as problem:
        raise Trouble(f"a request to it {problem}") from None
    finally:
        if pool is not None:
            await pool.close()


def _target(text: str) -> URL:
    try:
        return address(text)
    except ValueError:
        raise ValueError("has no valid address") from None


async def _whole(response: Response, max_bytes: int) -> bytes:
    parts = bytearray()
    async for part in response:
        parts += part
        if len(parts) > max_bytes:
            raise Trouble(f"its answer is larger than {max_bytes} bytes")
    return bytes(parts)
