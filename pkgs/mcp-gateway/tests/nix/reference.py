"""Writes docs/MODULE_REFERENCE.md from the options as they are and from the examples. `make reference`."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.nix.evaluating import HERE, Evaluated, Nix, evaluate
from tests.real import REPOSITORY

REFERENCE: Final = REPOSITORY / "docs" / "MODULE_REFERENCE.md"
_HEAD: Final = """# Modules: every option

Made by `make reference` from the modules themselves; a test says when it is not current. How to use them:
[nixos.md](nixos.md).
"""
_EXAMPLES: Final = (
    (
        "A server",
        "server.nix",
        "On the machine that runs the gateway, with `nixosModules.default` of the flake.",
    ),
    ("A client", "client.nix", "On a machine that uses the gateway of another; nothing runs on it."),
    (
        "home-manager",
        "home.nix",
        "With `homeModules.default` of the flake. On NixOS nothing needs to be set: its module says it all.",
    ),
)
_OPTIONS: Final = (
    ("Options of the NixOS module", "nixos", "`nixosModules.default`, `ai` and `mcp-gateway`."),
    ("Options of the home-manager module", "home", "`homeModules.default`."),
)


def rendered(evaluated: Evaluated) -> str:
    return "\n".join(_parts(evaluated.all["options"]))


def _parts(options: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    yield _HEAD
    yield "## Examples\n"
    for title, file, words in _EXAMPLES:
        yield f"### {title}\n\n{words}\n\n```nix\n{(HERE / 'examples' / file).read_text().rstrip()}\n```\n"
    for title, module, words in _OPTIONS:
        yield f"## {title}\n\n{words}\n"
        yield "| option | type | default | |"
        yield "|---|---|---|---|"
        yield from (
            _row(option) for option in sorted(options[module], key=lambda option: str(option["name"]))
        )
        yield ""


def _row(option: Mapping[str, Any]) -> str:
    default = "" if not option["hasDefault"] else _code(option["default"])
    words = " ".join(option["description"].split())
    if option["readOnly"]:
        words += " Read-only."
    if option["example"] is not None:
        words += f" For example {_code(option['example'])}."
    return f"| {_code_of(option['name'])} | {_cell(_type(option['type']))} | {default} | {_cell(words)} |"


def _type(text: str) -> str:
    plain = re.sub(r"16 bit unsigned integer; [^|]+\)", "port", text)
    return re.sub(r"string matching the pattern .+", "string of the right form", plain)


def _code(value: Any) -> str:
    text = (
        value["text"]
        if isinstance(value, dict) and value.get("_type") == "literalExpression"
        else _nix(value)
    )
    return _code_of(" ".join(text.split()))


def _code_of(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _nix(value: Any) -> str:
    """A value as one writes it in Nix."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[ {' '.join(map(_nix, value))} ]" if value else "[ ]"
    if isinstance(value, dict):
        return (
            f"{{ {' '.join(f'{name} = {_nix(one)};' for name, one in value.items())} }}" if value else "{ }"
        )
    return str(value)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        REFERENCE.write_text(rendered(evaluate(Nix(Path(folder)))))
    print(REFERENCE.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
