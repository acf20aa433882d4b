"""The committed pictures of the icon are what its SVG looks like."""

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.ui.drawing import ICONS, PICTURES, SOURCES, data_uri

# Another Chromium may smooth an edge otherwise; what is seen of that is less than this.
LARGEST_MEAN = 1.0  # of 255, over all pixels and channels
_COMPARE = """
async ([one, other]) => {
  const pixels = async (source, side) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side || image.naturalWidth;
    const brush = canvas.getContext("2d");
    brush.drawImage(image, 0, 0, canvas.width, canvas.height);
    return brush.getImageData(0, 0, canvas.width, canvas.height);
  };
  const drawn = await pixels(one);
  const wanted = await pixels(other, drawn.width);
  const sum = drawn.data.reduce((sum, value, at) => sum + Math.abs(value - wanted.data[at]), 0);
  return [drawn.width, drawn.height, sum / drawn.data.length];
}
"""


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
async def test_a_picture_is_what_its_svg_looks_like(chromium: Browser, path: Path) -> None:
    picture = PICTURES[path]
    page = await chromium.new_page()
    try:
        sources = [data_uri(path), data_uri(picture.source)]
        width, height, difference = await page.evaluate(_COMPARE, sources)
    finally:
        await page.close()
    assert (width, height) == (picture.pixels, picture.pixels)
    assert difference < LARGEST_MEAN, "the SVG has changed: make icons"


def test_the_icon_that_browsers_draw_is_the_same() -> None:
    assert (ICONS / "icon.svg").read_bytes() == (SOURCES / "icon.svg").read_bytes(), "make icons"
