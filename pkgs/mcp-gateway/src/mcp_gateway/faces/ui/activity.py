"""The Activity page: who called what and how it ended, what runs now, and which clients are connected.

A list of which the newest page is live: a change that the filters let through is rendered by the template of
the row and put where it belongs. However many calls there are, a page holds `ROWS` of them and is told of
changes as often as `live.py` does it.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from mcp_gateway import clock
from mcp_gateway.access.caller import Caller
from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.mcp.sessions import Sessions
from mcp_gateway.faces.routing import MINE, READ, Let
from mcp_gateway.faces.ui import filters, live
from mcp_gateway.faces.ui.filters import Asked
from mcp_gateway.faces.ui.kept import Kept
from mcp_gateway.faces.ui.outcomes import ACTIONS, OUTCOMES, outcome_of
from mcp_gateway.faces.ui.render import Part, Renderer, html, is_htmx
from mcp_gateway.faces.ui.routing import back
from mcp_gateway.gateway import CALL_TOOL, GET_PROMPT, READ_RESOURCE, Gateway, StatsQuery
from mcp_gateway.gateway.events import Change

ROWS: Final = 50
KEPT_ROWS: Final = 500  # as markup, of all pages that are looked at
TOLD_ROWS: Final = 5_000  # more than there are unread, or each would be forgotten before the next asks
RUNNING: Final = 12  # shown of those under way; who has more looks for them in the list
SESSIONS: Final = 30
TICK_S: Final = 1.0
SUGGESTED: Final = 200  # names of tools beside the field for one
STATS_WAIT_S: Final = 0.1  # numbers that take longer come when they are there, and the page does not wait
BUCKETS: Final = 60
CHART_S: Final = 3_600.0  # what the chart shows where no time is chosen
DETAIL_CHARS: Final = 300  # of what a row says besides; the page of the call has it all
_COUNTED: Final = ("server", "tool", "caller", "face", "outcome", "method")  # filters of numbers
FACES: Final = ("rest", "openapi", "mcp", "ui", "cli", "file")
_ENDLESS: Final = frozenset({"running", "interrupted"})  # nobody knows how long
_VERBS: Final = {READ_RESOURCE: "Resource", GET_PROMPT: "Prompt"}


def add(router: APIRouter, renderer: Renderer, sessions: Sessions) -> None:
    gateway = renderer.gateway
    kept = Kept(KEPT_ROWS)

    @router.get("/ui/activity", dependencies=[READ])
    async def activity(visit: Let, request: Request) -> Response:
        asked = filters.read(request.query_params)
        page = await gateway.list_calls(visit.caller, replace(asked.query, limit=ROWS))
        rows = [row_of(call) for call in page["calls"]]
        drawn = _drawn(renderer, kept, rows)
        context: dict[str, Any] = {
            "rows": drawn,
            "cursor": page["cursor"],
            "asked": asked,
            "choices": _choices(gateway, visit.caller, asked, rows),
        }
        if asked.is_first_page:
            context |= _running(gateway, visit.caller) | _sessions(sessions, visit.caller)
            context |= await _numbers(gateway, visit.caller, asked)
        return renderer.page(visit, "activity.html", title="Activity", **context)

    @router.get("/ui/live/activity", dependencies=[READ])
    async def watch(visit: Let, request: Request) -> Response:
        asked = filters.read(request.query_params)
        return live.stream(gateway, visit, _LiveActivity(renderer, kept, visit.caller, sessions, asked))

    @router.get("/ui/activity/{id}", dependencies=[MINE])
    async def show(visit: Let, id: str) -> Response:
        call = await gateway.show_call(visit.caller, id)
        said = await gateway.show_payloads(visit.caller, id)
        context = _said(gateway, call, said) | {"row": row_of(call), "tool_path": _tool_path(call)}
        return renderer.page(visit, "call.html", title=f"Call {id}", **context)

    @router.post("/ui/activity/{id}/cancel", dependencies=[MINE])
    async def cancel(visit: Let, id: str, request: Request) -> Response:
        await gateway.cancel_call(visit.caller, id)
        if not is_htmx(visit):
            return back(request, filters.PATH)
        part = ("#running", "_running.html", _running(gateway, visit.caller))
        return html(visit, renderer.parts([part]))

    @router.post("/ui/activity/sessions/{id}/close", dependencies=[MINE])
    async def close(visit: Let, id: str, request: Request) -> Response:
        sessions.disconnect(gateway, visit.caller, id)
        if not is_htmx(visit):
            return back(request, filters.PATH)
        part = ("#sessions", "_sessions.html", _sessions(sessions, visit.caller))
        return html(visit, renderer.parts([part]))


def row_of(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call (`shapes.CALL`), and how it looks. `what` is what it was about, `verb` says of which sort."""
    action, method = call["action"], call["method"]
    detail = call["detail"] or ""
    what, verb = call["tool"] or call["target"] or "", ""
    if action is not None:
        verb, what, detail = ACTIONS.get(action, action), detail, ""
    elif method != CALL_TOOL:
        verb = _VERBS.get(method, method)
    return {
        **call,
        "how": outcome_of(call["outcome"]),
        "verb": verb,
        "what": what,
        "note": detail[:DETAIL_CHARS],
        # Only of what runs, so that two rows of a call that has ended are the same.
        "since_s": max(0.0, clock.wall_s() - call["started"]) if call["outcome"] == "running" else 0.0,
        "durationMs": None if action or call["outcome"] in _ENDLESS else call["durationMs"],
    }


