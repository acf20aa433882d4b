"""The configuration as frozen, strict values, and the shape of everything that can be wrong with it.

Owns the names, defaults, bounds and units of every key, the server id, and the JSON Schema of the
file. Reads no file and no environment (`load` does), and of other clients only the names in `foreign`.
Text with `${VAR}` is kept as written. No `repr` of anything here shows a value that could be a secret.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

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

from mcp_gateway.config.foreign import IGNORED, IGNORED_AT_TOP, TRANSLATED, TYPE_WORDS
from mcp_gateway.config.forwarding import FORWARD_MAX, plain, why_never

SLUG_CHARS_MAX = 32  # leaves room for `__tool` within the 46 characters of an exposed name
TITLE_CHARS_MAX = 200  # a line on a page
DURATION_S_MAX = 86_400.0  # a day; more is a typing error, or milliseconds
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
        return min(value, _HUGE) * bare
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


def _absolute(path: str) -> str:
    if not path.startswith(("/", "~/", "${")):
        raise _wrong("must be an absolute path, or begin with `~/` or a variable")
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
    args: Texts = Field(default=(), repr=False)
    env: dict[VariableName, Value] = Field(default_factory=dict, repr=False)
    cwd: AbsolutePath | None = None
    url: Url | None = Field(default=None, repr=False, description="The address of a remote server.")
    headers: dict[HeaderName, Value] = Field(default_factory=dict, repr=False)
    forward_headers: ForwardedNames = Field(
        default=(),
        validation_alias="forwardHeaders",
        description="Headers of a caller that its calls pass on to this remote server; no others are.",
    )
    type: ServerType | None = None
    enabled: bool = True
    start_timeout_s: Duration = Field(default=60.0, validation_alias="startTimeout")
    timeout_s: Duration = Field(
        default=60.0, validation_alias="timeout", description="Time without progress."
    )
    max_timeout_s: Duration = Field(default=900.0, validation_alias="maxTimeout")
    concurrency: int = Field(default=64, ge=1, le=10_000)
    queue: int = Field(default=1_024, ge=0, le=100_000)
    idle_stop_s: Duration | None = Field(
        default=None,
        validation_alias="idleStop",
        description="Stop it after so long without a call; the next call starts it.",
    )
    max_result_bytes: Size = Field(default=256 * MIB, validation_alias="maxResult")
    isolation: Literal["shared"] = "shared"
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

    enabled: bool = True


class Limits(_Strict):
    """How much a caller may send."""

    body_bytes: Size = Field(
        default=4 * MIB, validation_alias="body", description="The largest request body."
    )


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

    host: Text = "127.0.0.1"
    port: int = Field(default=8085, ge=0, le=65_535, description="0 takes any free port.")
    mcp: Mcp = Field(default_factory=Mcp)
    limits: Limits = Field(default_factory=Limits)
    activity: Activity = Field(default_factory=Activity)
    log_format: Literal["text", "json"] = Field(default="text", validation_alias="logFormat")


@dataclass(frozen=True)
class Config:
    """Everything the operator declared; `servers` by id, in the order of the file."""

    servers: dict[str, ServerConfig] = field(default_factory=dict)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    path: Path | None = None
    warnings: tuple[str, ...] = ()


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
    server["properties"]["type"] = {"enum": [None, *get_args(ServerType), *TYPE_WORDS]}
    server["properties"]["tools"] = {"anyOf": [{"$ref": "#/$defs/ToolRules"}, {"type": "array"}]}
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
            "gateway": {"$ref": "#/$defs/GatewayConfig"},
            **{key: {"description": f"Ignored: {reason}."} for key, reason in IGNORED_AT_TOP.items()},
        },
        **defined,
    }
