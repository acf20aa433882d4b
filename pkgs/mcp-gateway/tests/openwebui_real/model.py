"""A model of OpenAI's API that does what a test has taught it, and keeps what it was asked.

It answers `/v1/models` and `/v1/chat/completions`, whole or as a stream. A person's sentence is what it is
taught by: to that sentence it answers with the calls of tools it was given, one turn each, and once the last
of them has its result it says what it was told. Every request is kept as it came, so that a test sees what
reaches a model: its tools, and each result in the form in which models get it. Knows nothing of gateways.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final, Self

NAME: Final = "your-model"
TOLD: Final = "I was told: "
UNTAUGHT: Final = "Nobody has taught me what to say to that."
PIECE: Final = 24  # characters of a stream's chunk, so that a result and an answer come in several

Says = str | Callable[[list[str]], str]  # a text, or what makes one of the results of tools


@dataclass(frozen=True)
class Call:
    """One call of a tool, by the name under which the model knows it."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    calls: tuple[Call, ...]
    says: Says | None  # instead of what it was told


def words(message: dict[str, Any]) -> str:
    """The text of a message, whichever of its two forms it has."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def images(message: dict[str, Any]) -> list[str]:
    """The URLs of the images in a message."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]


class Model:
    """A context manager; leaving ends the server and closes its connections."""

    def __init__(self) -> None:
        self._lessons: dict[str, Lesson] = {}
        self._asked: list[dict[str, Any]] = []
        self._lock = Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_GET(self) -> None:
                listed = {"object": "list", "data": [{"id": NAME, "object": "model", "owned_by": "openai"}]}
                self.answer(listed if self.path == "/v1/models" else None)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/chat/completions":
                    self.answer(None)
                elif body.get("stream"):
                    self.stream(model.answer(body))
                else:
                    message, reason = whole(model.answer(body))
                    choice = {"index": 0, "message": message, "finish_reason": reason}
                    self.answer({**head("chat.completion"), "choices": [choice]})

            def answer(self, document: dict[str, Any] | None) -> None:
                data = json.dumps(document or {"error": {"message": "not found"}}).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, pieces: Iterator[dict[str, Any]]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for choice in pieces:
                    chunk = {**head("chat.completion.chunk"), "choices": [{"index": 0, **choice}]}
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="model", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def teach(self, sentence: str, *calls: Call, says: Says | None = None) -> None:
        """From now on, it makes these calls when a person says this, and ends with what it `says`."""
        with self._lock:
            self._lessons[sentence] = Lesson(calls, says)

    def asked(self, sentence: str) -> list[dict[str, Any]]:
        """The bodies of all requests in a chat that ends with this sentence of a person, in order."""
        with self._lock:
            return [body for body in self._asked if last_said(body["messages"])[0] == sentence]

    def answer(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What it does next, in the pieces of a stream."""
        sentence, results = last_said(body["messages"])
        with self._lock:
            self._asked.append(body)
            lesson = self._lessons.get(sentence, Lesson((), UNTAUGHT))
        if len(results) < len(lesson.calls):
            call = lesson.calls[len(results)]
            yield from called(call, f"call-{len(results)}")
        else:
            told = TOLD + " | ".join(results) if results else UNTAUGHT
            says = told if lesson.says is None else lesson.says
            yield from said(says if isinstance(says, str) else says(results))


def last_said(messages: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """What a person said last, and the results of tools since.

    Images of results come in messages that say they are a person's; what a person says has no image here.
    """
    spoken = [at for at, message in enumerate(messages) if message["role"] == "user" and not images(message)]
    if not spoken:
        return "", []
    results = [words(message) for message in messages[spoken[-1] :] if message["role"] == "tool"]
    return words(messages[spoken[-1]]), results


def head(kind: str) -> dict[str, Any]:
    return {"id": "answer", "object": kind, "created": 0, "model": NAME}


def called(call: Call, call_id: str) -> Iterator[dict[str, Any]]:
    function = {"name": call.tool, "arguments": ""}
    first = {"index": 0, "id": call_id, "type": "function", "function": function}
    yield {"delta": {"role": "assistant", "content": None, "tool_calls": [first]}, "finish_reason": None}
    text = json.dumps(call.arguments)
    for at in range(0, len(text), PIECE):
        piece = {"index": 0, "function": {"arguments": text[at : at + PIECE]}}
        yield {"delta": {"tool_calls": [piece]}, "finish_reason": None}
    yield {"delta": {}, "finish_reason": "tool_calls"}


def said(text: str) -> Iterator[dict[str, Any]]:
    for at in range(0, len(text), PIECE):
        yield {"delta": {"role": "assistant", "content": text[at : at + PIECE]}, "finish_reason": None}
    yield {"delta": {}, "finish_reason": "stop"}


def whole(pieces: Iterator[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """The message that a stream makes, and why it ended."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    reason = "stop"
    for piece in pieces:
        delta, reason = piece["delta"], piece["finish_reason"] or reason
        message["content"] += delta.get("content") or ""
        for part in delta.get("tool_calls", ()):
            if "id" in part:
                message["tool_calls"] = [{**part, "function": dict(part["function"])}]
            else:
                message["tool_calls"][0]["function"]["arguments"] += part["function"]["arguments"]
    return message, reason
