"""API keys: those the configuration declares, and those made at run time, which the store remembers.

All are in memory by the hash of their text, so that asking never waits and a store that fails lets nobody in
who was not in before. A key that goes takes what its holder has open along (`gone`).
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from mcp_gateway import clock
from mcp_gateway.access import keys
from mcp_gateway.access.caller import Caller, Grant, Right
from mcp_gateway.access.keys import CALLER_PREFIX, Key
from mcp_gateway.access.policy import may_hand_on, require_everywhere
from mcp_gateway.access.proven import grant_of
from mcp_gateway.config.model import Config, DeclaredKey, Scopes, key_place, slug
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.gateway.actions import Actions, unwritable
from mcp_gateway.store import KeyRow, Store, StoreError

MAX_KEYS: Final = 10_000
LOOK_S: Final = 1.0  # how late what an expired key has open may end
FLUSH_S: Final = 60.0  # how late the disk may know when a key was last used

logger = logging.getLogger(__name__)


class Keys:
    def __init__(self, config: Config, store: Store, actions: Actions) -> None:
        self._store = store
        self._actions = actions
        rows, uses = store.keys()
        self._made = {row.id: _of_row(row) for row in rows}
        self._used = dict(uses)
        self._unwritten: dict[str, float] = {}
        self._declared: dict[str, Key] = {}
        self._by_digest: dict[bytes, tuple[Key, Caller]] = {}
        self._by_caller: dict[str, tuple[Key, Caller]] = {}
        self._looked_at = clock.wall_s()
        self._next_expiry = math.inf
        self.gone: Callable[[str], None] = lambda _caller_id: None
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Takes the declared keys of another configuration."""
        before, self._declared = self._declared, declared(config)
        self._index()
        for key_id, key in before.items():
            if self._declared.get(key_id) != key:
                self.gone(key.caller().id)

    def _index(self) -> None:
        both = (*self._made.values(), *self._declared.values())
        self._by_digest = {key.digest: (key, key.caller()) for key in both}
        self._by_caller = {caller.id: (key, caller) for key, caller in self._by_digest.values()}
        self._foresee()

    def _foresee(self) -> None:
        times = (key.expires for key, _ in self._by_caller.values() if key.expires is not None)
        self._next_expiry = min((at for at in times if at > self._looked_at), default=math.inf)

    def __len__(self) -> int:
        return len(self._by_digest)

    def counts(self) -> dict[str, int]:
        """How many there are, by where they come from; and how many of all have expired."""
        now = clock.wall_s()
        both = (*self._declared.values(), *self._made.values())
        expired = sum(key.is_expired(now) for key in both)
        return {"declared": len(self._declared), "made": len(self._made), "expired": expired}

    def caller_of(self, text: str) -> Caller:
        """Whose key this is.

        Raises:
            GatewayError: `unauthenticated`, in the same words whatever is wrong with it.
        """
        found = self._by_digest.get(keys.digest(text)) if len(text) <= keys.MAX_CHARS else None
        now = clock.wall_s()
        if found is None or found[0].is_expired(now):
            raise unknown_key()
        key_id = found[0].id
        self._used[key_id] = self._unwritten[key_id] = now
        return found[1]

    def require_current(self, caller: Caller) -> None:
        """That the key of a caller who was let in before still is what it was; others have none.

        Raises:
            GatewayError: `unauthenticated`.
        """
        if not caller.id.startswith(CALLER_PREFIX):
            return
        key, current = self._by_caller.get(caller.id, (None, None))
        if key is None or current != caller or key.is_expired(clock.wall_s()):
            raise unknown_key()

    def end_expired(self) -> None:
        """Ends what holders of keys have open that have expired since the last look; asked every second."""
        now = clock.wall_s()
        if now < self._next_expiry:
            return
        before, self._looked_at = self._looked_at, now
        for key, caller in list(self._by_caller.values()):
            if key.expires is not None and before < key.expires <= now:
                self.gone(caller.id)
        self._foresee()

    # Administration

    def list(self, caller: Caller) -> list[dict[str, Any]]:
        """All keys, none of their texts or hashes."""
        require_everywhere(caller, Right.ADMIN)
        return [self._view(key) for key in (*self._declared.values(), *self._made.values())]

    async def create(
        self, caller: Caller, name: str, scopes: Scopes, expires: float | None
    ) -> dict[str, Any]:
        """Makes a key; only this answer holds its text, as `key`. `expires` in seconds since 1970.

        Raises:
            GatewayError: `refused` for more than the caller has, `invalid`, `unavailable`.
        """
        require_everywhere(caller, Right.ADMIN)
        grant = grant_of(scopes)
        if not may_hand_on(caller, grant):
            raise GatewayError(Kind.REFUSED, "A key cannot have rights that you do not have yourself")
        own = self._by_caller.get(caller.id)
        until = math.inf if own is None or own[0].expires is None else own[0].expires
        if (math.inf if expires is None else expires) > until:
            raise GatewayError(
                Kind.REFUSED, "A key cannot outlive the one that it is made with; `expires` must be earlier"
            )
        if expires is not None and expires <= clock.wall_s():
            raise GatewayError(Kind.INVALID, "`expires` is in the past")
        if len(self._made) >= MAX_KEYS:
            raise GatewayError(Kind.INVALID, f"There are {MAX_KEYS} keys already; revoke some", status=409)
        key_id, text = keys.make()
        key = Key(key_id, name, keys.digest(text), grant, clock.wall_s(), caller.id, expires)
        record = self._actions.record(
            caller, Right.ADMIN, "key.create", detail=f"`{name}` ({key_id}), {describe(grant)}"
        )
        try:
            await self._store.add_key(_row_of(key), record)
        except StoreError as problem:
            raise unwritable(problem) from None
        self._made[key_id] = key
        self._index()
        self._actions.tell(record)
        return {**self._view(key), "key": text}

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """Ends a key at once, and what its holder has open.

        Raises:
            GatewayError: `unknown`; `invalid` for a declared one; `unavailable` when only this process
                knows of it, because the disk could not be written.
        """
        require_everywhere(caller, Right.ADMIN)
        if key_id in self._declared:
            detail = f"The key `{key_id}` is declared in the configuration; take it out there and reload"
            raise GatewayError(Kind.INVALID, detail, status=409)
        key = self._made.get(key_id)
        if key is None:
            raise GatewayError(Kind.UNKNOWN, f"There is no key `{key_id[:80]}`")
        record = self._actions.record(caller, Right.ADMIN, "key.revoke", detail=f"`{key.name}` ({key_id})")
        try:
            await self._store.remove_key(key_id, record)
        except StoreError as problem:
            logger.error("the end of the key %s could not be written: %s", key_id, problem)
            self._made[key_id] = replace(key, expires=0.0)  # there to be revoked again, and lets nobody in
            self._forgotten(key)
            detail = "The key lets nobody in any more, but the disk could not be written: "
            raise GatewayError(
                Kind.UNAVAILABLE, detail + "after a restart it would, so revoke it again", retry_after_s=5.0
            ) from None
        self._made.pop(key_id, None)
        self._forgotten(key)
        self._actions.tell(record)

    def _forgotten(self, key: Key) -> None:
        self._index()
        self.gone(key.caller().id)

    async def write_uses(self) -> None:
        """Writes when keys were last used; asked now and then, and at the end."""
        if not self._unwritten:
            return
        uses, self._unwritten = self._unwritten, {}
        try:
            await self._store.note_key_uses(uses)
        except StoreError as problem:
            logger.warning("when keys were last used could not be written: %s", problem)

    def _view(self, key: Key) -> dict[str, Any]:
        return {
            "id": key.id,
            "name": key.name,
            "caller": key.caller().id,
            "scopes": scopes_of(key.grant),
            "declared": key.is_declared,
            "created": key.created,
            "createdBy": key.created_by,
            "expires": key.expires,
            "expired": key.is_expired(clock.wall_s()),
            "lastUsed": self._used.get(key.id),
        }


