"""READ FIRST. The values that pass between the folders, and their protocols. Everything here is one equation:

    theta  <-  theta  -  eta * u(g),        g ~ grad L_B(theta)

    data -> batches -> objective -> gradient -> update (x rate) -> theta -> average -> watch -> remedy
                                                                   \\-> record -> report

Each arrow hands over ONE frozen value: indices -> Batch -> Losses -> Estimate -> Step -> Finding -> Action. Nothing flows back
but actions; those turn `Controls` (named dials), rewind, or stop. t never goes back.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from gradlearn.theta import Theta

RECENT = 1000  # steps of which is kept what a bound left of their gradients


class Batch(NamedTuple):
    """B: n examples, and the key of every random draw made for them."""

    x: Any  # what the model is called with: a tensor (n, ...), or a tuple or dict of them
    y: Any  # what the loss compares with; None where the task needs none
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] # (n,) int64: which examples of the data
    draw: int = 0  # the same batch with the same draw is the same augmentation, dropout, rollout

    @property
    def n(self) -> int:
        """How many examples."""
        return self.index.shape[0]

    def pieces(self, size: int) -> Iterator[Batch]:
        """The batch in pieces of so many examples, in order; the last may be smaller. 0: in one."""
        step = size or max(self.n, 1)
        for a in range(0, self.n, step):
            yield Batch(_cut(self.x, a, a + step), _cut(self.y, a, a + step), self.index[a : a + step], self.draw)


def _cut(value: Any, a: int, b: int) -> Any:
    """Examples [a, b) of a tensor, or of every tensor in a tuple, list or dict."""
    if isinstance(value, dict):
        return {k: _cut(v, a, b) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_cut(v, a, b) for v in value)
    return value[a:b] if hasattr(value, "shape") else value


class Losses(NamedTuple):
    """L, unreduced: L = sum(total) / sum(count), divided once, in `gradient/`."""

    total: Tensor  # (n,) per example: a sum over its terms (tokens, anchors, outputs)
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] # (n,) how many terms each total has: 1 for classification
    logp: Tensor | None = None  # (n,) log-probability where the example itself was sampled (score function)


class Estimate(NamedTuple):
    """g has been left in `.grad`; this is what is known of it."""

    loss: float  # L_B(theta), before the step
    norm: float  # ||g||_2 over all of theta
    n: int  # examples seen
    suspects: Tensor | None = None  # (k,) where the loss is not finite: the examples whose own loss is not
    variance: float | None = None  # trace of the covariance of one example's gradient, where the estimator knows it
    norms: Tensor | None = None  # (n,) the norm of each example's gradient, likewise
    metric: Tensor | None = None  # (size, size) or (size,) a metric tensor of theta, for natural gradients

    @property
    def finite(self) -> bool:
        """Whether loss and every gradient are finite numbers: the norm of a vector is finite only if each entry is."""
        total = self.loss + self.norm
        return total - total == 0.0


class Now(NamedTuple):
    """When: what schedules, batches and draws may depend on."""

    t: int  # this step, from 0; never goes back
    T: int  # steps in the whole run
    seen: int  # examples consumed before this step
    seed: int
    round: int = 0  # how often `collect` has been called
    batch: int = 0  # examples in a batch as the dial says; 0 = what the plan chose

    @property
    def share(self) -> float:
        """Share of the run that is over at the middle of this step: in (0, 1)."""
        return (self.t + 0.5) / max(self.T, 1)


class Step(NamedTuple):
    """One step of the equation, done. A row of steps.jsonl."""

    t: int
    loss: float
    norm: float
    lr: float  # eta of the first group of parameters
    n: int
    epoch: float  # passes over the training data when the step is over
    applied: bool  # False: loss or gradient was not finite, or the loss above `Controls.most`; theta is as it was
    seconds: float  # wall time of this step; the one field that differs between two equal runs
    index: Tensor | None = None  # pyright: ignore[reportIncompatibleMethodOverride] # (n,) which examples, of a blocked step the suspects; not logged

    @property
    def finite(self) -> bool:
        """Whether loss and norm are numbers; a step that was not applied although they are was left out for its loss."""
        return (self.loss + self.norm) - (self.loss + self.norm) == 0.0


class Score(NamedTuple):
    """How good a model is on data: one main number, and all the others by name."""

    name: str
    higher: bool  # whether higher is better
    value: float
    all: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a health check has to say. A row of findings.jsonl."""

    t: int
    name: str  # of the closed vocabulary: healthy, diverged, non-finite, ...
    level: str  # "info", "warn" or "alarm"
    what: str  # one sentence with its numbers
    why: str  # the likely cause
    remedy: str  # what was done or what to type
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """What is done about a finding. A row of actions.jsonl; replayed on resume where a clock decided it."""

    t: int
    name: str  # skip, clip, rewind, guard, spare, restore, turn, recover, revert, warm, restart, settle, escape, finish, keep, stop
    why: str
    dial: str = ""  # which of the `Controls`, if any
    before: float | None = None
    after: float | None = None
    by: str = "watch"  # "watch", "clock" or "user"


