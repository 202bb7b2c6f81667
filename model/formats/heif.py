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
from model.formats.boxes import Box, read_meta
from model.formats.header import DamagedFileError, Header, count_parts
from model.formats.icc import rgb_profile
from model.formats.stills import Item, write_still

MAX_TILES = 1024
"""Most tiles of an image; phones make 48 of 12 megapixels."""

_GRID = b"grid"
_OTHER_BYTES, _OTHER_BYTES_WITH_ALPHA = 8.5, 11
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
    """

    def __init__(self, data: bytes, codec: _Codec) -> None:
        self.data, self.codec, self.meta = data, codec, read_meta(data)
        self._bytes = self._units = 0
        self._pixel_bytes = 0.0

    @property
    def pixel_bytes(self) -> float:
        """Returns the most bytes that a decoder has for a pixel of any stream read so far."""
        return self._pixel_bytes

    def picture(self, item: int, number: int) -> _Picture:
        """Reads an image; its items get numbers of their own, from `number` on."""
        kind, content = self.meta.kinds.get(item), self._content(item)
        width, height = self._size(item)
        if not width or not height:
            raise DamagedFileError("expected lines and columns in a container's image, received none")
        if kind == self.codec.item:
            pixels = self._pixels(item, content)
            return _Picture([Item(number, kind, content, self._kept(item))], width, height, pixels)
        if kind != _GRID:
            raise DamagedFileError(f"expected an image of the kind {self.codec.item!r} or in tiles, received {kind!r}")
        tiles = self._tiles(item, content, number + 1)
        grid = Item(number, _GRID, content, self._kept(item), [tile.number for tile, _ in tiles])
        pixels = max(width * height, sum(pixels for _, pixels in tiles))
        return _Picture([grid, *(tile for tile, _ in tiles)], width, height, pixels)

    def alpha_of(self, item: int) -> int | None:
        """Returns the item with an image's transparency."""
        for (name, sender), targets in self.meta.references.items():
            if name == b"auxl" and item in targets:
                kinds = [box for box in self.meta.properties.get(sender, ()) if box.name == b"auxC"]
                if any(self.data[box.begin + 4 : box.end].startswith(_ALPHA) for box in kinds):
                    return sender
        return None

    def size(self, picture: _Picture) -> tuple[int, int]:
        """Returns the size of the decoded image; only HEIC's decoder cuts off what is told to be cut off."""
        crops = [box for box in self.meta.properties.get(self.meta.primary, ()) if box.name == b"clap"]
        if self.codec is not _HEIC or not crops:
            return picture.width, picture.height
        across, unit, down, other = struct.unpack_from(">4I", self.data, crops[0].begin)
        if not unit or not other or not 0 < across // unit <= picture.width or not 0 < down // other <= picture.height:
            raise DamagedFileError("expected a part of a HEIC that lies within it, received another")
        return across // unit, down // other

    def orientation(self) -> int:
        """Returns the orientation, as EXIF would tell it; that of EXIF itself does not count here."""
        turns, axis = 0, None
        for box in self.meta.properties.get(self.meta.primary, ()):
            if box.name == b"irot" and box.end > box.begin:
                turned = self.data[box.begin] & 3
                turns += turned if axis is None else -turned
            elif box.name == b"imir" and box.end > box.begin:
                axis = self.data[box.begin] & 1
        return _ORIENTATIONS[axis][turns % 4]

    def profile(self) -> bytes:
        """Returns the colour profile."""
        for box in self.meta.properties.get(self.meta.primary, ()):
            if box.name == b"colr" and self.data[box.begin : box.begin + 4] in _PROFILES:
                return rgb_profile(self.data[box.begin + 4 : box.end])
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
        if any(self.meta.kinds.get(tile) != self.codec.item for tile in tiles):
            raise DamagedFileError(f"expected tiles of the kind {self.codec.item!r}, received others")
        made: list[tuple[Item, int]] = []
        for place, tile in enumerate(tiles, number):
            piece = self._content(tile)
            made.append((Item(place, self.codec.item, piece, self._kept(tile)), self._pixels(tile, piece)))
        return made

    def _size(self, item: int) -> tuple[int, int]:
        width, height = struct.unpack_from(">II", self.data, self.meta.find(item, b"ispe").begin + 4)
        return width, height

    def _content(self, item: int) -> bytes:
        """Returns the bytes of an item; those of all items together are no more than the file has."""
        places = self.meta.places.get(item, [])
        self._bytes += sum(length for _, length in places)
        if not places or any(begin + length > len(self.data) for begin, length in places):
            raise DamagedFileError("expected a whole container, received one that ends within an image or has none")
        if self._bytes > len(self.data):
            raise DamagedFileError("expected bytes of its own for each part of an image, received some used again")
        return b"".join(self.data[begin : begin + length] for begin, length in places)

    def _pixels(self, item: int, content: bytes) -> int:
        """Returns the pixels of a coded image: as told in the container or within, whichever is more."""
        config = self.meta.find(item, self.codec.config)
        stream = self.codec.coded_pixels(self.data[config.begin : config.end], content)
        self._units += stream.units
        count_parts(self._units, "units of an image's streams")
        self._pixel_bytes = max(self._pixel_bytes, stream.pixel_bytes)
        width, height = self._size(item)
        return max(width * height, stream.pixels)

    def _kept(self, item: int) -> list[Box]:
        names = _KEPT | {self.codec.config} | ({b"clap"} if self.codec is _HEIC else set())
        return [
            box for box in self.meta.properties.get(item, ())
            if box.name in names or (box.name == b"colr" and self.data[box.begin : box.begin + 4] == b"nclx")
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
    items, pixels = picture.items, picture.pixels
    references: list[tuple[bytes, int, int]] = []
    decoded_bytes = pixels * (_OTHER_BYTES + reader.pixel_bytes)
    alpha_item = reader.alpha_of(primary)
    if alpha_item is not None:
        alpha = reader.picture(alpha_item, 1 + len(items))
        number = alpha.items[0].number
        references = [(b"auxl", number, 1)]
        if alpha_item in reader.meta.references.get((b"prem", primary), ()):
            references.append((b"prem", 1, number))
        items, pixels = items + alpha.items, max(pixels, alpha.pixels)
        decoded_bytes = pixels * (_OTHER_BYTES_WITH_ALPHA + 4 / 3 * reader.pixel_bytes)
    width, height = reader.size(picture)
    return Header(
        format=codec.name, width=width, height=height, largest_pixels=pixels, orientation=reader.orientation(),
        decoded_bytes=int(decoded_bytes),
        decode_seconds=pixels * codec.seconds_per_pixel * (1 if alpha_item is None else 2),
        data=write_still(data, codec.brand, items, references), profile=reader.profile(),
    )  # fmt: skip