def unknown_key() -> GatewayError:
    return GatewayError(
        Kind.UNAUTHENTICATED, "This API key is not known here: it may have expired or been revoked"
    )


def declared(config: Config) -> dict[str, Key]:
    """The keys of a configuration whose text or hash is there, by id."""
    found = (_of_declared(key, config.texts) for key in config.gateway.auth.keys)
    return {key.id: key for key in found if key is not None}


def _of_declared(key: DeclaredKey, texts: dict[str, str]) -> Key | None:
    if key.hash is not None:
        digest = bytes.fromhex(key.hash.removeprefix(keys.HASH_PREFIX))
    else:
        text = texts.get(key_place(key))
        if text is None:  # the loader has said why
            return None
        digest = keys.digest(text)
    return Key(slug(key.name), key.name, digest, grant_of(key.scopes), expires=key.expires)


def scopes_of(grant: Grant) -> dict[str, Any]:
    """A grant as the API and the configuration write it; what is not narrowed is left out."""
    return {
        "rights": [right.value for right in Right if right in grant.rights],
        **({} if grant.servers is None else {"servers": list(grant.servers)}),
        **({} if grant.tools is None else {"tools": list(grant.tools)}),
        **({"readOnly": True} if grant.read_only else {}),
    }


def describe(grant: Grant) -> str:
    return json.dumps(scopes_of(grant), ensure_ascii=False)


def _row_of(key: Key) -> KeyRow:
    assert key.created is not None, "only made keys are stored"
    return KeyRow(
        key.id, key.name, key.digest, describe(key.grant), key.created, key.created_by or "", key.expires
    )


def _of_row(row: KeyRow) -> Key:
    scopes = Scopes.model_validate(json.loads(row.scopes), by_alias=True, by_name=False)
    return Key(row.id, row.name, row.digest, grant_of(scopes), row.created, row.created_by, row.expires)
