"""Pilot: the watch and the remedies for a loop that somebody else wrote, around any torch optimizer.

    for x, y in loader:
        loss = loss_fn(model(x), y); optimizer.zero_grad(); loss.backward()
        pilot.see(loss)
        optimizer.step()     # a finite loss and gradient: at lr * rate dial; else blocked, as if the batch had been left out

It hangs on the optimizer's own step hooks, so it works wherever `optimizer.step()` is called: in Lightning, accelerate, the
Trainer of transformers, behind a GradScaler, and with a closure. With nothing wrong every bit is as it would be without it. Not
for a loop of ours, which has all of this; nor for parameters that are sharded over several machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradlearn.connect.foreign import Foreign, inner, norm_of, numbers, rate_of, told, torchs, turn, turn_back
from gradlearn.connect.memory import Buffers, Memory, remember
from gradlearn.connect.steering import Steering
from gradlearn.errors import InputTrouble, NumericsTrouble
from gradlearn.step import shrinking
from gradlearn.symbols import Action, Finding, History, Step


@dataclass(slots=True)
class Now:
    """What is known of the step that is being taken."""

    rates: list[tuple[dict[str, Any], Any, Any]]
    kept: Memory | None = None  # as it was before the step, where it may have to be taken back
    looks: int = 0  # how often loss and gradient were evaluated
    told: bool = False  # whether anybody said what the loss is
    loss: float = float("nan")
    norm: float = 0.0
    blocked: bool = False
    passed: bool = False  # a scaler leaves this step out
    late: bool = False  # parameters had moved before the loss was evaluated
    grads: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # taken away from the parameters for this step
    index: Tensor | None = None


class Pilot:
    """Watches, blocks, rewinds, cools and explains a training loop of somebody else's.

    Args:
        model: the module that is trained; its names, its buffers.
        optimizer: any torch optimizer, or accelerate's or Lightning's around one. One Pilot for each optimizer.
        act: whether remedies act. A step that is not finite is blocked in any case.
        without: names of checks and remedies to leave out.
        data: the training data as (x, y), a Dataset or a DataLoader, for checks that look at data.
        loss: with `data`, for checks that look at losses of their own choice: "cross_entropy", "mse", or as for `fit`.
        snapshot: steps between two copies of model and optimizer in memory, of which three are kept; 0: none, and no rewind.
        steps: how many the loop will take, if that is known.
        stop: "hold": once it is hopeless the last good weights stay and `stopped` is true; "raise": NumericsTrouble besides.
        also: what else is kept and rewound, by its state_dict and load_state_dict: a GradScaler, an average of the weights.

    Raises:
        InputTrouble: no torch optimizer, an unknown name in `without`, an option out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        act: bool = True,
        without: Iterable[str] = (),
        data: Any = None,
        loss: Any = None,
        snapshot: int = 50,
        steps: int = 0,
        stop: str = "hold",
        also: Sequence[Any] = (),
    ) -> None:
        self.optimizer = inner(optimizer)
        if not isinstance(self.optimizer, Optimizer) or not isinstance(model, nn.Module):
            kinds = f"{type(model).__name__} and {type(optimizer).__name__}"
            raise InputTrouble(f"Pilot: expected an nn.Module and a torch optimizer, got {kinds}")
        if stop not in ("hold", "raise") or snapshot < 0:
            raise InputTrouble(f"Pilot: stop={stop!r}, snapshot={snapshot}: expected 'hold' or 'raise', and at least 0 steps")
        self.stop = stop
        self.theta = Foreign(model, self.optimizer)
        objective = told(model, data, loss, steps)
        self.steering = Steering(self.theta, objective, act, tuple(without), snapshot, steps, also)
        self.skipped = 0  # losses that no step followed: a scaler left them out
        self._seen: list[Tensor | float] = []
        self._examples: list[int] = []
        self._depth, self._evaluating = 0, False
        self._now: Now | None = None
        self._several: bool | None = None  # whether a step evaluates its closure more than once; None: not known yet
        self._buffers = Buffers(self.theta)
        self._time = time.perf_counter()
        self._hooks = [
            self.optimizer.register_step_pre_hook(self._before),
            self.optimizer.register_step_post_hook(self._after),
        ]

    def see(self, loss: Tensor | float, examples: Any = None) -> None:
        """The loss of this batch, any time before the optimizer steps; of several, the mean. Ignored where gradients are off.

        Args:
            loss: (), or anything with a mean.
            examples: (n,) which examples these were, to be named if they do harm.

        Raises:
            InputTrouble: neither tensor nor number.
        """
        if not torch.is_grad_enabled():
            return  # somebody scores
        if self._depth and not self._evaluating:
            self._settle()  # the last step ended in an exception
        if isinstance(loss, Tensor):
            self._seen.append(loss.detach().mean() if loss.ndim else loss.detach())
        elif isinstance(loss, (int, float)):
            self._seen.append(float(loss))
        else:
            raise InputTrouble(f"Pilot.see: expected a tensor or a number, got {type(loss).__name__}")
        if examples is not None:
            self._examples += torch.as_tensor(examples).reshape(-1).tolist()

    @property
    def history(self) -> History:
        """Loss, gradient norm and rate of every step; no scores, nobody told us."""
        return self.steering.history

    @property
    def findings(self) -> list[Finding]:
        """What the watch saw."""
        return self.history.findings

    @property
    def actions(self) -> list[Action]:
        """What was done about it."""
        return self.history.actions

    @property
    def stopped(self) -> bool:
        """Whether it has given up on the run: every further step is blocked."""
        return self.steering.controls.stop >= 0

    def explain(self) -> str:
        """The account so far, in a few sentences."""
        from gradlearn.connect.account import paragraph

        return paragraph(self)

    def detach(self) -> None:
        """Take every hook away and forget the copies; the loop goes on as if there had never been a Pilot."""
        self._settle()
        for hook in self._hooks:
            hook.remove()
        self.steering.ring.clear()

    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        self._depth += 1
        if self._depth > 1:
            return None  # a step within a step: a class that calls the step of the one it is made from
        now = self._now = Now(turn(optimizer, self.steering.controls.rate))
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._look(now, None)
            return None
        if self._several is None:
            self._several = not torchs(optimizer) or "max_iter" in optimizer.param_groups[0]
        if self._several:
            now.kept = remember(self.steering.t, self.theta, ())
        evaluate = self._looking(now, closure)
        return ((*args[:1], evaluate, *args[2:]), kwargs) if len(args) > 1 else (args, kwargs | {"closure": evaluate})

    def _looking(self, now: Now, closure: Callable[[], Any]) -> Callable[[], Any]:
        """The closure, and a look at what it left in `.grad`, each time the optimizer calls it."""
        versions = [p._version for p in self.theta.params()]

        def evaluate() -> Any:
            now.late = now.late or (now.looks == 0 and versions != [p._version for p in self.theta.params()])
            self._evaluating = True
            try:
                loss = closure()
            finally:
                self._evaluating = False
            self._look(now, loss)
            return loss

        return evaluate

    def _look(self, now: Now, returned: Any) -> None:
        """Loss and gradient are there: note them, and block, clip or copy before anything moves. One transfer, no more."""
        now.looks += 1
        seen, self._seen = self._seen or ([returned] if isinstance(returned, (Tensor, float)) else []), []
        scaled, over = (getattr(self.optimizer, name, None) for name in ("grad_scale", "found_inf"))  # left by a GradScaler
        size, scale, infinite, *losses = numbers([norm_of(self.theta.grads()), scaled, over, *seen])
        if scaled is not None:  # squares of scaled numbers may be too large where the numbers are not
            size = (size if size - size == 0 else norm_of([g.double() for g in self.theta.grads()]).item()) / scale
        good = [x for x in losses if x - x == 0]
        if len(losses) > 1 and good and size - size == 0:  # a loss that is not finite has no finite gradient: not of this step
            self.skipped += len(losses) - len(good)
            losses = good
        told, loss = bool(losses), sum(losses) / len(losses) if losses else float("nan")
        finite = size - size == 0 and (not told or loss - loss == 0)
        if now.looks == 1 or not finite:
            now.told, now.loss, now.norm = told, loss, size
        if now.looks > 1:
            return
        if over is not None and infinite > 0.0 and (not told or loss - loss == 0):
            now.passed = True  # a scale too high, which the scaler lowers: no fault of the run
            return
        if self._examples:
            now.index, self._examples = torch.tensor(self._examples), []
        if not finite or self.stopped or (told and 0.0 < self.steering.controls.most < loss):
            self._block(now)
            return
        self.steering.controls.most = 0.0
        factor = shrinking(self.steering.controls, size)
        if factor < 1.0 and not self._several:
            torch._foreach_mul_(self.theta.grads(), factor)  # pyright: ignore[reportPrivateImportUsage]
        if self.steering.due() and not now.late:
            self.steering.remember(self._buffers.before())
            self.steering.renew()

    def _block(self, now: Now) -> None:
        """Let the optimizer find nothing to do: torch's own pass over parameters without a gradient; others are taken back."""
        now.blocked = True
        self._buffers.mend(self.steering.ring)
        passes = torchs(self.optimizer)
        if not passes and now.kept is None and not now.late:
            now.kept = remember(self.steering.t, self.theta, ())
        for p in self.theta.params():
            if p.grad is not None:
                now.grads.append((p, p.grad))
                p.grad = None if passes else torch.zeros_like(p.grad)

    def _after(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._depth > 1:
            self._depth -= 1
            return
        now = self._now
        if now is None or now.passed:
            self.skipped += now is not None
            self._settle()
            return
        if now.looks == 0:  # a closure was given and never called: nothing can be blocked any more
            now.norm, now.looks = numbers([norm_of(self.theta.grads())])[0], 1
            self._seen = []
        if now.looks > 1:
            self._check_the_end(now)
        if now.blocked and now.kept is not None:
            now.kept.restore(optimizer)
        self._several = self._several and (now.looks > 1 or now.late or "max_iter" in optimizer.param_groups[0])
        lr = rate_of(optimizer)
        self._settle()
        if not self.stopped:
            self._count(now, lr)

    def _check_the_end(self, now: Now) -> None:
        """An optimizer that evaluates several times may have run into the infinite on its way: then its step is taken back."""
        if now.kept is None or now.blocked:
            return
        searched = any(group.get("line_search_fn") for group in self.optimizer.param_groups)
        last = now.norm + (now.loss if now.told else 0.0)
        lost = last - last != 0
        if (lost and not searched) or not remember(self.steering.t, self.theta, ()).finite():
            now.blocked, now.norm = True, now.norm if lost else float("inf")
            self._buffers.mend(self.steering.ring)

    def _count(self, now: Now, lr: float) -> None:
        """One more step is done."""
        end, data, t = time.perf_counter(), self.steering.objective.given, self.steering.t
        n = 1 if now.index is None else len(now.index)
        epoch = (t + 1) * n / len(data) if data is not None and now.index is not None else 0.0
        step = Step(t, now.loss, now.norm, lr, n, epoch, not now.blocked, end - self._time, now.index)
        self._time = end
        if self.steering.count(step, now.told or now.blocked) or not now.blocked:
            self._buffers.note(t % 100 == 0)
        if self.stopped and self.stop == "raise":
            raise NumericsTrouble(self.actions[-1].why)

    def _settle(self) -> None:
        """Gradients and rates are again what the loop thinks they are."""
        now, self._now, self._depth = self._now, None, 0
        if now is not None:
            for p, grad in now.grads:
                p.grad = grad
            turn_back(now.rates)
