"""Our table of revisions against the SDK's: who published the specification knows its dates."""

import mcp_types
import pytest
from mcp_types import jsonrpc, version

from mcp_gateway import errors
from mcp_gateway.wire import revisions
from mcp_gateway.wire.revisions import REVISIONS, Era, is_handshake, modern_meta


def test_every_published_revision_is_known_in_its_era() -> None:
    assert tuple(REVISIONS) == version.KNOWN_PROTOCOL_VERSIONS
    eras = {era: tuple(date for date, row in REVISIONS.items() if row.era is era) for era in Era}
    assert eras[Era.HANDSHAKE] == version.HANDSHAKE_PROTOCOL_VERSIONS
    assert eras[Era.MODERN] == version.MODERN_PROTOCOL_VERSIONS
    assert revisions.LATEST_HANDSHAKE == version.LATEST_HANDSHAKE_VERSION
    assert revisions.MODERN == version.LATEST_MODERN_VERSION


def test_batches_belong_to_the_two_oldest_revisions() -> None:
    assert [date for date, row in REVISIONS.items() if row.batches] == ["2024-11-05", "2025-03-26"]


def test_streams_are_primed_from_the_revision_on_that_says_so() -> None:
    assert [date for date, row in REVISIONS.items() if row.primes] == ["2025-11-25"]


@pytest.mark.parametrize("date", ["2026-07-28", "2025-11-26", "", "latest", "2025-11-25 "])
def test_no_other_date_opens_by_handshake(date: str) -> None:
    assert not is_handshake(date)


def test_the_modern_meta_has_the_members_the_specification_names() -> None:
    meta = modern_meta({"name": "g", "version": "1"})
    assert meta == {
        mcp_types.PROTOCOL_VERSION_META_KEY: "2026-07-28",
        mcp_types.CLIENT_INFO_META_KEY: {"name": "g", "version": "1"},
        mcp_types.CLIENT_CAPABILITIES_META_KEY: revisions.SHARED_CAPABILITIES,
    }


def test_error_codes_are_those_of_the_specification() -> None:
    assert revisions.UNSUPPORTED_VERSION == jsonrpc.UNSUPPORTED_PROTOCOL_VERSION
    for name in ("PARSE_ERROR", "INVALID_REQUEST", "METHOD_NOT_FOUND", "INVALID_PARAMS", "INTERNAL_ERROR"):
        assert getattr(errors, name) == getattr(jsonrpc, name)
