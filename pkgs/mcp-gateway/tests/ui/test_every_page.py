"""What holds for every page: it fits the screen, people who see nothing can use it, and nothing jumps.

The pages are those of which `make screenshots` takes pictures, of the same gateway.
"""

from collections.abc import Iterator

import pytest

from tests.ui.browser import DESKTOP, PHONE, Windows, check_accessible, layout_shift, overflow
from tests.ui.screenshots import PAGES, Demo, demo
from tests.ui.stage import url

LARGEST_SHIFT = 0.02  # of the screen; 0.1 is what is commonly called good


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("every-page")) as gateway:
        yield gateway


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", [name for name, _ in PAGES])
async def test_a_page_fits_is_accessible_and_does_not_jump(
    windows: Windows, gateway: Demo, name: str, width: int, dark: bool
) -> None:
    path = dict(PAGES)[name].format(call=gateway.records("git")[0]["id"])
    page = await windows.open(url(gateway) + path, width=width, dark=dark)
    assert await overflow(page) == []
    await check_accessible(page)
    assert await layout_shift(page) <= LARGEST_SHIFT
