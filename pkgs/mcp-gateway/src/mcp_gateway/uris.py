"""URIs of resources as callers see them, and whose they are: the only place that knows the mark.

A URI stays as its server writes it. Only where several servers offer the same one, each is told apart by a
mark with the server's id, put in behind the scheme, which stays: `ui://clock/view` of the server `a` is then
`ui://a.mcp-gateway/clock/view`. The mark is taken out again by looking at the URI alone, so what a caller
keeps goes on working. URIs that look as if they were marked, and those of the gateway's own scheme, are
always marked: nothing that a server lists can pass for what is another's. Reasons: decision 22. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from mcp_gateway.wire.templates import Template, read_template

MARK: Final = ".mcp-gateway/"
OWN_SCHEME: Final = "mcp-gateway:"  # of artifacts

_SCHEME: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:(?://)?)?")
_MARKED: Final = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:(?://)?)?)([a-z0-9][a-z0-9-]{0,31})\.mcp-gateway/")
_SECRETS: Final = re.compile(r"(?<=//)[^/?#@]*@|[?#].*", re.DOTALL)


def marked(server: str, uri: str) -> str:
    """The URI, or URI template, with the server's mark; injective for servers and URIs together."""
    found = _SCHEME.match(uri)
    at = 0 if found is None else found.end()
    return f"{uri[:at]}{server}{MARK}{uri[at:]}"


def unmarked(uri: str) -> tuple[str, str] | None:
    """Server and native URI of one with a mark; None when there is none."""
    found = _MARKED.match(uri)
    return None if found is None else (found[2], found[1] + uri[found.end() :])


def is_reserved(uri: str) -> bool:
    """Whether a server's URI could be taken for a marked one, or for one of the gateway's own."""
    return _MARKED.match(uri) is not None or uri[: len(OWN_SCHEME)].lower() == OWN_SCHEME


def recordable(uri: str) -> str:
    """The URI without what may be a secret in it: what stands before a host, and a query's values."""
    return _SECRETS.sub("", uri)


@dataclass(frozen=True)
class UriTable:
    """What servers offer, in their order, and how it is seen where all of them are seen together.

    `known` and `templates` are native URIs and URI templates by server.
    """

    known: Mapping[str, Iterable[str]] = field(default_factory=dict)
    templates: Mapping[str, Iterable[str]] = field(default_factory=dict)

    @cached_property
    def shared(self) -> frozenset[str]:
        """URIs, and templates, that more than one server offers."""
        return _of_several(self.known) | _of_several(self.templates)

    @cached_property
    def moved(self) -> frozenset[tuple[str, str]]:
        """Server and native URI, or template, of all that is not seen as the server wrote it."""
        return frozenset(
            (server, uri)
            for table in (self.known, self.templates)
            for server, uris in table.items()
            for uri in uris
            if uri in self.shared or is_reserved(uri)
        )

    @cached_property
    def _owners(self) -> Mapping[str, str]:
        return {uri: server for server, uris in self.known.items() for uri in uris if uri not in self.shared}

    @cached_property
    def _template_owners(self) -> Mapping[str, tuple[str, str]]:
        return {
            self.exposed(server, text): (server, text)
            for server, texts in self.templates.items()
            for text in texts
        }

    def find_template(self, text: str) -> tuple[str, str] | None:
        """Server and native form of a URI template as it is seen; None when it is nobody's."""
        return self._template_owners.get(text)

    @cached_property
    def _readable(self) -> tuple[tuple[Template, str], ...]:
        """Templates seen as they were written, the most certain first; of equals the first server's."""
        found = (
            (template, server)
            for server, texts in self.templates.items()
            for text in texts
            if (server, text) not in self.moved and (template := read_template(text)) is not None
        )
        return tuple(sorted(found, key=lambda pair: -pair[0].weight))

    @cached_property
    def _shared_templates(self) -> Mapping[str, tuple[Template, ...]]:
        return {
            server: read
            for server, texts in self.templates.items()
            if (
                read := tuple(
                    template
                    for text in texts
                    if (server, text) in self.moved and (template := read_template(text)) is not None
                )
            )
        }

    @cached_property
    def movers(self) -> frozenset[str]:
        """Servers of which something is not seen as they wrote it."""
        return frozenset(server for server, _ in self.moved)

    def exposed(self, server: str, uri: str) -> str:
        """How a URI, or a template, of this server is seen; also one that is in no list."""
        if uri in self.shared or is_reserved(uri):
            return marked(server, uri)
        if (owner := self._owners.get(uri)) is not None:
            return uri if owner == server else marked(server, uri)
        # In no list: what was made from a template that is marked is marked as well.
        shared = self._shared_templates.get(server, ())
        return marked(server, uri) if any(one.matches(uri) for one in shared) else uri

    def find(self, uri: str) -> tuple[str, str] | None:
        """Server and native URI of what a caller asks for; None when nobody, or not one alone, has it."""
        if (pair := unmarked(uri)) is not None:
            return pair if pair[0] in self.known or pair[0] in self.templates else None
        if (owner := self._owners.get(uri)) is not None:
            return owner, uri
        if uri in self.shared:
            return None
        return next(((server, uri) for template, server in self._readable if template.matches(uri)), None)


def _of_several(table: Mapping[str, Iterable[str]]) -> frozenset[str]:
    once: set[str] = set()
    again: set[str] = set()
    for uris in table.values():
        for uri in set(uris):
            (again if uri in once else once).add(uri)
    return frozenset(again)
