"""Which calls the Activity page is asked for: its words, its times, its links, and what makes no sense."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from mcp_gateway.errors import GatewayError, Kind
from mcp_gateway.faces.ui import filters
from mcp_gateway.gateway import CallQuery

NASTY = 'a&b=c#d/e?f"<g>é\u202e'


def test_empty_fields_of_a_form_ask_for_nothing() -> None:
    asked = filters.read({"server": "", "tool": "  ", "since": "", "until": "", "kind": "", "other": "x"})
    assert (asked.words, asked.folded, asked.is_first_page) == ({}, 0, True)
    assert asked.link() == filters.PATH
    assert asked.query == CallQuery()


def test_what_is_asked_for_is_in_every_link_as_it_was_sent() -> None:
    sent = {"server": "git", "tool": NASTY, "kind": "calls", "last": "1h", "cursor": "1.0~a"}
    asked = filters.read(sent)
    older = parse_qs(urlsplit(asked.link(cursor="2.0~b")).query)
    assert older == {
        "server": ["git"],
        "tool": [NASTY],
        "kind": ["calls"],
        "last": ["1h"],
        "cursor": ["2.0~b"],
    }
    assert "cursor" not in parse_qs(urlsplit(asked.link()).query)
    assert "kind" not in parse_qs(urlsplit(asked.link(kind=None)).query)
    again = filters.read({name: values[0] for name, values in older.items()})
    assert (again.query.tool, again.query.cursor) == (NASTY, "2.0~b")


def test_the_api_is_asked_for_the_same_calls() -> None:
    asked = filters.read({"server": "git", "kind": "actions", "since": "2026-01-31T09:30Z", "outcome": "ok"})
    assert parse_qs(urlsplit(asked.api_link("/api/calls/export", format="csv")).query) == {
        "server": ["git"],
        "outcome": ["ok"],
        "kind": ["actions"],
        "since": ["1769851800.0"],
        "format": ["csv"],
    }


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T09:30", "2026-01-31T09:30Z", "2026-01-31T10:30+01:00", "1769851800", "2026-01-31 09:30:00"],
)
def test_a_time_is_iso_8601_or_seconds_and_utc_where_it_does_not_say(text: str) -> None:
    assert filters.read({"until": text}).query.until == 1_769_851_800.0


def test_a_span_goes_until_now_and_takes_the_place_of_older_times() -> None:
    before = time.time()
    asked = filters.read({"last": "15m", "since": "2020-01-01", "until": "2020-01-02"})
    assert asked.query.since is not None
    assert before - 900 <= asked.query.since <= time.time() - 900
    assert (asked.query.until, asked.folded) == (None, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("last", "2 weeks"),
        ("kind", "everything"),
        ("since", "yesterday"),
        ("since", "nan"),
        ("until", "1e99"),
        ("until", "9999-99-99"),
        ("tool", "x" * 1025),
    ],
)
def test_what_makes_no_sense_is_said_by_its_name(name: str, value: str) -> None:
    with pytest.raises(GatewayError, match=f"`{name}`") as caught:
        filters.read({name: value})
    assert caught.value.kind is Kind.INVALID
