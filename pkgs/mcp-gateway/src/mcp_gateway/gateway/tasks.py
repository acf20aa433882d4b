"""Whose a task is, and where it runs: learned from the results that begin one.

Both forms of tasks, the experimental one of 2025-11-25 and the extension of 2026-07-28, let a server answer
a call with a task, by whose id the client asks for the rest later. A server that many share takes all of
them for one client, and several servers may use one id; so who asks about a task must be who began it, and is
led to the server, and over the link, where it runs. Tasks are the servers' own: none is made up or kept here.
"""

import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from mcp_gateway import clock
from mcp_gateway.errors import INVALID_PARAMS, GatewayError, Kind
from mcp_gateway.upstream.upstream import Upstream
from mcp_gateway.wire.envelope import encode, read_members

GET: Final = "tasks/get"
RESULT: Final = "tasks/result"
CANCEL: Final = "tasks/cancel"
UPDATE: Final = "tasks/update"
LIST: Final = "tasks/list"
OF_ONE: Final = frozenset({GET, RESULT, CANCEL, UPDATE})  # their `taskId` says which

KEEP_S: Final = 24 * 3600.0  # without a question about it; nobody waits for longer
MAX_TASKS: Final = 10_000
MAX_OF_ONE: Final = 1_000  # of one caller, so that others find room
MAX_ID_CHARS: Final = 1_024
MAX_SHOWN_CHARS: Final = 100
_WORD: Final = b'"task"'


class Task(NamedTuple):
    """`link` is the one over which it was begun: a link of its own knows its tasks, no other does. What is
    remembered of a task keeps no link that has ended in memory.
    """

    caller: str
    link: "weakref.ref[Upstream]"
    used_at: float


class _Begun(msgspec.Struct):
    """The result of a call: `task` holds the id, or `resultType` says that the result is one."""

    task: Raw = Raw(b"{}")
    resultType: str = ""
    taskId: str = ""


class _TaskId(msgspec.Struct):
    taskId: str = ""


class Tasks:
    """`is_live` tells whether a link is still in use."""

    def __init__(self, is_live: Callable[[Upstream], bool]) -> None:
        self._is_live = is_live
        self._tasks: OrderedDict[tuple[str, str], Task] = OrderedDict()  # by server and id, last used last
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._tasks)

    def learn(self, caller: str, link: Upstream, result: Raw) -> bool:
        """Looks whether the result of a call is a task; remembers it, and answers whether it was one."""
        task_id = _begun(bytes(result))
        if not 0 < len(task_id) <= MAX_ID_CHARS:
            return False
        key = link.id, task_id
        self._drop(key)  # an id that comes again is another task: a server that was restarted counts anew
        self._expire()
        if self._of[caller] >= MAX_OF_ONE:
            self._drop(next(key for key, task in self._tasks.items() if task.caller == caller))
        elif len(self._tasks) >= MAX_TASKS:
            self._drop(next(iter(self._tasks)))
        self._tasks[key] = Task(caller, weakref.ref(link), clock.now_s())
        self._of[caller] += 1
        return True

    def server_of(self, caller: str, servers: Iterable[str], task_id: str) -> str:
        """At which of these a caller's task runs.

        Raises:
            GatewayError: `unknown`; also where two servers have tasks of this caller under one id.
        """
        found = [server for server in servers if self._is_own(caller, server, task_id)]
        if len(found) != 1:
            raise unknown_task(task_id)
        return found[0]

    def link_of(self, caller: str, server: str, task_id: str) -> Upstream:
        """Over which link a caller's task is asked about.

        Raises:
            GatewayError: `unknown`, in the same words whether it is another's, was never there or is gone.
        """
        if not self._is_own(caller, server, task_id):
            raise unknown_task(task_id)
        task = self._tasks[server, task_id]
        self._tasks[server, task_id] = task._replace(used_at=clock.now_s())
        self._tasks.move_to_end((server, task_id))
        link = task.link()
        assert link is not None, "one that is live is held by who opened it"
        return link

    def only_own(self, caller: str, server: str, listed: Raw) -> Raw:
        """The result of `tasks/list` without the tasks of others; every other member as it came."""
        members = read_members(listed)
        try:
            tasks = msgspec.json.decode(members.get("tasks", b"[]"), type=list[Raw])
        except (msgspec.MsgspecError, RecursionError):
            tasks = []
        own = [one for one in tasks if self._is_own(caller, server, _id(one))]
        return Raw(encode({**members, "tasks": own}))

    def end_of(self, caller: str) -> None:
        """A caller may not go on."""
        for key in [key for key, task in self._tasks.items() if task.caller == caller]:
            self._drop(key)

    def _is_own(self, caller: str, server: str, task_id: str) -> bool:
        self._expire()
        task = self._tasks.get((server, task_id))
        link = None if task is None or task.caller != caller else task.link()
        return link is not None and self._is_live(link)

    def _expire(self) -> None:
        while self._tasks:
            key, oldest = next(iter(self._tasks.items()))
            if clock.now_s() - oldest.used_at <= KEEP_S:
                return
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._of[task.caller] -= 1
            if not self._of[task.caller]:
                del self._of[task.caller]


def _begun(result: bytes) -> str:
    """The id of the task that a call was answered with; empty: it was answered otherwise."""
    if _WORD not in result:
        return ""
    try:
        begun = msgspec.json.decode(result, type=_Begun)
    except (msgspec.MsgspecError, RecursionError):
        return ""
    return begun.taskId if begun.resultType == "task" else _id(begun.task)


def _id(task: Raw) -> str:
    try:
        return msgspec.json.decode(task, type=_TaskId).taskId
    except (msgspec.MsgspecError, RecursionError):
        return ""


def unknown_task(task_id: str) -> GatewayError:
    detail = f"There is no task `{task_id[:MAX_SHOWN_CHARS]}`"
    return GatewayError(Kind.UNKNOWN, detail, rpc_code=INVALID_PARAMS)
