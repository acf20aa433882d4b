"""Between the eras: which code of an error is which."""

import pytest

from mcp_gateway.wire.bridge import handshake_error

HERE = b'{"code":-32602,"message":"no","data":{"uri":"x://a"}}'
NOWHERE = b'{"code":-32602,"message":"no"}'


@pytest.mark.parametrize(
    ("code", "method", "error", "known"),
    [
        (-32020, "tools/call", NOWHERE, -32600),
        (-32021, "tools/call", NOWHERE, -32603),
        (-32022, "tools/call", NOWHERE, -32600),
        (-32602, "resources/read", HERE, -32002),
        (-32602, "resources/read", NOWHERE, -32602),
        (-32602, "tools/call", HERE, -32602),
        (-32601, "tools/call", NOWHERE, -32601),
        (7, "resources/read", HERE, 7),
    ],
)
def test_a_code_that_only_the_modern_era_has_becomes_one_of_the_other(
    code: int, method: str, error: bytes, known: int
) -> None:
    assert handshake_error(code, method, error) == known
