"""From a file to pixels: one place decides how images are read. What cannot be shown to be right is refused by name and reason."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

Image.init()
KINDS = sorted({"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"} & {*Image.OPEN})  # of the others some run programs
ENDINGS = frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in KINDS)
BACKGROUND = (255, 255, 255, 255)  # behind what is transparent
BITS, WHITE_IS_ZERO, SIGNED = 258, 262, 339  # tags of TIFF


class Unreadable(ValueError):
    """A file that is no complete image, or one whose brightness is not known. `path` and `reason` say which and why."""

    def __init__(self, path, reason):
        self.path, self.reason = path, " ".join(str(reason).split())[:150]
        super().__init__(f"image {path} cannot be read ({self.reason}); fix or remove it")

    def __reduce__(self):
        return Unreadable, (self.path, self.reason)


def read(path):
    """The image in a file, RGB: upright as its EXIF data say, 8 bits a channel, what is transparent on white.

    Of an animation it is the first frame. Raises Unreadable.
    """
    try:
        with open(path, "rb") as file, Image.open(file, formats=KINDS) as image:  # of a path, Pillow maps a TIFF, and turns it wrongly
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith(("I", "F")):
                clear, deep = image.info.get("transparency"), image
                image = eight_bits(deep)
                if isinstance(clear, int):
                    image.putalpha(Image.fromarray(np.where(np.asarray(deep) == clear, 0, 255).astype(np.uint8)))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image.convert("RGBA"))
            return image.convert("RGB")
    except Exception as error:  # a damaged file can fail anywhere in Pillow
        raise Unreadable(path, error) from None


def eight_bits(image):
    """A grey image of more than 8 bits as one of 8: its full range is that of its bits. Raises ValueError where that is not known."""
    bits = 16
    if image.format == "TIFF":
        tags = image.tag_v2
        bits = tags.get(BITS, (1,))[0]
        if not image.mode.startswith("I;16") or tags.get(SIGNED, (1,))[0] != 1 or tags.get(WHITE_IS_ZERO) == 0:
            raise ValueError(f"grey of mode {image.mode}, {bits} bits: which numbers are black and white is not known; save it with 8 or 16 bits")
    if image.mode == "F":
        raise ValueError("floating-point grey: which numbers are black and white is not known; save it with 8 or 16 bits")
    grey = np.asarray(image).astype(np.float64)
    return Image.fromarray((grey * (255 / (2 ** bits - 1))).round().astype(np.uint8))


def decode(path, size):
    """One image as (size, size, 3) uint8: the shorter side resized, the centre kept. Raises Unreadable."""
    return fitted(read(path), size)


def fitted(image, size):
    """A PIL image as (size, size, 3) uint8: the shorter side resized, the centre kept."""
    if image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(s * scale)) for s in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image)


def decode_all(files, size):
    """All files as one array (n, size, size, 3) uint8, and an Unreadable for each that cannot be read."""
    images = np.empty((len(files), size, size, 3), np.uint8)

    def store(i):
        images[i] = decode(files.path(i), size)
    return images, failed(files, store)


def failures(files):
    """An Unreadable for each file that cannot be read, found by reading every one."""
    return failed(files, lambda i: read(files.path(i)))


def unreadable(files):
    """Paths of all files that cannot be read."""
    return [error.path for error in failures(files)]


def failed(files, work):
    """What work(i) raises for the files i that are Unreadable; in threads, as Pillow releases the GIL."""
    def attempt(i):
        try:
            work(i)
        except Unreadable as error:
            return error
    with ThreadPoolExecutor() as pool:
        return [error for error in pool.map(attempt, range(len(files))) if error is not None]


def refusal(errors, total):
    """One line that counts the Unreadable ones of `total` images and names the first; "" if there are none."""
    if not errors:
        return ""
    named = ", ".join(f"{error.path} ({error.reason})" for error in errors[:3]) + (", …" if len(errors) > 3 else "")
    return f"{len(errors):,} of {total:,} images cannot be read: {named}; fix or remove {'it' if len(errors) == 1 else 'them'}"
