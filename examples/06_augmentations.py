"""Pictures under each augmentation of `train images`. Prints how far each moves a pixel on average and draws augmentations.png."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from gradlearn.data.augment import Augment, apply

SIDE, MANY, LEFT = 96, 7, 84
DIALS = {
    "shift 6": Augment(shift=6),
    "mirror": Augment(mirror=True),
    "crop 0.65": Augment(crop=0.65),
    "rotate 15": Augment(rotate=15.0),
    "colour 0.4": Augment(colour=0.4),
    "cutout 32": Augment(cutout=32),
    "trivial": Augment(trivial=True),
    "mixup 0.4": Augment(mixup=0.4),
    "cutmix 1.0": Augment(cutmix=1.0),
}


def scene(sky: tuple[int, int, int], wall: tuple[int, int, int], house: bool) -> Image.Image:
    """A house, or a tree, in a meadow."""
    image = Image.new("RGB", (4 * SIDE, 4 * SIDE), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 260, 384, 384), fill=(92, 150, 70))
    draw.ellipse((290, 30, 350, 90), fill=(250, 220, 90))
    if house:
        draw.rectangle((80, 170, 250, 320), fill=wall)
        draw.polygon(((60, 170), (165, 80), (270, 170)), fill=(150, 60, 50))
        draw.rectangle((110, 230, 150, 320), fill=(90, 60, 40))
        draw.rectangle((185, 200, 225, 240), fill=(200, 225, 240))
    else:
        draw.rectangle((160, 200, 195, 330), fill=wall)
        draw.ellipse((85, 60, 270, 240), fill=(50, 110, 60))
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


pictures = [scene((120, 170, 220), (225, 215, 190), True), scene((190, 205, 225), (110, 80, 50), False)]
batch = torch.from_numpy(np.stack([np.asarray(pictures[i % 2]) for i in range(MANY)]))
labels = torch.arange(MANY) % 2

page = Image.new("RGB", (LEFT + MANY * SIDE, len(DIALS) * SIDE), "white")
write = ImageDraw.Draw(page)
for row, (name, dial) in enumerate(DIALS.items()):
    changed, targets = apply(dial, batch, labels, classes=2, draw=152)
    write.text((6, row * SIDE + SIDE // 2 - 6), name, fill="black")
    for column, picture in enumerate(changed.numpy()):
        page.paste(Image.fromarray(picture), (LEFT + column * SIDE, row * SIDE))
    moved = (changed.float() - batch.float()).abs().mean().item()
    print(f"{name:<11} {moved:5.1f} of 255" + (f"   the first is {targets[0, 0]:.0%} a house" if targets.ndim == 2 else ""))
page.quantize(128).save("augmentations.png", optimize=True)
