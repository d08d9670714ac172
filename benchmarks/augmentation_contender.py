"""Augmentations of one batch, in a process of its own: each line names one and a case, answered with its milliseconds.

    augmentation_contender.py NAME      NAME: ours, torchvision, kornia

For `augmentation.py`, which runs it under our interpreter or that of the peers. Ours and torchvision change bytes; kornia changes
numbers in [0, 1], and is given them: what it costs to make them of bytes is not counted. torchvision's transforms make one draw for
all they are given, so each picture is changed by itself, as its own data sets do. Processor time of one thread, the least of a few.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CASES = {"128 x 32 x 32": (128, 32), "32 x 224 x 224": (32, 224)}
CLASSES = 10


def ours(side: int) -> dict[str, Callable[[Tensor, Tensor], Any]]:
    """Our dials."""
    from gradlearn.data.augment import Augment, apply

    dials = {
        "mirror": Augment(mirror=True),
        "crop": Augment(crop=0.65),
        "turn": Augment(rotate=15.0),
        "colour": Augment(colour=0.4),
        "cutout": Augment(cutout=side // 4),
        "trivial": Augment(trivial=True),
        "mixup": Augment(mixup=0.2),
        "cutmix": Augment(cutmix=1.0),
    }
    return {name: lambda x, y, dial=dial: apply(dial, x, y, CLASSES, 7) for name, dial in dials.items()}


def torchvision(side: int) -> dict[str, Callable[[Tensor, Tensor], Any]]:
    """torchvision's transforms v2."""
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    each = {
        "mirror": v2.RandomHorizontalFlip(),
        "crop": v2.RandomResizedCrop(side, scale=(0.35, 1.0), antialias=True),
        "turn": v2.RandomRotation(15, interpolation=bilinear),
        "colour": v2.ColorJitter(0.4, 0.4, 0.4),
        "cutout": v2.RandomErasing(p=1.0, scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0)),
        "trivial": v2.TrivialAugmentWide(),
    }
    made: dict[str, Callable[[Tensor, Tensor], Any]] = {
        name: lambda x, y, change=change: torch.stack([change(one) for one in x]) for name, change in each.items()
    }
    mixup, cutmix = v2.MixUp(alpha=0.2, num_classes=CLASSES), v2.CutMix(alpha=1.0, num_classes=CLASSES)
    made["mixup"] = lambda x, y: mixup(x.float(), y)  # of bytes it refuses
    made["cutmix"] = lambda x, y: cutmix(x, y)
    return made


def kornia(side: int) -> dict[str, Callable[[Tensor, Tensor], Any]]:
    """kornia's augmentations of a batch. Its TrivialAugment takes one change for the whole batch: something else."""
    import kornia.augmentation as k

    each = {
        "mirror": k.RandomHorizontalFlip(),
        "crop": k.RandomResizedCrop((side, side), scale=(0.35, 1.0)),
        "turn": k.RandomRotation(15.0, p=1.0),
        "colour": k.ColorJitter(0.4, 0.4, 0.4, 0.0, p=1.0),
        "cutout": k.RandomErasing(scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0), p=1.0),
    }
    made: dict[str, Callable[[Tensor, Tensor], Any]] = {
        name: lambda x, y, change=change: change(x) for name, change in each.items()
    }
    mixup, cutmix = (kind(p=1.0, data_keys=["input", "class"]) for kind in (k.RandomMixUpV2, k.RandomCutMixV2))
    made["mixup"], made["cutmix"] = lambda x, y: mixup(x, y), lambda x, y: cutmix(x, y)
    return made


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name = sys.argv[1]
    makers = {"ours": ours, "torchvision": torchvision, "kornia": kornia}
    known: dict[str, tuple[dict[str, Callable[[Tensor, Tensor], Any]], Tensor, Tensor]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        case, what = request["case"], request["what"]
        if case not in known:
            n, side = CASES[case]
            pixels = torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8)
            planes = pixels.permute(0, 3, 1, 2).contiguous()
            given = {"ours": pixels, "torchvision": planes, "kornia": planes.float() / 255}[name]
            known[case] = makers[name](side), given, torch.arange(n) % CLASSES
        made, pixels, labels = known[case]
        times = []
        for _ in range(request["times"]):
            begin = time.thread_time()
            made[what](pixels, labels)
            times.append(time.thread_time() - begin)
        print(json.dumps({"ms": 1e3 * min(times)}), flush=True)


if __name__ == "__main__":
    main()
