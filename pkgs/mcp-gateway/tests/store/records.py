"""Records for the tests of the store, with ids and times that nobody has to think about."""

import itertools
import time
from typing import Any

from mcp_gateway.store import CallRecord

_ids = itertools.count(time.time_ns())


def a_record(**fields: Any) -> CallRecord:
    call_id = next(_ids)
    known: dict[str, Any] = {
        "id": call_id,
        "started": call_id / 1e9,
        "caller": "local",
        "face": "rest",
        "server": "git",
        "tool": "git_status",
        "arguments": b'{"repo_path":"/srv/demo"}',
        "request_bytes": 25,
    }
    return CallRecord(**(known | fields))


def a_finished_record(**fields: Any) -> CallRecord:
    return a_record(**({"outcome": "ok", "duration_s": 0.0125, "response_bytes": 99} | fields))
