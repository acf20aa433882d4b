"""The fault catalogue as data: what each fault is, which tests prove what happens, and what happens.

`python -m tests.faults.catalogue` writes docs/faults.md; `test_catalogue.py` holds that file, the names of
the tests and the rows of the two tables together. A row of a table belongs to the fault whose id it bears,
and needs no mention here; what is named are tests elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.faults import test_faults, test_remote_faults

DOCUMENT = Path(__file__).parents[4] / "docs" / "faults.md"
PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Entry:
    """One fault. `result` is what a caller and an operator see, `later` what the rest waits for.

    `http` says why there is no row over HTTP. `tests` and `http_tests` are names of tests beside the rows,
    `file::name` below tests/.
    """

    id: str
    fault: str
    result: str
    tests: tuple[str, ...] = ()
    http: str = ""
    http_tests: tuple[str, ...] = ()
    later: str = ""


PROCESS = "it has no process of ours"
WIRE = "there are no lines"
OAUTH = "with OAuth"
TOOL_API = "with the tool API"

A = (
    Entry(
        "F001",
        "the command does not exist",
        "`failed` at once with the name of the command; not tried again; calls are `unavailable`",
        http="see F076",
    ),
    Entry(
        "F002",
        "the command may not be run, its interpreter is missing, or a shell says so (126, 127)",
        "`failed` at once with the reason; not tried again",
        http=PROCESS,
    ),
    Entry(
        "F003",
        "it exits with 0 before it says anything",
        "`waiting`, with its exit code, the end of its stderr and the time of the next attempt",
        http=PROCESS,
    ),
    Entry(
        "F004",
        "it exits with an error each time it is started",
        "attempts at random within 1, 2, 4 ... 60 s; once it stays up, it serves and nothing is left to say",
        (
            "upstream/test_lifecycle.py::test_a_wait_lies_within_a_window_that_doubles_up_to_its_limit",
            "upstream/test_lifecycle.py::test_attempts_are_forgotten_only_after_ready_has_lasted",
        ),
        http=PROCESS,
    ),
    Entry(
        "F005",
        "it dies between calls, or right after the handshake",
        "the next call waits up to 2 s for the new process, or is `unavailable`; one new process",
        (
            "upstream/test_upstream.py::"
            "test_a_server_that_dies_right_after_its_last_answer_is_not_taken_for_ready",
            "upstream/test_upstream.py::test_a_call_to_a_server_that_is_back_in_a_moment_waits_for_it",
        ),
        http="see F082, `restart`",
    ),
    Entry("F006", "it dies in the middle of a call", "`lost` with the exit code; never sent a second time"),
    Entry("F007", "it dies with fifty calls under way", "fifty times `lost`, one new start"),
    Entry(
        "F008", "it crashes", "`lost`; the name of the signal in the answer and at the server", http=PROCESS
    ),
    Entry(
        "F009",
        "the system kills it for want of memory",
        "`lost`; SIGKILL is shown with the guess that memory ran out",
        ("upstream/test_process.py::test_an_exit_is_told_in_words",),
        http=PROCESS,
    ),
    Entry("F010", "it starts slowly, or never gets ready", "`starting`; calls wait, within their own time"),
    Entry(
        "F011",
        "a package runner downloads before it starts",
        "`starting`, reason `installing`, its stderr is shown; it has 300 s instead of 60",
        ("upstream/test_upstream.py::test_a_package_runner_may_take_its_time_to_install",),
        http=PROCESS,
    ),
    Entry(
        "F012",
        "the download fails",
        "`waiting` with the runner's own words",
        http=PROCESS,
    ),
    Entry("F013", "it stays when its stdin ends", "SIGTERM after 2 s", http=PROCESS),
    Entry(
        "F014",
        "it ignores SIGTERM",
        "its group is killed; a stop takes 5.5 s at most",
        (
            "upstream/test_process.py::test_a_child_that_does_not_leave_is_told_and_then_made_to",
            "upstream/test_process.py::test_the_graces_of_a_stop_add_up_to_less_than_was_promised",
            "faults/test_faults.py::test_a_gateway_that_is_told_to_stop_ends_its_servers_whatever_they_do",
        ),
        http=PROCESS,
    ),
    Entry(
        "F015",
        "it starts helpers",
        "they end with it",
        ("upstream/test_process.py::test_a_stop_ends_a_tree_that_grows_meanwhile",),
        http=PROCESS,
    ),
    Entry(
        "F016",
        "it leaves a daemon in a session of its own",
        "found by its environment and killed, after a stop and after a crash",
        ("upstream/test_process.py::test_a_stop_ends_a_daemon_that_nobody_is_the_parent_of",),
        http=PROCESS,
    ),
    Entry(
        "F017",
        "it exits while a grandchild holds its stdout open",
        "`lost` at once: the exit counts, not the end of the pipe",
        ("upstream/test_process.py::test_an_exit_is_heard_although_a_grandchild_holds_the_pipes",),
        http=PROCESS,
    ),
    Entry(
        "F018",
        "it stands still (SIGSTOP)",
        "`timed_out`; then it is pinged, and replaced when it gives no sign of life for 10 s",
        (
            "upstream/test_hostile_servers.py::test_a_suspended_server_is_found_out_and_replaced",
            "upstream/test_upstream.py::test_a_call_that_times_out_makes_a_server_suspect_at_once",
        ),
    ),
    Entry(
        "F019",
        "a thousand children that live for a moment",
        "no zombie is left",
        ("upstream/test_process.py::test_many_lives_leave_no_files_and_no_zombies",),
        http=PROCESS,
    ),
    Entry(
        "F020",
        "a fork bomb",
        "all of it ends when the server is stopped. The gateway sets no limit on the number of processes: "
        "that is for its unit (`TasksMax`)",
        http=PROCESS,
        later="a limit for each server, with isolation; the row is a bomb of 30 processes",
    ),
    Entry(
        "F021",
        "it closes its stdout and goes on",
        "taken for dead: ended, calls `lost`, replaced",
        http=PROCESS,
    ),
    Entry(
        "F022",
        "it closes its stdin and goes on",
        "as F021, with the next thing that is written to it",
        ("faults/test_faults.py::test_a_server_is_given_no_open_file_but_its_three_pipes",),
        http=PROCESS,
    ),
    Entry(
        "F023",
        "it is switched off, removed or restarted while it starts or works",
        "each call has one answer, `unavailable` or `lost`; the last wish holds; nothing of it is left",
        (
            "upstream/test_upstream.py::test_a_stop_while_one_process_gives_way_to_another_leaves_neither",
            "test_reload.py::test_a_removed_server_is_unknown_and_its_call_is_answered",
        ),
    ),
    Entry(
        "F024",
        "restart is pressed twenty times at once",
        "each is answered; one process, or one link, in the end",
        ("upstream/test_upstream.py::test_wishes_in_a_row_are_met_in_order_with_one_link_at_a_time",),
    ),
    Entry(
        "F025",
        "the gateway is killed without a word",
        "all its servers, helpers and daemons end within 3 s; the next start is clean and shows what was "
        "running as `interrupted`",
        (
            "faults/test_faults.py::test_a_killed_gateway_takes_everything_along_and_starts_again",
            "upstream/test_process.py::"
            "test_a_gateway_that_is_killed_takes_its_servers_and_all_they_started_along",
            "upstream/test_process.py::test_a_new_gateway_ends_what_an_earlier_one_of_its_directory_left",
        ),
        http=PROCESS,
    ),
    Entry(
        "F026",
        "a server is started by a thread that ends, and would end with it",
        "servers are started by the main thread only",
        (
            "faults/test_faults.py::test_servers_are_started_by_the_main_thread",
            "faults/test_faults.py::test_the_neighbour_is_still_the_process_it_was",
            "test_house.py::test_processes_are_started_in_two_places_only",
        ),
        http=PROCESS,
    ),
)
B = (
    Entry("F030", "a greeting on stdout", "the line is counted and shown in the log; calls work", http=WIRE),
    Entry(
        "F031", "noise: colours, blank lines, half and foreign JSON", "as F030, and never shown to a caller"
    ),
    Entry("F032", "bytes that are not UTF-8", "the message is dropped, its call `lost`; the link lives"),
    Entry(
        "F033",
        "byte order marks, CR LF, UTF-16; every form a stream may have",
        "what the standards allow is read, anything else dropped by itself",
        ("upstream/test_stdio.py::test_any_cut_of_a_stream_gives_the_same_lines",),
        http_tests=("wire/test_sse.py::test_a_stream_is_read_as_the_standard_says",),
    ),
    Entry(
        "F034",
        "messages of 17 MiB and of 50 MB",
        "results above 10 MiB become artifacts; above `maxResult` the call is `lost` and the server "
        "replaced; memory does not grow",
        ("faces/test_artifacts.py::test_fifty_megabytes_cost_little_memory_and_lose_no_byte",),
    ),
    Entry(
        "F035",
        "a message that never ends",
        "as F034: ended at `maxResult`",
        ("upstream/test_stdio.py::test_a_reply_beyond_the_cap_ends_the_link_and_says_why",),
    ),
    Entry(
        "F036",
        "one byte every 10 ms",
        "it works; nothing is read twice",
        ("upstream/test_stdio.py::test_a_long_line_is_kept_in_the_pieces_it_came_in_and_copied_once",),
    ),
    Entry(
        "F037",
        "ten thousand messages in one write",
        "heard in order; `/health` answers meanwhile",
        ("upstream/test_stdio.py::test_ten_thousand_messages_in_one_write_are_heard_in_order",),
        http="see F051",
    ),
    Entry(
        "F038",
        "half a message, then the end",
        "`lost` with the exit code, not a complaint about JSON",
        http="see F082",
    ),
    Entry(
        "F039",
        "two messages on one line, one over several",
        "those lines are dropped, never guessed at",
        http=WIRE,
    ),
    Entry(
        "F040",
        "a hundred thousand nested arrays",
        "the message is dropped; the call it answered is `lost`",
    ),
    Entry(
        "F041",
        "members written twice, NaN, a number of five million digits, half a document",
        "NaN and half a document: `lost`; of members written twice the last counts, and the caller gets one "
        "answer in an envelope of ours",
        ("wire/test_envelope.py::test_a_key_given_twice_is_refused_at_every_level",),
    ),
    Entry(
        "F042",
        "several messages in an array",
        "dropped: no revision that is spoken has them; its call is `lost`",
    ),
    Entry("F043", "answers to questions nobody asked", "counted, and nobody hears of them"),
    Entry("F044", "the id comes back as text", "accepted where it can only mean one call, else `timed_out`"),
    Entry("F045", "two answers to one call", "the first counts"),
    Entry(
        "F046",
        "result and error at once, neither, or of the wrong type",
        "`lost`, or the right answer; never an empty success",
        ("upstream/test_requests.py::test_an_answer_without_an_object_never_becomes_a_success",),
    ),
    Entry(
        "F047",
        "no answer",
        "`timed_out` (504, not retryable); the server is told, by a message or by hanging up",
        (
            "upstream/test_hostile_servers.py::test_a_call_that_times_out_stops_at_its_server_and_leaves_the_others",
        ),
    ),
    Entry(
        "F048",
        "the answer comes after the call has timed out",
        "dropped; ids are never used twice",
        (
            "upstream/test_requests.py::test_an_id_is_never_used_twice_not_even_by_the_next_process",
            "upstream/test_hostile_servers.py::test_an_answer_that_comes_too_late_reaches_nobody",
        ),
    ),
    Entry(
        "F049",
        "the caller leaves; the answer comes all the same",
        "the call is `cancelled`, the server is told, the answer dropped",
        ("upstream/test_hostile_servers.py::test_a_cancelled_call_stops_at_its_server",),
    ),
    Entry(
        "F050",
        "progress of strangers, backwards, after the end",
        "dropped; a caller sees its own, in order",
        ("upstream/test_requests.py::test_progress_reaches_the_call_whose_token_it_names_and_no_other",),
    ),
    Entry(
        "F051",
        "twenty thousand log messages during a call",
        "the call is answered; a reader that sleeps loses the oldest",
    ),
    Entry(
        "F052",
        "`list_changed` two thousand times",
        "the list is read once in 5 s at most; an MCP client is told once a second at most",
        (
            "faces/test_subscribing.py::test_F052_a_storm_of_changes_is_a_message_a_second",
            "faces/test_subscribing.py::test_F052_a_storm_of_list_changes_is_a_message_a_second",
            "gateway/test_subscriptions.py::test_the_first_is_told_at_once_and_a_storm_once_a_second",
            "upstream/test_upstream.py::test_a_storm_of_changes_is_one_refresh_and_the_next_waits_its_turn",
            "faults/test_client_faults.py::test_a_client_is_told_of_many_changes_at_once",
        ),
    ),
    Entry(
        "F053",
        "it asks its client something, known or unknown",
        "`ping` is answered, everything else declined at once (-32601): a shared link belongs to no caller, "
        "and in 2026-07-28 nothing is asked during a call. Where a session that can be asked has a link of "
        "its own, its client is asked, and only what it has declared",
        (
            "upstream/test_requests.py::test_a_ping_is_answered_and_any_other_question_declined",
            "upstream/test_hostile_servers.py::"
            "test_F053_a_server_of_the_modern_era_asks_nobody_in_the_middle_of_a_call",
            "faces/test_asks.py::test_two_clients_asked_at_the_same_time_each_hear_their_own_question",
            "faces/test_asks_hostile.py::test_F053_over_the_modern_era_nobody_is_asked",
        ),
        http_tests=(
            "faces/test_asks_hostile.py::test_questions_of_a_remote_server_reach_the_client_on_either_stream",
        ),
    ),
    Entry(
        "F054",
        "ten thousand questions",
        "sixteen of a call are asked where its client can be; any other is declined at once, none is kept",
        (
            "faces/test_asks.py::test_F054_of_a_flood_of_questions_sixteen_are_asked",
            "faces/test_asks_hostile.py::test_F054_of_ten_thousand_questions_of_a_call_sixteen_are_asked",
        ),
        http_tests=("faces/test_asks_hostile.py::test_F054_of_a_flood_of_a_remote_server_sixteen_are_asked",),
    ),
    Entry(
        "F055",
        "it asks, and the caller who should answer has left",
        "a session that ends or takes its call back: the server is told at once; a stream that is lost: the "
        "question is declined when nobody has come back for 5 s; a server that dies: the question is taken "
        "back. An answer that says nothing ends it as well",
        (
            "faces/test_asks.py::test_F055_a_client_that_goes_leaves_no_server_waiting",
            "faces/test_asks.py::"
            "test_F055_a_client_that_lost_the_stream_and_does_not_come_back_is_not_waited_for",
            "faces/test_asks_hostile.py::test_an_odd_answer_ends_the_question",
            "faces/test_asks_hostile.py::"
            "test_a_server_that_dies_with_a_question_open_loses_the_call_and_takes_the_question_back",
        ),
        http="the end is the client's: see stdio",
    ),
    Entry(
        "F056",
        "a flood on stderr, with and without line ends",
        "the last 256 KiB are kept; it is never blocked",
        ("upstream/test_logring.py::test_the_ring_is_bounded_in_bytes_and_keeps_the_last",),
        http=PROCESS,
    ),
    Entry(
        "F057",
        "it tells its secrets: on stderr, in errors, in its tools; terminal escapes",
        "values of secrets are replaced in every usual encoding, control characters made visible. What it "
        "answers to a call reaches that caller as it is, and is recorded without them",
        (
            "upstream/test_logring.py::test_what_acts_on_a_terminal_or_turns_a_line_around_is_made_visible",
            "test_canaries.py::test_what_a_server_says_beside_its_answers_is_shown_without_secrets",
            "test_canaries.py::test_tools_and_instructions_are_shown_without_what_was_fetched_for_the_server",
            "test_canaries.py::test_an_answer_reaches_its_caller_as_it_is_and_is_recorded_without_secrets",
        ),
    ),
    Entry(
        "F058",
        "it reads nothing while large calls are sent",
        "calls time out; after 10 s it is replaced; others do not notice",
        ("upstream/test_stdio.py::test_a_child_that_stops_reading_is_lost_after_its_time_and_not_before",),
        http="see F077",
        http_tests=("upstream/test_pool.py::test_a_server_that_does_not_read_gets_no_more_than_it_takes",),
    ),
    Entry(
        "F059",
        "a handshake of the wrong revision or shape, an error, silence, 5 MB of instructions",
        "`failed` or `waiting` with the reason; instructions are cut",
        ("upstream/test_opening.py::test_a_handshake_that_makes_no_sense_is_not_understood",),
    ),
    Entry(
        "F060",
        "the modern question is refused in an odd way, not answered, or kills it",
        "the handshake is tried; which era it was is remembered",
        ("upstream/test_opening.py::test_a_senseless_answer_to_discover_is_as_good_as_a_refusal",),
    ),
    Entry(
        "F061",
        "a result breaks the schema its tool declares",
        "handed over as it is; a result is not read on its way",
    ),
)
C = (
    Entry(
        "F062",
        "fifty thousand tools",
        "the first 2,000 are kept (of resource templates 200); its log says how many were cut",
        ("upstream/test_listing.py::test_too_many_tools_are_cut_and_the_number_is_told",),
    ),
    Entry(
        "F063",
        "a list without end, a cursor that comes again",
        "ends after 200 pages, or with the repetition, and says so",
        ("upstream/test_listing.py::test_a_cursor_that_comes_twice_ends_the_list_and_is_told",),
    ),
    Entry(
        "F064",
        "the list, or its second page, is refused",
        "the first time it is `waiting`; later the old list stays whole, and `lastError` tells. A server "
        "that cannot list its resources or prompts keeps its tools",
        (
            "upstream/test_listing.py::test_a_page_that_is_refused_or_senseless_fails_the_whole_list",
            "upstream/test_upstream.py::test_a_server_that_cannot_list_its_resources_keeps_its_tools_and_says_why",
        ),
    ),
    Entry(
        "F065",
        "tools come and go all the time",
        "the list is read again after half a second, and not before 5 s have passed; a tool that is gone is "
        "`unknown`",
    ),
    Entry(
        "F066",
        "a tool is renamed during its call",
        "the call ends under the old name, which is `unknown` from then on; it is never sent elsewhere",
    ),
    Entry(
        "F067",
        "a description changes after somebody approved of the tool",
        "the new description is shown; there is no approval yet",
        later="with approval of tools",
    ),
    Entry(
        "F068",
        "a schema that refers to itself",
        "listed as it came: nothing resolves it",
        later=f"{TOOL_API}: its OpenAPI",
    ),
    Entry(
        "F069",
        "a small schema that unfolds without measure",
        "listed as it came: nothing unfolds it",
        ("cli/test_flags.py::test_no_schema_makes_the_command_fail",),
        later=TOOL_API,
    ),
    Entry(
        "F070",
        "a schema that names addresses and files",
        "listed as it came; nobody comes to the address",
        later=TOOL_API,
    ),
    Entry(
        "F071",
        "a schema of a megabyte, of ten thousand properties, of thousands of levels",
        "large and wide ones are listed; one nested too deep is left out and the others kept; with one that "
        "the interpreter cannot read (480 levels on Python 3.11) the server is `waiting`, and says so",
        (
            "upstream/test_listing.py::test_too_large_a_list_is_cut_and_told",
            "test_catalog.py::test_a_definition_that_could_only_just_be_read_is_left_out",
        ),
    ),
    Entry("F072", "a pattern that takes for ever", "listed as it came: arguments are not matched here"),
    Entry(
        "F073",
        "lists and schemas of the wrong type",
        "a tool that makes no sense is left out by itself, with the reason in the log; a list that makes "
        "none is the server's failure; of resources and prompts, `lastError` tells",
        ("test_catalog.py::test_bad_tools_are_left_out_one_by_one_with_the_reason",),
    ),
    Entry(
        "F074",
        "names that are empty, endless, paths, twice there",
        "a name always becomes the same exposed name, no two become one; what cannot be named is left out",
        (
            "test_names.py::test_names_are_injective_legal_and_free_of_order",
            "faces/test_rest.py::test_a_name_of_any_characters_is_shown_called_and_switched",
        ),
        later=f"{TOOL_API}: ids of its operations",
    ),
    Entry(
        "F075",
        "annotations for headers that no header can carry",
        "that tool alone is left out",
        http_tests=("wire/test_headers.py::test_annotations_are_read_as_the_specification_says",),
    ),
)
D = (
    Entry(
        "F076",
        "refused, no such name, TLS that is expired or somebody else's",
        "`waiting`, each with a sentence of its own; tried again",
        http_tests=(
            "faults/test_remote_faults.py::test_each_cause_of_being_out_of_reach_has_a_sentence_of_its_own",
        ),
    ),
    Entry(
        "F077",
        "it takes the connection, or not even that, and never answers",
        "5 s for a connection, `startTimeout` for the handshake, the call's own time for a call",
        http_tests=("upstream/test_pool.py::test_connecting_has_a_deadline",),
    ),
    Entry(
        "F078",
        "401 and 403, with addresses that lead astray",
        "`needs login`, not asked again; what a challenge names is never opened; a caller whose own key "
        "(`forwardHeaders`) is refused is `refused`, and the server goes on for others",
        later=f"{OAUTH}: logging in",
    ),
    Entry("F079", "redirects, also to this machine", "not followed; the reason says where it pointed"),
    Entry(
        "F080",
        "429 and 503 with a time, and failures in a row",
        "callers are told that time (60 s at most) and the server is left alone until then; five failures "
        "in a row give it a rest; a 429 to a caller with a key of its own is for that caller alone",
        http_tests=("upstream/test_breaker.py::test_it_opens_on_a_row_of_failures_or_on_half_of_many",),
    ),
    Entry(
        "F081",
        "pages, other types, wrong lengths and encodings, a compressed bomb",
        "`lost` at once with what was wrong; nothing is unpacked",
    ),
    Entry(
        "F082",
        "connections and streams that break anywhere",
        "`lost`, never sent again; connections that close between calls cost nobody anything",
    ),
    Entry(
        "F083",
        "the session is gone (404)",
        "one new session for all; the refused call is made in it, those under way are `lost`",
    ),
    Entry("F084", "heartbeats or progress for ever", "`timed_out` by `timeout`, or at last by `maxTimeout`"),
    Entry("F085", "tokens that end, refreshes that fail or race", "", later=OAUTH),
    Entry(
        "F086",
        "its name leads elsewhere",
        "asked again for every link, and every 10 s for new connections",
        http_tests=(
            "faults/test_machine_faults.py::test_a_server_that_moved_is_looked_for_where_its_name_leads_now",
        ),
        later="with rules on where addresses may lead: checked again each time",
    ),
    Entry(
        "S45",
        "the gateway is configured as its own server",
        "`failed`: it is this gateway itself (508 inside)",
        http_tests=(
            "faults/test_machine_faults.py::"
            "test_a_gateway_that_is_its_own_server_says_so_and_does_not_go_in_circles",
        ),
        later="two gateways that are each other's servers list each other's tools in turn, up to 2,000",
    ),
)
E = (
    Entry(
        "F087",
        "they leave during a call",
        "over REST, plain or streamed, over HTTP+SSE and in 2026-07-28 the call is `cancelled` and the "
        "server told; in a session over Streamable HTTP it goes on, as the revisions say, and a client may "
        "come back for it",
        (
            "faces/test_rest.py::test_hanging_up_cancels_the_call_and_the_server_hears_of_it",
            "faces/test_modern.py::test_who_leaves_cancels",
            "faces/test_mcp.py::test_hanging_up_is_not_a_cancellation",
            "faces/test_resuming.py::test_a_call_goes_on_and_its_rest_is_told_to_who_comes_back",
            "faces/test_legacy_sse.py::test_the_end_of_the_stream_ends_the_session_and_its_calls",
            "faces/test_bad_input.py::test_a_client_that_leaves_within_its_body_leaves_nothing",
        ),
    ),
    Entry(
        "F088",
        "they read nothing of a large answer",
        "cut off after 30 s; nobody else notices",
        (
            "faults/test_client_faults.py::test_who_reads_nothing_is_cut_off_and_costs_nobody_else",
            "test_draining.py::test_who_does_not_read_is_not_waited_for",
        ),
    ),
    Entry(
        "F089",
        "a thousand idle streams",
        "less than 100 KiB of memory each (35 when measured); all end in order when the gateway stops",
        (
            "faults/test_client_faults.py::test_a_thousand_idle_streams_cost_little_and_end_with_the_gateway",
            "faces/test_asks_hostile.py::"
            "test_a_stop_with_questions_and_streams_open_ends_in_time_and_tells_all",
        ),
    ),
    Entry(
        "F090",
        "ten thousand calls at once",
        "`concurrency` run, `queue` wait, the rest is `busy` with a time to come back; others are served",
        (
            "faults/test_client_faults.py::test_ten_thousand_calls_at_once_are_taken_or_told_to_come_back",
            "access/test_limits.py::test_a_thousand_calls_of_one_delay_the_next_of_another_by_one",
            "faults/test_faults.py::test_a_fault_ends_typed_and_leaves_neighbours_and_machine_alone",
            "faults/test_remote_faults.py::test_a_remote_fault_ends_typed_and_leaves_neighbours_alone",
            "security/test_limits.py::test_S12_one_callers_calls_under_way_are_bounded_over_all_faces",
        ),
    ),
    Entry(
        "F091",
        "equal ids, from one client or from many",
        "each gets its own answer; an id that still runs in the same session is refused",
        (
            "faces/test_modern.py::test_requests_with_one_id_run_side_by_side_and_never_cross",
            "faces/test_mcp.py::test_equal_ids_of_fifty_clients_never_cross",
            "faces/test_mcp.py::test_an_id_that_is_still_running_is_refused_and_only_in_its_own_type",
            "faces/test_mcp_clients.py::test_sdk_clients_side_by_side_get_their_own_answers",
        ),
    ),
    Entry(
        "F092",
        "requests that are malformed, too large, endless or never finished",
        "400, 413 or the fitting status in words; what has not arrived after 30 s is cut off; headers that "
        "contradict the body are refused with -32020",
        (
            "faces/test_bad_input.py::test_random_bytes_are_answered_and_survived",
            "faces/test_bad_input.py::test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent",
            "faces/test_edge.py::test_odd_bytes_are_answered_or_hung_up_on_and_hurt_nobody",
            "faults/test_client_faults.py::test_a_request_that_does_not_arrive_is_not_waited_for",
            "faults/test_client_faults.py::test_a_head_without_end_is_not_read_on",
            "faces/test_modern.py::test_what_is_not_right_is_refused_in_the_words_of_the_revision",
            "wire/test_inbound.py::test_the_rules_and_their_order_are_those_of_the_sdk",
        ),
    ),
    Entry(
        "F093",
        "they cancel what is unknown, finished or somebody else's",
        "ignored",
        (
            "faults/test_client_faults.py::test_taking_back_what_is_not_there_changes_nothing",
            "faces/test_modern.py::test_a_cancellation_that_is_posted_cancels_nothing",
            "faces/test_mcp.py::test_a_cancellation_reaches_the_server_and_the_call_is_over",
        ),
    ),
)
F = (
    Entry(
        "F094",
        "SIGTERM with calls and streams open",
        "streams end, nobody new is let in, calls finish or are told; exit code 0 within 30 s",
        (
            "test_draining.py::test_calls_finish_and_streams_end_while_nobody_new_is_let_in",
            "test_draining.py::test_calls_that_do_not_finish_are_told",
            "test_draining.py::test_a_second_signal_waits_for_nobody_and_says_so_by_its_exit_code",
        ),
    ),
    Entry(
        "F095",
        "it is killed while it writes, again and again",
        "what was written is there, the file is sound, calls that ran are `interrupted`; the last tenth of a "
        "second of finished calls may be missing",
        (
            "faults/test_kills.py::"
            "test_a_gateway_that_is_killed_under_load_again_and_again_loses_no_written_call",
            "store/test_crash.py::test_what_was_acknowledged_survives_kill_9_and_what_ran_is_interrupted",
        ),
    ),
    Entry(
        "F096",
        "the disk is full, read-only or broken",
        "calls go on, `/ready` says what is wrong; records are written once it is well",
        (
            "store/test_disk.py::test_calls_go_on_while_the_disk_is_full_and_are_written_when_it_is_not",
            "store/test_disk.py::test_a_gateway_starts_on_a_full_disk_and_marks_what_was_interrupted_later",
            "faces/test_warnings.py::test_a_disk_that_takes_nothing_is_told_and_calls_go_on",
            "faces/test_artifacts.py::test_without_room_on_disk_the_call_is_lost_and_others_go_on",
            "security/test_records.py::test_S54_no_key_is_made_that_is_not_on_the_disk",
        ),
    ),
    Entry(
        "F097",
        "no free descriptors, no room for another process",
        "who is connected is served; servers are `waiting` with the system's words; all comes back",
        (
            "faults/test_machine_faults.py::"
            "test_without_a_free_descriptor_what_is_open_works_and_all_the_rest_comes_back",
            "upstream/test_process.py::"
            "test_a_system_without_room_for_another_process_is_no_reason_to_give_up",
        ),
    ),
    Entry(
        "F098",
        "the database is in use or damaged",
        "a second gateway is refused; a damaged file is set aside, a new one begun, `/ready` tells",
        (
            "store/test_disk.py::test_a_damaged_file_is_set_aside_and_a_new_one_begun",
            "store/test_disk.py::test_a_database_in_use_by_another_program_is_told_and_left_alone",
            "store/test_crash.py::test_a_second_gateway_is_refused_while_the_first_lives",
        ),
    ),
    Entry(
        "F099",
        "the clock jumps by hours",
        "nothing ends, expires or repeats; activity shows the time that the clock told",
        (
            "faults/test_machine_faults.py::"
            "test_a_clock_that_jumps_by_hours_ends_nothing_and_disorders_nothing",
            "test_clock.py::test_ids_grow_whatever_the_wall_clock_does",
        ),
        later=f"{OAUTH}: tokens and their skew",
    ),
    Entry(
        "F100",
        "a configuration with mistakes is loaded while it runs",
        "nothing changes; the mistake is told with its line",
        (
            "test_reload.py::test_a_bad_file_changes_nothing_and_says_where",
            "test_reload.py::test_a_file_that_cannot_be_read_changes_nothing",
        ),
    ),
    Entry(
        "F101",
        "the configuration changes all the time, or is half written",
        "the last good one holds; servers that did not change keep their processes",
        (
            "test_reload.py::test_of_many_changes_the_last_that_is_good_counts_and_nobody_is_restarted",
            "test_reload.py::test_half_a_file_is_told_and_then_the_whole_one_holds",
            "test_reload.py::test_links_that_are_swapped_are_followed",
        ),
    ),
    Entry(
        "F102",
        "the event loop, or the whole process, stands still for seconds",
        "it goes on where it was: calls are answered, no server is taken for dead. The linter refuses calls "
        "that block the loop",
        ("faults/test_machine_faults.py::test_a_gateway_that_stood_still_goes_on_where_it_was",),
        later="with the system service: a watchdog that restarts a gateway whose loop never comes back",
    ),
    Entry(
        "F103",
        "the port or the state directory is taken; files of a dead gateway lie about",
        "exit code 1 and a sentence before anything is touched; files of the dead are taken over",
        (
            "test_serve.py::test_a_port_in_use_is_said_before_anything_is_touched",
            "test_serve.py::test_a_second_gateway_on_the_same_state_directory_does_not_start",
            "test_whole.py::test_a_gateway_that_is_killed_leaves_nothing_and_comes_back",
        ),
    ),
    Entry(
        "F104",
        "all of it at random, for as long as you like",
        "nothing leaks, hangs, crosses or stays broken; see [testing.md](testing.md)",
        ("chaos/test_chaos.py::test_half_a_minute_of_chaos_breaks_no_invariant",),
    ),
)
GROUPS = {
    "A. The life of a server's process": A,
    "B. What a server says": B,
    "C. Lists and schemas": C,
    "D. Remote servers": D,
    "E. Clients": E,
    "F. The gateway and its machine": F,
}

HEAD = """<!-- Written by `python -m tests.faults.catalogue`; what it says is held by tests. -->

