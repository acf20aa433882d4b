"""`keys`: API keys made, listed and revoked; a password or a key as the hash that a configuration holds.

Over REST where a gateway is named, else by the state directory of this machine (`state`). A key's text is
printed once, by `create`, alone on stdout; none is ever taken from the command line, which all can read.
"""

import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from mcp_gateway.access.caller import Right
from mcp_gateway.cli.client import Client, run, segment
from mcp_gateway.cli.completing import complete_server, complete_tool
from mcp_gateway.cli.failures import Failure, unusable
from mcp_gateway.cli.grouping import ListByDefault
from mcp_gateway.cli.options import Asked, common
from mcp_gateway.cli.screen import Table, clock_time, say
from mcp_gateway.errors import Kind
from mcp_gateway.visible import safe

if TYPE_CHECKING:
    from mcp_gateway.config.model import Config
    from mcp_gateway.gateway.keys import Keys
    from mcp_gateway.store import Store

RIGHTS: Final = tuple(right.value for right in Right if right is not Right.EXEC)
USUAL: Final = (Right.READ.value, Right.CALL.value)
SECRET_BYTES_MAX: Final = 4_096
# NIST SP 800-63B, section 3.1.1: guesses are throttled, and still a shorter one is found.
PASSWORD_CHARS_MIN: Final = 8
_UNIT_S: Final = {"m": 60, "h": 3600, "d": 86400}
_HEADINGS: Final = ("id", "name", "rights", "over", "expires", "last used", "made by")
_ELSEWHERE: Final = (
    "Give a key that has the right `admin` ($MCP_GATEWAY_KEY or --key-file); or run this on the gateway's "
    "machine, as its user and without --url, where the state directory is proof enough."
)

_T = TypeVar("_T")


@click.group(cls=ListByDefault)
def keys() -> None:
    """Make API keys, list and revoke them; hash a password or a key."""


def _expiry(_ctx: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """`30d`, `12h` from now, or a day or time as the configuration has it; seconds since 1970."""
    if text is None:
        return None
    if match := re.fullmatch(r"([0-9]{1,5})([mhd])", text):
        return time.time() + int(match[1]) * _UNIT_S[match[2]]
    from mcp_gateway.config.model import Expiry

    return float(_validated(Expiry, text))


def _patterns(_ctx: click.Context, _option: click.Parameter, said: tuple[str, ...]) -> tuple[str, ...]:
    if "" in said:
        raise click.BadParameter("is empty; leave it away for everything")
    return said


def _name(_ctx: click.Context, _argument: click.Parameter, text: str) -> str:
    from mcp_gateway.config.model import KeyName

    return str(_validated(KeyName, text))


def _validated(kind: Any, text: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as invalid:
        sentence = str(invalid.errors(include_url=False, include_input=False)[0]["msg"])
        raise click.BadParameter(sentence.replace("should", "must")) from None


_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of a gateway on this machine, running or not; else the usual one.",
)
_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Where keys are declared, if no gateway runs; else the usual file.",
)