@dataclass(slots=True)
class Controls:
    """The dials. Only actions turn them; each turn is logged with its reason, and all are in every checkpoint."""

    rate: float = 1.0  # factor on every learning rate
    clip: float = 0.0  # bound on ||g||_2; 0 = none
    bound: float = 0.0  # another, which a remedy renews at every snapshot from the norms of the run so far; 0 = none
    most: float = 0.0  # until the next step that is taken: batches whose loss is above it are left out; 0 = none
    batch: int = 0  # examples in a batch; 0 = what the plan chose
    end: int = 0  # T: the step at which the run is over
    finish: int = -1  # from this step on the rate falls from `level` in a straight line to zero at `end`; -1 = never asked
    level: float = 1.0  # what the schedules gave when `finish` was asked
    stop: int = -1  # exit code of a run that must end now; -1 = go on
    decay: float = 1.0  # factor on the weight decay of every group; what the six dials from here on do: `regular.py`
    dropout: float = 0.0  # share that dropout layers drop beyond their own
    smooth: float = 0.0  # label smoothing beyond the loss's own
    mix: float = 0.0  # alpha of mixup; 0 = none
    noise: float = 0.0  # noise on inputs, in units of each column's spread; 0 = none
    augment: float = 1.0  # factor on the strength of the task's augmentation

    @property
    def plain(self) -> bool:
        """Whether a step sees module, loss and batch as they are."""
        return not (self.dropout or self.smooth or self.mix or self.noise)


class History:
    """What checks and remedies may know of the run so far: rebuilt from the log on resume, the same in every process."""

    def __init__(self) -> None:
        self.loss: list[float] = []  # loss[t]: of every step so far
        self.norm: list[float] = []  # ||g|| likewise
        self.lr: list[float] = []
        self.applied: list[bool] = []  # False where the update was blocked
        self.last: Step | None = None
        self.end = 0  # steps of the whole run, as things stand; 0: nobody knows
        self.cut: dict[int, float] = {}  # t: how long a bound has left the gradient, of late; 0: it was left out
        self.waited = 0.0  # seconds that this process has waited for data
        self.scoring = 0.0  # seconds that it has spent on scores
        self.scores: list[tuple[int, str, Score]] = []  # (t, split, score)
        self.findings: list[Finding] = []
        self.actions: list[Action] = []
        self.measured: dict[str, list[tuple[int, float]]] = {}  # "check.what": (t, value); in every checkpoint

    def note(self, t: int, name: str, values: Mapping[str, float]) -> None:
        """What a check measured after step t."""
        for what, value in values.items():
            self.measured.setdefault(f"{name}.{what}", []).append((t, value))

    def add(self, step: Step) -> None:
        """One more step is done."""
        self.loss.append(step.loss)
        self.norm.append(step.norm)
        self.lr.append(step.lr)
        self.applied.append(step.applied)
        self.last = step

    def shorten(self, t: int, length: float) -> None:
        """The gradient of step t was cut to this length before the update had it."""
        self.cut[t] = length
        if len(self.cut) > 2 * RECENT:
            self.cut = dict(list(self.cut.items())[-RECENT:])

    def spared(self, last: int) -> int:
        """How many of the last so many steps were left out though all was finite: see `Controls.most`."""
        first = max(len(self.loss) - last, 0)
        if all(self.applied[first:]):
            return 0
        rows = zip(self.applied[first:], self.loss[first:], self.norm[first:], strict=True)
        return sum(not applied and (x + g) - (x + g) == 0.0 for applied, x, g in rows)

    def standing(self, end: int, most: int) -> list[int]:
        """The last so many steps before step `end`, newest first, less those that were blocked or that a rewind has undone."""
        undone = [(a.after or 0.0, a.t) for a in self.actions if a.name == "rewind"]
        found: list[int] = []
        for t in range(min(end, len(self.loss)) - 1, -1, -1):
            if self.applied[t] and not any(a <= t <= b for a, b in undone):
                found.append(t)
                if len(found) == most:
                    break
        return found

    def count(self, action: str) -> int:
        """How often an action of this name was taken."""
        return sum(a.name == action for a in self.actions)

    def last_action(self, action: str) -> int:
        """The step of the last action of this name; -1 if there was none."""
        return max((a.t for a in self.actions if a.name == action), default=-1)


