"""What the fixture offers: every tool, prompt and resource that the official suite wants of a server.

A tool is a function of a `Task`. One that needs something of its client is a generator: it yields an `Ask`
and goes on with the answers, as if there was one way to ask; which way there is in whose era is the business
of `fixture.py`. Knows no transport and no ids. Standard library only.
"""

import base64
import json
import struct
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Json = dict[str, Any]
INVALID_PARAMS = -32602
MISSING_CAPABILITY = -32021
PAUSE_S = 0.05  # between two words of a tool, so that they are seen one by one
POLLED_S = 0.1  # how long the client is away that was told to come back


class Refusal(Exception):
    """A JSON-RPC error as the answer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True)
class Ask:
    """What is asked of the client: requests by their names; the answers have the same names."""

    requests: dict[str, Json]
    is_remembered: bool = False  # in a `requestState`, where there is one


@dataclass(frozen=True)
class Pause:
    """Nothing happens for so long."""

    seconds: float


Answers = dict[str, Json]
Steps = Generator[Ask | Pause, Answers, Json]


class Task(Protocol):
    """One request, as a tool or prompt sees it."""

    arguments: Json
    state_held: bool  # it came back with a state of ours

    def can(self, capability: str) -> bool:
        """Whether its client declared that."""

    def require(self, capability: str) -> None:
        """Raises:
        Refusal: its client did not declare that.
        """

    def log(self, words: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def changed(self, kind: str) -> None:
        """Another list of that kind (tools, prompts) holds from now on."""

    def release(self) -> None:
        """Closes the stream its answer would come on, where there is one; the client comes back for it."""


Does = Callable[[Task], Json | Steps]
D = TypeVar("D", bound=Does)
TOOLS: dict[str, tuple[Json, Does]] = {}
PROMPTS: dict[str, tuple[Json, Does]] = {}
STRING = {"type": "string"}


def accepts(properties: Json, *required: str) -> Json:
    schema: Json = {"type": "object", "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def tool(name: str, describes: str, schema: Json | None = None) -> Callable[[D], D]:
    def keep(does: D) -> D:
        listed = {"name": name, "description": describes, "inputSchema": schema or accepts({})}
        TOOLS[name] = (listed, does)
        return does

    return keep


def prompt(name: str, describes: str, *arguments: str) -> Callable[[D], D]:
    def keep(does: D) -> D:
        listed: Json = {"name": name, "description": describes}
        if arguments:
            described = [{"name": one, "description": one, "required": True} for one in arguments]
            listed["arguments"] = described
        PROMPTS[name] = (listed, does)
        return does

    return keep


# -- content --------------------------------------------------------------------------------------------


def red_dot() -> str:
    """A picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + pixel + chunk(b"IEND", b"")).decode()


def click() -> str:
    """A sound of four samples."""
    samples = b"\x80\xff\x00\x80"
    kind = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + kind + b"data" + struct.pack("<I", len(samples)) + samples
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(body)) + body).decode()


PICTURE = red_dot()
IMAGE = {"type": "image", "data": PICTURE, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": click(), "mimeType": "audio/wav"}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def embedded(uri: str, words: str, kind: str = "text/plain") -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": words}}


def result(*content: Json, failed: bool = False) -> Json:
    return {"content": list(content), "isError": failed}


def said(*content: Json) -> Json:
    return {"messages": [{"role": "user", "content": one} for one in content]}


# -- what is asked --------------------------------------------------------------------------------------


def form(message: str, properties: Json, *required: str) -> Json:
    schema = accepts(properties, *required)
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def one_field(message: str, field: str, kind: str = "string") -> Json:
    return form(message, {field: {"type": kind}}, field)


def sampling(words: str) -> Json:
    messages = [{"role": "user", "content": text(words)}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 100}}


ROOTS: Json = {"method": "roots/list", "params": {}}
CAPABILITY_OF = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


