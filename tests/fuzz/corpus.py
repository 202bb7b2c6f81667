"""Small files of every accepted format in all the ways of storing pixels that can be made here, and small forms."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from bench import hostile
from model.formats.known import HAS_HEIC
from model.image import FORMATS
from tests.fuzz import containers, profiles

SIZE = (61, 43)


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    return hostile.photo(*size).convert(mode)


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    return hostile.encoded(image, name, **options)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def interlaced_png(bits: int = 8) -> bytes:
    """Returns a colour PNG of 8x8 pixels in the seven passes of Adam7; Pillow writes none."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    lines = [b"\0" + bytes(range(3 * width * bits // 8)) for width, height in passes for _ in range(height)]
    header = struct.pack(">IIBBBBB", 8, 8, bits, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def core_bmp() -> bytes:
    """Returns a BMP with the oldest header, of 12 bytes."""
    lines = bytes(range(8 * 3 * 4))
    return b"BM" + struct.pack("<IHHIIHHHH", 26 + len(lines), 0, 0, 26, 12, 8, 4, 1, 24) + lines


def upside_down_bmp() -> bytes:
    """Returns a BMP whose first line is the topmost."""
    data = bytearray(encoded(picture(), "BMP"))
    data[22:26] = struct.pack("<i", -SIZE[1])
    return bytes(data)


def tiffs() -> Iterator[tuple[str, bytes]]:
    schemes = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd", "jpeg")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"):
        for scheme in schemes:
            if scheme != "jpeg" or mode in ("L", "RGB", "CMYK"):
                yield f"TIFF {mode} {scheme}", encoded(picture(mode), "TIFF", compression=scheme)
    for scheme in ("group3", "group4"):
        yield f"TIFF {scheme}", encoded(picture("1"), "TIFF", compression=scheme)
    yield "TIFF YCbCr jpeg", encoded(picture("YCbCr"), "TIFF", compression="jpeg")
    yield "TIFF big-endian", encoded(Image.frombytes("I;16B", (8, 4), bytes(range(64))), "TIFF")
    for mode in ("L", "RGB", "I;16"):
        yield f"BigTIFF {mode}", encoded(picture(mode), "TIFF", big_tiff=True, compression="tiff_lzw")
    rows = {"tiffinfo": {278: 5}, "compression": "tiff_lzw"}
    yield "TIFF of strips", encoded(picture(), "TIFF", **rows)
    yield "TIFF of one pixel", encoded(picture(size=(1, 1)), "TIFF")


def run_length_bmp() -> bytes:
    """Returns a BMP of 8x4 pixels in run lengths, with every kind of escape; Pillow writes none."""
    data = b"\x05\x01\x03\x02\0\0" + b"\0\x04\x01\x02\x03\x04\x04\x05\0\0" + b"\0\x02\x03\x01\x05\x07\0\x01"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078) + header + bytes(range(256)) * 4 + data


def tiff_of_jpeg(scheme: int, is_progressive: bool) -> bytes:
    """Returns a TIFF of one JPEG, as libtiff does it (7) or as TIFF 6.0 meant it (6), which libtiff reads seldom."""
    jpeg = encoded(picture("L", (16, 16)), "JPEG", progressive=is_progressive)
    return hostile.tiff(16, 16, jpeg, compression=scheme)


def handmade_tiffs() -> Iterator[tuple[str, bytes]]:
    """Yields TIFFs of 16x16 pixels that Pillow reads and does not write."""

    def short(tag: int, *values: int) -> tuple[int, int, int, bytes]:
        return tag, 3, len(values), struct.pack(f"<{len(values)}H", *values).ljust(4, b"\0")

    grey = zlib.compress(bytes(range(256)))
    tile = (short(322, 16), short(323, 16), short(324, 8), short(325, len(grey)))
    yield "TIFF tiled", hostile.tiff(16, 16, grey, *tile, compression=8)
    colours = (short(262, 6), short(277, 3), short(530, 1, 1))
    yield "TIFF YCbCr deflated", hostile.tiff(16, 16, zlib.compress(bytes(range(256)) * 3), *colours, compression=8)
    data = (
        grey * 3
        + struct.pack("<3I", *(8 + part * len(grey) for part in range(3)))
        + struct.pack("<3I", *3 * [len(grey)])
    )
    end = 8 + 3 * len(grey)
    planes = ((273, 4, 3, struct.pack("<I", end)), (279, 4, 3, struct.pack("<I", end + 12)))
    yield (
        "TIFF in planes",
        hostile.tiff(16, 16, data, *planes, short(262, 2), short(277, 3), short(284, 2), compression=8),
    )
    for is_progressive in (False, True):
        yield f"TIFF of a JPEG, progressive: {is_progressive}", tiff_of_jpeg(7, is_progressive)


