"""From files to pixels: depth, orientation, transparency; what is refused, and why."""

import os
import pickle
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from proxyless_lite.data import pixels

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)
EXPECTED = np.round(255 * RAMP)


def saved(path, image, **settings):
    image.save(path, **settings)
    return path


# -- depth -------------------------------------------------------------------------------------------------------------


def pgm(path, top):
    path.write_bytes(b"P5 64 64 %d\n" % top + np.round(top * RAMP).astype(">u2").tobytes())
    return path


DEEP = {
    "png": lambda to: saved(to / "x.png", Image.fromarray(np.round(65535 * RAMP).astype(np.uint16))),
    "tif": lambda to: saved(to / "x.tif", Image.fromarray(np.round(65535 * RAMP).astype(np.uint16))),
    "tif, big-endian": lambda to: saved(to / "x.tif", Image.frombytes("I;16B", (64, 64), np.round(65535 * RAMP).astype(">u2").tobytes())),
    "jp2": lambda to: saved(to / "x.jp2", Image.fromarray(np.round(65535 * RAMP).astype(np.uint16))),
    "pgm": lambda to: pgm(to / "x.pgm", 65535),
    "pgm of 12 bits": lambda to: pgm(to / "x.pgm", 4095),
}


@pytest.mark.parametrize("kind", DEEP)
def test_grey_of_more_than_8_bits_keeps_its_brightness(tmp_path, kind):
    found = np.asarray(pixels.read(DEEP[kind](tmp_path)))
    assert found.shape == (64, 64, 3) and np.abs(found - EXPECTED[..., None]).max() <= 1
    assert len(np.unique(found)) > 250


WHITE_IS_ZERO = TiffImagePlugin.ImageFileDirectory_v2()
WHITE_IS_ZERO[262] = 0
UNKNOWN = {
    "float.tif": lambda path: saved(path, Image.fromarray(RAMP.astype(np.float32))),
    "float.pfm": lambda path: saved(path, Image.fromarray(RAMP.astype(np.float32))),
    "int32.tif": lambda path: saved(path, Image.fromarray(np.round(65535 * RAMP).astype(np.int32))),
    "inverted.tif": lambda path: saved(path, Image.fromarray(np.round(65535 * RAMP).astype(np.uint16)), tiffinfo=WHITE_IS_ZERO),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_numbers_of_unknown_range_are_refused_by_name_and_reason(tmp_path, name):
    with pytest.raises(pixels.Unreadable, match=rf"{name} cannot be read \(.*which numbers are black and white is not known") as error:
        pixels.read(UNKNOWN[name](tmp_path / name))
    assert "\n" not in str(error.value) and str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_a_file_that_could_run_a_program_is_not_opened(tmp_path):
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) run\n"
    (tmp_path / "x.png").write_bytes(script)
    with pytest.raises(pixels.Unreadable, match="x.png cannot be read"):
        pixels.read(tmp_path / "x.png")


# -- orientation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_come_upright(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.add.outer(np.arange(48) * 3, np.arange(64)).astype(np.uint8)).convert("RGB")  # no symmetry
    lossless = {"jpg": dict(quality=100, subsampling=0), "webp": dict(lossless=True)}.get(ending, {})
    path = saved(tmp_path / f"x.{ending}", stored, exif=exif, **lossless)
    turned = np.asarray({2: ImageOps.mirror, 3: lambda x: x.rotate(180), 4: ImageOps.flip, 5: lambda x: x.transpose(Image.Transpose.TRANSPOSE),
                         6: lambda x: x.rotate(-90, expand=True), 7: lambda x: x.transpose(Image.Transpose.TRANSVERSE),
                         8: lambda x: x.rotate(90, expand=True)}.get(orientation, lambda x: x)(stored), int)
    found = np.asarray(pixels.read(path), int)
    assert found.shape == turned.shape and np.abs(found - turned).max() <= 2


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGBA", "CMYK", "RGB"])
@pytest.mark.parametrize("orientation, turns", [(6, -1), (8, 1)])
def test_scans_come_upright_whatever_their_colours(tmp_path, mode, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)  # as an uncompressed TIFF, Pillow maps it into memory
    stored = Image.fromarray(257 * grey.astype(np.uint16)) if mode == "I;16" else Image.fromarray(grey).convert("RGB").convert(mode)
    found = np.asarray(pixels.read(saved(tmp_path / "x.tif", stored, exif=exif)))[..., 0]
    assert found.tolist() == np.rot90(np.asarray(stored.convert("RGB"))[..., 0] if mode != "I;16" else grey, turns).tolist()


