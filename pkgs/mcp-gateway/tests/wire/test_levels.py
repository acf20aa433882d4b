"""Which log messages a client wants to hear of."""

import pytest

from mcp_gateway.wire.levels import LEVELS, is_wanted


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("level", LEVELS)
def test_what_matters_as_much_as_was_asked_for_is_wanted(level: str, wanted: str) -> None:
    params = b'{"data":[1],"level":"%b"}' % level.encode()
    assert is_wanted(params, wanted) == (LEVELS.index(level) >= LEVELS.index(wanted))


@pytest.mark.parametrize("wanted", [None, "", "loud", 3, [], {"level": "debug"}])
def test_who_asks_for_no_level_hears_nothing(wanted: object) -> None:
    assert not is_wanted(b'{"level":"emergency"}', wanted)


@pytest.mark.parametrize(
    "params", [b"", b"[]", b"{}", b'{"level":"loud"}', b'{"level":7}', b"{", b"[" * 9999]
)
def test_what_has_no_level_is_not_told(params: bytes) -> None:
    assert not is_wanted(params, "debug")
