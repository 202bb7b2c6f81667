"""Colour profiles made in code, whole, broken and hostile."""

import struct

from PIL import ImageCms

Triple = tuple[float, float, float]

_SRGB_COLOURS = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
_P3_COLOURS = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_ADOBE_COLOURS = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_NAMES = ((b"rXYZ", b"rTRC"), (b"gXYZ", b"gTRC"), (b"bXYZ", b"bTRC"))


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(65536 * number)) for number in numbers)


def xyz(colour: Triple) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*colour)


SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
SRGB_POINTS = b"curv" + struct.pack(
    ">II1024H",
    0,
    1024,
    *(
        round(65535 * (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4))
        for x in (point / 1023 for point in range(1024))
    ),
)


def gamma(number: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(256 * number))


def written(
    tags: dict[bytes, bytes], *, space: bytes = b"RGB ", kind: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    """Returns a profile of these tags."""
    begin = 132 + 12 * len(tags)
    table = b""
    body = b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, begin + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12x4s28x", begin + len(body), b"test", 0x02400000, kind, space, connection, b"acsp"
    )
    return header + _fixed(0.9642, 1, 0.82491) + bytes(48) + struct.pack(">I", len(tags)) + table + body


def tags_of(colours: tuple[Triple, ...], curve: bytes) -> dict[bytes, bytes]:
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x05mark\0" + bytes(78), b"wtpt": xyz((0.9642, 1, 0.82491))}
    for (name, curve_name), colour in zip(_NAMES, colours, strict=True):
        tags |= {name: xyz(colour), curve_name: curve}
    return tags


DISPLAY_P3 = written(tags_of(_P3_COLOURS, SRGB_CURVE))
ADOBE_RGB = written(tags_of(_ADOBE_COLOURS, gamma(2.19921875)))
SRGB = {
    "parameters": written(tags_of(_SRGB_COLOURS, SRGB_CURVE)),
    "1024 points": written(tags_of(_SRGB_COLOURS, SRGB_POINTS)),
    "of LittleCMS": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
}
GREY = written({b"wtpt": xyz((0.9642, 1, 0.82491)), b"kTRC": gamma(2.2)}, space=b"GRAY")
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def table_bomb() -> bytes:
    """Returns a profile with a table of colours that claims 255 points on each side, fifty million numbers."""
    table = b"mAB \0\0\0\0\3\3\0\0" + struct.pack(">5I", 32, 0, 0, 32, 32) + b"\xff" * 16 + b"\2\0\0\0" + bytes(64)
    return written(tags_of(_P3_COLOURS, SRGB_CURVE) | {b"A2B0": table, b"A2B1": table})


def element_bomb(elements: int = 20_000) -> bytes:
    """Returns a profile with a chain of elements that are all the same one; LittleCMS follows it for 20 seconds."""
    chain = b"mpet\0\0\0\0\0\3\0\3" + struct.pack(">I", elements) + struct.pack(">II", 16 + 8 * elements, 60) * elements
    same = struct.pack(">12f", 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    return written(tags_of(_P3_COLOURS, SRGB_CURVE) | {b"D2B1": chain + b"matf\0\0\0\0\0\3\0\3" + same})


P3_TAGS = tags_of(_P3_COLOURS, SRGB_CURVE)

BROKEN: dict[str, bytes] = {
    "empty": b"", "text": b"secret" * 99, "half": DISPLAY_P3[:200], "header alone": DISPLAY_P3[:128],
    "grey": GREY, "Lab": LAB, "CMYK": written(P3_TAGS, space=b"CMYK"),
    "of a device link": written(P3_TAGS, kind=b"link"),
    "told in Lab": written(P3_TAGS, connection=b"Lab "),
    "without a curve": written({**P3_TAGS, b"gTRC": b"none" + bytes(12)}),
    "endless curve": written({**P3_TAGS, b"gTRC": b"curv" + struct.pack(">II", 0, 2**32 - 1) + bytes(64)}),
    "long curve": written({**P3_TAGS, b"gTRC": b"curv" + struct.pack(">II", 0, 100_000) + bytes(200_000)}),
    "unknown curve": written({**P3_TAGS, b"gTRC": b"para\0\0\0\0\0\x09\0\0" + bytes(64)}),
    "all black": written(P3_TAGS | dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ"), xyz((0, 0, 0)))),
    "too large": DISPLAY_P3 + bytes(1024**2), "many tags": DISPLAY_P3[:128] + b"\xff" * 4 + DISPLAY_P3[132:],
    "places beyond the end": DISPLAY_P3[:132] + b"\xff" * 96 + DISPLAY_P3[228:],
}  # fmt: skip
"""Profiles for which a photo looks as if it had none."""