# -- transparency ------------------------------------------------------------------------------------------------------


def half_transparent(mode):
    """A black image whose left half cannot be seen."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    image.paste((200, 0, 0, 0), (0, 0, 4, 8))  # the colour below is hidden
    return image.convert(mode)


def palette(path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([200, 0, 0, 0, 0, 0])
    image.paste(0, (0, 0, 4, 8))
    return saved(path, image, transparency=0)


def deep(path):
    grey = np.zeros((8, 8), np.uint16)
    grey[:, :4] = 1000
    return saved(path, Image.fromarray(grey), transparency=1000)


TRANSPARENT = {
    "deep.png": deep,
    "rgba.png": lambda path: saved(path, half_transparent("RGBA")),
    "grey.png": lambda path: saved(path, half_transparent("LA")),
    "rgba.webp": lambda path: saved(path, half_transparent("RGBA"), lossless=True),
    "palette.png": palette,
    "palette.gif": palette,
    "one colour.png": lambda path: saved(path, Image.composite(Image.new("RGB", (8, 8), (9, 9, 9)), Image.new("RGB", (8, 8)),
                                                               half_transparent("RGBA").getchannel("A").point(lambda a: 255 - a)), transparency=(9, 9, 9)),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_is_white(tmp_path, name):
    found = np.asarray(pixels.read(TRANSPARENT[name](tmp_path / name)))
    assert (found[:, :4] == 255).all() and (found[:, 4:] == 0).all()


# -- other kinds -------------------------------------------------------------------------------------------------------


COLOUR = Image.new("RGB", (16, 16), (200, 50, 50))


@pytest.mark.parametrize("name, image, settings", [
    ("cmyk.jpg", COLOUR.convert("CMYK"), {}), ("palette.png", COLOUR.quantize(8), {}), ("x.jfif", COLOUR, dict(format="JPEG")),
    ("moving.gif", COLOUR, dict(save_all=True, append_images=[Image.new("RGB", (16, 16))])),
    ("moving.png", COLOUR, dict(save_all=True, append_images=[Image.new("RGB", (16, 16))]))], ids=lambda x: x if isinstance(x, str) else "")
def test_colour_is_kept_in_every_kind(tmp_path, name, image, settings):
    path = saved(tmp_path / name, image, **settings)
    assert np.abs(np.asarray(pixels.read(path), int) - (200, 50, 50)).max() < 6 and path.suffix in pixels.ENDINGS


def test_a_name_that_is_no_unicode_is_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.bmp"
    saved(tmp_path / "x.bmp", COLOUR).rename(os.fsdecode(path))
    assert pixels.read(os.fsdecode(path)).size == (16, 16)


def test_damaged_exif_data_are_a_reason(tmp_path):
    path = saved(tmp_path / "x.jpg", COLOUR, exif=b"Exif\x00\x00MM\x00*" + struct.pack(">I", 8) + b"\xff\xff" + b"\x01\x12" + bytes(3))
    try:
        found = np.asarray(pixels.read(path), int)
    except pixels.Unreadable as error:
        assert "x.jpg cannot be read (" in str(error) and "\n" not in str(error)
    else:
        assert np.abs(found - (200, 50, 50)).max() < 6
