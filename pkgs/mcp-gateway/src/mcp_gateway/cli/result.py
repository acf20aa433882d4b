"""A tool's result for a person: text as text, structured content as JSON, binary as its size.

Reads the members it knows from the server's own bytes and shows no number with other digits than the
server wrote. Everything may be of any type: a result is never a reason to fail.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mcp_gateway.cli.failures import unusable
from mcp_gateway.cli.screen import say, size
from mcp_gateway.visible import safe
from mcp_gateway.wire.envelope import read_members


@dataclass(frozen=True)
class Binary:
    """An image, a sound, or a resource's bytes."""

    what: str
    data: bytes


@dataclass(frozen=True)
class Result:
    """What a person can be shown of a result, in its order."""

    parts: tuple[str | Binary, ...]
    is_error: bool

    @property
    def binaries(self) -> list[Binary]:
        return [part for part in self.parts if isinstance(part, Binary)]


def read_result(raw: bytes) -> Result:
    """What is in the server's answer; all of it as JSON where it is nothing that is known."""
    members = read_members(raw)
    content = _decoded(members.get("content"))
    parts: list[str | Binary] = []
    if isinstance(content, list):
        parts += (part for block in content for part in _block(block))
    structured = members.get("structuredContent")
    if structured is not None and not any(_says_the_same(part, structured) for part in parts):
        parts.append(_pretty(structured))
    if not parts and not isinstance(content, list):
        parts.append(_pretty(raw))
    return Result(tuple(parts), _decoded(members.get("isError")) is True)


def show(result: Result, *, saved: bool) -> None:
    """Prints the parts; `saved` says that the binary ones are in a file already."""
    for part in result.parts:
        if isinstance(part, str):
            say(safe(part))
        else:
            hint = "" if saved else "; --output FILE keeps it"
            say(f"[{safe(part.what, lines=False)}, {size(len(part.data))}{hint}]")
    if not result.parts:
        say("The tool answered without content.", err=True)


def save(result: Result, path: Path) -> list[Path]:
    """Writes what is binary, or else the text as the server wrote it; several go into numbered files.

    Raises: Failure when a file cannot be written.
    """
    data = [part.data for part in result.binaries]
    if not data:
        text = "\n".join(part for part in result.parts if isinstance(part, str)) + "\n"
        data = [text.encode("utf-8", "surrogatepass")]
    paths = [path if number == 1 else _numbered(path, number) for number in range(1, len(data) + 1)]
    for where, what in zip(paths, data, strict=True):
        try:
            where.write_bytes(what)
        except OSError as problem:
            raise unusable(f"{where} cannot be written: {problem.strerror}") from None
    return paths


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _block(block: Any) -> Iterator[str | Binary]:
    """One content block; a kind that is not known is shown as its JSON."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        yield block["text"]
    elif kind in ("image", "audio") and (data := _bytes(block.get("data"))) is not None:
        yield Binary(f"{kind} {block.get('mimeType') or 'of an unknown type'}", data)
    elif kind == "resource" and isinstance(resource := block.get("resource"), dict):
        name = f"resource {resource.get('uri', '')}".strip()
        if (data := _bytes(resource.get("blob"))) is not None:
            yield Binary(" ".join(filter(None, (name, str(resource.get("mimeType") or "")))), data)
        else:
            yield f"[{name}]\n{resource.get('text', '')}"
    elif kind == "resource_link":
        about = (block.get(key) for key in ("title", "name", "uri", "mimeType", "description"))
        yield "[link] " + "  ".join(text for text in about if isinstance(text, str))
    else:
        yield json.dumps(block, indent=2, ensure_ascii=False)


def _bytes(text: Any) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        return None


def _decoded(raw: Any) -> Any:
    try:
        return None if raw is None else json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return None


def _says_the_same(part: str | Binary, structured: Any) -> bool:
    """Servers repeat structured content as text, as the specification asks them to."""
    if not isinstance(part, str):
        return False
    try:
        return bool(json.loads(part) == _decoded(structured))
    except (ValueError, RecursionError):
        return False


def _pretty(raw: Any) -> str:
    try:
        return msgspec.json.format(bytes(raw), indent=2).decode("utf-8", "replace")
    except (msgspec.MsgspecError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")
