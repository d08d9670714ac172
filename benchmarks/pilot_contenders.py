"""One loop of `pilot_loops.py` in a process of its own: `python pilot_contenders.py NAME DATA`, answering JSON lines.

Every loop trains the same MLP 64-128-128-10 on the same digits against soft targets: 600 steps of 32, AdamW, a rate that rises
over 30 steps and falls in a straight line to zero. A fault is done to a batch, the rate or the optimizer at step 250, in the same
way in each. A request is {"fault", "seed", "pilot"}; the answer is the cross-entropy on validation data, what was done, seconds.
Runs in our environment (`ours`, `plain`), `.peers/torch` (`lightning`) and `.peers/transformers` (`transformers`).
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before torch is imported: one thread, and stdout is for answers only
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

import numpy as np
import torch
from torch import Tensor, nn

STEPS, BATCH, AT, RATE = 600, 32, 250, 3e-3
FAULTS = ("none", "NaN example", "infinite target", "batch x 1e4", "rate x 100", "flipped labels", "noise in state", "NaN in state")


class Fault:
    """What goes wrong, and when: told of each step before its batch is used."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.chance = name, torch.Generator().manual_seed(1000 + seed)

    def batch(self, t: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The batch of step t, (n, 64) and (n, 10), as the loop gets it."""
        x, y = x.clone(), y.clone()
        if self.name == "NaN example" and t in (AT, AT + 1, AT + 50):
            x[3] = float("nan")
        if self.name == "infinite target" and t in (AT, AT + 1, AT + 50):
            y[3, 0] = float("inf")
        if self.name == "batch x 1e4" and t == AT:
            x *= 1e4
        if self.name == "flipped labels" and AT <= t < AT + 20:
            y = y.roll(1, dims=1)
        return x, y

    def optimizer(self, t: int, optimizer: torch.optim.Optimizer, rate: str = "lr") -> None:
        """What is done to the optimizer before step t; `rate` is the key of a group that its schedule has just set."""
        if self.name == "rate x 100" and AT <= t < AT + 20 and (rate == "lr" or t == AT):
            for group in optimizer.param_groups:
                group[rate] *= 100.0
        if self.name == "rate x 100" and rate != "lr" and t == AT + 20:
            for group in optimizer.param_groups:
                group[rate] /= 100.0
        if self.name in ("noise in state", "NaN in state") and t == AT:
            for state in optimizer.state.values():
                if self.name == "NaN in state":
                    state["exp_avg_sq"].view(-1)[0] = float("nan")
                else:
                    state["exp_avg"].copy_(torch.randn(state["exp_avg"].shape, generator=self.chance))


def network(seed: int) -> nn.Sequential:
    """The MLP, drawn from the seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of every foreign loop."""
    return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, fused=True)


def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
    """Up over 30 steps, then straight to zero."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min((t + 1) / 30, 1.0) * max(STEPS - t, 0) / STEPS)


def batches(x: Tensor, y: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """STEPS batches, a new order each pass."""
    chance, order = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.long)
    for _ in range(STEPS):
        if len(order) < BATCH:
            order = torch.randperm(len(x), generator=chance)
        yield x[order[:BATCH]], y[order[:BATCH]]
        order = order[BATCH:]


Data = dict[str, Tensor]
Told = tuple[nn.Module, list[str]]


def named(findings: Any, actions: Any) -> list[str]:
    """What was found and done, in short."""
    return [f"{f.t} {f.name}" for f in findings] + [f"{a.t} {a.name} {a.dial}".strip() for a in actions]


def ours(data: Data, fault: Fault, seed: int, pilot: bool) -> Told:
    """Our own loop, remedies on or off; the fault gets in through its data and the update's own groups."""
    from gradlearn.learn import planned, task_of
    from gradlearn.loop import keep_shown, train
    from gradlearn.plan import Plan
    from gradlearn.symbols import Batch

    model = network(seed)
    user = {"steps": STEPS, "batch": BATCH, "update": "adamw", "lr": RATE, "adamw.weight_decay": 0.01, "rate": ["warmup", "linear"]}
    user |= {"seed": seed, "compile": "off"} | ({} if pilot else {"act": False})
    task = task_of(model, (data["x"], data["y"]), nn.CrossEntropyLoss(), None, user, None, seed)
    d, _ = planned(task, Plan(user), 0.0)
    clean = d.data

    class Hurt:
        def __len__(self) -> int:
            return len(clean)

        def __call__(self, index: Tensor, draw: int) -> Batch:
            found = clean(index, draw)
            x, y = fault.batch(d.t, found.x, found.y)
            return Batch(x, y, found.index, found.draw)

    d.data = Hurt()
    for step in train(d):
        with torch.no_grad():
            fault.optimizer(step.t + 1, d.update, "initial_lr")  # pyright: ignore[reportArgumentType]
    keep_shown(d)
    d.theta.release()
    return model, named(d.history.findings, d.history.actions)


def plain(data: Data, fault: Fault, seed: int, pilot: bool) -> Told:
    """A loop as people write them."""
    from gradlearn import Pilot

    model = network(seed)
    optimizer = adamw(model)
    scheduler = schedule(optimizer)
    watch = Pilot(model, optimizer) if pilot else None
    for t, (x, y) in enumerate(batches(data["x"], data["y"], seed)):
        x, y = fault.batch(t, x, y)
        with torch.no_grad():
            fault.optimizer(t, optimizer)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if watch is not None:
            watch.see(loss)
        optimizer.step()
        scheduler.step()
    return model, named(watch.findings, watch.actions) if watch else []


def with_lightning(data: Data, fault: Fault, seed: int, pilot: bool) -> Told:
    """A LightningModule with automatic optimisation."""
    import lightning as L

    from gradlearn import Pilot

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.watch = network(seed), None

        def configure_optimizers(self) -> Any:
            optimizer = adamw(self.net)
            self.watch = Pilot(self.net, optimizer) if pilot else None
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule(optimizer), "interval": "step"}}

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            with torch.no_grad():
                fault.optimizer(batch_idx, self.optimizers().optimizer)  # pyright: ignore[reportAttributeAccessIssue]

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = fault.batch(batch_idx, *batch)
            loss = nn.functional.cross_entropy(self.net(x), y)
            if self.watch is not None:
                self.watch.see(loss)
            return loss

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module, found = Module(), list(batches(data["x"], data["y"], seed))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", gradient_clip_val=None, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(found, batch_size=None))  # pyright: ignore[reportArgumentType]
    watch = module.watch
    return module.net, named(watch.findings, watch.actions) if watch else []