# Faults, and what happens then

Each fault of the catalogue that what is built can meet, what a caller and an operator see of it, and the
tests that prove it. The names in the columns *stdio* and *HTTP* are rows of two tables: the real gateway, one
server that misbehaves in one way, and a neighbour that must not notice. From `pkgs/mcp-gateway`, one fault
runs with `python -m pytest tests/faults -k F018`, all of them with `python -m pytest tests/faults`; `-rP`
shows how long the neighbour and `/health` took at worst.

"""
CHECKED = (
    ("I1", "one answer for each call, in time", "every call of a row, with a deadline; none is `internal`"),
    (
        "I2",
        "other servers do not notice",
        "a neighbour calls a good server all the time: no failure, the same process, no call of 6 s. Its "
        "slowest call is told; its p99 is for [chaos](testing.md) and the benchmarks, which know the load",
    ),
    (
        "I3",
        "the event loop is free",
        "`/health`, asked twenty times a second, answers within 1 s. What it took at worst is told: below "
        "0.1 s for nearly all rows and 0.3 s for any, on two busy cores. 100 ms is for chaos and benchmarks",
    ),
    (
        "I4",
        "nothing is left",
        "no process and no connection of the row; in the end files, threads, children and memory of the "
        "gateway are what they were. Tasks are seen by what they hold",
    ),
    ("I5", "one record for each call", "with the outcome that its caller was told"),
    (
        "I6",
        "errors are typed",
        "kind, status, server, retryable, a sentence; over MCP the same for one of each kind",
    ),
    (
        "I7",
        "what is shown is true",
        "state, reason, attempt and exit code in each row; `/ready` agrees with `/api/servers`; metrics have "
        "tests of their own",
    ),
    ("I8", "it recovers alone", "a row that can end well ends with a call that works, within 20 s"),
    (
        "I9",
        "no secret leaks",
        "every gateway of the tests has secrets in its environment, in files, commands, credentials and "
        "headers; after each test answers, pages, logs, database, files, core files and `ps` are searched "
        "for them in all encodings (`tests/leaks.py`)",
    ),
    ("I10", "no storm", "processes, openings and requests of a row are counted"),
)
INVARIANTS = (
    "\n## What holds after every row\n\n| | invariant | checked |\n|---|---|---|\n"
    + "".join(f"| {' | '.join(row)} |\n" for row in CHECKED)
    + "\nRows F000 of the HTTP table are good servers of every kind, held to the same invariants.\n"
)


def cell(
    table: Iterable[test_faults.Fault | test_remote_faults.RemoteFault],
    id: str,
    instead: str,
    tests: Iterable[str],
) -> str:
    """What proves it: the rows of its table (or why there is none), and the tests elsewhere."""
    names = ", ".join(f"`{row.name}`" for row in table if row.id == id)
    return "<br>".join(part for part in (names or instead, *map(linked, tests)) if part) or "-"


def linked(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name}](../pkgs/mcp-gateway/tests/{file})"


def result(entry: Entry) -> str:
    later = f"*Later: {entry.later}.*" if entry.later else ""
    return ". ".join(part for part in (entry.result, later) if part)


def render() -> str:
    """The whole of docs/faults.md."""
    text = HEAD
    for title, entries in GROUPS.items():
        is_of_servers = title[0] in "ABCD"
        text += f"## {title}\n\n"
        text += (
            "| | fault | what happens | stdio | HTTP |\n|---|---|---|---|---|\n"
            if is_of_servers
            else ("| | fault | what happens | tests |\n|---|---|---|---|\n")
        )
        for entry in entries:
            text += f"| {entry.id} | {entry.fault} | {result(entry)} | "
            if is_of_servers:
                local = cell(test_faults.FAULTS, entry.id, "", entry.tests)
                far = cell(test_remote_faults.FAULTS, entry.id, entry.http, entry.http_tests)
                text += f"{local} | {far} |\n"
            else:
                text += f"{'<br>'.join(map(linked, entry.tests))} |\n"
        text += "\n"
    return text.rstrip("\n") + "\n" + INVARIANTS


if __name__ == "__main__":
    DOCUMENT.write_text(render())