@keys.command()
@click.argument("name", callback=_name)
@click.option(
    "--right",
    "rights",
    multiple=True,
    type=click.Choice(RIGHTS),
    help="May be said several times; read and call unless said.",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="PATTERN",
    callback=_patterns,
    help="Only these: git, time-*.",
    shell_complete=complete_server,
)
@click.option(
    "--tool",
    "tools",
    multiple=True,
    metavar="PATTERN",
    callback=_patterns,
    help="Only these: read_* of any server, git/git_* of one.",
    shell_complete=complete_tool,
)
@click.option("--read-only", is_flag=True, help="Only tools that say of themselves that they change nothing.")
@click.option(
    "--expires", metavar="WHEN", callback=_expiry, help="In 30d, 12h, or on a day such as 2027-01-31 (UTC)."
)
@_state_dir
@common
def create(
    asked: Asked,
    name: str,
    rights: tuple[str, ...],
    servers: tuple[str, ...],
    tools: tuple[str, ...],
    read_only: bool,
    expires: float | None,
    state_dir: Path | None,
) -> None:
    """Make a key; it alone is printed on stdout, this once.

    KEY=$(mcp-gateway keys create laptop)
    """
    scopes: dict[str, Any] = {"rights": list(rights or USUAL), "readOnly": read_only}
    scopes |= {key: list(value) for key, value in (("servers", servers), ("tools", tools)) if value}

    async def offline(table: "Keys") -> dict[str, Any]:
        from mcp_gateway.config.model import Scopes
        from mcp_gateway.gateway.console import CALLER

        asked_for = Scopes.model_validate(scopes, by_alias=True, by_name=False)
        return await table.create(CALLER, name, asked_for, expires)

    async def online(client: Client) -> dict[str, Any]:
        body = {"name": name, "scopes": scopes, **({} if expires is None else {"expires": expires})}
        return dict(json.loads(await client.send("POST", "/api/keys", json.dumps(body).encode())))

    made, where = _administer(asked, state_dir, None, offline, online, makes=True)
    if asked.json:
        say(json.dumps(made))
        return
    until = clock_time(made.get("expires")) or "it is revoked"
    shown = _scopes(made)
    about = f"Key `{made['name']}` with the id {made['id']}: {shown[0]}; over {shown[1]}; until {until}."
    say(safe(about, lines=False), err=True)
    say(
        "It is shown this once, the gateway keeps a hash of it. It is sent as `Authorization: Bearer KEY`;",
        err=True,
    )
    say("these commands send the one in $MCP_GATEWAY_KEY, or in a file that --key-file names.", err=True)
    if where:
        say(f"No gateway runs on {where}: the key lets somebody in as soon as one does.", err=True)
    say(safe(str(made["key"]), lines=False))


@keys.command("list")
@_state_dir
@_config
@common
def list_(asked: Asked, state_dir: Path | None, config: Path | None) -> None:
    """All keys: what they may, until when, when they were last used."""

    async def offline(table: "Keys") -> list[dict[str, Any]]:
        from mcp_gateway.gateway.console import CALLER

        return table.list(CALLER)

    async def online(client: Client) -> list[dict[str, Any]]:
        return list(json.loads(await client.get("/api/keys"))["keys"])

    found, where = _administer(asked, state_dir, config, offline, online, makes=False)
    if asked.json:
        say(json.dumps({"keys": found}))
        return
    table = Table(_HEADINGS)
    table.rows += [_row(key) for key in found]
    if table.rows:
        table.show()
    else:
        say("No keys; `mcp-gateway keys create NAME` makes one.", err=True)
    if where:
        say(f"No gateway runs on {where}; this is what stands there.", err=True)


@keys.command()
@click.argument("key_id", metavar="ID")
@_state_dir
@_config
@common
def revoke(asked: Asked, key_id: str, state_dir: Path | None, config: Path | None) -> None:
    """End a key, and with it at once what its holder has open."""

    async def offline(table: "Keys") -> None:
        from mcp_gateway.gateway.console import CALLER

        await table.revoke(CALLER, key_id)

    async def online(client: Client) -> None:
        await client.send("DELETE", f"/api/keys/{segment(key_id)}")

    _administer(asked, state_dir, config, offline, online, makes=False)
    if asked.json:
        say(json.dumps({"id": key_id, "revoked": True}))
    else:
        say(f"{safe(key_id, lines=False)} is revoked")


@keys.command()
def password() -> None:
    """Hash the operator's password, for `gateway.auth.password.hash`.

    Asked for twice on a terminal; else the first line of standard input.
    """
    text = _secret("Password", again=True)
    if len(text) < PASSWORD_CHARS_MIN:
        raise unusable(
            f"A password needs {PASSWORD_CHARS_MIN} characters or more; this page may be open to many"
        )
    from argon2 import PasswordHasher

    say(PasswordHasher().hash(text))


@keys.command("hash")
def hash_() -> None:
    """Hash a key that was made elsewhere, for `gateway.auth.keys`.

    Asked for on a terminal; else the first line of standard input.
    """
    from mcp_gateway.access import keys as texts
    from mcp_gateway.config.model import KEY_CHARS_MIN

    text = _secret("Key", again=False)
    if len(text) < KEY_CHARS_MIN or len(text) > texts.MAX_CHARS:
        raise unusable(
            f"A key has {KEY_CHARS_MIN} to {texts.MAX_CHARS} characters, so that nobody guesses it; "
            "`mcp-gateway keys create NAME` makes a good one"
        )
    if re.fullmatch("[!-~]+", text) is None:
        raise unusable(
            "A key is sent in a header, which carries letters, digits and signs of ASCII only, no blanks"
        )
    say(texts.hash_text(text))