def field_of(answer: Json, field: str) -> str:
    content = answer.get("content")
    return str(content.get(field)) if isinstance(content, dict) else str(answer.get("action"))


def outcome(answer: Json) -> str:
    return f"action={answer.get('action')}, content={json.dumps(answer.get('content', {}))}"


# -- tools that answer ----------------------------------------------------------------------------------
# The first of the list is called without arguments by those who only want any tool.


@tool("test_simple_text", "Answers one line")
def simple_text(task: Task) -> Json:
    return result(text("A line of text, as simple as it gets."))


@tool("test_image_content", "Answers a picture")
def image_content(task: Task) -> Json:
    return result(IMAGE)


@tool("test_audio_content", "Answers a sound")
def audio_content(task: Task) -> Json:
    return result(AUDIO)


@tool("test_embedded_resource", "Answers with a resource within")
def embedded_resource(task: Task) -> Json:
    return result(embedded("test://embedded-resource", "what is within"))


@tool("test_multiple_content_types", "Answers a text, a picture and a resource")
def multiple_content_types(task: Task) -> Json:
    document = embedded("test://mixed-content-resource", '{"value": 123}', "application/json")
    return result(text("Of several kinds:"), IMAGE, document)


@tool("test_error_handling", "Fails")
def error_handling(task: Task) -> Json:
    return result(text("This tool always fails, as it was made to."), failed=True)


@tool("json_schema_2020_12_tool", "Has a schema with all that a schema may have", {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": STRING, "city": STRING},
        }
    },
    "properties": {
        "name": STRING,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": STRING,
        "email": STRING,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
})  # fmt: skip
def json_schema(task: Task) -> Json:
    return result(text(json.dumps(task.arguments)))


MIRRORED = "test_x_mcp_header"
MIRRORS = {"region": ("Region", "string")}  # argument -> its header and type


@tool(
    MIRRORED, "Wants its argument in a header, too", accepts({"region": {**STRING, "x-mcp-header": "Region"}})
)
def x_mcp_header(task: Task) -> Json:
    return result(text(f"region={task.arguments.get('region')}"))


# -- tools that say something before they answer --------------------------------------------------------


@tool("test_tool_with_logging", "Says what it does")
def with_logging(task: Task) -> Steps:
    task.log("It begins")
    yield Pause(PAUSE_S)
    task.log("It goes on")
    yield Pause(PAUSE_S)
    task.log("It is done")
    return result(text("Said three things."))


tool("test_logging_tool", "Says what it does, where that is wanted")(with_logging)


@tool("test_tool_with_progress", "Says how far it is")
def with_progress(task: Task) -> Steps:
    task.progress(0, 100)
    yield Pause(PAUSE_S)
    task.progress(50, 100)
    yield Pause(PAUSE_S)
    task.progress(100, 100)
    return result(text("All of it is done."))


@tool("test_reconnection", "Lets go of its client, who has to come back for the answer")
def reconnection(task: Task) -> Steps:
    task.log("It lets go")
    task.release()
    yield Pause(POLLED_S)
    return result(text("It came back."))


@tool("test_trigger_tool_change", "Changes the list of tools")
def trigger_tool_change(task: Task) -> Json:
    task.changed("tools")
    return result(text("The tools are others now."))


@tool("test_trigger_prompt_change", "Changes the list of prompts")
def trigger_prompt_change(task: Task) -> Json:
    task.changed("prompts")
    return result(text("The prompts are others now."))


# -- tools that ask -------------------------------------------------------------------------------------


@tool("test_sampling", "Asks the client's model", accepts({"prompt": STRING}, "prompt"))
def ask_model(task: Task) -> Steps:
    answers = yield Ask({"sample": sampling(str(task.arguments.get("prompt")))})
    content = answers["sample"].get("content")
    return result(text(f"LLM response: {content.get('text') if isinstance(content, dict) else content}"))


