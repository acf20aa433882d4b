"""Switches and eras: on the disk before the answer, and there again after a restart."""

from pathlib import Path

import pytest

from mcp_gateway.store import Store
from mcp_gateway.store import overrides as overrides_module


async def test_switches_survive_a_restart_until_they_are_taken_back(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    await store.set_override("git", None, False)
    await store.set_override("git", "git_commit", True)
    await store.set_override("git", "git_commit", False)
    await store.set_override("time", None, True)
    await store.set_override("time", None, None)
    switched = {("git", None): False, ("git", "git_commit"): False}
    assert store.overrides() == switched
    await store.close()

    store = Store.open(tmp_path)
    assert store.overrides() == switched
    store.overrides().clear()
    assert store.overrides() == switched
    await store.set_override("git", None, None)
    assert store.overrides() == {("git", "git_commit"): False}
    await store.close()


async def test_what_is_known_of_eras_survives_a_restart_until_it_is_forgotten(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert store.eras("one") is None
    await store.remember_eras("one", frozenset({"handshake"}))
    await store.remember_eras("one", frozenset({"handshake", "modern"}))
    await store.remember_eras("none", frozenset())
    await store.close()

    store = Store.open(tmp_path)
    assert store.eras("one") == frozenset({"handshake", "modern"})
    assert store.eras("none") == frozenset()
    await store.forget_eras("one")
    assert store.eras("one") is None
    await store.close()


async def test_the_oldest_eras_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides_module, "MAX_ERAS", 3)
    store = Store.open(tmp_path)
    for name in "abcde":
        await store.remember_eras(name, frozenset({"modern"}))
    await store.close()
    store = Store.open(tmp_path)
    assert [name for name in "abcde" if store.eras(name)] == ["c", "d", "e"]
    await store.close()
