"""Peers that learn CIFAR-10, each by its own best recipe, run by the interpreter of their environment: see `time_to_accuracy.py`.

    python accuracy_contenders.py NAME data.npz SECONDS SEED     prints one JSON line

Each plans as many epochs as fit into SECONDS (an epoch is timed first, and not counted), so that its schedule comes to its end.
Only training counts: reading, building, lr_find, warming up and the score at the end are free. All get pictures as bytes in memory
and the usual augmentation (pad 4 and crop, mirror) on whole batches, channels_last, and half precision wherever that is faster.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
THREADS = len(os.sched_getaffinity(0))


def main() -> None:
    name, path, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    data = np.load(path)
    arrays = [np.ascontiguousarray(data[key]) for key in ("x_train", "y_train", "x_test", "y_test")]
    family, _, model = name.partition(":")
    print(json.dumps({"peer": name, "seed": seed} | FAMILIES[family](model, arrays, seconds, seed)), flush=True)


def torch_model(name: str) -> Any:
    """The network by its name, channels last."""
    import torch
    from torch import nn

    if name == "xresnet18":
        from fastai.vision.models.xresnet import xresnet18

        model = xresnet18(n_out=10)
    elif name == "xresnet18-whole":  # the stem of small pictures: no stride, no pooling
        from fastai.vision.models.xresnet import xresnet18

        model = xresnet18(n_out=10)
        for module in list(model.children())[:3]:
            for conv in module.modules():
                if isinstance(conv, nn.Conv2d):
                    conv.stride = (1, 1)
        model[3] = nn.Identity()
    else:
        import timm

        model = timm.create_model("resnet18", num_classes=10)
        if name == "resnet18-whole":
            model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return model.to(memory_format=torch.channels_last)


def half_pays(model: Any, size: int = 128) -> bool:
    """Whether a training step in bfloat16 is faster here than one in float32."""
    import torch

    x, took = torch.randn(size, 3, 32, 32).contiguous(memory_format=torch.channels_last), {}
    for half in (False, True):
        for _ in range(3):
            begin = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = model(x).float().square().mean()
            loss.backward()
            took[half] = min(took.get(half, 1e9), time.perf_counter() - begin)
    model.zero_grad()
    return took[True] < took[False]


def crops(x: Any) -> Any:
    """Pad 4 and crop, mirror half: a batch (n, 3, 32, 32) of bytes as floats of unit scale."""
    import torch
    import torch.nn.functional as F

    n = len(x)
    wide = F.pad(x, (4, 4, 4, 4))
    down, right = torch.randint(0, 9, (2, n, 1))
    places = torch.arange(32)
    columns = torch.where(torch.rand(n, 1) < 0.5, places.flip(0), places) + right
    moved = wide.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], (places + down)[:, :, None], columns[:, None, :]]
    return scaled(moved.permute(0, 3, 1, 2))


def scaled(x: Any) -> Any:
    """Bytes to floats of unit scale, channels last."""
    import torch

    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return ((x.float() / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)


def accuracy(model: Any, x: Any, y: Any, half: bool) -> float:
    """On test pictures, each scored together with its mirror image, as we do."""
    import torch

    model.eval()
    right = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for a in range(0, len(x), 500):
            z = scaled(x[a : a + 500])
            p = sum(model(v).float().softmax(1) for v in (z, z.flip(3).contiguous(memory_format=torch.channels_last)))
            right += int((p.argmax(1) == y[a : a + 500]).sum())
    return right / len(x)


def tensors(arrays: list[np.ndarray]) -> list[Any]:
    """Pictures by channels, labels as int64."""
    import torch

    x, y, a, b = (torch.from_numpy(array) for array in arrays)
    return [x.permute(0, 3, 1, 2).contiguous(), y.long(), a.permute(0, 3, 1, 2).contiguous(), b.long()]


def planned(twentieth: Callable[[], None], seconds: float) -> tuple[int, float]:
    """(epochs that fit, seconds of one), from a twentieth of an epoch, done once to warm up and once to be timed."""
    twentieth()
    begin = time.perf_counter()
    twentieth()
    took = 20.0 * (time.perf_counter() - begin)
    return max(int(seconds / took), 1), took


def loop(name: str, arrays: list[np.ndarray], seconds: float, seed: int, batch: int = 128, peak: float = 0.1) -> dict[str, Any]:
    """A timm-style loop: SGD with Nesterov momentum, weight decay 5e-4, label smoothing, warm-up and cosine."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    x, y, x_test, y_test = tensors(arrays)
    model = torch_model(name)
    half = half_pays(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=peak, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def steps(order: Any, rate: Callable[[], None] | None = None) -> None:
        model.train()
        for part in order.split(batch):
            if rate is not None:
                rate()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = F.cross_entropy(model(crops(x[part])), y[part], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    kept = {k: v.clone() for k, v in model.state_dict().items()}
    few = torch.arange(len(x) // 20)
    epochs, took = planned(lambda: steps(few), seconds)
    model.load_state_dict(kept)
    optimizer.state.clear()
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=epochs * -(-len(x) // batch) + 1, pct_start=0.2, cycle_momentum=False
    )
    begin = time.perf_counter()
    for _ in range(epochs):
        steps(torch.randperm(len(x)), schedule.step)
    wall = time.perf_counter() - begin
    return {"epochs": epochs, "epoch_s": took, "wall_s": wall, "test": accuracy(model, x_test, y_test, half), "half": half}


def batches_of(x: Any, y: Any, train: bool, batch: int, part: int = 1) -> Any:
    """What fastai takes for a data loader, of tensors: augmented where it trains; of the first 1 / part of them."""
    import torch

    class Batches:
        def __init__(self) -> None:
            self.n, self.device = len(x) // part, torch.device("cpu")
            self.dataset, self.bs = list(range(self.n)), batch

        def __len__(self) -> int:
            return -(-self.n // batch)

        def __iter__(self) -> Any:
            order = torch.randperm(self.n) if train else torch.arange(self.n)
            for rows in order.split(batch):
                yield (crops(x[rows]) if train else scaled(x[rows])), y[rows]

        def to(self, device: Any) -> Any:
            return self

        def one_batch(self) -> Any:
            return next(iter(self))

    return Batches()


def half_precision(half: bool) -> Any:
    """A callback of fastai: forward under autocast, the loss on floats."""
    import torch
    from fastai.callback.core import Callback

    class Half(Callback):
        order = 100

        def before_batch(self) -> None:
            self.context = torch.autocast("cpu", torch.bfloat16, enabled=half)
            self.context.__enter__()

        def after_pred(self) -> None:
            self.context.__exit__(None, None, None)
            self.learn.pred = self.pred.float()

    return Half()


def fastai(name: str, arrays: list[np.ndarray], seconds: float, seed: int, batch: int = 128) -> dict[str, Any]:
    """fastai's own: a Learner with label smoothing, lr_find, fit_one_cycle."""
    import torch
    from fastai.callback.schedule import lr_find  # noqa: F401 - adds Learner.lr_find and fit_one_cycle
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.losses import LabelSmoothingCrossEntropy
    from fastai.torch_core import set_seed

    set_seed(seed)
    torch.set_num_threads(THREADS)
    x, y, x_test, y_test = tensors(arrays)
    model = torch_model(name)
    half = half_pays(model)

    def learner(part: int = 1) -> Any:
        loaders = DataLoaders(batches_of(x, y, True, batch, part), batches_of(x_test[:256], y_test[:256], False, batch))
        return Learner(loaders, model, loss_func=LabelSmoothingCrossEntropy(), cbs=[half_precision(half)], train_bn=True)

    kept = {k: v.clone() for k, v in model.state_dict().items()}
    short = learner(20)
    with short.no_bar(), short.no_logging():
        epochs, took = planned(lambda: short.fit(1, 1e-4), seconds)
        model.load_state_dict(kept)
        whole = learner()
        with whole.no_bar(), whole.no_logging():
            rate = whole.lr_find(show_plot=False).valley
            model.load_state_dict(kept)
            begin = time.perf_counter()
            whole.fit_one_cycle(epochs, max(rate, 1e-3))
            wall = time.perf_counter() - begin
    found = accuracy(model, x_test, y_test, half)
    return {"epochs": epochs, "epoch_s": took, "wall_s": wall, "test": found, "half": half, "lr": float(rate)}


def keras_model(K: Any) -> Any:
    """A ResNet of three stages of two blocks, 32, 64 and 128 channels, as Keras's CIFAR-10 example has."""

    def conv(z: Any, channels: int, stride: int = 1, act: bool = True) -> Any:
        z = K.layers.BatchNormalization()(K.layers.Conv2D(channels, 3, stride, "same", use_bias=False)(z))
        return K.layers.ReLU()(z) if act else z

    inputs = K.Input((32, 32, 3))
    z = conv(inputs, 32)
    for channels, stride in ((32, 1), (64, 2), (128, 2)):
        for k in range(2):
            short = z if stride == 1 or k else K.layers.Conv2D(channels, 1, stride, use_bias=False)(z)
            z = K.layers.ReLU()(short + conv(conv(z, channels, stride if k == 0 else 1), channels, act=False))
    return K.Model(inputs, K.layers.Dense(10, dtype="float32")(K.layers.GlobalAveragePooling2D()(z)))


def keras_crops(K: Any, x: np.ndarray, y: np.ndarray, batch: int, chance: np.random.Generator) -> Any:
    """A PyDataset of batches, padded and cropped, half of them mirrored."""

    class Crops(K.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.order = chance.permutation(len(x))

        def __len__(self) -> int:
            return -(-len(self.order) // batch)

        def __getitem__(self, i: int) -> Any:
            part = self.order[i * batch : (i + 1) * batch]
            n = len(part)
            wide = np.pad(x[part], ((0, 0), (4, 4), (4, 4), (0, 0)))
            down, right = chance.integers(0, 9, (2, n, 1))
            places = np.arange(32)
            columns = np.where(chance.random((n, 1)) < 0.5, places[::-1], places) + right
            moved = wide[np.arange(n)[:, None, None], (places + down)[:, :, None], columns[:, None, :]]
            return moved, np.eye(10, dtype=np.float32)[y[part].astype(np.int64)]

        def on_epoch_end(self) -> None:
            self.order = chance.permutation(self.order)

    return Crops()


def keras(name: str, arrays: list[np.ndarray], seconds: float, seed: int, batch: int = 128) -> dict[str, Any]:
    """Keras 3: its ResNet, AdamW with warm-up and cosine, crops and mirror images."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras as K

    backend = K.backend.backend()
    if backend == "torch":
        import torch

        torch.set_num_threads(THREADS)
    K.utils.set_random_seed(seed)
    x, y, x_test, y_test = arrays
    mean, deviation = np.array(MEAN, np.float32), np.array(DEVIATION, np.float32)
    x, x_test = ((v / np.float32(255) - mean) / deviation for v in (x, x_test))
    chance = np.random.default_rng(seed)
    K.mixed_precision.set_dtype_policy("mixed_bfloat16" if name == "half" else "float32")
    model = keras_model(K)

    def compiled(steps: int) -> None:
        rate = K.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=5e-3, warmup_steps=max(steps // 10, 1))
        loss = K.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        model.compile(K.optimizers.AdamW(rate, weight_decay=0.05), loss)

    kept = model.get_weights()
    compiled(1000)
    few = keras_crops(K, x[: len(x) // 20], y, batch, chance)
    epochs, took = planned(lambda: model.fit(few, epochs=1, verbose=0) and None, seconds)
    model.set_weights(kept)
    compiled(epochs * -(-len(x) // batch))
    begin = time.perf_counter()
    model.fit(keras_crops(K, x, y, batch, chance), epochs=epochs, verbose=0)
    wall = time.perf_counter() - begin
    answers = model.predict(x_test, batch_size=500, verbose=0) + model.predict(x_test[:, :, ::-1], batch_size=500, verbose=0)
    found = float((answers.argmax(1) == y_test).mean())
    return {"epochs": epochs, "epoch_s": took, "wall_s": wall, "test": found, "half": name == "half", "backend": backend}


FAMILIES = {"timm": loop, "fastai": fastai, "keras": keras, "keras-jax": keras}


if __name__ == "__main__":
    main()