@tool("test_elicitation", "Asks the user who he is", accepts({"message": STRING}, "message"))
def ask_user(task: Task) -> Steps:
    who = form(str(task.arguments.get("message")), {"username": STRING, "email": STRING}, "username", "email")
    answers = yield Ask({"who": who})
    return result(text(f"User response: {outcome(answers['who'])}"))


@tool("test_elicitation_sep1034_defaults", "Asks the user with a default for everything")
def ask_with_defaults(task: Task) -> Steps:
    answers = yield Ask(
        {
            "defaults": form(
                "Is all of this right?",
                {
                    "name": {**STRING, "default": "John Doe"},
                    "age": {"type": "integer", "default": 30},
                    "score": {"type": "number", "default": 95.5},
                    "status": {**STRING, "enum": ["active", "inactive", "pending"], "default": "active"},
                    "verified": {"type": "boolean", "default": True},
                },
            )
        }
    )
    return result(text(f"Elicitation completed: {outcome(answers['defaults'])}"))


@tool("test_elicitation_sep1330_enums", "Asks the user to choose in every way there is")
def ask_to_choose(task: Task) -> Steps:
    options = [f"option{number}" for number in (1, 2, 3)]
    titled = [{"const": f"value{number}", "title": f"Number {number}"} for number in (1, 2, 3)]
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Number 1", "Number 2", "Number 3"]}
    answers = yield Ask(
        {
            "choice": form(
                "Which ones?",
                {
                    "untitledSingle": {**STRING, "enum": options},
                    "titledSingle": {**STRING, "oneOf": titled},
                    "legacyEnum": {**STRING, **legacy},
                    "untitledMulti": {"type": "array", "items": {**STRING, "enum": options}},
                    "titledMulti": {"type": "array", "items": {"anyOf": titled}},
                },
            )
        }
    )
    return result(text(f"Elicitation completed: {outcome(answers['choice'])}"))


@tool("test_missing_capability", "Works only for clients with a model")
def missing_capability(task: Task) -> Json:
    task.require("sampling")
    return result(text("This client has one."))


@tool("test_streaming_elicitation", "Asks the user after it said something")
def streaming_elicitation(task: Task) -> Steps:
    task.progress(0, 1)
    answers = yield Ask({"name": one_field("What is your name?", "name")})
    return result(text(outcome(answers["name"])))


@tool("test_input_required_result_elicitation", "Asks the user for a name")
def required_elicitation(task: Task) -> Steps:
    answers = yield Ask({"user_name": one_field("What is your name?", "name")})
    return result(text(f"Hello, {field_of(answers['user_name'], 'name')}!"))


@tool("test_input_required_result_sampling", "Asks the client's model about France")
def required_sampling(task: Task) -> Steps:
    answers = yield Ask({"capital_question": sampling("What is the capital of France?")})
    return result(text(json.dumps(answers["capital_question"].get("content"))))


@tool("test_input_required_result_list_roots", "Asks the client for its roots")
def required_roots(task: Task) -> Steps:
    answers = yield Ask({"client_roots": ROOTS})
    return result(text(json.dumps(answers["client_roots"].get("roots"))))


@tool("test_input_required_result_request_state", "Asks, and wants its state back")
def required_state(task: Task) -> Steps:
    yield Ask({"confirm": one_field("Please confirm", "ok", "boolean")}, is_remembered=True)
    return result(text("state-ok" if task.state_held else "there was no state to hold"))


@tool("test_input_required_result_multiple_inputs", "Asks three things at once")
def required_inputs(task: Task) -> Steps:
    answers = yield Ask(
        {
            "user_name": one_field("What is your name?", "name"),
            "greeting": sampling("Write a greeting"),
            "client_roots": ROOTS,
        },
        is_remembered=True,
    )
    return result(text(f"Hello, {field_of(answers['user_name'], 'name')}: that was all."))


