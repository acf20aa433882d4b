"""The page at `/`: what runs, what does not and why, and what to open. Plain HTML without a script.

All text of servers is hostile: everything is escaped, nothing is a link or markup of theirs.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from mcp_gateway import clock

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
.table { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem .5rem 0 }
th, td { border-bottom: 1px solid #8886 }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
.warning { border-left: .25rem solid light-dark(#b3261e, #ff8a80); padding-left: .75rem }
.warning { overflow-wrap: anywhere }
.why { color: light-dark(#555, #aaa) }
.ready { color: light-dark(#176d2c, #63d77f) }
.failed, .waiting, .needs { color: light-dark(#b3261e, #ff8a80) }
""".strip()


def page(servers: list[dict[str, Any]], warnings: Sequence[str] = ()) -> str:
    """The whole page from the views of the servers and what is wrong with the gateway itself."""
    banner = "".join(f'<p class="warning" role="alert">{escape(warning)}</p>' for warning in warnings)
    rows = "".join(_row(server) for server in servers)
    table = (
        '<div class="table"><table><thead><tr><th>Server</th><th>State</th><th>Tools</th><th>Speaks</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
        if servers
        else "<p>No servers are configured. Add some under <code>mcpServers</code> in the configuration "
        "file, then start the gateway with <code>--config</code>.</p>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>MCP Gateway</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>MCP Gateway</h1>{banner}{table}"
        "<h2>Ways in</h2><ul>"
        "<li>MCP, all servers: <code>/mcp</code></li>"
        "<li>MCP, one server: <code>/servers/{id}/mcp</code></li>"
        "<li>REST: <code>POST /api/tools/{server}/{tool}</code>, described in "
        '<a href="/openapi.json">/openapi.json</a></li>'
        '<li>Servers, tools, activity: <a href="/api/servers">/api/servers</a>, '
        '<a href="/api/tools">/api/tools</a>, <a href="/api/calls">/api/calls</a></li>'
        "</ul></main></body></html>"
    )


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
