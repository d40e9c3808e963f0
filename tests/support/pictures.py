"""Image files as bytes, some of which no encoder would write."""

import io
import struct
import zlib

from PIL import Image

SIXTEEN_BIT_GREY, SIXTEEN_BIT_RGB, SIXTEEN_BIT_GREY_ALPHA, SIXTEEN_BIT_RGBA = 0, 2, 4, 6


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """The image as a file of a format."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def gradient(width: int = 16, height: int = 12) -> Image.Image:
    """An RGB image with another colour in every corner."""
    image = Image.new("RGB", (width, height))
    pixels = [
        (x * 15 % 256, y * 20 % 256, (x + y) * 9 % 256) for y in range(height) for x in range(width)
    ]
    image.putdata(pixels)
    return image


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_header(width: int, height: int, depth: int = 8, color_type: int = 2) -> bytes:
    """The signature and the first chunk of a PNG of any size."""
    fields = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields)


def huge_png(width: int, height: int) -> bytes:
    """A small file of a huge black image; only its first rows are there."""
    rows = zlib.compress(bytes(100_000), 9)
    return png_header(width, height) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def sixteen_bit_png(color_type: int, *channels: int) -> bytes:
    """A PNG of 8 x 8 equal pixels with 16 bits a channel."""
    pixel = struct.pack(f">{len(channels)}H", *channels)
    rows = zlib.compress((b"\0" + pixel * 8) * 8)
    header = png_header(8, 8, 16, color_type)
    return header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
