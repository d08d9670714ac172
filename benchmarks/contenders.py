"""One contender of `step_time.py` in a process of its own: `python contenders.py NAME`, answering JSON lines.

Every contender trains the same model on the same tensors, same batch, same memory format, fused AdamW (lr 1e-3,
decay 0.01), one thread, one core; and each answers {"problem": "mlp", "epochs": 2} with the seconds of one whole fit in
a warm process, its steps, and the accuracy on the first 2,048 training rows afterwards (so that all can be seen to have
learned). `raw` is the reference: tensors in memory, a permutation an epoch, `index_select` minibatches, no loss ever
read. `raw_read` also reads the loss at each step, as a loop with a log must. Runs in our environment or `.peers/torch`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before torch is imported: one core, one thread, and stdout is for answers only
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "KERAS_BACKEND": "torch"}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

import torch
from torch import Tensor, nn

Fit = Callable[[nn.Module, Tensor, Tensor, int, int], Callable[[Tensor], Tensor]]
SIZES = {"mlp": (20480, 32), "cnn": (4992, 128)}  # rows, batch
QUICK = {"mlp": (2048, 32), "cnn": (512, 128)}


def problem(name: str, quick: bool) -> tuple[Tensor, Tensor, int]:
    """x, y, batch. mlp: 32 normal columns. cnn: 28 x 28 pictures, a class prototype under noise. Ten classes each."""
    rows, batch = (QUICK if quick else SIZES)[name]
    chance = torch.Generator().manual_seed(0)
    y = torch.randint(10, (rows,), generator=chance)
    shape = (32,) if name == "mlp" else (1, 28, 28)
    x = torch.randn(10, *shape, generator=chance)[y] + 2 * torch.randn(rows, *shape, generator=chance)
    return (x if name == "mlp" else x.contiguous(memory_format=torch.channels_last)), y, batch


class MLP(nn.Sequential):
    """32-64-64-10: 7,000 parameters, a step is dispatch."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class CNN(nn.Sequential):
    """conv 16 - pool - conv 32 - pool - 64 - 10 on 28 x 28: a step is arithmetic. channels_last."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        super().__init__(*layers, nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def raw(model: nn.Module, x: Tensor, y: Tensor, batch: int, epochs: int, read: bool = False) -> Callable:
    """The hand-written loop."""
    update = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    objective = nn.CrossEntropyLoss()
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(y))
        for start in range(0, len(y) - batch + 1, batch):
            index = order[start : start + batch]
            update.zero_grad(set_to_none=True)
            loss = objective(model(x.index_select(0, index)), y.index_select(0, index))
            loss.backward()
            update.step()
            if read:
                loss.item()
    return model


def raw_read(model: nn.Module, x: Tensor, y: Tensor, batch: int, epochs: int) -> Callable:
    """The hand-written loop, reading the loss at each step."""
    return raw(model, x, y, batch, epochs, read=True)


def ours(model: nn.Module, x: Tensor, y: Tensor, batch: int, epochs: int) -> Callable:
    """gradlearn with all of it on: run folder, a log row a step, checks, remedies."""
    import gradlearn

    run = Path(tempfile.mkdtemp(prefix="step-time-", dir=os.environ.get("RUNS"))) / "run"
    gradlearn.fit(
        model,
        (x, y),
        loss="cross_entropy",
        valid=None,
        epochs=epochs,
        batch=batch,
        update="adamw",
        lr=1e-3,
        run=str(run),
    )
    rows = sum(1 for _ in (run / "steps.jsonl").open())
    if rows != epochs * (len(y) // batch):
        raise SystemExit(f"steps.jsonl has {rows} rows, {epochs * (len(y) // batch)} expected")
    return model


def lightning(model: nn.Module, x: Tensor, y: Tensor, batch: int, epochs: int) -> Callable:
    """Lightning, minimal: no logger, bar, checkpoint, summary."""
    import lightning as pl
    from torch.utils.data import DataLoader, TensorDataset

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, rows: tuple[Tensor, Tensor], _: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(rows[0]), rows[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **off)
    trainer.fit(Module(), DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True, drop_last=True))
    return model


def skorch(model: nn.Module, x: Tensor, y: Tensor, batch: int, epochs: int) -> Callable:
    """skorch: callbacks off, no validation split, no prints."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        type(model),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=0.01,
        optimizer__fused=True,
        lr=1e-3,
        max_epochs=epochs,
        batch_size=batch,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        train_split=None,
        callbacks="disable",
        verbose=0,
    )
    net.fit(x, y)
    return net.module_


def keras(model: nn.Module, x: Tensor, y: Tensor, batch: int, epochs: int) -> Callable:
    """Keras 3 on torch, its own layers, NHWC pictures (its default)."""
    import keras
    import numpy as np

    k = keras.layers
    pictures = [k.Conv2D(16, 3, padding="same", activation="relu"), k.MaxPooling2D()]
    pictures += [k.Conv2D(32, 3, padding="same", activation="relu"), k.MaxPooling2D(), k.Flatten()]
    layers = [k.Dense(64, activation="relu"), k.Dense(10)]
    flat = x.ndim == 2
    net = keras.Sequential([k.Dense(64, activation="relu"), *layers] if flat else [*pictures, *layers])
    rows = np.ascontiguousarray((x if flat else x.permute(0, 2, 3, 1)).numpy())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.01), loss=loss)
    net.fit(rows, y.numpy(), batch_size=batch, epochs=epochs, verbose=0, shuffle=True)
    return lambda z: torch.as_tensor(net.predict_on_batch(z.numpy() if flat else z.permute(0, 2, 3, 1).numpy()))


CONTENDERS: dict[str, Fit] = {f.__name__: f for f in (raw, raw_read, ours, lightning, skorch, keras)}


def answer(fit: Fit, request: dict[str, Any]) -> dict[str, Any]:
    """One timed fit from a fresh model; what comes before and after is not timed."""
    x, y, batch = problem(request["problem"], request.get("quick", False))
    if request["epochs"] == 0:  # one step: what a fit costs beside its steps
        x, y = x[:batch], y[:batch]
    torch.manual_seed(0)
    model = MLP() if request["problem"] == "mlp" else CNN()
    gc.collect()
    start = time.perf_counter()
    trained = fit(model, x, y, batch, max(request["epochs"], 1))
    seconds = time.perf_counter() - start
    if isinstance(trained, nn.Module):
        trained.eval()
    with torch.no_grad():
        right = (trained(x[:2048]).argmax(1) == y[:2048]).float().mean().item()
    steps = max(request["epochs"], 1) * (len(y) // batch)
    return {"seconds": seconds, "steps": steps, "accuracy": round(right, 4)}


def main() -> None:
    """Answers requests until stdin ends."""
    torch.set_num_threads(1)
    fit = CONTENDERS[sys.argv[1]]
    for line in sys.stdin:
        answers.write(json.dumps(answer(fit, json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