def _drawn(renderer: Renderer, kept: Kept, rows: Iterable[dict[str, Any]]) -> list[Markup]:
    return [kept.of(row["id"], row, partial(renderer.markup, "_call.html", row=row)) for row in rows]


@lru_cache(maxsize=TOLD_ROWS)
def _told(data: bytes) -> dict[str, Any]:
    """The row of a call of which a change tells; a hundred pages are told the same. Not to be changed."""
    return row_of(msgspec.json.decode(data))


def _running(gateway: Gateway, caller: Caller) -> dict[str, Any]:
    found = gateway.list_running(caller, RUNNING)
    return {"running": [row_of(call) for call in found["calls"]], "running_count": found["count"]}


def _sessions(sessions: Sessions, caller: Caller) -> dict[str, Any]:
    shown = sessions.shown_to(caller, clock.now_s())
    return {"sessions": [one.view() for one in shown[-SESSIONS:]][::-1], "session_count": len(shown)}


def _choices(
    gateway: Gateway, caller: Caller, asked: Asked, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Sequence[Any]]:
    """What the fields of the filters suggest; what is chosen is among it, wherever it came from."""
    servers = sorted({view["id"] for view in gateway.list_servers(caller)} | {asked["server"]} - {""})
    catalog = gateway.catalog(caller).by_server
    return {
        "servers": servers,
        "callers": sorted({row["caller"] for row in rows}),
        "tools": sorted(catalog.get(asked["server"], ()))[:SUGGESTED],
        "faces": sorted({*FACES, asked["face"]} - {""}),
        "outcomes": [(word, outcome.word) for word, outcome in OUTCOMES.items()],
        "spans": [(word, name) for word, (name, _) in filters.SPANS.items()],
        "kinds": list(filters.KINDS.items()),
    }


async def _numbers(gateway: Gateway, caller: Caller, asked: Asked) -> dict[str, Any]:
    """What the chart shows, as far as it can be counted in a moment (`stats` None: not yet)."""
    query = asked.query
    if query.kind == "actions" or query.action is not None:
        return {"chart": None, "stats": None}
    given: dict[str, Any] = {name: asked[name] for name in _COUNTED if asked[name]}
    span_s = filters.SPANS[asked["last"]][1] if asked["last"] else CHART_S
    until = query.until or clock.wall_s()
    since = query.since if query.since is not None else until - span_s
    if not since < until:
        return {"chart": None, "stats": None}
    # What a script asks for, again and again where it is a span until now.
    moves = query.until is None and not asked["since"]
    times = {} if moves else {"since": since} | ({} if query.until is None else {"until": until})
    chart = {"query": {**given, "buckets": BUCKETS, **times}, "spanS": span_s if moves else None}
    shown = {"chart": json.dumps(chart), "is_last_hour": not (asked["last"] or query.since or query.until)}
    # The last hour as the script asks for it, and everybody who looks: counted once for all of them.
    is_usual = moves and span_s == CHART_S
    counted = StatsQuery() if is_usual else StatsQuery(since=since, until=until)
    stats_query = replace(counted, buckets=BUCKETS, **given)
    try:
        stats = await asyncio.wait_for(gateway.stats(caller, stats_query), STATS_WAIT_S)
    except TimeoutError:
        stats = None
    except GatewayError as problem:
        if problem.kind is not Kind.BUSY:
            raise
        stats = None
    return {**shown, "stats": stats}


