"""AVIF and HEIC: a still image in a container of boxes, in one piece or in tiles, with transparency beside it.

What is kept is written into a container of its own, so that a decoder sees the items that were counted and no others:
no thumbnails, maps of depth or light, films, or metadata.

Source:
    ISO/IEC 23008-12, 6.5 (properties), 6.6.2.3 (grids); AV1 Image File Format, 4 (alpha).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from model.formats import av1, hevc
from model.formats.bits import Stream
from model.formats.boxes import Property, read_meta
from model.formats.header import DamagedFileError, Header, count_parts
from model.formats.icc import rgb_profile
from model.formats.stills import Item, write_still

MAX_TILES = 900
"""Most tiles of an image; phones make 48 of 12 megapixels, and libheif reads 1,000 items."""

_GRID = b"grid"
_OTHER_BYTES = 8.5
_OTHER_BYTES_WITH_ALPHA = 11
"""Memory for a pixel besides the decoder's own samples: as RGB in a row, in Pillow, and in between; measured."""

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_KEPT = frozenset({b"ispe", b"pixi", b"auxC"})
_PROFILES = (b"prof", b"rICC")

# EXIF's orientation by how often the image is turned left by a right angle, and over which axis it is mirrored then.
_ORIENTATIONS: Mapping[int | None, tuple[int, int, int, int]] = MappingProxyType(
    {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}
)


class _Codec(NamedTuple):
    """How one of the two formats stores pixels: its item and configuration, and what decoding takes."""

    name: str
    brand: bytes
    item: bytes
    config: bytes
    coded_pixels: Callable[[bytes, bytes], Stream]
    seconds_per_pixel: float


_AVIF = _Codec("AVIF", b"avif", b"av01", b"av1C", av1.coded_pixels, 45e-9)
_HEIC = _Codec("HEIF", b"heic", b"hvc1", b"hvcC", hevc.coded_pixels, 110e-9)


@dataclass(frozen=True, slots=True)
class _Picture:
    """One image of the container: its item and its tiles, its size, and the pixels that a decoder makes of them."""

    items: list[Item]
    width: int
    height: int
    pixels: int


