"""The page at `/`: what runs, what does not and why, who you are, and what to open; and the form to sign in.

Plain HTML without a script. All text of servers is hostile: everything is escaped, nothing is a link or
markup of theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from mcp_gateway import clock

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body.narrow { max-width: 26rem }
.table { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0 }
th, td { border-bottom: 1px solid #8886 }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
.warning { border-left: .25rem solid light-dark(#b3261e, #ff8a80); padding-left: .75rem }
.warning { overflow-wrap: anywhere }
.why, .hint { color: light-dark(#555, #aaa) }
.hint { font-size: .9rem; margin: .25rem 0 0 }
.ready { color: light-dark(#176d2c, #63d77f) }
.failed, .waiting, .needs { color: light-dark(#b3261e, #ff8a80) }
h1 { line-height: 1.2 }
.narrow h1 { font-size: 1.6rem }
#where code { white-space: nowrap }
.top { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: center }
.top h1 { margin: 0; flex: 1 0 auto }
.top p { margin: 0; overflow-wrap: anywhere }
header + * { margin-top: 1.5rem }
form.secret { margin: 1.5rem 0; max-width: 26rem }
form.secret + form.secret { border-top: 1px solid #8886; padding-top: 1.25rem }
label { display: block; font-weight: 600; margin-bottom: .25rem }
.entry { display: flex; gap: .5rem }
input { flex: 1; min-width: 0; font: inherit; padding: .5rem .625rem; border-radius: .375rem }
input { border: 1px solid light-dark(#767676, #9a9a9a); background: Field; color: FieldText }
button { font: inherit; padding: .5rem 1rem; border-radius: .375rem; cursor: pointer; white-space: nowrap }
button { border: 1px solid light-dark(#1a56b0, #8ab4f8); background: light-dark(#1a56b0, #8ab4f8) }
button { color: light-dark(#fff, #10131a) }
button.plain { background: none; color: inherit; border-color: #8889; padding: .25rem .75rem }
:focus-visible { outline: .1875rem solid light-dark(#1a56b0, #8ab4f8); outline-offset: .125rem }
""".strip()

# A page without a referrer posts its forms with `Origin: null` (Fetch, "append a request Origin header"),
# which the edge refuses; the header says `no-referrer`.
_REFERRER: Final = '<meta name="referrer" content="same-origin">'


