"""The configuration as frozen, strict values, and the shape of everything that can be wrong with it.

Owns the names, defaults, bounds and units of every key, the server id, and the JSON Schema of the
file. Reads no file and no environment (`load` does), and of other clients only the names in `foreign`.
Text with `${VAR}` is kept as written. No `repr` of anything here shows a value that could be a secret.
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError

from mcp_gateway.config.added import SECTION
from mcp_gateway.config.foreign import IGNORED, IGNORED_AT_TOP, TRANSLATED, TYPE_WORDS
from mcp_gateway.config.forwarding import FORWARD_MAX, plain, why_never

SLUG_CHARS_MAX = 32  # leaves room for `__tool` within the 46 characters of an exposed name
TITLE_CHARS_MAX = 200  # a line on a page
NAME_CHARS_MAX = 100  # of a key
EXPIRY_BELOW_S = 253_402_300_800.0  # the year 10000, which no date can write
KEY_CHARS_MIN = 32  # of one that was made elsewhere: 128 bit in hexadecimal
PATTERNS_MAX = 256  # servers or tools in one scope
PATTERN_CHARS_MAX = 1_100  # a server and the longest name of a tool
DURATION_S_MAX = 86_400.0  # a day; more is a typing error, or milliseconds
SOCKET_BYTES_MAX = 107  # what the kernel takes for the path of a socket
KEEP_DAYS_MAX = 3_650.0
KEEP_ROWS_MIN = 1_000  # less would forget a call while its caller still asks for it
KEEP_ROWS_MAX = 100_000_000  # 30 GB
SIZE_BYTES_MAX = 1 << 30  # one message of more than a gigabyte is a mistake, not a result
SIZE_BYTES_MIN = 1 << 10  # less would not let a server introduce itself
MIB = 1 << 20

_HUGE = 1 << 53  # beyond every bound, and still exact as a float

_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_UNIT_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION = r"^([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([smhd])$"
_SIZE = r"^([0-9]{1,12}) ?(|B|KiB|MiB|GiB)$"


class ConfigError(Exception):
    """The configuration cannot be used; every problem of the file is in `problems`."""

    def __init__(self, problems: "tuple[Problem, ...]") -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong (or worth a warning), where it stands, and the key that was probably meant."""

    place: str  # as in `mcpServers.git.command`; empty for the file itself
    line: int | None
    message: str
    nearest: str | None = None
    source: str = ""

    def __str__(self) -> str:
        at = self.source if self.line is None else f"{self.source}:{self.line}"
        hint = f" (did you mean `{self.nearest}`?)" if self.nearest else ""
        return ": ".join(filter(None, (at, self.place, self.message + hint)))


