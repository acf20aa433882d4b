"""Which client works with which server, as one table, and what is changed on the way between them.

`python -m tests.faces.compatibility` writes docs/compatibility.md; `test_matrix.py` has the conversation of
every cell, holds what was seen in it against this table, and the file against what is written here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[2]
DOCUMENT: Final = PACKAGE.parents[1] / "docs" / "compatibility.md"
MODERN: Final = "2026-07-28"

# What servers of a revision may ask, and what its clients can be asked.
QUESTIONS: Final = {
    "2024-11-05": ("sampling", "roots"),
    "2025-03-26": ("sampling", "roots"),
    "2025-06-18": ("sampling", "roots", "elicitation"),
    "2025-11-25": ("sampling", "roots", "elicitation"),
    MODERN: ("sampling", "roots", "elicitation"),
}
REVISIONS: Final = tuple(QUESTIONS)


@dataclass(frozen=True)
class Client:
    """How clients of a revision speak: over what, how they are asked, where they hear of changed lists."""

    over: str
    asked: str
    told: str


_SESSION: Final = Client(
    "Streamable HTTP", "a request on the stream of the call", "the session's own stream (GET)"
)
CLIENTS: Final = {
    **dict.fromkeys(REVISIONS, _SESSION),
    "2024-11-05": Client("HTTP+SSE", "a request on the one stream", "the one stream"),
    MODERN: Client("Streamable HTTP", "the result `input_required`", "`subscriptions/listen`"),
}


@dataclass(frozen=True)
class Cell:
    """What a conversation between two revisions has shown.

    `passed`: what the server asked was answered by the client, and its result says so.
    """

    is_bridged: bool
    passed: tuple[str, ...]
    asked: str
    told: str

    def __str__(self) -> str:
        return f"{'bridged' if self.is_bridged else 'relayed'}; {', '.join(self.passed)}"


def cell(client: str, server: str) -> Cell:
    """What must be seen."""
    return Cell(
        (client == MODERN) != (server == MODERN),
        tuple(one for one in QUESTIONS[server] if one in QUESTIONS[client]),
        CLIENTS[client].asked,
        CLIENTS[client].told,
    )


@dataclass(frozen=True)
class Change:
    """One thing that is not the same on both sides; `tests` are those that have seen it."""

    what: str
    becomes: str
    tests: tuple[str, ...]


MATRIX: Final = "faces/test_matrix.py"
EVERY_CELL: Final = f"{MATRIX}::test_a_call_a_question_its_progress_and_a_change"
QUESTION: Final = f"{MATRIX}::test_questions_come_together_and_one_after_the_other"
UNKNOWN: Final = f"{MATRIX}::test_what_a_revision_does_not_know_its_clients_are_not_asked"
RUDE: Final = f"{MATRIX}::test_a_server_that_asks_nevertheless_hears_that_nobody_answers"
MISSING: Final = f"{MATRIX}::test_a_resource_that_is_not_there_is_told_in_the_code_of_the_client"
CODES: Final = "wire/test_bridge.py::test_a_code_that_only_the_modern_era_has_becomes_one_of_the_other"

# Whatever the two speak.
ALWAYS: Final = (
    Change(
        "ids of requests, progress tokens",
        "At the server they are the gateway's own; the client sees those it chose, of the type it chose.",
        (EVERY_CELL,),
    ),
    Change(
        "results within an era",
        "The bytes that the server wrote. What a newer revision has in them stays: a client skips what it"
        " does not know.",
        ("golden/test_golden.py::test_a_result_arrives_over_mcp_inside_our_envelope",),
    ),
    Change(
        "questions that the client's revision does not know",
        "Not asked, even if the client declares the capability: the server is not told of it. What it then"
        " answers is the answer.",
        (UNKNOWN,),
    ),
    Change(
        "tasks, a server's own methods",
        "Pass between a client and a server of one era only. Tasks of the two are different protocols, and"
        " what a method that is not of MCP would be in the other era, nobody knows.",
        (
            "faces/test_tasks.py::test_tasks_do_not_cross_the_eras",
            "faces/test_passing.py::test_nothing_passes_between_the_eras",
        ),
    ),
)

# A client with a session, a server of 2026-07-28.
UP: Final = (
    Change(
        "`initialize`",
        "Answered in the client's revision, from what the server said to `server/discover`.",
        (EVERY_CELL,),
    ),
    Change(
        "`_meta` of a request",
        "Gets the revision, the client and the capabilities that each request of the modern era must have:"
        " those of the session where it can be asked, else what the gateway declares for everybody.",
        (EVERY_CELL,),
    ),
    Change(
        "a question: the result `input_required`",
        "A request to the client, under an id of the gateway's own. When all of them are answered, the same"
        " request goes to the server again, with the answers and the server's `requestState` as it was.",
        (EVERY_CELL, QUESTION),
    ),
    Change(
        "a question that the client has not declared",
        "A form or a page is answered with `cancel`. Any other ends the call with the typed error"
        " `input_required`, and so does every question to a client that has declared none.",
        (RUDE,),
    ),
    Change(
        "`resultType`, `ttlMs`, `cacheScope` of a result",
        "Dropped: the handshake era does not know them. All other members stay, `_meta` with the server's"
        " `serverInfo` included.",
        (EVERY_CELL,),
    ),
    Change(
        "codes of errors",
        "-32021 becomes -32603; -32020 and -32022 become -32600; -32602 with `data.uri`, for"
        " `resources/read`, becomes -32002. Message and data stay, and so does any other code.",
        (UNKNOWN, MISSING, CODES),
    ),
    Change(
        "changes of lists and resources",
        "The gateway keeps one `subscriptions/listen` open at the server, for all sessions. Each hears of"
        " lists and of what it has subscribed to, without the mark of a subscription.",
        (EVERY_CELL, "faces/test_subscribing.py::test_a_change_is_told_once_on_the_sessions_stream"),
    ),
    Change(
        "log messages",
        "Pass. Each request to a server that logs carries the level of the session, `info` where it has set"
        " none.",
        (
            "faces/test_bridge.py::test_a_modern_server_hears_the_level_of_the_session_with_each_request",
            "faces/test_promises.py::"
            "test_what_a_server_said_is_promised_at_its_own_endpoint_as_far_as_it_is_relayed",
        ),
    ),
    Change(
        "`ping`, `logging/setLevel`, `resources/subscribe`",
        "Answered by the gateway: the modern era has no such requests.",
        (f"{MATRIX}::test_requests_that_only_sessions_have_are_answered_here",),
    ),
)

# A client of 2026-07-28, a server of the handshake era.
DOWN: Final = (
    Change(
        "`server/discover`",
        "Answered from what the server said to `initialize`, without `tasks` and `experimental`.",
        (EVERY_CELL, "faces/test_promises.py::test_a_modern_client_is_promised_what_its_declarations_reach"),
    ),
    Change(
        "`_meta` of a request",
        "Members that begin with `io.modelcontextprotocol/` are dropped: the server would not know them. All"
        " others stay.",
        (EVERY_CELL, "faces/test_modern.py::test_a_server_of_the_same_era_hears_the_client_itself"),
    ),
    Change(
        "a question: a request of the server during the call",
        "The result `input_required`. What the server asks within 30 ms is told together. The call waits, on"
        " a process or connection that nobody else uses meanwhile, until the client comes back with the"
        " answers and a `requestState` that the gateway has sealed.",
        (EVERY_CELL, QUESTION),
    ),
    Change(
        "a question that the client has not declared",
        "The server is not told of that capability. If it asks nevertheless, a form or a page is answered"
        " with `cancel` and any other question with an error; the call goes on.",
        (f"{MATRIX}::test_what_a_modern_client_does_not_declare_it_is_not_asked",),
    ),
    Change(
        "results",
        "Get `resultType`; lists and what was read also `ttlMs: 0` and `cacheScope: private`. Nothing else is"
        " touched.",
        (
            EVERY_CELL,
            "golden/test_golden.py::test_a_result_arrives_in_the_modern_era_with_its_type_before_it",
        ),
    ),
    Change(
        "codes of errors",
        "-32002, for `resources/read`, becomes -32602 with `data.uri`. Message and data stay, and so does any"
        " other code.",
        (MISSING,),
    ),
    Change(
        "a page to visit: the error -32042",
        "The result `input_required`, or -32021 for a client that has not declared pages.",
        (f"{MATRIX}::test_a_page_to_visit_is_told_in_the_way_of_the_client",),
    ),
    Change(
        "log messages",
        "Pass to a request that names a `logLevel`, from that level on, and to no other. The server is told"
        " the level before the call, and for its time.",
        (
            "faces/test_bridge.py::test_a_level_of_one_request_is_set_for_its_time",
            f"{MATRIX}::test_a_modern_client_hears_the_log_messages_that_it_asks_for",
        ),
    ),
    Change(
        "the client hangs up",
        "`notifications/cancelled` to the server.",
        ("faces/test_modern.py::test_who_leaves_cancels",),
    ),
    Change(
        "`subscriptions/listen`",
        "Fed by what the server tells by itself when its lists change, and by one `resources/subscribe` for"
        " each resource.",
        (EVERY_CELL, "faces/test_listening.py::test_streams_and_sessions_share_what_the_server_is_asked_for"),
    ),
)

HEAD: Final = """# Which client works with which server