@dataclass(frozen=True, slots=True)
class Desk:
    """What the forms say: the `ways` that work here, what went wrong, whether others can read along.

    `tried` is the way in which it was tried just now.
    """

    ways: Sequence[str]
    problem: str | None = None
    tried: str | None = None
    is_readable: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Who looks at the page; `way` is the only one in which they may sign in again, if there is one."""

    id: str
    name: str
    is_guarded: bool
    signed_in_s: float | None = None
    elevated_s: float = 0.0
    way: str | None = None


def page(
    servers: list[dict[str, Any]] | None, warnings: Sequence[str], person: Person, desk: Desk | None
) -> str:
    """The whole page from the views of the servers and what is wrong with the gateway itself.

    `servers` is None for who may not read them. Without a `desk` nothing is said of administration.
    """
    banner = "".join(f'<p class="warning" role="alert">{escape(warning)}</p>' for warning in warnings)
    rows = "".join(_row(server) for server in servers or ())
    table = (
        '<div class="table"><table><thead><tr><th>Server</th><th>State</th><th>Tools</th><th>Speaks</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
        if servers
        else "<p>Which servers there are is for who has the right <code>read</code>.</p>"
        if servers is None
        else "<p>No servers are configured. Add some under <code>mcpServers</code> in the configuration "
        "file, then start the gateway with <code>--config</code>.</p>"
    )
    return _document(
        f"{_top(person)}{banner}{table}"
        "<h2>Ways in</h2><ul>"
        "<li>MCP, all servers: <code>/mcp</code></li>"
        "<li>MCP, one server: <code>/servers/{id}/mcp</code></li>"
        "<li>REST: <code>POST /api/tools/{server}/{tool}</code>, described in "
        '<a href="/openapi.json">/openapi.json</a></li>'
        '<li>Servers, tools, activity: <a href="/api/servers">/api/servers</a>, '
        '<a href="/api/tools">/api/tools</a>, <a href="/api/calls">/api/calls</a></li>'
        f"</ul>{'' if desk is None else _administration(person, desk)}"
    )


def sign_in_page(desk: Desk) -> str:
    """What somebody sees of whom nothing is known."""
    forms = _forms(desk.ways, "Sign in", desk.tried or desk.ways[0])
    return _document(
        f"<h1>Sign in to MCP Gateway</h1>{_alerts(desk)}{forms}"
        '<p class="hint">Programs use an API key: <code>Authorization: Bearer mgk_…</code></p>',
        "narrow",
    )


def _document(body: str, of_body: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{_REFERRER}'
        f"<title>MCP Gateway</title><style>{_STYLE}</style></head>"
        f'<body class="{of_body}"><main>{body}</main></body></html>'
    )


def _top(person: Person) -> str:
    who = leave = ""
    if person.is_guarded or person.signed_in_s is not None:
        who = f"<code>{escape(person.id)}</code>"
        who = f"You are {escape(person.name)} ({who})" if person.name else f"You are {who}"
    if person.signed_in_s is not None:
        who += f", signed in {_since(person.signed_in_s)}"
        leave = '<form method="post" action="/ui/sign-out"><button class="plain">Sign out</button></form>'
    return f'<header class="top"><h1>MCP Gateway</h1>{who and f"<p>{who}</p>"}{leave}</header>'


def _administration(person: Person, desk: Desk) -> str:
    """Keys and the like ask for a secret anew: a browser stays open for longer than its owner sits there."""
    if person.elevated_s > 0 and desk.problem is None:
        said = f"<p>Open for {_span(person.elevated_s)} more, for API keys at <code>/api/keys</code>.</p>"
        return f'<section aria-labelledby="admin"><h2 id="admin">Administration</h2>{said}</section>'
    ways = (person.way,) if person.way is not None else desk.ways
    return (
        '<section aria-labelledby="admin"><h2 id="admin">Administration</h2>'
        "<p>API keys and what else decides who may do what ask for a secret anew; "
        f"then it is open for ten minutes.</p>{_alerts(desk)}"
        f"{_forms(ways, 'Confirm', desk.tried)}</section>"
    )


def _alerts(desk: Desk) -> str:
    told = ""
    if desk.problem is not None:
        told += f'<p class="warning" role="alert" id="problem">{escape(desk.problem)}</p>'
    if desk.is_readable:
        told += (
            '<p class="warning">This page came over plain HTTP: everybody on the network between you and the '
            "gateway can read what you type here. Use an https address, or do this only on a network that "
            "you trust.</p>"
        )
    return told


def _forms(ways: Sequence[str], verb: str, focused: str | None) -> str:
    """A form for each way; a label, a field, a button, and a word of where the secret is."""
    return "".join(
        _FORMS[way].format(verb=verb, focus=" autofocus" if way == focused else "") for way in ways
    )


_FORMS: Final = {
    # The name of a user is what password managers file a password under.
    "password": '<form class="secret" method="post" action="/ui/sign-in">'
    '<input type="text" name="username" value="operator" autocomplete="username" hidden>'
    '<label for="password">Password</label><div class="entry">'
    '<input id="password" name="password" type="password" autocomplete="current-password" required{focus}>'
    "<button>{verb}</button></div></form>",
    "code": '<form class="secret" method="post" action="/ui/sign-in">'
    '<label for="code">One-time code</label><div class="entry">'
    '<input id="code" name="code" type="text" autocomplete="one-time-code" autocapitalize="none" '
    'spellcheck="false" aria-describedby="where" required{focus}><button>{verb}</button></div>'
    '<p class="hint" id="where">The console printed it when the gateway started. It works once; the one that '
    "works now is in the file <code>one-time-code</code> of the state directory.</p></form>",
}


def _since(seconds: float) -> str:
    return "just now" if seconds < 60 else f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = round(seconds / length)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


def _row(server: dict[str, Any]) -> str:
    state = escape(server["state"])
    why = (
        f'<br><span class="why">{escape(server["reason"])}{_retry(server)}</span>' if server["reason"] else ""
    )
    return (
        f"<tr><td>{escape(server['title'])}<br><code>{escape(server['id'])}</code></td>"
        f'<td><span class="{state}">{state}</span>{why}</td>'
        f"<td>{server['tools']}</td><td>{escape(server['protocolRevision'] or '–')}</td></tr>"
    )


def _retry(server: dict[str, Any]) -> str:
    if server["nextRetry"] is None:
        return ""
    in_s = max(0, round(server["nextRetry"] - clock.wall_s()))
    return f"; attempt {server['attempt'] + 1} in {in_s} s"
