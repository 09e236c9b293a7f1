"""Random crops, flips and colours of a whole batch at once, on its device.

Random numbers are drawn for all n images of a batch, then only its `part` (a slice) is augmented: ranks that share a batch
together see the same images, whatever their number.
"""

import math

import torch
from torchvision.ops import roi_align

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of torchvision's RandomResizedCrop
BRIGHTNESS, SATURATION = 32 / 255, 0.5     # largest change of the factor, as released for ImageNet


def shifted(images, indices, padding, flip, generator, part):
    """Crops (b, H, W, C) uint8 at random offsets of at most `padding` pixels, black outside, half of them mirrored.

    One gather from all `images` (m, H, W, C) crops, flips and leaves channels_last order.
    """
    n, (_, height, width, _), device = len(indices), images.shape, images.device
    offset = torch.randint(-padding, padding + 1, (2, n, 1), generator=generator, device=device)
    mirrored = coin(n, flip, generator, device)[part, None]
    indices, offset = indices[part], offset[:, part]
    rows = torch.arange(height, device=device) + offset[0]                # (b, H), in the source image
    columns = torch.arange(width, device=device) + offset[1]              # (b, W)
    columns = torch.where(mirrored, columns.flip(1), columns)
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    crops = images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]  # (b, H, W, C)
    return crops * inside[..., None]                                      # black outside, as in torchvision's RandomCrop


def resized(images, indices, crop, flip, generator, part):
    """Random boxes of square `images` (m, S, S, C), resized to (b, crop, crop, C) float; half of them are mirrored.

    RoIAlign takes all boxes in one call; it averages bilinear samples of every pixel's cell, at least one per source pixel.
    """
    n, side, device = len(indices), images.shape[1], images.device
    corners = boxes(n, side, generator, device)[part]
    mirrored = coin(n, flip, generator, device)[part, None, None, None]
    source = images[indices[part]].permute(0, 3, 1, 2).float()            # (b, C, S, S)
    number = torch.arange(len(source), device=device)[:, None]            # box i is one of image i
    crops = roi_align(source, torch.cat([number, corners], 1), crop, aligned=True)
    crops = torch.where(mirrored, crops.flip(3), crops)
    return crops.permute(0, 2, 3, 1).contiguous()


def boxes(n, side, generator, device):
    """(n, 4) whole numbers x₁, y₁, x₂, y₂ in a side × side image, drawn as RandomResizedCrop does.

    Area and aspect ratio are drawn ten times; the first box that fits counts, else the whole image.
    """
    area, ratio = torch.rand(2, 10, n, generator=generator, device=device)
    area = side * side * (AREA[0] + area * (AREA[1] - AREA[0]))
    ratio = torch.exp(math.log(RATIO[0]) + ratio * math.log(RATIO[1] / RATIO[0]))
    sizes = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()]).round().clamp(min=1)  # (2, 10, n): widths, heights
    fits = (sizes <= side).all(0)
    first = fits.int().argmax(0).expand(2, 1, n)
    size = torch.where(fits.any(0), sizes.gather(1, first)[:, 0], side)   # (2, n)
    free = side - size
    corner = (torch.rand(2, n, generator=generator, device=device) * (free + 1)).floor().minimum(free)
    return torch.cat([corner, corner + size]).T


def color_jittered(pixels, n, generator, part):
    """Pixels (b, H, W, 3) of 0 … 255 with brightness, then saturation changed by a random factor per image."""
    change = torch.rand(2, n, 1, 1, 1, generator=generator, device=pixels.device)[:, part] * 2 - 1
    brightness, saturation = 1 + BRIGHTNESS * change[0], 1 + SATURATION * change[1]
    return saturated((pixels.float() * brightness).clamp(0, 255), saturation)


def saturated(pixels, factor):
    """Grey + factor · (pixels − grey), kept in 0 … 255."""
    red, green, blue = pixels.unbind(-1)
    grey = (0.2989 * red + 0.587 * green + 0.114 * blue)[..., None]       # ITU-R 601-2 luma, as in torchvision
    return torch.lerp(grey, pixels, factor).clamp(0, 255)


def coin(n, wanted, generator, device):
    """(n,) booleans, each True with probability ½; unless wanted all are False and nothing is drawn."""
    if not wanted:
        return torch.zeros(n, dtype=torch.bool, device=device)
    return torch.rand(n, generator=generator, device=device) < 0.5