class _Reader:
    """Reads the images of one container, and counts what they hold together.

    Args:
        data: The whole file.
        codec: Its format.

    Attributes:
        pixel_bytes: The most bytes that a decoder has for a pixel of any stream read so far.
    """

    def __init__(self, data: bytes, codec: _Codec) -> None:
        self._data = data
        self._codec = codec
        self.meta = read_meta(data)
        self.pixel_bytes = 0.0
        self._bytes = 0
        self._units = 0

    def picture(self, item: int, number: int) -> _Picture:
        """Reads an image; its items get numbers of their own, from `number` on."""
        kind = self.meta.kinds.get(item)
        content = self._content(item)
        width, height = self._size(item)
        if not width or not height:
            raise DamagedFileError("expected lines and columns in a container's image, received none")
        if kind == self._codec.item:
            pixels = self._pixels(item, content)
            return _Picture([Item(number, kind, content, self._kept(item))], width, height, pixels)
        if kind != _GRID:
            raise DamagedFileError(
                f"expected an image in one piece or in tiles, received one of the kind {kind!r}; save it as JPEG or PNG"
            )
        tiles = self._tiles(item, content, number + 1)
        grid = Item(number, _GRID, content, self._kept(item), [tile.number for tile, _ in tiles])
        pixels = max(width * height, sum(pixels for _, pixels in tiles))
        return _Picture([grid, *(tile for tile, _ in tiles)], width, height, pixels)

    def alpha_of(self, item: int) -> int | None:
        """Returns the item with an image's transparency."""
        for (name, sender), targets in self.meta.references.items():
            kind = self.meta.find(sender, b"auxC") if name == b"auxl" and item in targets else None
            if kind and kind[4:].startswith(_ALPHA):
                return sender
        return None

    def size(self, picture: _Picture) -> tuple[int, int]:
        """Returns the size of the decoded image; only HEIC's decoder cuts off what is told to be cut off."""
        crop = self.meta.find(self.meta.primary, b"clap")
        if self._codec is not _HEIC or crop is None:
            return picture.width, picture.height
        across, unit, down, other = struct.unpack_from(">4I", crop)
        if not unit or not other or not 0 < across // unit <= picture.width or not 0 < down // other <= picture.height:
            raise DamagedFileError("expected a part of a HEIC that lies within it, received another")
        return across // unit, down // other

    def orientation(self) -> int:
        """Returns the orientation, as EXIF would tell it; that of EXIF itself does not count here."""
        turns = 0
        axis = None
        for name, content in self.meta.properties.get(self.meta.primary, ()):
            if name == b"irot":
                turned = content[0] & 3
                turns += turned if axis is None else -turned
            elif name == b"imir":
                axis = content[0] & 1
        return _ORIENTATIONS[axis][turns % 4]

    def profile(self) -> bytes:
        """Returns the colour profile: of the image, or of its first tile, where older iPhones have it."""
        tiles = self.meta.references.get((b"dimg", self.meta.primary), [])
        for item in (self.meta.primary, *tiles[:1]):
            for name, content in self.meta.properties.get(item, ()):
                if name == b"colr" and content[:4] in _PROFILES:
                    return rgb_profile(content[4:])
        return b""

    def _tiles(self, item: int, content: bytes, number: int) -> list[tuple[Item, int]]:
        tiles = self.meta.references.get((b"dimg", item), [])
        count_parts(len(tiles), "tiles of an image", most=MAX_TILES)
        told = struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)
        expected = (content[2] + 1) * (content[3] + 1)
        if (expected, told) != (len(tiles), self._size(item)):
            raise DamagedFileError(
                f"expected {expected} tiles and their size as told, received {len(tiles)} or another"
            )
        if any(self.meta.kinds.get(tile) != self._codec.item for tile in tiles):
            raise DamagedFileError(f"expected tiles of the kind {self._codec.item!r}, received others")
        made: list[tuple[Item, int]] = []
        for place, tile in enumerate(tiles, number):
            piece = self._content(tile)
            made.append((Item(place, self._codec.item, piece, self._kept(tile)), self._pixels(tile, piece)))
        return made

    def _size(self, item: int) -> tuple[int, int]:
        width, height = struct.unpack_from(">II", self.meta.need(item, b"ispe"), 4)
        return width, height

    def _content(self, item: int) -> bytes:
        """Returns the bytes of an item; those of all items together are no more than the file has."""
        places = self.meta.places.get(item, [])
        self._bytes += sum(length for _, length in places)
        if not places or any(begin + length > len(self._data) for begin, length in places):
            raise DamagedFileError("expected a whole container, received one that ends within an image or has none")
        if self._bytes > len(self._data):
            raise DamagedFileError("expected bytes of its own for each part of an image, received some used again")
        return b"".join(self._data[begin : begin + length] for begin, length in places)

    def _pixels(self, item: int, content: bytes) -> int:
        """Returns the pixels of a coded image: as told in the container or within, whichever is more."""
        stream = self._codec.coded_pixels(self.meta.need(item, self._codec.config), content)
        self._units += stream.units
        count_parts(self._units, "units of an image's streams")
        self.pixel_bytes = max(self.pixel_bytes, stream.pixel_bytes)
        width, height = self._size(item)
        return max(width * height, stream.pixels)

    def _kept(self, item: int) -> list[Property]:
        names = _KEPT | {self._codec.config} | ({b"clap"} if self._codec is _HEIC else set())
        return [
            (name, content) for name, content in self.meta.properties.get(item, ())
            if name in names or (name == b"colr" and content[:4] == b"nclx")
        ]  # fmt: skip


def inspect_avif(data: bytes) -> Header:
    """Reads the container of an AVIF.

    Args:
        data: The whole file.

    Returns:
        Its header, and a file with its still image alone.

    Raises:
        DamagedFileError: It has no still image, breaks the rules, or has more parts than it may.
        struct.error: It ends within a header; so do LookupError and ValueError.
    """
    return _inspect(data, _AVIF)


def inspect_heic(data: bytes) -> Header:
    """Reads the container of a HEIC; otherwise like `inspect_avif`."""
    return _inspect(data, _HEIC)


def _inspect(data: bytes, codec: _Codec) -> Header:
    reader = _Reader(data, codec)
    primary = reader.meta.primary
    picture = reader.picture(primary, 1)
    items = picture.items
    pixels = picture.pixels
    references: list[tuple[bytes, int, int]] = []
    decoded_bytes = pixels * (_OTHER_BYTES + reader.pixel_bytes)
    alpha_item = reader.alpha_of(primary)
    if alpha_item is not None:
        alpha = reader.picture(alpha_item, 1 + len(items))
        number = alpha.items[0].number
        references = [(b"auxl", number, 1)]
        if alpha_item in reader.meta.references.get((b"prem", primary), ()):
            references.append((b"prem", 1, number))
        items = items + alpha.items
        pixels = max(pixels, alpha.pixels)
        decoded_bytes = pixels * (_OTHER_BYTES_WITH_ALPHA + 4 / 3 * reader.pixel_bytes)
    width, height = reader.size(picture)
    return Header(
        format=codec.name, width=width, height=height, largest_pixels=pixels, orientation=reader.orientation(),
        decoded_bytes=int(decoded_bytes),
        decode_seconds=pixels * codec.seconds_per_pixel * (1 if alpha_item is None else 2),
        data=write_still(codec.brand, items, references), profile=reader.profile(),
    )  # fmt: skip
