"""Every way in which a call can end has words, a tone and an icon that there is."""

from mcp_gateway.errors import Kind
from mcp_gateway.faces.ui.outcomes import OUTCOMES, outcome_of
from mcp_gateway.faces.ui.servers import LOOKS
from tests.harness import TERMINAL
from tests.real import PROJECT


def test_every_outcome_is_in_the_table() -> None:
    assert set(OUTCOMES) == TERMINAL | {"running"} | {kind.value for kind in Kind}


def test_they_look_like_states_do() -> None:
    icons = set((PROJECT / "ui" / "icons.txt").read_text().split())
    assert {outcome.icon for outcome in OUTCOMES.values()} <= icons
    assert {outcome.tone for outcome in OUTCOMES.values()} <= {tone for tone, *_ in LOOKS.values()}
    assert all(outcome.says.endswith(".") for outcome in OUTCOMES.values())


def test_one_that_a_later_gateway_wrote_is_its_word() -> None:
    assert (outcome_of("moved").word, outcome_of("moved").tone) == ("moved", "none")
