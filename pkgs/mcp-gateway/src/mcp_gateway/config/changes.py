"""What moved between two configurations, and what each move asks for. Pure; called by a reload.

A server's keys are of two kinds. Some hold at once, in place: its process, its calls and its memory go
on. All others decide what its process or connection is, so they need a new one; a key that nobody has
thought about here is of that kind, which is dear but never wrong. Settings of the gateway itself
likewise: those that are not listed hold after a restart, and it is said so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from mcp_gateway.config.model import Config, GatewayConfig, ServerConfig

# Read anew by whoever uses them, for each call or each start.
IN_PLACE: Final = frozenset(
    {"title", "enabled", "start_timeout_s", "timeout_s", "max_timeout_s", "concurrency", "queue"}
    | {"idle_stop_s", "tools", "payloads", "forward_headers", "isolation"}
)
GATEWAY_IN_PLACE: Final = frozenset(
    {"limits.body", "limits.rate", "limits.concurrency"}
    | {"activity.keep.days", "activity.keep.rows", "activity.payloads"}
    | {"publicUrl", "corsOrigins", "auth.keys", "auth.password", "trustedProxy"}
    | {"tailscale.identity", "tailscale.operators", "tailscale.capability", "tailscale.uid"}
)


@dataclass(frozen=True, slots=True)
class ServerChange:
    """`keys` as they stand in the file; `replaced` when the server gets a new process or connection."""

    server: str
    keys: tuple[str, ...]
    replaced: bool

    def facts(self) -> dict[str, Any]:
        return {"server": self.server, "keys": list(self.keys), "replaced": self.replaced}


@dataclass(frozen=True, slots=True)
class Changes:
    """Server ids in the order of the file that names them; `gateway` are settings that hold now."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[ServerChange, ...] = ()
    gateway: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.gateway)

    @property
    def defines_what_runs(self) -> bool:
        """Whether a program or an address is new here."""
        return bool(self.added) or any(change.replaced for change in self.changed)

    def facts(self) -> dict[str, Any]:
        """As every face shows them."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": [change.facts() for change in self.changed],
            "gateway": list(self.gateway),
        }

    def __str__(self) -> str:
        changed = (
            f"{one.server} ({', '.join(one.keys)}{'; replaced' if one.replaced else ''})"
            for one in self.changed
        )
        parts = (
            ("added", ", ".join(self.added)),
            ("removed", ", ".join(self.removed)),
            ("changed", ", ".join(changed)),
            ("gateway", ", ".join(self.gateway)),
        )
        return "; ".join(f"{word} {what}" for word, what in parts if what) or "nothing moved"


def compare(old: Config, new: Config) -> Changes:
    """What moved from one configuration to the next."""
    both = ((old.servers[server], config) for server, config in new.servers.items() if server in old.servers)
    return Changes(
        added=tuple(server for server in new.servers if server not in old.servers),
        removed=tuple(server for server in old.servers if server not in new.servers),
        changed=tuple(change for before, after in both if (change := _server(before, after)) is not None),
        gateway=(
            *(key for key in _gateway(old.gateway, new.gateway) if key in GATEWAY_IN_PLACE),
            *_texts(old.texts, new.texts),
        ),
    )


def after_restart(started: GatewayConfig, now: GatewayConfig) -> tuple[str, ...]:
    """The settings in which `now` differs from what this process was started with, and cannot follow."""
    return tuple(key for key in _gateway(started, now) if key not in GATEWAY_IN_PLACE)


def is_same(one: ServerConfig, other: ServerConfig) -> bool:
    return not _differing(one, other)


def has_same_link(one: ServerConfig, other: ServerConfig) -> bool:
    """Whether both mean the same process or connection."""
    return all(key in IN_PLACE for key in _differing(one, other))


def with_link_of(config: ServerConfig, running: ServerConfig) -> ServerConfig:
    """`config` as far as it can hold for the process or connection of `running`."""
    link = {key: getattr(running, key) for key in ServerConfig.model_fields if key not in IN_PLACE}
    # A header that is named together with another address is meant for that address.
    both = tuple(name for name in config.forward_headers if name in running.forward_headers)
    return config.model_copy(update=link | {"forward_headers": both})


def _server(old: ServerConfig, new: ServerConfig) -> ServerChange | None:
    differing = _differing(old, new)
    if not differing:
        return None
    keys = tuple(_key(ServerConfig, name) for name in differing)
    return ServerChange(new.id, keys, replaced=not has_same_link(old, new))


def _differing(old: ServerConfig, new: ServerConfig) -> list[str]:
    def said(config: ServerConfig, name: str) -> Any:
        value = getattr(config, name)
        # What is said in so many words may mean more than the same default (`startTimeout`).
        return (value, name in config.model_fields_set) if name in IN_PLACE else value

    return [name for name in ServerConfig.model_fields if said(old, name) != said(new, name)]


def _gateway(old: GatewayConfig, new: GatewayConfig) -> list[str]:
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [key for key, value in after.items() if before[key] != value]


def _texts(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The places of files that hold something else now."""
    return [place for place in dict.fromkeys((*old, *new)) if old.get(place) != new.get(place)]


def _leaves(model: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting as the file names it, `limits.body`, with its value; what may be absent counts as one."""
    for name, info in type(model).model_fields.items():
        key, value = above + _key(type(model), name), getattr(model, name)
        if isinstance(value, BaseModel) and info.default is not None:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _key(model: type[BaseModel], name: str) -> str:
    return str(model.model_fields[name].validation_alias or name)