def slug(name: str) -> str:
    """The server id for a name, `[a-z0-9][a-z0-9-]{0,31}`; empty when the name has nothing to make it of."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    letters = re.sub(r"[\u0300-\u036f]", "", plain)  # accents, so that `Zürich` reads `zurich`
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:SLUG_CHARS_MAX].rstrip("-")


def _wrong(sentence: str) -> PydanticCustomError:
    # The sentence is a value of the template, never the template: it may hold braces.
    return PydanticCustomError("config", "{sentence}", {"sentence": sentence})


def _amount(value: object, pattern: str, units: dict[str, Any], bare: float, example: str) -> Any:
    """A number times its unit; a bare number counts in `bare`."""
    if isinstance(value, str) and (match := re.match(pattern, value)):
        return type(units[match[2]])(match[1]) * units[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return max(min(value, _HUGE), -_HUGE) * bare
    raise _wrong(f"must be {example}")


def _duration(value: object) -> object:
    seconds = _amount(value, _DURATION, _UNIT_S, 1.0, 'a number of seconds, or text like "90s", "5m" or "1h"')
    if not 0 < seconds <= DURATION_S_MAX:
        raise _wrong("must be more than 0 and at most a day; a bare number counts seconds, not milliseconds")
    return seconds


def _days(value: object) -> object:
    days: float = _amount(
        value, _DURATION, _UNIT_S, _UNIT_S["d"], 'a number of days, or text like "30d" or "12h"'
    )
    days /= _UNIT_S["d"]
    if not 0 < days <= KEEP_DAYS_MAX:
        raise _wrong(f"must be more than 0 and at most {KEEP_DAYS_MAX:.0f} days")
    return days


def _size(value: object) -> object:
    if isinstance(value, float):
        raise _wrong("must be a whole number of bytes")
    size = _amount(value, _SIZE, _UNIT_BYTES, 1, 'a number of bytes, or text like "64MiB"')
    if not SIZE_BYTES_MIN <= size <= SIZE_BYTES_MAX:
        raise _wrong("must be between 1KiB and 1GiB")
    return size


def _amount_schema(kind: str, pattern: str, **bounds: float) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": kind, **bounds}, {"type": "string", "pattern": pattern}]})


def _matching(pattern: str, sentence: str) -> tuple[AfterValidator, WithJsonSchema]:
    def validate(text: str) -> str:
        if not re.match(pattern, text):
            raise _wrong(sentence)
        return text

    return AfterValidator(validate), WithJsonSchema({"type": "string", "pattern": pattern})


def _printable(text: str) -> str:
    # An environment, an argument and a header all end at a NUL; better told here than by the kernel.
    if "\0" in text:
        raise _wrong("must not contain a NUL character")
    return text


def _plain(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise _wrong("must be plain text on one line")
    return text


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _origin(text: str) -> str:
    """Scheme, host and port, as a browser writes an Origin; the port only where it is not the usual one."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise _wrong("is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or not text.isascii():
        raise _wrong("must be like https://gateway.example.com or http://192.168.1.5:8085")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _wrong("must end after the host and port: no user, path or query")
    if re.fullmatch(r"[a-z0-9._:-]+", host) is None:
        raise _wrong("has a host that is no name or address")
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + ("" if port in (None, usual) else f":{port}")


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise _wrong("must be an address or a network, such as 10.0.0.2 or 10.0.0.0/24") from None
    if network.is_loopback:
        raise _wrong("is this machine, where everybody could send the header; name the proxy's `uid`")
    return str(network)


def _expiry(value: object) -> object:
    """Seconds since 1970; a day alone ends at its end, a time without a zone is UTC."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            at_s = float(value)
        else:
            assert isinstance(value, str)
            at = datetime.fromisoformat(value)
            if at.tzinfo is None:
                at = at.replace(tzinfo=UTC)
            if "T" not in value and " " not in value:
                at += timedelta(days=1)
            at_s = at.timestamp()
    except (AssertionError, ValueError, OverflowError):
        raise _wrong("must be a day or a time, such as 2027-01-31 or 2027-01-31T18:00:00Z") from None
    if not at_s < EXPIRY_BELOW_S:
        raise _wrong("is too far away; a key that never expires has no `expires`")
    return at_s


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a socket that is bound to `host`, under a name that pages trust."""
    return host in ("127.0.0.1", "::1", "localhost")


def _absolute(path: str) -> str:
    if not path.startswith(("/", "~/", "${")):
        raise _wrong("must be an absolute path, or begin with `~/` or a variable")
    return path


def _socket_path(path: str) -> str:
    if not path.startswith("/"):
        raise _wrong("must be an absolute path; nothing in it is expanded")
    if len(path.encode()) > SOCKET_BYTES_MAX:
        raise _wrong(f"must be at most {SOCKET_BYTES_MAX} bytes long, the most for the path of a socket")
    return path


