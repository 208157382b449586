"""Real images of several formats and sizes, the same at every run."""

from __future__ import annotations

import colorsys
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

FORMATS = (("PNG", "png", "image/png"), ("JPEG", "jpg", "image/jpeg"), ("WEBP", "webp", "image/webp"), ("GIF", "gif", "image/gif"))
SIZES = ((64, 64), (320, 180), (640, 480), (1024, 768), (512, 1024))


@dataclass(frozen=True)
class Picture:
    """One image file, and what a generator would say of it."""

    name: str
    content_type: str
    body: bytes
    metadata: dict[str, object]


def pictures(count: int) -> Iterator[Picture]:
    """Yields `count` images, cycling through formats and sizes."""
    for number in range(count):
        form, extension, content_type = FORMATS[number % len(FORMATS)]
        size = SIZES[number % len(SIZES)]
        image = _sky(size, random.Random(number))  # the same pictures every time
        buffer = io.BytesIO()
        image.save(buffer, form)
        metadata: dict[str, object] = {
            "prompt": f"a sky, take {number}",
            "aspectRatio": f"{size[0]}:{size[1]}",
            "numberOfImages": 1,
            "guidance": 7.5,
        }
        yield Picture(f"sky {number:03d}.{extension}", content_type, buffer.getvalue(), metadata)


def _sky(size: tuple[int, int], dice: random.Random) -> Image.Image:
    width, height = size
    hue = dice.random()
    gradient = Image.new("RGB", (1, height))
    for y in range(height):
        red, green, blue = colorsys.hsv_to_rgb((hue + 0.15 * y / height) % 1, 0.55, 0.95 - 0.6 * y / height)
        gradient.putpixel((0, y), (int(red * 255), int(green * 255), int(blue * 255)))
    image = gradient.resize(size)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, radius = dice.randrange(width), dice.randrange(height), dice.randrange(3, 4 + width // 6)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(dice.randrange(256) for _ in range(3)))
    return image.filter(ImageFilter.GaussianBlur(width / 200))
