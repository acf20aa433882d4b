"""What a server offers beside its tools: resources, resource templates, prompts, and what it says it can.

Carries definitions as the server's own bytes. `listed.py` reads them, `catalog.py` shows them. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from mcp_gateway.names import exposed_names
from mcp_gateway.wire.envelope import encode, read_members

TOOLS: Final = "tools"
RESOURCES: Final = "resources"
TEMPLATES: Final = "resourceTemplates"
PROMPTS: Final = "prompts"
COMPLETIONS: Final = "completions"
LOGGING: Final = "logging"
SUBSCRIPTIONS: Final = "resources.subscribe"  # among capabilities: it tells of changes of single resources


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as its server defines it; `definition` is the server's own JSON."""

    uri: str
    definition: bytes


@dataclass(frozen=True, slots=True)
class Template:
    """A resource template, likewise; `uri` is the `uriTemplate`."""

    uri: str
    definition: bytes


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, likewise."""

    name: str
    definition: bytes


@dataclass(frozen=True, slots=True)
class Shelf:
    """One server's lists. `capabilities` are the names of those it has; None: it has not said yet."""

    resources: tuple[Resource, ...] = ()
    templates: tuple[Template, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    capabilities: frozenset[str] | None = frozenset()

    def may_have(self, capability: str) -> bool:
        return self.capabilities is None or capability in self.capabilities


NO_SHELF: Final = Shelf()


@dataclass(frozen=True)
class PromptEntry:
    """One prompt in the catalog."""

    server: str
    prompt: str
    exposed: str
    definition: bytes = field(repr=False)

    @cached_property
    def for_mcp(self) -> bytes:
        """The definition under the exposed name."""
        return encode({**read_members(self.definition), "name": self.exposed})

    @cached_property
    def for_api(self) -> bytes:
        """The prompt as `/api/prompts` shows it: the server's members, plus where it belongs."""
        own = {"server": self.server, "name": self.prompt, "exposedName": self.exposed}
        return encode({**own, **{k: v for k, v in read_members(self.definition).items() if k not in own}})


def prompt_entries(server: str, shelf: Shelf) -> Mapping[str, PromptEntry]:
    """The prompts of a server by native name, in its order."""
    exposed = exposed_names(server, (prompt.name for prompt in shelf.prompts))
    return {
        prompt.name: PromptEntry(server, prompt.name, exposed[prompt.name], prompt.definition)
        for prompt in shelf.prompts
    }


def for_api(server: str, definition: bytes) -> bytes:
    """A resource or template as `/api/resources` shows it: as its server wrote it, and whose it is."""
    return encode({"server": server, **{k: v for k, v in read_members(definition).items() if k != "server"}})
