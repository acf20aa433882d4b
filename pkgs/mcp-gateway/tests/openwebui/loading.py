"""A stand-in for how Open WebUI 0.12.4 loads a toolkit: what it does to the text, and what it reads in it.

Decision 34 says what of it is known from where. Knows nothing of how the code is made.
"""

import __future__

import inspect
import re
import subprocess
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import create_model

RUFF = Path(sys.executable).with_name("ruff")
# These words in any text are taken for imports of its own, and changed.
IMPORTS = ("from utils", "from apps", "from main", "from config")


@dataclass(frozen=True)
class Spec:
    """What Open WebUI tells a model of a method."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Toolkit:
    """The object that it calls, and what it knows of it."""

    tools: Any
    frontmatter: dict[str, str]
    specs: dict[str, Spec]

    async def call(self, method: str, given: dict[str, Any], events: list[Any] | None = None) -> Any:
        """As for a model: arguments that the schema does not have are dropped."""

        async def emit(event: Any) -> None:
            assert events is not None
            events.append(event)

        known = self.specs[method].parameters["properties"]
        arguments = {name: value for name, value in given.items() if name in known}
        emitter = {} if events is None else {"__event_emitter__": emit}
        return await getattr(self.tools, method)(**arguments, **emitter)

    def set_valves(self, **values: Any) -> None:
        self.tools.valves = self.tools.Valves(**values)


def load(source: str, name: str = "tool_loaded") -> Toolkit:
    assert not any(words in source for words in IMPORTS)
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        # Open WebUI has this flag where it runs the text, which thereby has it as well: hints are strings.
        exec(compile(source.encode(), name, "exec", __future__.annotations.compiler_flag), module.__dict__)
        tools = module.__dict__["Tools"]()
    finally:
        del sys.modules[name]  # it is not there either when the tools are called
    methods = [getattr(tools, one) for one in dir(tools) if not one.startswith("_")]
    called = [one for one in methods if callable(one) and not inspect.isclass(one)]
    return Toolkit(tools, frontmatter(source), {one.__name__: spec(one) for one in called})


def frontmatter(source: str) -> dict[str, str]:
    first, *lines = source.splitlines()
    assert first == '"""'
    block = lines[: lines.index('"""')]
    return {key: value for key, _, value in (line.partition(": ") for line in block)}


def spec(method: Any) -> Spec:
    hints = get_type_hints(method)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = hints.get(name, Any), default
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
        model = create_model(method.__name__, **fields)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = model.model_json_schema()
    assert "$ref" not in str(schema) or "$defs" not in schema
    properties = {
        name: cleaned(one) for name, one in schema.get("properties", {}).items() if not name.startswith("__")
    }
    text = method.__doc__
    assert text
    assert text.strip()
    # Where it ends a description, and reads what follows as words about an argument.
    description = re.split(":(?:param|return)", text, maxsplit=1)[0]
    assert description == text
    return Spec(
        method.__name__, description, {"properties": properties, "required": schema.get("required", [])}
    )


def cleaned(schema: Any) -> Any:
    """Without titles and defaults of null, of which it tells a model nothing."""
    found = untitled(schema)
    if isinstance(found, dict) and found.get("default", 0) is None:
        del found["default"]
    return found


def untitled(value: Any, holds_properties: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key: untitled(one, key == "properties")
            for key, one in value.items()
            if key != "title" or (holds_properties and isinstance(one, dict))
        }
    return [untitled(one) for one in value] if isinstance(value, list) else value


def formatted(*files: Path) -> None:
    """They are as a formatter writes them, and use no name that they do not have."""
    for command in (("format", "--check", "--diff", "--line-length", "100"), ("check", "--select", "F")):
        run = subprocess.run(
            (RUFF, *command, "--isolated", "--no-cache", *files), capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 0, run.stdout + run.stderr