def stills() -> Iterator[tuple[str, bytes]]:
    """Yields AVIFs and, where they are read, HEICs: with transparency, in tiles, in every subsampling and depth."""
    clear = picture("RGBA")
    clear.putalpha(picture("L"))
    for name in ("AVIF", "HEIF") if HAS_HEIC else ("AVIF",):
        for mode in ("L", "RGB"):
            yield f"{name} {mode}", encoded(picture(mode), name)
        yield f"{name} with transparency", encoded(clear, name)
        tile = encoded(picture(size=(64, 64)), name)
        yield f"{name} of tiles", containers.tiled(tile, 3, 2)
        yield f"{name} with a thumbnail", containers.with_others(tile, b"mark")
    for sampling in ("4:4:4", "4:2:2"):
        yield f"AVIF {sampling}", encoded(picture(), "AVIF", subsampling=sampling)
    others = [picture().rotate(30 * turn) for turn in (1, 2)]
    yield "AVIF animated", encoded(picture(), "AVIF", save_all=True, append_images=others)
    if HAS_HEIC:
        yield "HEIF 4:4:4 of 12 bits", encoded(picture(), "HEIF", chroma=444, bits=12)


def profiled() -> Iterator[tuple[str, bytes]]:
    """Yields a file of each format that can have a colour profile, with one of them."""
    for name in FORMATS:
        if name not in ("GIF", "BMP"):
            yield f"{name} with a profile", encoded(picture(), name, icc_profile=profiles.DISPLAY_P3)


def files() -> dict[str, bytes]:
    """Returns a small file of every format in all the ways of storing pixels that can be made here."""
    others = [picture().rotate(30 * turn) for turn in (1, 2)]
    animation = {"save_all": True, "append_images": others}
    made = {f"JPEG {mode}": encoded(picture(mode), "JPEG") for mode in ("L", "RGB", "CMYK")}
    made |= {f"JPEG {sampling}": encoded(picture(), "JPEG", subsampling=sampling) for sampling in ("4:4:4", "4:2:2")}
    made |= {
        "JPEG progressive": encoded(picture(), "JPEG", progressive=True),
        "JPEG CMYK progressive": encoded(picture("CMYK"), "JPEG", progressive=True),
        "JPEG with restarts": encoded(picture(), "JPEG", restart_marker_rows=1),
        "MPO": encoded(picture(), "MPO", **animation),
    }
    made |= {f"PNG {mode}": encoded(picture(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}
    made |= {f"PNG P of {bits} bits": encoded(picture("P"), "PNG", bits=bits) for bits in (1, 2, 4)}
    made |= {
        "PNG transparent palette": encoded(picture("P"), "PNG", transparency=3),
        "PNG transparent colour": encoded(picture(), "PNG", transparency=(46, 139, 87)),
        "PNG interlaced": interlaced_png(),
        "PNG interlaced of 16 bits": interlaced_png(16),
        "PNG animated": encoded(picture(), "PNG", **animation),
    }
    made |= {f"WebP {mode}": encoded(picture(mode), "WEBP") for mode in ("L", "RGB", "RGBA")}
    made |= {f"WebP lossless {mode}": encoded(picture(mode), "WEBP", lossless=True) for mode in ("RGB", "RGBA")}
    made |= {"WebP animated": encoded(picture(), "WEBP", **animation)}
    made |= {f"GIF {mode}": encoded(picture(mode), "GIF") for mode in ("1", "L", "P", "RGB")}
    made |= {
        "GIF animated": encoded(picture("P"), "GIF", **animation),
        "GIF transparent": encoded(picture("P"), "GIF", transparency=2),
        "GIF interlaced": encoded(picture("P"), "GIF", interlace=1),
    }
    made |= {f"BMP {mode}": encoded(picture(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")}
    made |= {"BMP core": core_bmp(), "BMP upside down": upside_down_bmp(), "BMP in runs": run_length_bmp()}
    return made | dict(tiffs()) | dict(handmade_tiffs()) | dict(stills()) | dict(profiled())


def bombs() -> list[bytes]:
    """Returns the smaller files that are made to stop a decoder."""
    return [
        hostile.exif_flood(20), hostile.comment_flood(20), hostile.scan_flood(20), hostile.chunk_flood(20),
        hostile.tag_flood(20), hostile.animated_webp(), hostile.empty_gif(500), hostile.comment_gif(20),
        hostile.strip_flood(50), hostile.png(1, 500, bytes(1000)),
        tiff_of_jpeg(6, False), tiff_of_jpeg(6, True), containers.reused_tiles(picture(size=(64, 64)), "AVIF"),
        containers.many_items(encoded(picture(), "AVIF"), 200),
    ]  # fmt: skip


def forms() -> list[bytes]:
    """Returns bodies of requests, each behind a line with its content type."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    plain = b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\n"
    kinds = (b"multipart/form-data; boundary=b", b'multipart/form-data; charset=utf-8; boundary="b"')
    bodies = (
        head + b"x" * 50 + b"\r\n--b--\r\n",
        (head + b"\r\n--b\r\n\r\n\r\n") * 3 + b"--b--",
        b"preamble\r\n" + plain + b"\r\n--\r\n-b" + b"\r\n" + plain + b"y\r\n--b--\r\nepilogue",
        head.replace(b"\r\n", b"\n") + b"z\n--b--\n",
        head.replace(b"filename=", b"filename*=UTF-8''") + b"\r\n--b--",
        plain.replace(b"image", b"other") + b"1\r\n--b--",
    )
    return [kind + b"\n" + body for kind in kinds for body in bodies] + [b"image/png\n" + encoded(picture(), "PNG")]
