"""API keys: what their text is, and that it is found by nothing but itself."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mcp_gateway.access import keys
from mcp_gateway.access.caller import Grant, Right
from mcp_gateway.access.keys import Key


def test_a_key_is_its_id_and_256_bit_of_chance() -> None:
    made = [keys.make() for _ in range(200)]
    assert len({key_id for key_id, _ in made}) == len({text for _, text in made}) == 200
    for key_id, text in made:
        assert re.fullmatch(rf"mgk_{key_id}_[A-Za-z0-9_-]{{43}}", text)
        assert len(text) <= keys.MAX_CHARS


@given(st.text(), st.text())
def test_a_digest_is_of_the_whole_text(one: str, other: str) -> None:
    assert (keys.digest(one) == keys.digest(other)) is (one == other)


def test_a_declared_hash_is_the_same_digest() -> None:
    # printf 'hello' | sha256sum
    known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert keys.hash_text("hello") == f"sha256:{known}"
    assert keys.digest("hello").hex() == known


def test_a_key_ends_at_its_moment_and_names_its_caller() -> None:
    key = Key("abc", "laptop", b"", Grant(frozenset({Right.CALL})), expires=100.0)
    assert [key.is_expired(now) for now in (99.9, 100.0, 100.1)] == [False, True, True]
    assert not Key("abc", "laptop", b"", key.grant).is_expired(1e12)
    assert (key.caller().id, key.caller().name, key.caller().grants) == ("key:abc", "laptop", (key.grant,))