def _credential_name(name: str) -> str:
    if name in (".", "..") or not re.fullmatch(r"[^/:\x00-\x1f\x7f]{1,255}", name):
        raise _wrong("must be the name of a systemd credential, without `/` or `:`")
    return name


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    _amount_schema("number", _DURATION, exclusiveMinimum=0, maximum=DURATION_S_MAX),
]
Days = Annotated[
    float,
    BeforeValidator(_days),
    _amount_schema("number", _DURATION, exclusiveMinimum=0, maximum=KEEP_DAYS_MAX),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    _amount_schema("integer", _SIZE, minimum=SIZE_BYTES_MIN, maximum=SIZE_BYTES_MAX),
]
Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
AbsolutePath = Annotated[Text, AfterValidator(_absolute)]
# JSON has lists only, so the tuple itself is lax; what is in it stays strict.
Texts = Annotated[tuple[Annotated[str, AfterValidator(_printable)], ...], Strict(False)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(False)]
# Of what a caller was granted; a call looks through them.
Patterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=PATTERN_CHARS_MAX)], ...],
    Strict(False),
    Field(max_length=PATTERNS_MAX),
]
VariableName = Annotated[str, *_matching(r"^[^=\x00]+\Z", "no variable can have this name")]
# A token of RFC 9110.
HeaderName = Annotated[str, *_matching(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "no header can have this name")]


def _forwardable(name: str) -> str:
    if why := why_never(name):
        raise _wrong(f"cannot be passed on: {why}")
    return name


def _few_and_apart(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > FORWARD_MAX:
        raise _wrong(f"must not name more than {FORWARD_MAX} headers")
    if len({plain(name) for name in names}) < len(names):
        raise _wrong("must not name one header twice; case does not matter, nor does `_` for `-`")
    return names


ForwardedNames = Annotated[
    tuple[Annotated[HeaderName, AfterValidator(_forwardable)], ...],
    Strict(False),
    AfterValidator(_few_and_apart),
    Field(json_schema_extra={"maxItems": FORWARD_MAX, "uniqueItems": True}),
]
Url = Annotated[Text, *_matching(r"^(https?://[^\s]+|\$\{.+)$", "must begin with http:// or https://")]
ServerType = Literal["stdio", "http", "streamable-http", "sse"]
# Where the requests and responses of the last calls are kept.
PayloadMode = Literal["memory", "off", "disk"]


KeyName = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX), AfterValidator(_plain)]
# All a key may hold; `exec` needs a person (product.md).
KeyRight = Literal["read", "call", "operate", "admin"]
Origin = Annotated[str, AfterValidator(_origin), WithJsonSchema({"type": "string", "format": "uri"})]
Network = Annotated[str, AfterValidator(_network)]
Expiry = Annotated[float, BeforeValidator(_expiry), WithJsonSchema({"type": "string", "format": "date-time"})]
_HASH_SENTENCE = "must be `sha256:` and 64 hexadecimal digits"
_ARGON_SENTENCE = "must be an Argon2 hash, as `mcp-gateway keys password` prints it"
# What a client sends about itself, or HTTP needs for itself.
_NO_USER_HEADER = frozenset(
    {"authorization", "cookie", "host", "origin", "content-type", "content-length", "accept", "user-agent"}
    | {"forwarded", "via", "connection", "transfer-encoding", "referer"}
)


class _Strict(BaseModel):
    # Set by Python field name in code, by JSON key in the file (`load` insists); inputs stay out of
    # error texts, because an input may be a secret.
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", validate_by_name=True, hide_input_in_errors=True
    )


class ToolRules(_Strict):
    """Which tools of a server are seen, and under what name; all names are the server's own."""

    allow: Names | None = Field(
        default=None, description="Only these tools: names or patterns like `read_*`."
    )
    deny: Names = Field(default=(), description="Not these tools, even if allowed: names or patterns.")
    rename: dict[str, Text] = Field(default_factory=dict, description="Native name to the name callers see.")
    describe: dict[str, Text] = Field(
        default_factory=dict, description="Native name to a description that replaces the server's."
    )

    @model_validator(mode="after")
    def _renames_apart(self) -> "ToolRules":
        if len(set(self.rename.values())) < len(self.rename):
            raise _wrong("`rename` gives two tools the same name")
        return self