@runtime_checkable
class Data(Protocol):
    """A set of examples: tensors stay tensors, a batch is a slice.

    It may also have `follow(now)`: told before each batch of training when it is; and `until`: the share of the run at which
    what a batch costs changes for good, 0 where it does not.
    """

    def __len__(self) -> int: ...

    def __call__(self, index: Tensor, draw: int) -> Batch:
        """The examples of these indices, (n,) int64; `draw` keys their augmentation, -1 asks for none."""
        ...


class Task(Protocol):
    """What is learned: a model, data, a loss per example, and the number a person cares about."""

    name: str

    def model(self, seed: int) -> nn.Module: ...

    def data(self, split: str) -> Data: ...

    def collect(self, model: nn.Module, now: Now) -> Data:
        """Once a round: a supervised task returns the same data, a policy plays a rollout. (No task of this version has rounds.)"""
        ...

    def losses(self, model: nn.Module, batch: Batch) -> Losses: ...

    def score(self, model: nn.Module, data: Data) -> Score: ...


class Offered(Task, Protocol):
    """A task that the command line offers, `tasks/NAME.py`: it has read its data, and has a say in the plan.

    Also `read(path, plan, **reading)`, a class method that makes one, and `rebuild(card)`, a static one: the empty model of a card.
    """

    reads: tuple[str, ...]  # how data may be asked to be read: keyword arguments of `read`, options of the command line
    n: int  # training examples
    nbytes: int  # of the data, as they are kept
    notes: list[dict[str, Any]]  # what the reading had to say: rows of level, what, count, examples
    fingerprint: str  # SHA-256 over the data
    usual: Mapping[str, Any]  # the model and its sizes that the first measurement is made with
    targets: float  # how many there are to a parameter of the model

    start: Any  # weights that a new model begins with (`start.Start`), or None

    def found(self) -> str: ...  # what the data are, in a line

    def choose(self) -> None: ...  # what does not depend on the length of the run

    def choose_size(self) -> None: ...  # of the model, where the time is open

    def choose_size_in(self, seconds: float, pace: float) -> None: ...  # `pace`: seconds for one example at the usual size

    def reduce_size_in(self, seconds: float, pace: float) -> bool: ...  # whether a smaller one was taken: `pace` is its own

    def choose_augmentation(self, epochs: float) -> None: ...

    def suggested_epochs(self, n: int) -> int: ...

    def work(self) -> float: ...  # floating-point operations of a step, about

    def held(self, split: str) -> Data | None: ...  # valid or test data; None where there are none

    def again(self, plan: Any, rows: Tensor | None = None) -> Task: ...  # under another plan, of the training examples only these

    def described(self) -> dict[str, Any]: ...  # the [data] table of run.toml

    def seconds_after(self) -> float: ...  # that `show` takes beside scoring, about

    def show(self, descent: Any, record: Any) -> None: ...  # writes what the report shows of the trained model

    def card(self) -> dict[str, Any]: ...  # what `predict` and `load` need beside the weights


