"""Makes hostile files: small to send, and gigantic or endless for a decoder that trusts them.

Each is made in code. They are ordered by their cost for a decoder that trusts what it reads.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from PIL import Image, ImageDraw

from bench.heic import heic

EXIF_SEGMENTS = 200_000
SCANS = 20_000
TAGS = 4000
TALL = 49_999_999
SIDE = 7071
"""Of a square just within 50 megapixels."""


def photo(width: int = 500, height: int = 375) -> Image.Image:
    """Returns a drawing with some detail in it."""
    image = Image.new("RGB", (width, height), "seagreen")
    pencil = ImageDraw.Draw(image)
    for index in range(0, width, 12):
        pencil.line((index, 0, width - index, height), fill=(index % 256, 90, 200), width=3)
    return image


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    """Returns the bytes of a file in the format that Pillow calls `name`."""
    if name == "HEIF":
        return heic(image, **options)
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def exif_flood(segments: int = EXIF_SEGMENTS) -> bytes:
    """Returns a JPEG with EXIF in pieces of ten bytes: joining them one by one copies them again and again."""
    piece = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + b"II*\0" + bytes(6)
    data = encoded(photo(), "JPEG")
    return data[:2] + piece * segments + data[2:]


def comment_flood(segments: int = EXIF_SEGMENTS) -> bytes:
    """Returns a JPEG with that many empty comments."""
    data = encoded(photo(), "JPEG")
    return data[:2] + b"\xff\xfe\0\x02" * segments + data[2:]


def fill_flood(size: int = 10_000_000) -> bytes:
    """Returns a JPEG of nothing but the fill bytes that may precede a marker."""
    return b"\xff\xd8".ljust(size, b"\xff")


def scan_flood(scans: int = SCANS) -> bytes:
    """Returns a progressive JPEG that scans its pixels again and again."""
    data = encoded(Image.new("RGB", (2000, 1500)), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    last = data.rindex(b"\xff\xda", 0, end)
    return data[:end] + data[last:end] * scans + data[end:]


def png(width: int, height: int, lines: bytes, *others: bytes, bits: int = 8, colours: int = 0) -> bytes:
    """Returns a PNG.

    Args:
        width: In pixels.
        height: In pixels.
        lines: Every line with its filter in front, or fewer than there should be.
        others: Chunks between header and data: name and content.
        bits: A sample.
        colours: The colour type.
    """
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    chunks = (header, *others, b"IDAT" + zlib.compress(lines, 9), b"IEND")
    parts = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk_flood(chunks: int = 500_000) -> bytes:
    """Returns a PNG with that many empty chunks of an unknown kind."""
    lines = b"".join(b"\0" + bytes(8) for _ in range(8))
    return png(8, 8, lines, *[b"noTe"] * chunks)


def tall_png() -> bytes:
    """Returns a PNG of one column and almost fifty million lines."""
    return png(1, TALL, bytes(2 * TALL))


def tiff(width: int, height: int, data: bytes, *others: tuple[int, int, int, bytes], compression: int = 1) -> bytes:
    """Returns a grey TIFF of one strip.

    Args:
        width: In pixels.
        height: In pixels.
        data: The strip.
        others: More entries: tag, type, number of values, the values or, in a file, where they stand.
        compression: As TIFF numbers it; 8 is deflate.
    """

    def entry(tag: int, value: int) -> tuple[int, int, int, bytes]:
        return tag, 4, 1, struct.pack("<I", value)

    entries = [entry(256, width), entry(257, height), entry(258, 8), entry(259, compression), entry(262, 1)]
    entries += [entry(273, 8), entry(277, 1), entry(278, height), entry(279, len(data))]
    given = {tag for tag, *_ in others}
    entries = sorted([*(one for one in entries if one[0] not in given), *others])
    directory = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    end = 8 + len(data)
    return b"II*\0" + struct.pack("<I", end) + data + struct.pack("<H", len(entries)) + directory + bytes(4)


def tall_tiff() -> bytes:
    """Returns a deflated TIFF of one column and almost fifty million lines."""
    return tiff(1, TALL, zlib.compress(bytes(TALL), 9), compression=8)


def strip_flood(strips: int = 1_200_000) -> bytes:
    """Returns an uncompressed TIFF with a strip for each pixel."""
    offsets = struct.pack("<I", 8) * strips
    sizes = struct.pack("<I", 1) * strips
    data = b"\x80" + bytes(3) + offsets + sizes
    one, first, second = (struct.pack("<I", number) for number in (1, 12, 12 + len(offsets)))
    return tiff(1, strips, data, (273, 4, strips, first), (279, 4, strips, second), (278, 4, 1, one))


def tag_flood(tags: int = TAGS) -> bytes:
    """Returns a TIFF with that many unknown tags, each of which makes libtiff print a warning."""
    unknown = [(40_000 + index, 4, 1, struct.pack("<I", index)) for index in range(tags)]
    return tiff(40, 30, bytes(range(200)) * 6, *unknown)


def animated_webp(side: int = SIDE) -> bytes:
    """Returns an animated WebP of one tiny frame on a canvas that is gigantic."""
    frame = encoded(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    canvas = struct.pack("<I", side - 1)[:3] * 2
    chunks = [
        (b"VP8X", bytes([0x02, 0, 0, 0]) + canvas),
        (b"ANIM", bytes(6)),
        (b"ANMF", bytes(6) + bytes(6) + bytes(3) + b"\0" + frame),
    ]
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def empty_gif(side: int = SIDE) -> bytes:
    """Returns a GIF of 43 bytes with a gigantic screen."""
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\0\x3b"
    control = b"\x21\xf9\x04\x08\0\0\0\0"
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + control + image


def comment_gif(blocks: int = 2_000_000) -> bytes:
    """Returns a GIF with that many comments of a byte in front of its image."""
    data = encoded(photo(), "GIF")
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:at] + b"\x21\xfe" + b"\x01a" * blocks + b"\0" + data[at:]


def run_length_bmp(megabytes: int = 10) -> bytes:
    """Returns a BMP of runs of one pixel, which Pillow decodes in Python."""
    width = 7000
    lines = megabytes * 1024**2 // (2 * width + 2)
    data = (b"\x01\x05" * width + b"\0\0") * lines
    header = struct.pack("<IiiHHIIiiII", 40, width, lines, 1, 8, 1, len(data), 0, 0, 256, 0)
    palette = bytes(1024)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + palette + data


def large_png(side: int = SIDE) -> bytes:
    """Returns a small PNG of fifty megapixels with transparency, the most that is accepted."""
    return png(side, side, (b"\0" + b"\x20\x90\x40\xc0" * side) * side, colours=6)


REFUSED: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {
        "comment flood": comment_flood, "scan flood": scan_flood, "chunk flood": chunk_flood, "tall PNG": tall_png,
        "tall TIFF": tall_tiff, "strip flood": strip_flood, "animated WebP": animated_webp, "comment GIF": comment_gif,
        "exif flood": exif_flood, "fill flood": fill_flood,
    }
)  # fmt: skip
"""Files that are refused from their headers."""

BORNE: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {"tag flood": tag_flood, "empty GIF": empty_gif, "run-length BMP": run_length_bmp, "large PNG": large_png}
)
"""Files that are decoded, or found damaged by that, at a bounded cost."""