Five revisions of MCP are in use. Four are of the handshake era, in which a client begins with `initialize`
and has a session; in 2026-07-28 it has neither, and a client and a server of different eras cannot talk to
each other. Through the gateway they can: it speaks to each in its own revision. A server that knows both
eras is spoken to in that of the client, whatever other servers speak.

Each cell is a conversation in bytes with the real gateway, in front of a process that speaks one revision and
refuses what is not of it. [Its test](../pkgs/mcp-gateway/tests/faces/test_matrix.py) holds what it sees
against this table. Written with `python -m tests.faces.compatibility`; do not edit.

"""

LEGEND: Final = """
In every cell

- the endpoint introduces itself in the client's revision;
- a tool is called, and its result has what the client's era knows and nothing of the other;
- the server asks, the client answers, and the result shows the answer;
- progress arrives under the token that the client chose;
- the server changes its list of tools, and the client hears of it and sees the other list.

*Relayed*: both are of one era, so messages pass as they are. *Bridged*: they are not, and what is said
below is changed on the way. After that come the questions that the server asks and the client answers in
that cell: all that both revisions know.

"""


def linked(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name}](../pkgs/mcp-gateway/tests/{file})"


def table(title: str, changes: tuple[Change, ...]) -> str:
    text = f"\n## {title}\n\n| what | what becomes of it | tests |\n| --- | --- | --- |\n"
    return text + "".join(
        f"| {one.what} | {one.becomes} | {'<br>'.join(map(linked, one.tests))} |\n" for one in changes
    )


def render() -> str:
    """The whole of docs/compatibility.md."""
    text = HEAD + "Down: the client. Across: the server.\n\n"
    text += f"| | {' | '.join(REVISIONS)} |\n|{' --- |' * (len(REVISIONS) + 1)}\n"
    for client in REVISIONS:
        cells = " | ".join(str(cell(client, server)) for server in REVISIONS)
        text += f"| **{client}** over {CLIENTS[client].over} | {cells} |\n"
    text += LEGEND
    text += "| client | is asked by | hears of changed lists on |\n| --- | --- | --- |\n"
    for revision, one in CLIENTS.items():
        text += f"| {revision} | {one.asked} | {one.told} |\n"
    text += table("Between any two", ALWAYS)
    text += table(f"A client with a session, a server of {MODERN}", UP)
    text += table(f"A client of {MODERN}, a server of the handshake era", DOWN)
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(render())
