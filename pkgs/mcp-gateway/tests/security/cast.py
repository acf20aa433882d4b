"""The stage of the tests of security: a gateway that asks who is there, and callers who hold one key each.

`Guarded` is the real command with declared keys; `as_` is the same gateway as another caller sees it, and
`nobody` as one without any. Servers here tell what reached them (`journal`, `arrived`), so that a test can
say that nothing did. States nothing of the gateway that its documents do not.
"""

import copy
import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.faces.knocking import Line
from tests.harness import Answer, Gateway, hostile, until

RIGHTS = ("read", "call", "operate", "admin")
ALL = {"rights": list(RIGHTS)}
PUBLIC_NAME = "gw.example.test"


@dataclass
class Guarded(Gateway):
    """`keys` are scopes by the name of the key; requests carry the one named by `key`."""

    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    expired: frozenset[str] = frozenset()
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    key: str | None = "full"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.keys.setdefault("full", ALL)
        self.texts = {name: f"mgk_{name}_{secrets.token_urlsafe(32)}" for name in self.keys}

    def config_text(self) -> str:
        declared = [
            {"name": name, "hash": hash_of(self.texts[name]), "scopes": scopes}
            | ({"expires": "2020-01-01"} if name in self.expired else {})
            for name, scopes in self.keys.items()
        ]
        self.gateway["auth"] = {"keys": declared}
        return super().config_text()

    def as_(self, key: str | None, text: str | None = None) -> Self:
        """The same gateway for who has this key; `text` is that of one made at run time."""
        other = copy.copy(self)
        other.key = key
        if key is not None and text is not None:
            other.texts = self.texts | {key: text}
        return other

    @property
    def nobody(self) -> Self:
        return self.as_(None)

    @property
    def identity(self) -> dict[str, str]:
        return {} if self.key is None else {"Authorization": f"Bearer {self.texts[self.key]}"}

    def make_key(self, name: str, **scopes: Any) -> tuple[str, Self]:
        """A key made at run time: its id, and the gateway for who has it."""
        answer = self.request("POST", "/api/keys", {"name": name, "scopes": scopes})
        assert answer.status == 201, answer
        made = answer.json()
        return made["id"], self.as_(name, made["key"])

    def revoke(self, key_id: str) -> None:
        answer = self.request("DELETE", f"/api/keys/{key_id}")
        assert answer.status == 204, answer

    def knock(self, *lines: bytes, body: bytes = b"") -> Answer:
        """One request as these bytes, with the identity of this caller."""
        credentials = [f"{name}: {value}".encode() for name, value in self.identity.items()]
        with Line(self.port) as line:
            line.send(lines[0], *credentials, *lines[1:], body=body)
            return line.read(lines[0].split(b" ")[0].decode("latin-1"))


def hash_of(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def journalled(path: Path, *options: str, **config: Any) -> dict[str, Any]:
    """A server that writes down each `tools/call` that reaches it."""
    path.touch()
    return hostile("good", "--journal", str(path), *options, **config)


def arrived(path: Path) -> list[str]:
    """The names of the tools that were called, in order."""
    return [line.rpartition(" ")[0] for line in path.read_text().splitlines()]


# Of one request, or of the process: the rest of two answers to the same fate must be the same.
_OWN = re.compile(rb'"(callId|id)":"?[^",}]*"?,?')


def bare(answer: Answer, *names: str) -> tuple[int, str, bytes]:
    """An answer without what tells requests apart: its ids, and the names that were asked for."""
    body = _OWN.sub(b"", answer.body)
    for name in sorted(names, key=len, reverse=True):
        body = body.replace(json.dumps(name, ensure_ascii=False)[1:-1].encode(), b"NAME")
    return answer.status, answer.headers.get("content-type", ""), body


def status_of(gateway: Guarded, method: str, path: str, body: Any = None, **headers: str) -> int:
    """The status alone: the answer may be a stream without an end."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with gateway.open(method, path, body, sent) as response:
        return response.status


def wait_ready(gateway: Guarded, *servers: str) -> None:
    for server in servers:
        gateway.wait_for_state(server, "ready")


def settled(path: Path, count: int) -> None:
    """Waits until so many calls have reached a server."""
    until(lambda: len(arrived(path)) >= count, 10, f"{count} calls arrive")