class Objective(Protocol):
    """L as the gradient sees it: the task's losses plus penalties on theta, for one batch."""

    model: nn.Module
    data: Data | None  # the training data, for a check that looks at examples of its own choice; None: nobody said
    # it may also have `valid`, the validation data, and `steps`, how many the run has

    def __call__(self, batch: Batch) -> Losses: ...


class Batches(Protocol):
    """B: a pure function of now. `Batches(n, **options)`, n examples in the data.

    Class attributes: `wants`: what is to be known of each example, "labels" or "lengths", given by that keyword as (n,) int64;
    `grows`: whether the size follows `now.batch`.
    """

    size: int  # examples in one batch

    def __call__(self, now: Now) -> Tensor: ...  # (size,) int64


class Gradient(Protocol):
    """g: leaves the gradient in `.grad` of every parameter; theta, buffers and random state as found."""

    def __call__(self, objective: Objective, theta: Theta, batch: Batch) -> Estimate: ...


class Update(Protocol):
    """u: a `torch.optim.Optimizer`; `observe` is where it is told of the estimate.

    Class attributes tell how it is built: `elementwise` (default True): on the flat vector; False: on the single tensors, with
    `role` and `decay` in each group. `wraps`: names of options that are other updates. `needs_closure`: it evaluates again.
    """

    param_groups: list[dict[str, Any]]

    def observe(self, estimate: Estimate) -> None: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None: ...  # a closure where `needs_closure` is true

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class Rate(Protocol):
    """eta: a factor; the rate of a group is its own base times every factor times the dial."""

    def __call__(self, now: Now) -> float: ...


class Average(Protocol):
    """theta-bar: `see` after each step; inside `shown` the model holds the weights that are scored and saved.

    What else it may have: `judged(theta, score)`: told of each score on validation data; `choose(theta, scored)`: before the last
    score, `scored()` scores the model as it stands; `refresh = True`: BatchNorm statistics are recomputed where it is shown;
    `of_update = True`: it is made with `update=` the update of the run.
    """

    def see(self, theta: Theta, now: Now | None = None) -> None: ...  # now: for one that begins at a share of the run

    def shown(self, theta: Theta) -> AbstractContextManager[None]: ...

    def state(self) -> dict[str, Tensor]: ...

    def load(self, state: Mapping[str, Tensor]) -> None: ...


class Check(Protocol):
    """A health check: measure, judge, say. Leaves theta, buffers, `.grad` and random state bitwise as found.

    `when`: "during" (default): after every `every` steps; "before": once, before the first step; "scored": after each scoring, when
    `History.scores` has new rows ("train" for a sample of the training data, "valid"); "after": at the end.
    `usual = False`: not in a run unless asked for. `cost`, a plain number on the class, sets how often it looks at least.
    `state()` and `load(tensors)`: what it must remember beyond the history, in every checkpoint.
    `looks = False`: of a step that was applied it wants the numbers alone, not theta, so that several may be taken in one call.
    `of = "blocked"`: it has nothing to say of steps that were applied, and is not asked. `of = "update"`: `measure` is given the
    update as a fourth argument, where the loop has one to show.
    """

    every: int  # steps between two looks
    cost: float  # of one look, in units of one training step

    def measure(self, step: Step, theta: Theta, objective: Objective) -> float | Mapping[str, float] | None:
        """A mapping is kept in `History.measured`, over resume too."""
        ...

    def judge(self, history: History) -> Finding | None: ...


class Remedy(Protocol):
    """One kind of action: what to do about a finding, or None to leave it to the next remedy.

    `order`, a plain number on the class: remedies are asked in this order. `enact(action, theta, objective, update)`: does what no
    dial can, when the action is performed; may return the action with what came of it. `renew(history, controls)`: asked at every
    snapshot, for a bound that holds for each step until the next. `onward(history, controls)`: asked every ten steps once something
    has been done, for the next part of what takes a while; gives actions. `usual = False`: not in a run unless asked for.
    """

    answers: tuple[str, ...]  # names of findings

    def __call__(self, finding: Finding, history: History, controls: Controls) -> Sequence[Action] | None: ...