def _secret(what: str, *, again: bool) -> str:
    """One line that nobody sees; the prompt is on stderr, so that the hash is alone on stdout."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, confirmation_prompt=again, err=True))
    text = sys.stdin.buffer.read(SECRET_BYTES_MAX + 1)
    line = text.removesuffix(b"\n").removesuffix(b"\r")
    try:
        decoded = line.decode()
    except UnicodeDecodeError:
        decoded = ""
    if not decoded or len(text) > SECRET_BYTES_MAX or not decoded.isprintable():
        raise unusable(f"Standard input must hold one line of text, of at most {SECRET_BYTES_MAX} bytes")
    return decoded


def _administer(
    asked: Asked,
    state_dir: Path | None,
    config: Path | None,
    offline: "Callable[[Keys], Awaitable[_T]]",
    online: Callable[[Client], Awaitable[_T]],
    *,
    makes: bool,
) -> tuple[_T, Path | None]:
    """The answer, and the state directory if it was had from there without a gateway."""
    ctx = click.get_current_context()
    if state_dir is not None and _is_said(ctx, "url"):
        raise click.UsageError("--url and --state-dir may name two gateways; say one of them")
    if state_dir is None and (asked.url or _is_said(ctx, "key")):
        try:
            return run(asked, online), None
        except Failure as failure:
            if failure.document.get("code") not in (Kind.UNAUTHENTICATED, Kind.REFUSED):
                raise
            raise Failure(failure.document, _ELSEWHERE) from None
    # Imported here: to ask a gateway that is named needs none of this.
    from mcp_gateway.cli.state import administer
    from mcp_gateway.config import load
    from mcp_gateway.config.model import Config, ConfigError

    env = load.environment()
    try:
        where = load.state_dir(state_dir, env)
    except ConfigError as error:
        raise unusable(f"{error}") from None

    def on_disk() -> "Callable[[Store], Awaitable[_T]]":
        from mcp_gateway.clock import CallIds
        from mcp_gateway.gateway.actions import Actions
        from mcp_gateway.gateway.events import Events
        from mcp_gateway.gateway.keys import Keys

        # What is declared does not matter to a new key.
        settings = Config() if makes else _configuration(config, env)

        async def work(store: "Store") -> _T:
            if store.notice:
                say(f"warning: {store.notice}", err=True)
            actions = Actions(store, CallIds(store.last_call_id), Events(), face="cli")
            return await offline(Keys(settings, store, actions))

        return work

    answer, is_running = administer(asked, where, on_disk, online, makes=makes)
    return answer, None if is_running else where


def _is_said(ctx: click.Context, name: str) -> bool:
    """Whether an option stands on the command line, before or after the command's name."""
    places = (ctx, ctx.find_root())
    return any(place.get_parameter_source(name) is ParameterSource.COMMANDLINE for place in places)


def _configuration(explicit: Path | None, env: Mapping[str, str]) -> "Config":
    from mcp_gateway.config import load
    from mcp_gateway.config.model import Config, ConfigError

    path = load.find_config(explicit, env)
    if path is None:
        return Config()
    try:
        return load.load(path, env)
    except ConfigError:
        say(f"warning: {path} cannot be used, so nothing is known of keys declared there", err=True)
        return Config()


def _row(key: Mapping[str, Any]) -> tuple[str, ...]:
    rights, over = _scopes(key)
    expires = clock_time(key.get("expires")) or "never"
    return (
        str(key.get("id")),
        str(key.get("name")),
        rights,
        over,
        f"expired {expires}" if key.get("expired") else expires,
        clock_time(key.get("lastUsed")) or "never",
        "the configuration" if key.get("declared") else str(key.get("createdBy")),
    )


def _scopes(key: Mapping[str, Any]) -> tuple[str, str]:
    """The rights, and over what."""
    scopes = key.get("scopes")
    scopes = scopes if isinstance(scopes, dict) else {}
    narrowed = [str(one) for name in ("servers", "tools") for one in scopes.get(name) or ()]
    over = ", ".join(narrowed) or "everything"
    only = ", reading only" if scopes.get("readOnly") else ""
    return ", ".join(map(str, scopes.get("rights") or ())), over + only
