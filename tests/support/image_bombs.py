"""Small image files that ask for much: memory, time, or another program."""

import functools
import io
import struct
import zipfile
import zlib

from PIL import Image

from support.pictures import chunk, encoded, gradient, png_header

_LONG, _SHORT, _BYTE = 4, 3, 1
_SIZES = {_LONG: 4, _SHORT: 2, _BYTE: 1}


def declared(image_format: str, width: int, height: int) -> bytes:
    """A small file whose header says so many pixels."""
    if image_format == "PNG":
        rows = chunk(b"IDAT", zlib.compress(bytes(100_000), 9))
        return png_header(width, height) + rows + chunk(b"IEND", b"")
    if image_format == "PPM":
        return b"P6 %d %d 255\n" % (width, height) + bytes(1000)
    if image_format == "TIFF":
        return tiff([(256, _LONG, [width]), (257, _LONG, [height]), *_ONE_STRIP])
    data = bytearray(encoded(gradient(), image_format))
    if image_format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif image_format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif image_format == "JPEG":
        frame = data.index(b"\xff\xc0") + 5
        data[frame : frame + 4] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
    else:
        return _webp_canvas(min(width, 1 << 24), min(height, 1 << 24))
    return bytes(data)


def _webp_canvas(width: int, height: int) -> bytes:
    """An animation on a large canvas with one small frame."""
    two = [gradient(), gradient().rotate(180)]
    data = bytearray(encoded(two[0], "WEBP", save_all=True, append_images=two[1:], lossless=True))
    canvas = data.index(b"VP8X") + 12
    data[canvas : canvas + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(
        3, "little"
    )
    return bytes(data)


def png_with(kind: bytes, content: bytes) -> bytes:
    """A good PNG with one more chunk behind its header."""
    data = encoded(gradient(), "PNG")
    return data[:33] + chunk(kind, content) + data[33:]


@functools.cache
def zeros(megabytes: int) -> bytes:
    """So many zeros, deflated to a thousandth."""
    packer = zlib.compressobj(1)
    blocks = [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join(blocks) + packer.flush()


def png_with_long_rows() -> bytes:
    """Pixels that inflate to far more than the header says."""
    return png_header(16, 16) + chunk(b"IDAT", zeros(400)) + chunk(b"IEND", b"")


def png_of_zeros(side: int) -> bytes:
    """A whole image of so many transparent pixels a side, in a small file."""
    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(bytes(1 + 4 * side)) for _ in range(side)])
    data = chunk(b"IDAT", rows + packer.flush())
    return png_header(side, side, 8, 6) + data + chunk(b"IEND", b"")


def gif_frames(count: int) -> bytes:
    """A GIF that repeats its frame."""
    data = encoded(gradient(), "GIF")
    start = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[:start] + data[start:-1] * count + b";"


def gif_frame_larger_than_its_screen() -> bytes:
    """The screen is small, the frame on it is not."""
    data = bytearray(encoded(gradient(), "GIF"))
    start = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    return bytes(data)


Tag = tuple[int, int, list[int]]

_ONE_STRIP: list[Tag] = [
    (258, _SHORT, [8]),
    (259, _SHORT, [1]),
    (262, _SHORT, [1]),
    (273, _LONG, [8]),
    (277, _SHORT, [1]),
    (278, _LONG, [16]),
    (279, _LONG, [256]),
]


def tiff(tags: list[Tag], following: int = 0, data: bytes = bytes(256)) -> bytes:
    """A little-endian TIFF of pixels, tags, and where the next directory is."""
    start = 8 + len(data)
    behind = start + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    for tag, kind, values in sorted(tags):
        packed = b"".join(value.to_bytes(_SIZES[kind], "little") for value in values)
        if len(packed) > 4:
            place = struct.pack("<L", behind + len(more))
            more += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHL", tag, kind, len(values)) + place
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<L", following)
    return b"II*\0" + struct.pack("<L", start) + data + directory + more


def good_tiff(*changes: Tag, following: int = 0) -> bytes:
    """A grey TIFF of 16 x 16 pixels with some tags changed or added."""
    tags = {tag: (tag, kind, values) for tag, kind, values in _ONE_STRIP}
    tags |= {256: (256, _LONG, [16]), 257: (257, _LONG, [16])}
    tags |= {change[0]: change for change in changes}
    return tiff(list(tags.values()), following)


def looping_tiff() -> bytes:
    """Its directory is followed by itself."""
    return good_tiff(following=8 + 256)


def tiff_directories(count: int) -> bytes:
    """A good TIFF followed by so many empty directories, each naming the next."""
    data = good_tiff()
    link = len(data)
    chain = [struct.pack("<HL", 0, link + 6 * (number + 1)) for number in range(count)]
    start = struct.unpack("<L", data[4:8])[0]
    end = start + 2 + 12 * struct.unpack("<H", data[start : start + 2])[0]
    return data[:end] + struct.pack("<L", link) + data[end + 4 :] + b"".join(chain)


def _overlapping_tags(count: int, length: int, first: int = 0x8000) -> bytes:
    """A directory of so many tags that all have the same bytes for their value."""
    behind = 8 + 2 + 12 * count + 4
    entries = b"".join(
        struct.pack("<HHLL", first + number, 7, length, behind) for number in range(count)
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4) + bytes(length)


def exif_bomb(image_format: str) -> bytes:
    """EXIF whose tags are read one upon another: 8,000 times half a megabyte."""
    exif = b"Exif\0\0" + _overlapping_tags(8000, 1 << 19)
    if image_format == "JPEG":  # whose segments end at 65,533 bytes
        exif = b"Exif\0\0" + _overlapping_tags(2500, 30_000)
    return encoded(gradient(), image_format, exif=exif)


def overlapping_tiff() -> bytes:
    """The same as a TIFF's own directory."""
    return _overlapping_tags(30_000, 1 << 20)


def progressive_scans(count: int, side: int = 4096) -> bytes:
    """A progressive JPEG that refines nothing so many times; each costs a walk over all pixels."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True, quality=50)
    start = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    end = start + 2
    while data[end] != 0xFF or data[end + 1] == 0:
        end += 1
    return data[:end] + data[start:end] * count + data[end:]


def ppm_comments(count: int) -> bytes:
    """A plain PNM of nothing but comments, each of which moves all that follows."""
    return b"P3\n8 8\n255\n" + b"#\n" * count


def animated_webp(count: int) -> bytes:
    """An animation of so many frames."""
    frames = [gradient().rotate(number) for number in range(count)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])


def with_zip(data: bytes) -> bytes:
    """The file with an archive behind it, as a polyglot."""
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("payload.py", "print('not run')")
    return buffer.getvalue()