def _said(gateway: Gateway, call: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Both sides of a call as text to read, and why there is none where there is none."""
    sides = {name: side and {**side, "text": _readable(side)} for name, side in said.items()}
    shape = call.get("arguments")
    return {
        "request": sides["request"],
        "response": sides["response"],
        "shape": None if shape is None else _indented(msgspec.json.encode(shape)),
        "why_not": _why_not(gateway, call),
    }


def _readable(side: Mapping[str, Any]) -> str:
    return str(side["text"]) if side["truncated"] else _indented(side["text"].encode("utf-8", "replace"))


def _indented(text: bytes) -> str:
    """JSON with line breaks, each number as it was sent; anything else as it is."""
    try:
        return msgspec.json.format(text, indent=2).decode("utf-8", "replace")
    except (msgspec.MsgspecError, RecursionError):
        return text.decode("utf-8", "replace")


def _why_not(gateway: Gateway, call: Mapping[str, Any]) -> str:
    """The one reason why what was said is not there, as far as it is known."""
    if call["action"] is not None:
        return "This was done to the gateway itself; nothing was said to a server."
    if gateway.payloads.is_off(call["server"]):
        return "Nothing of what is said with this server is kept: its `payloads` are `off`."
    return (
        "What was said is kept of the last 200 calls, and until the gateway ends; of a call that was never "
        "sent, there is nothing."
    )


def _tool_path(call: Mapping[str, Any]) -> tuple[str, str] | None:
    """Server and tool of a call of a tool."""
    is_tool = call["method"] == CALL_TOOL and call["server"] and call["tool"]
    return (call["server"], call["tool"]) if is_tool else None


class _LiveActivity:
    """Knows what stands on the page: `_rows`, newest first, and what else was sent last."""

    kinds = frozenset({"call"})
    every_s = TICK_S

    def __init__(
        self, renderer: Renderer, kept: Kept, caller: Caller, sessions: Sessions, asked: Asked
    ) -> None:
        self._renderer = renderer
        self._kept = kept
        self._gateway = renderer.gateway
        self._caller = caller
        self._sessions = sessions
        self._query = replace(asked.query, cursor=None)
        # What ended within it began earlier; a span until now lets in all that is new.
        self._asked = asked
        self._rows: dict[str, dict[str, Any]] = {}
        self._count = 0  # of the calls that came since the page was made
        self._beside: tuple[object, object] = ((), ())

    async def fresh(self) -> str:
        query = replace(self._asked.now().query, cursor=None, limit=ROWS)
        page = await self._gateway.list_calls(self._caller, query)
        self._rows = {call["id"]: row_of(call) for call in page["calls"]}
        news = ("#news", "_news.html", {"count": 0})
        return self._renderer.parts([self._whole_list(), news, *self._what_moves(always=True)])

    async def changed(self, changes: Sequence[Change]) -> str:
        told = (_told(change.data) for change in changes)
        # Of a call that was told twice, the end counts.
        shown = {row["id"]: row for row in told if row["id"] in self._rows or self._query.matches(row)}
        return self._renderer.parts([*self._what_changed(shown), *self._what_moves()])

    async def passed(self) -> str:
        return self._renderer.parts(self._what_moves())

    def _what_changed(self, changed: dict[str, dict[str, Any]]) -> list[Part]:
        known = {call_id: row for call_id, row in changed.items() if call_id in self._rows}
        new = {call_id: row for call_id, row in changed.items() if call_id not in self._rows}
        self._rows |= known
        parts: list[Part] = [
            (f"#call-{call_id}", "_rows.html", {"rows": self._drawn([row])}) for call_id, row in known.items()
        ]
        if not new:
            return parts
        top = next(iter(self._rows.values()), None)
        before = set(self._rows)
        rows = sorted((self._rows | new).values(), key=_place, reverse=True)[:ROWS]
        self._rows = {row["id"]: row for row in rows}
        self._count += len(new)
        parts.append(("#news", "_news.html", {"count": self._count}))
        if top is None or len(new) >= ROWS or any(_place(row) < _place(top) for row in new.values()):
            # Several are to go between others, or nothing stays.
            return [*parts, self._whole_list()]
        first = [row for row in rows if row["id"] in new]
        gone = before - set(self._rows)
        return [
            *parts,
            ("#calls", "_rows.html", {"rows": self._drawn(first)}, "afterbegin"),
            *((f"#call-{call_id}", "_nothing.html", {}, "delete") for call_id in gone),
        ]

    def _whole_list(self) -> Part:
        return ("#calls", "_calls.html", {"rows": self._drawn(self._rows.values())})

    def _drawn(self, rows: Iterable[dict[str, Any]]) -> list[Markup]:
        return _drawn(self._renderer, self._kept, rows)

    def _what_moves(self, *, always: bool = False) -> list[Part]:
        """What stands beside the list, where it is not what was sent last; clocks run by themselves."""
        running, connected = _running(self._gateway, self._caller), _sessions(self._sessions, self._caller)
        ids = tuple(row["id"] for row in running["running"]), running["running_count"]
        shown = tuple((one["id"], one["calls"], one["streams"]) for one in connected["sessions"])
        (last_ids, last_shown), self._beside = self._beside, (ids, shown)
        parts: list[Part] = []
        if always or ids != last_ids:
            parts.append(("#running", "_running.html", running))
        if always or shown != last_shown:
            parts.append(("#sessions", "_sessions.html", connected))
        return parts


def _place(row: Mapping[str, Any]) -> tuple[float, int]:
    """Where a row stands, as the pages of the store are ordered."""
    return row["started"], int(row["id"], 16)