def with_transformers(data: Data, fault: Fault, seed: int, pilot: bool) -> Told:
    """The Trainer of transformers, its `compute_loss` our own."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    from gradlearn import Pilot

    model = network(seed)
    optimizer = adamw(model)
    watch = Pilot(model, optimizer) if pilot else None
    found = [{"x": x, "y": y} for x, y in batches(data["x"], data["y"], seed)]

    class Own(Trainer):
        t = 0

        def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            with torch.no_grad():
                fault.optimizer(self.t, optimizer)
            x, y = fault.batch(self.t, inputs["x"], inputs["y"])
            self.t += 1
            loss = nn.functional.cross_entropy(model(x), y)
            if watch is not None:
                watch.see(loss)
            return loss

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(found, batch_size=None)  # pyright: ignore[reportArgumentType]

    with tempfile.TemporaryDirectory() as folder:
        quiet = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"}
        arguments = TrainingArguments(folder, max_steps=STEPS, max_grad_norm=0.0, use_cpu=True, seed=seed, **quiet)
        trainer = Own(model, arguments, optimizers=(optimizer, schedule(optimizer)), train_dataset=found)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model, named(watch.findings, watch.actions) if watch else []


LOOPS: dict[str, Callable[[Data, Fault, int, bool], Told]] = {
    "ours": ours,
    "plain": plain,
    "lightning": with_lightning,
    "transformers": with_transformers,
}


def main() -> None:
    """Answer requests until stdin ends."""
    torch.set_num_threads(1)
    logging.getLogger("gradlearn.pilot").setLevel(logging.CRITICAL)
    arrays = np.load(Path(os.environ["PILOT_DATA"]))
    data = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    for line in sys.stdin:
        request = json.loads(line)
        begin = time.perf_counter()
        fault = Fault(request["fault"], request["seed"])
        model, done = LOOPS[sys.argv[1]](data, fault, request["seed"], request["pilot"])
        seconds = time.perf_counter() - begin
        model.eval()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(data["valid_x"]), data["valid_y"]).item()
        answers.write(json.dumps({"loss": loss, "done": done, "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