class SecretRef(_Strict):
    """Where a secret is fetched when the server starts; exactly one of the three."""

    file: AbsolutePath | None = Field(default=None, description="The text of this file.")
    credential: Annotated[Text, AfterValidator(_credential_name)] | None = Field(
        default=None, description="The systemd credential of this name."
    )
    command: Annotated[Texts, Field(min_length=1)] | None = Field(
        default=None, repr=False, description="What this program prints; run without a shell."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretRef":
        if sum(one is not None for one in (self.file, self.credential, self.command)) != 1:
            raise _wrong("needs exactly one of `file`, `credential` and `command`")
        return self


def _text_or_secret(value: object) -> str | None:
    if isinstance(value, str):
        return "<text>"
    return "<secret>" if isinstance(value, dict | SecretRef) else None


Value = Annotated[
    Annotated[str, AfterValidator(_printable), Tag("<text>")] | Annotated[SecretRef, Tag("<secret>")],
    Discriminator(
        _text_or_secret,
        custom_error_type="config",
        custom_error_message="must be text in quotes, or an object with `file`, `credential` or `command`",
    ),
]


class ServerConfig(_Strict):
    """One MCP server: a command to run or a URL to speak to, and how it is treated."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    title: str = Field(
        min_length=1, max_length=TITLE_CHARS_MAX, description="The name people see; the key when left out."
    )
    command: Text | None = Field(default=None, description="The program of a local server.")
    args: Texts = Field(default=(), repr=False, description="What it is started with; no shell is asked.")
    env: dict[VariableName, Value] = Field(
        default_factory=dict, repr=False, description="Variables that it gets besides a minimal environment."
    )
    cwd: AbsolutePath | None = Field(default=None, description="The directory in which it is started.")
    url: Url | None = Field(default=None, repr=False, description="The address of a remote server.")
    headers: dict[HeaderName, Value] = Field(
        default_factory=dict, repr=False, description="Headers of every request to a remote server."
    )
    forward_headers: ForwardedNames = Field(
        default=(),
        validation_alias="forwardHeaders",
        description="Headers of a caller that its calls pass on to this remote server; no others are.",
    )
    type: ServerType | None = Field(
        default=None, description="How a remote server is spoken to; found out when left out."
    )
    enabled: bool = Field(default=True, description="Whether it runs, until a person switches it.")
    start_timeout_s: Duration = Field(
        default=60.0,
        validation_alias="startTimeout",
        description="Time to become ready; 300 s unless set for package runners such as npx.",
    )
    timeout_s: Duration = Field(
        default=60.0, validation_alias="timeout", description="Of a call: time without progress."
    )
    max_timeout_s: Duration = Field(
        default=900.0, validation_alias="maxTimeout", description="Of a call: time in all."
    )
    concurrency: int = Field(default=64, ge=1, le=10_000, description="Calls under way at once.")
    queue: int = Field(
        default=1_024, ge=0, le=100_000, description="Calls that may wait for their turn; more are `busy`."
    )
    idle_stop_s: Duration | None = Field(
        default=None,
        validation_alias="idleStop",
        description="Stop it after so long without a call; the next call starts it.",
    )
    max_result_bytes: Size = Field(
        default=256 * MIB,
        validation_alias="maxResult",
        description="The largest message it may send; above it the call is lost.",
    )
    isolation: Literal["shared", "session", "caller"] = Field(
        default="shared",
        description="Who shares a process or connection: everybody, or the calls of one session or caller.",
    )
    payloads: PayloadMode | None = Field(
        default=None, description="As `gateway.activity.payloads`, for the calls of this server."
    )
    tools: ToolRules = Field(default_factory=ToolRules)

    @model_validator(mode="after")
    def _is_local_or_remote(self) -> "ServerConfig":
        if (self.command is None) == (self.url is None):
            raise _wrong("needs exactly one of `command` and `url`")
        local = self.command is not None
        if self.type is not None and (self.type == "stdio") != local:
            raise _wrong(f"`type` {self.type} does not go with `{'command' if local else 'url'}`")
        here = {"headers": self.headers, "forwardHeaders": self.forward_headers}
        stray = here if local else {"args": self.args, "env": self.env, "cwd": self.cwd}
        if named := [f"`{key}`" for key, value in stray.items() if value]:
            raise _wrong(f"{', '.join(named)}: only for a server with a `{'url' if local else 'command'}`")
        written = {plain(name) for name in self.headers}
        if twice := [f"`{name}`" for name in self.forward_headers if plain(name) in written]:
            raise _wrong(
                f"{', '.join(twice)}: in `headers` and in `forwardHeaders`; what the caller sends would"
                " never arrive, so keep one"
            )
        if self.timeout_s > self.max_timeout_s:
            raise _wrong(
                f"`timeout` ({self.timeout_s:g} s) is more than `maxTimeout` ({self.max_timeout_s:g} s);"
                " both count seconds, where some clients write milliseconds"
            )
        return self


class Mcp(_Strict):
    """The MCP faces; `enabled: false` closes every MCP URL."""

    enabled: bool = Field(default=True, description="Whether the MCP URLs are there.")


class Limits(_Strict):
    """How much a caller may send and have under way."""

    body_bytes: Size = Field(
        default=4 * MIB, validation_alias="body", description="The largest request body."
    )
    rate: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests of one caller per second, ten times as many at once; "
        "100 unless set, and no limit for the person at this machine.",
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Calls of one caller under way; 256 unless set, no limit for the person at this machine.",
    )


class Scopes(_Strict):
    """What a key may do, and with which servers and tools; `exec` is for people alone."""

    rights: Annotated[tuple[KeyRight, ...], Strict(False), Field(min_length=1)] = Field(
        default=("read", "call"), description="What it may do with them."
    )
    servers: Patterns | None = Field(
        default=None, description="Only these servers: ids, or patterns like `git-*`."
    )
    tools: Patterns | None = Field(
        default=None,
        description="Only these tools: native names or patterns, `read_*` of any server, `git/git_*` of one.",
    )
    read_only: bool = Field(
        default=False,
        validation_alias="readOnly",
        description="Only tools that their server annotates as read-only; it is believed.",
    )


class DeclaredKey(_Strict):
    """An API key that the operator made: its text in a file, or the hash of it."""

    name: KeyName = Field(description="What it is called in records; slugs of names are apart.")
    file: AbsolutePath | None = Field(default=None, description="A file with the key and nothing else.")
    hash: Annotated[str, *_matching(r"^sha256:[0-9a-f]{64}$", _HASH_SENTENCE)] | None = Field(
        default=None, description="`sha256:` and the hexadecimal SHA-256 of the key."
    )
    scopes: Scopes = Field(default_factory=Scopes)
    expires: Expiry | None = Field(default=None, description="A day or a time, as in 2027-01-31.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "DeclaredKey":
        if (self.file is None) == (self.hash is None):
            raise _wrong("needs exactly one of `file` and `hash`")
        return self


class Password(_Strict):
    """What the operator signs in with on the page."""

    file: AbsolutePath | None = Field(default=None, description="A file with the password, or its hash.")
    hash: Annotated[str, *_matching(r"^\$argon2(id|i|d)\$", _ARGON_SENTENCE)] | None = Field(
        default=None, repr=False, description="As `mcp-gateway keys password` prints it."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "Password":
        if (self.file is None) == (self.hash is None):
            raise _wrong("needs exactly one of `file` and `hash`")
        return self


class Auth(_Strict):
    """Ways to say who you are that the operator declares."""

    keys: Annotated[tuple[DeclaredKey, ...], Strict(False)] = Field(
        default=(), description="API keys; those made at run time are not here."
    )
    password: Password | None = Field(default=None, description="For signing in on the page.")

    @model_validator(mode="after")
    def _names_apart(self) -> "Auth":
        names = [slug(key.name) for key in self.keys]
        if "" in names:
            raise _wrong("the name of a key needs a letter a-z or a digit")
        if len(set(names)) < len(names):
            raise _wrong("two keys have the same name; the name is how a key is told apart")
        return self


class Tailscale(_Strict):
    """Who `tailscale serve` says is asking; believed only where its own process is at the other end."""

    identity: bool = Field(default=False, description="Let users of the tailnet in by their log-in.")
    operators: Texts = Field(default=(), description="Log-ins that may operate; all others read and call.")
    capability: Text | None = Field(
        default=None,
        description="The app capability whose grants are scopes, such as example.com/cap/mcp-gateway; "
        "who is no operator has what it grants and nothing else.",
    )
    uid: int = Field(default=0, ge=0, lt=1 << 32, description="The user that tailscaled runs as.")

    @model_validator(mode="after")
    def _needs_identity(self) -> "Tailscale":
        if not self.identity and (self.operators or self.capability):
            raise _wrong("`operators` and `capability` need `identity`: true")
        return self


class TrustedProxy(_Strict):
    """A reverse proxy that signs people in; believed only with every proof that is named here."""

    user_header: HeaderName = Field(
        validation_alias="userHeader", description="The header in which it says who is asking."
    )
    operators: Texts = Field(default=(), description="Users that may operate; all others read and call.")
    uid: int | None = Field(
        default=None, ge=0, lt=1 << 32, description="The user that the proxy runs as, on this machine."
    )
    addresses: Annotated[tuple[Network, ...], Strict(False)] = Field(
        default=(), description="Where it comes from, on another machine: addresses or networks."
    )
    secret: AbsolutePath | None = Field(
        default=None, description="A file with what it sends in Mcp-Gateway-Proxy-Secret."
    )

    @model_validator(mode="after")
    def _is_provable(self) -> "TrustedProxy":
        if self.user_header.lower() in _NO_USER_HEADER:
            raise _wrong(f"`userHeader` cannot be {self.user_header}, which clients send themselves")
        if self.uid is None and not self.addresses and self.secret is None:
            raise _wrong("needs a proof: `uid` for a proxy on this machine, `addresses`, or `secret`")
        if self.uid is not None and self.addresses:
            raise _wrong("`uid` is for a proxy on this machine and `addresses` for one elsewhere; keep one")
        return self


class Keep(_Strict):
    """How much of the record of calls is kept; what comes first ends it."""

    days: Days = Field(default=30.0, description="A bare number counts days.")
    rows: int = Field(default=1_000_000, ge=KEEP_ROWS_MIN, le=KEEP_ROWS_MAX, description="One for each call.")


def _days_or_keep(value: object) -> object:
    return value if isinstance(value, dict | Keep) else {"days": value}


class Activity(_Strict):
    """The record of calls: how much of it is kept, and where what was said in them is."""

    keep: Annotated[Keep, BeforeValidator(_days_or_keep)] = Field(
        default_factory=Keep, description="An age, or an object with `days` and `rows`."
    )
    payloads: PayloadMode = Field(
        default="memory",
        description="Requests and responses of the last calls: in memory, nowhere, or on disk as well.",
    )


class GatewayConfig(_Strict):
    """The gateway itself."""

    host: Text = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=8085, ge=0, le=65_535, description="0 takes any free port.")
    socket: Annotated[Text, AfterValidator(_socket_path)] | None = Field(
        default=None, description="Path of a unix socket to listen on as well; for its user and group."
    )
    mcp: Mcp = Field(default_factory=Mcp)
    limits: Limits = Field(default_factory=Limits)
    activity: Activity = Field(default_factory=Activity)
    log_format: Literal["text", "json"] = Field(
        default="text",
        validation_alias="logFormat",
        description="Lines of the log: for people, or for programs.",
    )
    public_url: Annotated[tuple[Origin, ...], BeforeValidator(_one_or_several), Strict(False)] = Field(
        default=(),
        validation_alias="publicUrl",
        description="Where people reach the gateway: one or several.",
    )
    cors_origins: Annotated[tuple[Origin, ...], Strict(False)] = Field(
        default=(),
        validation_alias="corsOrigins",
        description="Pages of other origins that may call with an API key.",
    )
    auth: Auth = Field(default_factory=Auth)
    tailscale: Tailscale = Field(default_factory=Tailscale)
    trusted_proxy: TrustedProxy | None = Field(default=None, validation_alias="trustedProxy")

    @property
    def is_guarded(self) -> bool:
        """Whether every request needs an identity (product.md, "Who may do what")."""
        return (
            bool(self.public_url or self.auth.keys or self.auth.password or self.trusted_proxy)
            or self.tailscale.identity
        )

    @model_validator(mode="after")
    def _identity_is_provable(self) -> "GatewayConfig":
        if self.tailscale.identity and not is_loopback(self.host):
            raise _wrong(
                "`tailscale.identity` needs a loopback `host`: whoever reaches the port could send the header"
            )
        proxy = self.trusted_proxy
        if self.tailscale.identity and proxy and proxy.uid == self.tailscale.uid and proxy.secret is None:
            # tailscaled passes on any header it does not know, from Funnel, too.
            raise _wrong(
                "`trustedProxy.uid` is also `tailscale.uid`, so a client of one could speak for the other;"
                " run the proxy as a user of its own, or give it a `secret`"
            )
        return self


SIGN_IN_PLACE = "auth.password"
PROXY_PLACE = "trustedProxy.secret"


def key_place(key: DeclaredKey) -> str:
    return f"auth.keys.{slug(key.name)}"


@dataclass(frozen=True, slots=True)
class Declared:
    """Where a server stands in the file: the member at the top, its name there, the line."""

    section: str
    name: str
    line: int


@dataclass(frozen=True)
class Config:
    """Everything the operator declared; `servers` by id, in the order of the file."""

    servers: dict[str, ServerConfig] = field(default_factory=dict)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    # What the files hold that say who may come in, by `key_place` and the names above.
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    declared: dict[str, Declared] = field(default_factory=dict, compare=False)  # by server id


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys a file may use for this model."""
    names = (str(info.validation_alias or name) for name, info in model.model_fields.items())
    return tuple(name for name in names if not (model is ServerConfig and name == "id"))


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file; it accepts the other clients' keys that the loader accepts."""
    _, defined = models_json_schema(
        [(ServerConfig, "validation"), (GatewayConfig, "validation")], ref_template="#/$defs/{model}"
    )
    server = defined["$defs"]["ServerConfig"]
    server["properties"].pop("id")  # made from the name
    server.pop("required")
    server["properties"] |= {
        key: {"deprecated": True, "description": "Read for other clients."} for key in TRANSLATED
    }
    server["properties"] |= {
        key: {"deprecated": True, "description": f"Ignored: {reason}."} for key, reason in IGNORED.items()
    }
    properties = server["properties"]
    properties["type"] = {
        "description": properties["type"]["description"],
        "enum": [None, *get_args(ServerType), *TYPE_WORDS],
    }
    properties["tools"] = {"anyOf": [{"$ref": "#/$defs/ToolRules"}, {"type": "array"}]}
    days = defined["$defs"]["Keep"]["properties"]["days"]
    keep = defined["$defs"]["Activity"]["properties"]["keep"]
    keep["anyOf"] = [*days["anyOf"], {"$ref": keep.pop("$ref")}]
    servers = {"type": "object", "additionalProperties": {"$ref": "#/$defs/ServerConfig"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MCP Gateway configuration",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "$schema": {"type": "string"},
            "mcpServers": {**servers, "description": "The servers, by name."},
            "servers": {**servers, "description": "The same, as VS Code writes it."},
            SECTION: {**servers, "description": "The same; the gateway adds and removes servers here."},
            "gateway": {"$ref": "#/$defs/GatewayConfig"},
            **{key: {"description": f"Ignored: {reason}."} for key, reason in IGNORED_AT_TOP.items()},
        },
        **defined,
    }
