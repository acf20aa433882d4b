"""A real Open WebUI in a process of its own, and what its API lets a person and an administrator do.

Owns the process, its data directory and its users. `make test-openwebui` installs the program; without it a
test is a visible skip. Everything it would fetch from elsewhere (models, updates, packages) is switched off.
"""

import http.client
import json
import os
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

from tests import real
from tests.harness import Answer, free_port, has_ended, until
from tests.openwebui_real.model import NAME as MODEL

PROGRAM: Final = real.REPOSITORY / ".venv-openwebui" / "bin" / "open-webui"
START_S: Final = 300.0  # 25 s; over a minute the first time, when nothing is compiled; all on a quiet machine
STOP_S: Final = 20.0
ANSWER_S: Final = 90.0  # a whole chat, with each of its calls
EVERYBODY: Final = {"principal_type": "user", "principal_id": "*", "permission": "read"}
FORWARD_SECRET: Final = "by-which-servers-know-who-asks-in-tests"
ENVIRONMENT: Final = {
    "WEBUI_AUTH": "False",  # whoever signs in with nothing is the administrator
    "WEBUI_SECRET_KEY": "of-a-test",
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "RAG_EMBEDDING_ENGINE": "openai",
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
    "ENABLE_OLLAMA_API": "False",
    "ENABLE_TITLE_GENERATION": "False",
    "ENABLE_TAGS_GENERATION": "False",
    "ENABLE_FOLLOW_UP_GENERATION": "False",
    "ENABLE_AUTOCOMPLETE_GENERATION": "False",
    "ENABLE_EVALUATION_ARENA_MODELS": "False",
    "ENABLE_PIP_INSTALL_FRONTMATTER_REQUIREMENTS": "False",
    "ENABLE_FORWARD_USER_INFO_HEADERS": "True",
    "FORWARD_USER_INFO_HEADER_JWT_SECRET": FORWARD_SECRET,
    "ENABLE_DIRECT_INTEGRATIONS": "True",  # a person may add tool servers that their browser calls
    "ENABLE_API_KEYS": "True",
    "BYPASS_MODEL_ACCESS_CONTROL": "True",  # everybody may use the model
}


@dataclass(frozen=True)
class Told:
    """What became of one chat: the message of the assistant, as Open WebUI keeps it and shows it."""

    message: dict[str, Any]

    @property
    def text(self) -> str:
        return str(self.message["content"])

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of tools, each with its `status` and `output`."""
        return self._of("function_call_output")

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of tools, each with its `name`, `arguments` and `status`."""
        return self._of("function_call")

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.message.get("output") or () if item["type"] == kind]


@dataclass
class WebUI:
    """A context manager; leaving ends the process and all that it started."""

    directory: Path
    model_url: str
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=free_port)
    admin: str = field(default="", repr=False)  # the administrator's token

    def __enter__(self) -> Self:
        real.need(PROGRAM)
        self.directory.mkdir(parents=True, exist_ok=True)
        environment = {
            **ENVIRONMENT,
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "DATA_DIR": str(self.directory / "data"),
            "OPENAI_API_BASE_URL": self.model_url,
            "OPENAI_API_KEY": "of-no-use",
            "WEBUI_URL": self.url,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "serve", "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            until(self._is_serving, START_S, "Open WebUI is serving", self.log_tail)
            signed_in = self.ask("POST", "/api/v1/auths/signin", {"email": "", "password": ""}, token="")
            self.admin = signed_in["token"]
            # It lists the models of a provider once somebody asks; a chat before that finds none.
            listed = self.ask("GET", "/api/models")
            assert MODEL in {one["id"] for one in listed["data"]}, listed
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_S)
        assert has_ended(self.process.pid)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "open-webui.log"

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def _is_serving(self) -> bool:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"Open WebUI ended with {status}: {self.log_tail()}"
        try:
            return self.request("GET", "/health", token="").status == 200
        except OSError:
            return False

    # -- its API ------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        """One request as the administrator, or by the token; an empty one is nobody's."""
        token = self.admin if token is None else token
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """The document of an answer that must be a good one."""
        answer = self.request(method, path, body, token)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body[:1000]!r}"
        return answer.json()

    def user(self, name: str) -> str:
        """The token of a new user who is no administrator."""
        who = {"name": name, "email": f"{name}@localhost.test", "password": "of-a-test", "role": "user"}
        return str(self.ask("POST", "/api/v1/auths/add", who)["token"])

    def connections(self) -> list[dict[str, Any]]:
        found = self.ask("GET", "/api/v1/configs/tool_servers")["TOOL_SERVER_CONNECTIONS"]
        assert isinstance(found, list)
        return found

    def connect(self, *connections: dict[str, Any]) -> None:
        """These and no others are its connections to tool servers."""
        self.ask("POST", "/api/v1/configs/tool_servers", {"TOOL_SERVER_CONNECTIONS": connections})

    def verify(self, connection: dict[str, Any]) -> Answer:
        """What the button beside a connection does."""
        return self.request("POST", "/api/v1/configs/tool_servers/verify", connection)

    def tools(self, token: str | None = None) -> list[str]:
        """The ids of what can be switched on in a chat, as somebody sees them."""
        return [tool["id"] for tool in self.ask("GET", "/api/v1/tools/", token=token)]

    def add_tool(self, item: dict[str, Any], valves: dict[str, Any]) -> str:
        """Adds one item of an import as the page does, and sets its valves; its id."""
        made = self.ask("POST", "/api/v1/tools/create", item)
        path = f"/api/v1/tools/id/{quote(made['id'])}"
        self.ask("POST", f"{path}/valves/update", valves)
        return str(made["id"])

    def chat(self, sentence: str, *tool_ids: str, token: str | None = None, **more: Any) -> Told:
        """Says this to the model in a new chat with these switched on, and waits until it has answered."""
        said, answer = str(uuid.uuid4()), str(uuid.uuid4())
        asked = {"role": "user", "content": sentence}
        messages = {
            said: {**asked, "id": said, "parentId": None, "childrenIds": [answer], "models": [MODEL]},
            answer: {
                "id": answer,
                "parentId": said,
                "childrenIds": [],
                "role": "assistant",
                "content": "",
                "model": MODEL,
                "modelName": MODEL,
                "modelIdx": 0,
            },
        }
        history = {"messages": messages, "currentId": answer}
        chat = {"title": sentence, "models": [MODEL], "history": history}
        chat_id = self.ask("POST", "/api/v1/chats/new", {"chat": chat}, token)["id"]
        # Without a session it answers once all is over, and the answer is where the chat is kept.
        body = {"model": MODEL, "messages": [asked], "stream": True, "chat_id": chat_id, "id": answer}
        done = self.request(
            "POST", "/api/chat/completions", {**body, "tool_ids": list(tool_ids), **more}, token
        )
        assert done.status == 200, f"{done.status} {done.body[:1000]!r}"
        kept = self.ask("GET", f"/api/v1/chats/{chat_id}", token=token)
        return Told(kept["chat"]["history"]["messages"][answer])
