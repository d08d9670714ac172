"""A detector from nothing: digits written into made landscapes, with boxes around them as YOLO has them. Prints how good it is
after some seconds on two cores, and draws boxes.png: six pictures that training never saw, with what is found there."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import gradlearn
from gradlearn.cli import run
from gradlearn.found import draw, find_boxes

W, H, MANY, PARTS = 192, 144, 160, {"train": range(120), "val": range(120, 136), "test": range(136, 160)}
CLASSES, SIZES = {0: "zero", 1: "one", 4: "four", 7: "seven"}, (28, 36, 44)
digits, chance = load_digits(), np.random.default_rng(0)
known = np.flatnonzero(np.isin(digits.target, list(CLASSES)))


def landscape() -> Image.Image:
    """Hills under a sky, each time others."""
    small = np.linspace((176, 190, 206), (126, 140, 96), 5)[:, None] + chance.normal(0, 16, (5, 6, 1)) + chance.normal(0, 8, 3)
    return Image.fromarray(small.clip(0, 255).astype(np.uint8)).resize((W, H), Image.Resampling.BICUBIC)


def written(picture: Image.Image) -> list[str]:
    """Write some digits into the picture; a line for each: class, centre, width and height as shares of the picture's sides."""
    lines, taken = [], np.zeros((H, W), bool)
    for _ in range(chance.integers(2, 6)):
        which, side = chance.choice(known), int(chance.choice(SIZES))
        x, y = (int(chance.integers(0, end - side)) for end in (W, H))
        if taken[y : y + side, x : x + side].any():
            continue
        taken[y : y + side, x : x + side] = True
        ink = Image.fromarray((digits.images[which] * 255 / 16).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        picture.paste(tuple(int(v) for v in chance.integers(20, 110, 3)), (x, y), ink)
        rows, columns = np.nonzero(np.asarray(ink) > 60)
        (top, down), (left, right) = ((v.min(), v.max() + 1) for v in (rows, columns))
        box = ((x + (left + right) / 2) / W, (y + (top + down) / 2) / H, (right - left) / W, (down - top) / H)
        lines.append(f"{list(CLASSES).index(digits.target[which])} " + " ".join(f"{v:.6f}" for v in box))
    return lines


for part, rows in PARTS.items():
    for folder in (Path("written/images", part), Path("written/labels", part)):
        folder.mkdir(parents=True)
    for i in rows:
        picture = landscape()
        Path("written/labels", part, f"{i}.txt").write_text("\n".join(written(picture)))
        picture.save(Path("written/images", part, f"{i}.png"))
Path("written/data.yaml").write_text(
    f"train: images/train\nval: images/val\ntest: images/test\nnames: [{', '.join(CLASSES.values())}]\n"
)

told, options = io.StringIO(), {"size": 192, "steps": 400, "batch": 8, "detector.width": 16, "name": "written"}
with contextlib.redirect_stdout(told):
    run(["train", "detect", "written", "--json", *(word for k, v in options.items() for word in (f"--{k}", str(v)))])
score = json.loads(told.getvalue())["score"]["all"]
print(f"after 400 steps mAP50 {score['test_mAP50']:.2f}, mAP {score['test_mAP']:.2f} on {len(PARTS['test'])} pictures never seen")

model = gradlearn.load("runs/written")
page = Image.new("RGB", (3 * W, 2 * H))
for k, i in enumerate(PARTS["test"][:6]):
    picture = next(find_boxes(model, [f"written/images/test/{i}.png"]))
    draw(picture, model.classes, Path(f"found/{i}.png"))
    page.paste(Image.open(f"found/{i}.png"), (k % 3 * W, k // 3 * H))
page.quantize(256).save("boxes.png", optimize=True)
print(f"{sum(1 for _ in Path('found').iterdir())} pictures with what is found in them: boxes.png")
