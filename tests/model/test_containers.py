"""AVIF and HEIC: what is read of the container and of the streams within, what is kept, and what is refused."""

import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from bench.heic import configuration, sequence_parameters
from model.errors import CorruptImageError, ImageTooLargeError
from model.formats import av1, hevc
from model.formats.header import MAX_PARTS, DamagedFileError
from model.formats.heif import MAX_TILES
from model.image import inspect_image, read_image
from tests.fuzz import containers
from tests.fuzz.corpus import SIZE, encoded, picture
from tests.model.heic import HEIC, needs_heic

# Pillow says of damaged metadata that they are.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NAMES = ("AVIF", HEIC)
ORIENTATION = 0x0112


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_its_container_tells(name: str, orientation: int) -> None:
    image = picture(size=(96, 64))
    told = {"orientation": orientation} if name == "HEIF" else {"exif": exif(orientation), "quality": 95}
    data = encoded(image, name, **told)
    header = inspect_image(data)
    found = read_image(data)
    turned = read_image(encoded(image, "PNG", exif=exif(orientation)))
    assert (header.width, header.height, header.orientation) == (96, 64, orientation)
    assert (found.width, found.height) == (turned.width, turned.height)
    assert np.abs(found.pixels.astype(int) - turned.pixels).mean() < 6


