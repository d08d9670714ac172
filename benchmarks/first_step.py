"""One program of `start_up.py`: `python first_step.py NAME` takes one step and prints when it was done, by the monotonic clock.

The MLP 32-64-64-10, 2,048 rows, AdamW, batch 32, as a user of each library writes it, with what a user need not have switched off:
logger, bar, checkpoints. Nothing is imported that the program does not need. Runs in our environment or in one of `.peers/`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Any

ROWS, BATCH, LR, DECAY = 2048, 32, 1e-3, 0.01
done: list[float] = []


def step_done(*_: object, **__: object) -> None:
    """The first step is over."""
    done.append(time.monotonic())


def rows() -> tuple[Any, Any]:
    """x and y for a program on torch."""
    import torch

    return torch.randn(ROWS, 32), torch.randint(10, (ROWS,))


def arrays() -> tuple[Any, Any]:
    """x and y for one that is not."""
    import numpy as np

    chance = np.random.default_rng(0)
    return chance.standard_normal((ROWS, 32)).astype("float32"), chance.integers(10, size=ROWS)


def mlp() -> Any:
    """The model, of torch."""
    from torch import nn

    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def torch() -> None:
    """Only imported."""
    import torch  # noqa: F401

    step_done()


def raw() -> None:
    """A hand-written step with torch.optim.AdamW."""
    import torch

    x, y = rows()
    model = mlp()
    update = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    index = torch.randperm(ROWS)[:BATCH]
    torch.nn.functional.cross_entropy(model(x[index]), y[index]).backward()
    update.step()
    step_done()


def ours(folder: str | None = None) -> None:
    """`gradlearn.fit`."""
    import gradlearn

    gradlearn.fit(mlp(), rows(), valid=None, steps=1, batch=BATCH, update="adamw", lr=LR, run=folder, show=step_done)


def ours_folder() -> None:
    """`gradlearn.fit` with a run folder."""
    ours(tempfile.mkdtemp(prefix="first-step-", dir=os.environ["RUNS"]) + "/run")


def lightning() -> None:
    """Lightning, minimal."""
    import lightning as pl
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = mlp()

        def training_step(self, batch: Any, _: int) -> Any:
            return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=DECAY)

    class Stamp(pl.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            step_done()

    off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
    trainer = pl.Trainer(max_steps=1, accelerator="cpu", devices=1, callbacks=[Stamp()], **off)
    trainer.fit(Module(), DataLoader(TensorDataset(*rows()), batch_size=BATCH, shuffle=True))


def skorch() -> None:
    """skorch without callbacks and validation: an epoch of one batch."""
    import torch
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        mlp(),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        max_epochs=1,
        batch_size=BATCH,
        train_split=None,
        callbacks="disable",
        verbose=0,
    )
    x, y = rows()
    net.fit(x[:BATCH], y[:BATCH])
    step_done()


def transformers() -> None:
    """The Trainer of transformers, minimal."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Stamp(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            step_done()

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = mlp()

        def forward(self, x: Any, labels: Any) -> Any:
            outputs = self.model(x)
            return {"loss": torch.nn.functional.cross_entropy(outputs, labels), "logits": outputs}

    x, y = rows()
    items = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    options: dict[str, Any] = {"report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
    options |= {"per_device_train_batch_size": BATCH, "max_steps": 1, "learning_rate": LR, "weight_decay": DECAY, "use_cpu": True}
    given = TrainingArguments(output_dir=tempfile.mkdtemp(dir=os.environ["RUNS"]), **options)
    Trainer(model=Model(), args=given, train_dataset=items, callbacks=[Stamp()]).train()


def keras() -> None:
    """Keras on the backend of the environment: a fit of one batch."""
    import keras

    k = keras.layers
    net = keras.Sequential([k.Dense(64, activation="relu"), k.Dense(64, activation="relu"), k.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer=keras.optimizers.AdamW(LR, weight_decay=DECAY), loss=loss)
    x, y = arrays()
    net.fit(x[:BATCH], y[:BATCH], batch_size=BATCH, epochs=1, verbose=0)
    step_done()


def sklearn() -> None:
    """scikit-learn: a fit of one batch."""
    from sklearn.neural_network import MLPClassifier

    x, y = arrays()
    MLPClassifier((64, 64), batch_size=BATCH).partial_fit(x[:BATCH], y[:BATCH], classes=range(10))
    step_done()


PROGRAMS = {f.__name__: f for f in (torch, raw, ours, ours_folder, lightning, skorch, transformers, keras, sklearn)}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
    print(done[0], file=sys.__stdout__)
