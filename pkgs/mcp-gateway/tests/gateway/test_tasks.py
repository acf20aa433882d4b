"""Which results begin a task, whose it is, and how long that is known."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.errors import GatewayError
from mcp_gateway.gateway import tasks
from mcp_gateway.gateway.tasks import Tasks
from mcp_gateway.upstream.upstream import Upstream


@dataclass(eq=False)
class Link:
    """All that is asked of one here."""

    id: str
    is_live: bool = True


opened: list[Any] = []


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    opened.clear()


def link(server: str) -> Any:
    """One that is held, as by who opened it."""
    opened.append(cast(Upstream, Link(server)))
    return opened[-1]


@pytest.fixture
def known() -> Tasks:
    return Tasks(lambda one: cast(Any, one).is_live)


def begun(task_id: str) -> Raw:
    return Raw(b'{"task":{"taskId":"%b","status":"working"}}' % task_id.encode())


def is_own(known: Tasks, caller: str, server: str, task_id: str) -> bool:
    try:
        known.link_of(caller, server, task_id)
    except GatewayError:
        return False
    return True


@pytest.mark.parametrize(
    ("result", "task_id"),
    [
        (b'{"task":{"taskId":"t"}}', "t"),
        (b'{"resultType":"task","taskId":"t","ttlMs":null}', "t"),
        (b'{"task":{"taskId":7}}', None),
        (b'{"task":{"taskId":""}}', None),
        (b'{"task":{}}', None),
        (b'{"task":null}', None),
        (b'{"task":[1]}', None),
        (b'{"resultType":"complete","taskId":"t","x":"task"}', None),
        (b'{"content":[{"text":"\\"task\\":{\\"taskId\\":\\"t\\"}"}]}', None),
        (b'{"content":[{"task":{"taskId":"t"}}]}', None),
        (b'{"task":{"taskId":"%b"}}' % (b"x" * 1_025), None),
        (b'{"task":' + b"[" * 5_000, None),
    ],
)
def test_a_result_that_begins_a_task_is_told_from_others(
    known: Tasks, result: bytes, task_id: str | None
) -> None:
    assert known.learn("me", link("s"), Raw(result)) is (task_id is not None)
    assert is_own(known, "me", "s", "t") is (task_id is not None)
    assert len(known) == (task_id is not None)


def test_a_task_is_known_to_its_caller_at_its_server_while_its_link_lives(known: Tasks) -> None:
    one: Any = link("one")
    two: Any = link("two")
    known.learn("me", one, begun("t"))
    assert known.link_of("me", "one", "t") == one
    assert known.server_of("me", ["two", "one"], "t") == "one"
    for caller, server, task_id in (("you", "one", "t"), ("me", "two", "t"), ("me", "one", "u")):
        assert not is_own(known, caller, server, task_id)
    known.learn("me", two, begun("t"))
    with pytest.raises(GatewayError):
        known.server_of("me", ["one", "two"], "t")
    one.is_live = False
    assert known.server_of("me", ["one", "two"], "t") == "two"
    known.end_of("me")
    assert len(known) == 0


def test_an_id_that_comes_again_is_another_task(known: Tasks) -> None:
    server = link("s")
    known.learn("me", server, begun("1"))
    known.learn("you", server, begun("1"))
    assert not is_own(known, "me", "s", "1")
    assert is_own(known, "you", "s", "1")
    assert len(known) == 1


def test_only_ones_own_tasks_are_listed_and_the_rest_of_the_answer_stays(known: Tasks) -> None:
    server = link("s")
    known.learn("me", server, begun("a"))
    known.learn("you", server, begun("b"))
    own, other = b'{"taskId":"a","n":1.0}', b'{"taskId":"b"}'
    listed = Raw(b'{"x":1.0,"tasks":[%b,%b,7,{}],"nextCursor":"c"}' % (own, other))
    assert bytes(known.only_own("me", "s", listed)) == b'{"x":1.0,"tasks":[%b],"nextCursor":"c"}' % own
    assert bytes(known.only_own("me", "s", Raw(b'{"tasks":"all"}'))) == b'{"tasks":[]}'


def test_a_task_that_nobody_asks_about_is_forgotten(known: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(clock, "now_s", lambda: now)
    server = link("s")
    known.learn("me", server, begun("asked"))
    known.learn("me", server, begun("left"))
    now += tasks.KEEP_S - 1
    assert is_own(known, "me", "s", "asked")
    now += 2
    assert not is_own(known, "me", "s", "left")
    assert is_own(known, "me", "s", "asked")


def test_a_caller_has_room_for_so_many_and_takes_none_of_others(
    known: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MAX_OF_ONE", 3)
    monkeypatch.setattr(tasks, "MAX_TASKS", 5)
    server = link("s")
    known.learn("you", server, begun("yours"))
    for number in range(5):
        known.learn("me", server, begun(f"{number}"))
    assert [is_own(known, "me", "s", f"{number}") for number in range(5)] == [False, False, True, True, True]
    assert is_own(known, "you", "s", "yours")
    for number in range(3):
        known.learn(f"other{number}", server, begun(f"of {number}"))
    assert len(known) == 5


def test_a_task_keeps_no_link_in_memory_that_has_ended(known: Tasks) -> None:
    assert known.learn("me", link("s"), begun("t"))
    assert is_own(known, "me", "s", "t")
    opened.clear()
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Link)]
    assert not is_own(known, "me", "s", "t")