@pytest.mark.parametrize("name", NAMES)
def test_transparency_is_laid_over_white(name: str) -> None:
    layer = Image.new("RGBA", (64, 64), (200, 30, 30, 255))
    layer.paste((0, 0, 0, 0), (0, 0, 32, 64))
    pixels = read_image(encoded(layer, name)).pixels.astype(int)
    assert (pixels[:, :90] > 245).all()
    assert np.abs(pixels[:, -90:] - (200, 30, 30)).max() < 12


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", [1, 5])
def test_tiles_are_put_together(name: str, columns: int) -> None:
    tile = encoded(picture(size=(64, 64)), name)
    header = inspect_image(containers.tiled(tile, columns, 2))
    assert (header.width, header.height, header.largest_pixels) == (64 * columns, 128, 64 * columns * 128)
    whole = Image.new("RGB", (64 * columns, 128))
    for place in range(2 * columns):
        whole.paste(picture(size=(64, 64)), (place % columns * 64, place // columns * 64))
    expected = read_image(encoded(whole, "PNG")).pixels
    found = read_image(containers.tiled(tile, columns, 2)).pixels
    assert np.abs(found.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("name", NAMES)
def test_metadata_and_thumbnails_are_left_out(name: str) -> None:
    mark = b"secret-mark"
    plain = encoded(picture(size=(64, 64)), name)
    data = containers.with_others(plain, mark)
    assert mark in data
    assert mark not in inspect_image(data).data
    assert np.array_equal(read_image(data).pixels, read_image(plain).pixels)


def test_an_animation_is_its_still_image() -> None:
    others = [Image.new("RGB", SIZE, "red")]
    data = encoded(picture(), "AVIF", save_all=True, append_images=others, exif=exif(1), xmp=b"secret-mark" * 9)
    header = inspect_image(data)
    assert len(header.data) < len(encoded(picture(), "AVIF")) + 200
    assert np.array_equal(read_image(header.data).pixels, read_image(data).pixels)


@needs_heic
@pytest.mark.parametrize("bits", [10, 12])
def test_a_heic_of_more_bits_is_scaled_to_eight(bits: int) -> None:
    ramp = np.arange(224, dtype=np.uint8)[None, :, None].repeat(224, 0).repeat(3, 2)
    data = encoded(Image.fromarray(ramp), "HEIF", chroma=444, bits=bits)
    assert inspect_image(data).decoded_bytes == int(224 * 224 * (8.5 + 2 * 3))
    assert np.abs(read_image(data).pixels.astype(int) - ramp).max() <= 2


@needs_heic
def test_a_part_of_a_heic_is_cut_out_as_it_tells() -> None:
    # Of an odd size, where the stream has an even one.
    data = encoded(picture(size=(61, 43)), "HEIF")
    assert b"clap" in data
    assert (inspect_image(data).width, read_image(data).height) == (61, 43)


@pytest.mark.parametrize("size", [(1, 1), (61, 43), (4000, 3000), (65536, 65536)])
def test_the_size_of_a_stream_is_read_from_the_stream(size: tuple[int, int]) -> None:
    width, height = size
    assert av1.coded_pixels(b"\x81\0\0\0", containers.av1_sequence(*size)) == (width * height, 1.5, 1)
    blocks = -(-width // 32) * -(-height // 32)
    assert hevc.coded_pixels(configuration(sequence_parameters(*size)), b"") == (blocks * 32**2, 1.5, 1)


def test_the_samples_of_a_stream_are_counted() -> None:
    for chroma, samples in ((400, 1), (420, 1.5), (444, 3)):
        for bits in (8, 10):
            config = configuration(sequence_parameters(64, 64, chroma=chroma, bits=bits))
            assert hevc.coded_pixels(config, b"").pixel_bytes == samples * (1 + (bits > 8))


@pytest.mark.parametrize(("is_resized", "pixels"), [(False, 4100 * 4200), (True, 1 << 26)])
@pytest.mark.parametrize("kind", [3, 6, 7])
def test_only_a_picture_with_a_size_of_its_own_counts_as_large_as_it_can(
    is_resized: bool, pixels: int, kind: int
) -> None:
    stream = containers.av1_sequence(4100, 4200, is_reduced=False, size_bits=13)
    picture = containers.av1_picture(is_resized=is_resized, kind=kind)
    assert av1.coded_pixels(b"\x81\0\0\0", stream + picture).pixels == pixels


def av1_bomb() -> bytes:
    """Returns an AVIF that tells 64x64 pixels, and whose stream has 60000x60000."""
    kind, stream, config = containers.parts_of(encoded(picture(), "AVIF"))
    return containers.still(containers.av1_sequence(60_000, 60_000) + stream, config, (64, 64), kind=kind)


def hevc_bomb() -> bytes:
    kind, stream, _ = containers.parts_of(encoded(picture(), "HEIF"))
    return containers.still(stream, configuration(sequence_parameters(60_000, 60_000)), (64, 64), kind=kind)


def hevc_bomb_within() -> bytes:
    """Returns a HEIC whose stream replaces the parameters that its container has."""
    kind, stream, config = containers.parts_of(encoded(picture(), "HEIF"))
    unit = sequence_parameters(60_000, 60_000)
    length = (config[21] & 3) + 1
    return containers.still(len(unit).to_bytes(length, "big") + unit + stream, config, SIZE, kind=kind)


def told_large(name: str) -> bytes:
    kind, stream, config = containers.parts_of(encoded(picture(), name))
    return containers.still(stream, config, (30_000, 30_000), kind=kind)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(av1_bomb, id="AV1"),
        pytest.param(lambda: told_large("AVIF"), id="told AVIF"),
        pytest.param(hevc_bomb, id="HEVC", marks=needs_heic),
        pytest.param(hevc_bomb_within, id="HEVC within", marks=needs_heic),
        pytest.param(lambda: told_large("HEIF"), id="told HEIC", marks=needs_heic),
    ],
)
def test_a_gigantic_image_is_refused_whichever_place_tells_it(make: Callable[[], bytes]) -> None:
    with pytest.raises(ImageTooLargeError, match="expected at most 50000000 pixels"):
        inspect_image(make())


def test_tiles_larger_than_their_image_count_with_their_own_pixels() -> None:
    tile = encoded(picture(size=(64, 64)), "AVIF")
    kind, stream, config = containers.parts_of(tile)
    large = containers.still(containers.av1_sequence(4000, 3000) + stream, config, (64, 64), kind=kind)
    assert inspect_image(containers.tiled(tile, 2, 2)).largest_pixels == 128 * 128
    assert inspect_image(containers.tiled(large, 2, 2, told=(128, 128))).largest_pixels == 4 * 4000 * 3000


REFUSED: dict[str, tuple[Callable[[str], bytes], str]] = {
    "reused bytes": (lambda name: containers.reused_tiles(picture(size=(64, 64)), name), "received some used again"),
    "too few tiles": (lambda name: containers.tiled(tile_of(name), 3, 3, tiles=8), "expected 9 tiles"),
    "other size": (lambda name: containers.tiled(tile_of(name), 3, 3, told=(500, 10)), "truncated or damaged"),
    "many tiles": (lambda name: containers.tiled(tile_of(name), 31, 30), f"at most {MAX_TILES} tiles"),
    "film": (lambda name: encoded(picture(), name).replace(b"meta", b"moov"), "received a film"),
    "no size": (lambda name: encoded(picture(), name).replace(b"ispe", b"free"), "the property b'ispe'"),
    "no items": (lambda name: encoded(picture(), name).replace(b"iinf", b"free"), "the box b'iinf'"),
    "no configuration": (
        lambda name: encoded(picture(), name).replace(b"av1C", b"free").replace(b"hvcC", b"free"), "the property b",
    ),
    "other kind": (
        lambda name: encoded(picture(), name).replace(b"av01", b"jpeg").replace(b"hvc1", b"jpeg"), "the kind b'jpeg'",
    ),
}  # fmt: skip


def tile_of(name: str) -> bytes:
    return encoded(picture(size=(64, 64)), name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", REFUSED)
def test_a_container_that_breaks_the_rules_is_corrupt_and_says_why(case: str, name: str) -> None:
    make, words = REFUSED[case]
    begun = time.process_time()
    with pytest.raises(CorruptImageError, match=words):
        read_image(make(name))
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("name", NAMES)
def test_the_count_of_boxes_is_bounded(name: str) -> None:
    data = encoded(picture(), name)
    at = data.index(b"meta") - 4
    (size,) = struct.unpack_from(">I", data, at)
    flood = b"\0\0\0\x08free" * (MAX_PARTS + 1)
    made = data[:at] + struct.pack(">I", size + len(flood)) + data[at + 4 : at + size] + flood + data[at + size :]
    with pytest.raises(CorruptImageError, match="boxes of a container"):
        inspect_image(made)


@pytest.mark.parametrize("name", NAMES)
def test_a_container_of_ten_thousand_other_items_costs_one(name: str) -> None:
    plain = encoded(picture(size=(64, 64)), name)
    data = containers.many_items(plain, 5_000)
    begun = time.process_time()
    header = inspect_image(data)
    assert time.process_time() - begun < 1
    assert len(header.data) < len(plain) + 200


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_of_a_stream_are_counted(name: str) -> None:
    kind, stream, config = containers.parts_of(encoded(picture(), name))
    with pytest.raises(CorruptImageError, match="pictures in an item"):
        inspect_image(containers.still(stream * 9, config, SIZE, kind=kind))


def test_a_stream_without_a_size_is_damaged() -> None:
    with pytest.raises(DamagedFileError, match="a sequence header"):
        av1.coded_pixels(b"\x81\0\0\0", b"\x12\0")
    with pytest.raises(DamagedFileError, match="sequence parameters"):
        hevc.coded_pixels(configuration(), b"")


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_of_a_phone_takes_the_memory_that_is_counted(name: str) -> None:
    # 50 tiles of 256x256 pixels, as large as 3.3 megapixels; within the least that may be taken.
    data = containers.tiled(encoded(picture(size=(256, 256)), name), 10, 5)
    header = inspect_image(data)
    assert header.decoded_bytes == 10 * 2560 * 1280
    assert read_image(data, max_pixels=2560 * 1280).width == 2560


@needs_heic
def test_the_largest_photos_of_phones_are_accepted() -> None:
    # 48 megapixels in 4:2:0, from their headers alone.
    config = configuration(sequence_parameters(8064, 6048))
    _, stream, _ = containers.parts_of(encoded(picture(), "HEIF"))
    assert inspect_image(containers.still(stream, config, (8064, 6048), kind=b"hvc1")).width == 8064