@tool("test_input_required_result_multi_round", "Asks one thing after the other")
def required_rounds(task: Task) -> Steps:
    first = yield Ask({"step1": one_field("Step 1: What is your name?", "name")}, is_remembered=True)
    second = yield Ask({"step2": one_field("Step 2: What colour do you like?", "color")}, is_remembered=True)
    name, colour = field_of(first["step1"], "name"), field_of(second["step2"], "color")
    return result(text(f"{name} likes {colour}."))


@tool("test_input_required_result_tampered_state", "Asks, and looks closely at the state that comes back")
def required_untouched(task: Task) -> Steps:
    yield Ask({"confirm": one_field("Please confirm", "ok", "boolean")}, is_remembered=True)
    return result(text("The state is untouched."))


@tool("test_input_required_result_capabilities", "Asks what its client can answer")
def required_capabilities(task: Task) -> Steps:
    possible = {"words": sampling("Say something"), "name": one_field("What is your name?", "name")}
    wanted = {name: ask for name, ask in possible.items() if task.can(CAPABILITY_OF[ask["method"]])}
    if not wanted:
        return result(text("There is nothing to ask this client."))
    answers = yield Ask(wanted)
    return result(text(json.dumps(answers)))


# -- prompts --------------------------------------------------------------------------------------------


@prompt("test_simple_prompt", "A prompt of one line")
def simple_prompt(task: Task) -> Json:
    return said(text("A prompt of one line."))


@prompt("test_prompt_with_arguments", "A prompt that takes two words", "arg1", "arg2")
def prompt_with_arguments(task: Task) -> Json:
    one, other = (task.arguments.get(name) for name in ("arg1", "arg2"))
    return said(text(f"The words are '{one}' and '{other}'."))


@prompt("test_prompt_with_embedded_resource", "A prompt with a resource within", "resourceUri")
def prompt_with_resource(task: Task) -> Json:
    return said(embedded(str(task.arguments.get("resourceUri")), "what is within"), text("Read this."))


@prompt("test_prompt_with_image", "A prompt with a picture")
def prompt_with_image(task: Task) -> Json:
    return said(IMAGE, text("Look at this."))


@prompt("test_input_required_result_prompt", "A prompt that asks first")
def prompt_that_asks(task: Task) -> Steps:
    answers = yield Ask({"user_context": one_field("What is this about?", "context")})
    return said(text(f"This is about {field_of(answers['user_context'], 'context')}."))


# -- resources ------------------------------------------------------------------------------------------

RESOURCES: dict[str, Json] = {
    "test://static-text": {"mimeType": "text/plain", "text": "What is written here never changes."},
    "test://static-binary": {"mimeType": "image/png", "blob": PICTURE},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Worth a subscription."},
}
TEMPLATE_BEFORE, TEMPLATE_AFTER = "test://template/", "/data"
TEMPLATE = {
    "uriTemplate": TEMPLATE_BEFORE + "{id}" + TEMPLATE_AFTER,
    "name": "template",
    "mimeType": "application/json",
}


def resource_list() -> list[Json]:
    return [
        {"uri": uri, "name": uri.partition("://")[2], "mimeType": known["mimeType"]}
        for uri, known in RESOURCES.items()
    ]


def read(uri: str) -> Json | None:
    """What is at `uri`; None if there is nothing."""
    if uri in RESOURCES:
        return {"contents": [{"uri": uri, **RESOURCES[uri]}]}
    if not (uri.startswith(TEMPLATE_BEFORE) and uri.endswith(TEMPLATE_AFTER)):
        return None
    filled = uri[len(TEMPLATE_BEFORE) : -len(TEMPLATE_AFTER)]
    document = json.dumps({"id": filled, "data": f"what belongs to {filled}"})
    return {"contents": [{"uri": uri, "mimeType": TEMPLATE["mimeType"], "text": document}]}


WORDS = ("paper", "paris", "park", "party", "past")  # what an argument of a prompt may be completed to


def complete(beginning: str) -> Json:
    values = [word for word in WORDS if word.startswith(beginning)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}
