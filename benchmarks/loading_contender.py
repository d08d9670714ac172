"""One way to load photographs for training, in a process of its own: each line asks for an epoch, answered with its seconds.

    loading_contender.py NAME      FOLDER in the environment: <class>/<file>.jpg

For `loading.py`, which runs it under our interpreter or that of the peers. All do the same to each picture: decode, random crop of
8 to 100 % scaled to 224 x 224, half of them mirrored, brightness, contrast and saturation within 1 +- 0.4, a batch of 64 as float32
channels-last, its mean taken off. Processor time is that of this process and all of its workers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SIDE, BATCH, COLOUR = 224, 64, 0.4
STORED = (256, 344)  # 500 x 375 with its short side at 256
FOLDER = Path(os.environ["FOLDER"])
MEAN, SCALE = 127.5, 1 / 64

Epoch = Callable[[int], Iterator[Tensor]]


def normal(pixels: Tensor) -> Tensor:
    """(n, c, h, w) uint8 as the first layer of a network wants it."""
    return pixels.float().sub_(MEAN).mul_(SCALE)


def ours(memory: str | None = None) -> Epoch:
    """Decoded once; from then on crops and colours of what is in memory, or in a file."""
    import numpy as np

    from gradlearn import chance
    from gradlearn.data.augment import Augment, apply
    from gradlearn.data.decode import decode
    from gradlearn.data.drawn import PictureData
    from gradlearn.data.images import read

    torch.set_num_threads(2)
    augment = Augment(crop=0.92, mirror=True, colour=COLOUR, size=(SIDE, SIDE))
    kept: list[PictureData] = []
    one = torch.from_numpy(decode(files()[0].read_bytes(), STORED, 3))  # imports what a first picture imports
    apply(augment, one.expand(BATCH, -1, -1, -1), torch.zeros(BATCH, dtype=torch.int64), 1, 0)

    def epoch(number: int) -> Iterator[Tensor]:
        if not kept:
            place = {"memory": 1, "cache": FOLDER.with_suffix(".decoded")} if memory else {}
            pictures = read(FOLDER, size=STORED, valid=1e-9, test=1e-9, **place)
            rows = np.arange(len(pictures), dtype=np.int32)  # all of them: the peers have no others
            kept.append(PictureData(pictures, rows, augment))
        order = torch.from_numpy(chance.permutation(len(kept[0]), 0, "order", number))
        for index in order.split(BATCH):
            yield normal(kept[0](index, chance.key(0, "batch", number, int(index[0]))).x)

    return epoch


def files() -> list[Path]:
    """Every photograph."""
    return sorted(FOLDER.rglob("*.jpg"))


class FromDisk(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Photographs as torchvision's own examples load them: each decoded and changed anew in every epoch."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self.files, self.load = [str(path) for path in files()], load

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        return self.load(self.files[i])


def loader(load: Callable[[str], Any], workers: int, after: Callable[[Tensor], Tensor]) -> Epoch:
    """A DataLoader with processes that stay, and what the process that trains still has to do."""
    torch.set_num_threads(1)
    many = torch.utils.data.DataLoader(FromDisk(load), BATCH, shuffle=True, num_workers=workers, persistent_workers=True)

    def epoch(number: int) -> Iterator[Tensor]:
        for batch in many:
            yield after(batch)

    return epoch


def pillow(workers: int = 2) -> Epoch:
    """torchvision's ImageNet example: Pillow decodes, transforms of Pillow images, numbers made and normalised in the worker."""
    from PIL import Image
    from torchvision import transforms as t

    shape = (t.RandomResizedCrop(SIDE), t.RandomHorizontalFlip())
    change = t.Compose([*shape, t.ColorJitter(COLOUR, COLOUR, COLOUR), t.ToTensor(), t.Normalize([0.5] * 3, [0.25] * 3)])

    def load(path: str) -> Tensor:
        with Image.open(path) as image:
            return change(image.convert("RGB"))

    return loader(load, workers, lambda batch: batch.to(memory_format=torch.channels_last))


def timm(workers: int = 2) -> Epoch:
    """timm's transform for training with the same dials."""
    from PIL import Image
    from timm.data import create_transform

    change = create_transform(SIDE, is_training=True, color_jitter=COLOUR, auto_augment=None, interpolation="bilinear")

    def load(path: str) -> Tensor:
        with Image.open(path) as image:
            return change(image.convert("RGB"))

    return loader(load, workers, lambda batch: batch.to(memory_format=torch.channels_last))


def tensors(workers: int = 2) -> Epoch:
    """torchvision at its fastest: its own decoder, transforms v2 of bytes, numbers made once a batch."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2

    change = v2.Compose(
        [v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip(), v2.ColorJitter(COLOUR, COLOUR, COLOUR)]
    )

    def load(path: str) -> Tensor:
        return change(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))

    return loader(load, workers, lambda batch: normal(batch).to(memory_format=torch.channels_last))


def mixed(workers: int = 2) -> Epoch:
    """Pillow decodes and changes bytes, numbers are made once a batch."""
    from PIL import Image
    from torchvision.transforms import v2

    change = v2.Compose(
        [v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.ColorJitter(COLOUR, COLOUR, COLOUR), v2.PILToTensor()]
    )

    def load(path: str) -> Tensor:
        with Image.open(path) as image:
            return change(image.convert("RGB"))

    return loader(load, workers, lambda batch: normal(batch).to(memory_format=torch.channels_last))


MAKERS: dict[str, Callable[[], Epoch]] = {
    "ours": ours,
    "ours, in a file": lambda: ours("file"),
    "torchvision, Pillow": pillow,
    "timm": timm,
    "torchvision v2, bytes": tensors,
    "torchvision v2, bytes, 3 workers": lambda: tensors(3),
    "torchvision v2, Pillow, bytes": mixed,
}


def processor() -> float:
    """Seconds of processor time of this process and of its workers so far, those that still run included."""
    total, tick = 0.0, os.sysconf("SC_CLK_TCK")
    own = os.getpid()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(process.name) == own or int(fields[1]) == own:
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


def main() -> None:
    epoch = MAKERS[sys.argv[1]]()
    for line in sys.stdin:
        number = json.loads(line)["epoch"]
        cpu, begin, n, shape = processor(), time.perf_counter(), 0, []
        for batch in epoch(number):
            n, shape = n + len(batch), list(batch.shape[1:])
        answer = {"seconds": time.perf_counter() - begin, "processor": processor() - cpu, "pictures": n, "shape": shape}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
