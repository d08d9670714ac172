"""One contender of `small_steps.py` in a process of its own: `python small_contenders.py NAME`, answering JSON lines.

All train the MLP 32-64-64-10 on the same 20,480 rows in memory, with AdamW (lr 1e-3, decay 0.01; scikit-learn has Adam), no
validation, one thread, one core; each answers {"batch": 32, "epochs": 2, "quick": false} with the seconds of one whole fit of a new
model (0 epochs: of one step), its steps, and the accuracy on the first 2,048 rows afterwards (so that all can be seen to have
learned). What can be had once a process and serve every fit (a jitted function, a compiled Keras model) is kept, and its first fit
is the one that has the compiling in it.
Keras and JAX run at their best on one core: no worker threads, no asynchronous dispatch, the whole data in one `fit`.

Runs in our environment (`raw`, `ours`, `eager`, `sklearn`) or in `.peers/jax` (`keras-N`: N steps an execution; `jax-step`,
`jax-scan`).
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":  # before numpy and all others are imported: one core, one thread, and stdout is for answers only
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")

import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]
Go = Callable[[int], Predict]  # fits a new model for so many epochs: the part that is timed
LR, DECAY = 1e-3, 0.01
ROWS, QUICK_ROWS = 20480, 2560


class Data(NamedTuple):
    """32 normal columns around one of ten centres, and which."""

    x: np.ndarray
    y: np.ndarray
    batch: int


@lru_cache(maxsize=4)
def data(batch: int, quick: bool, bare: bool = False) -> Data:
    """The same rows for every contender; `bare`: those of one batch."""
    chance, rows = np.random.default_rng(0), QUICK_ROWS if quick else ROWS
    y = chance.integers(10, size=rows)
    x = chance.standard_normal((10, 32))[y] + 2 * chance.standard_normal((rows, 32))
    return Data(x[: batch if bare else rows].astype(np.float32), y[: batch if bare else rows], batch)


def torch_model() -> Any:
    """The MLP, as PyTorch makes it."""
    import torch

    from contenders import MLP

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return MLP()


def torch_predict(model: Any) -> Predict:
    """What a module says."""
    import torch

    return lambda x: model.eval()(torch.from_numpy(x)).detach().numpy()


def raw(given: Data) -> Callable[[], Go]:
    """The hand-written loop of `step_time.py`: tensors in memory, `index_select`, fused AdamW, no loss ever read."""
    import torch

    from contenders import raw as loop

    x, y = torch.from_numpy(given.x), torch.from_numpy(given.y)

    def begin() -> Go:
        model = torch_model()
        return lambda epochs: torch_predict(loop(model, x, y, given.batch, epochs))

    return begin


def ours(given: Data, program: str = "on", folder: bool = False) -> Callable[[], Go]:
    """`gradlearn.fit` as a user calls it, with checks and remedies; with a folder: log, checkpoint, model."""
    import gradlearn

    def go(model: Any, epochs: int) -> Predict:
        run = None
        if folder:
            run = Path(tempfile.mkdtemp(prefix="small-steps-", dir=os.environ.get("RUNS"))) / "run"
        found = gradlearn.fit(
            model,
            (given.x, given.y),
            loss="cross_entropy",
            valid=None,
            epochs=epochs,
            batch=given.batch,
            update="adamw",
            lr=LR,
            compile=program,
            run=run,
            adamw__weight_decay=DECAY,
        )
        kept.append((found, run, epochs * (len(given.y) // given.batch)))
        return torch_predict(model)

    kept: list[tuple[Any, Path | None, int]] = []  # looked at when nobody times

    def begin() -> Go:
        for found, run, steps in kept:
            choice = found.settings["choice"]
            rows = sum(1 for _ in (run / "steps.jsonl").open()) if run is not None else found.steps
            if choice["compile"]["value"] != program or "compiled" in choice or rows != steps:
                raise SystemExit(f"compile={program}: {choice['compile']}, {choice.get('compiled')}; {rows} of {steps} rows")
            if run is not None:
                shutil.rmtree(run.parent)
        kept.clear()
        return partial(go, torch_model())

    return begin


def sklearn(given: Data) -> Callable[[], Go]:
    """MLPClassifier: Adam, no early stopping, never ended by its tolerance."""
    from sklearn.neural_network import MLPClassifier

    def go(epochs: int) -> Predict:
        net = MLPClassifier(
            hidden_layer_sizes=(64, 64),
            solver="adam",
            batch_size=given.batch,
            learning_rate_init=LR,
            max_iter=epochs,
            early_stopping=False,
            tol=0.0,
            n_iter_no_change=10**9,
            random_state=0,
        )
        net.fit(given.x, given.y)
        return net.predict_proba

    return lambda: go


def without_threads() -> None:
    """JAX runs a call where it is made: the faster way on one core."""
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def keras(given: Data, steps_per_execution: int) -> Callable[[], Go]:
    """Keras 3 on JAX: compiled once, `fit` on whole arrays; every fit begins with the first weights and a new optimizer state."""
    without_threads()
    import keras as library

    library.utils.set_random_seed(0)
    k = library.layers
    layers = [k.Input((32,)), k.Dense(64, activation="relu"), k.Dense(64, activation="relu"), k.Dense(10)]
    net = library.Sequential(layers)
    optimizer = library.optimizers.AdamW(LR, weight_decay=DECAY)
    optimizer.build(net.trainable_variables)
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer=optimizer, loss=loss, jit_compile=True, steps_per_execution=steps_per_execution)
    places = [*net.variables, *optimizer.variables]
    first = [np.array(place.value) for place in places]
    y = given.y.astype(np.int32)

    def go(epochs: int) -> Predict:
        net.fit(given.x, y, batch_size=given.batch, epochs=epochs, verbose=0, shuffle=True)
        return net.predict_on_batch

    def begin() -> Go:
        for place, value in zip(places, first, strict=True):
            place.assign(value)
        return go

    return begin


def jax(given: Data, scan: bool) -> Callable[[], Go]:
    """JAX by hand with optax's AdamW: one jitted call a step, or one an epoch."""
    without_threads()
    import jax
    import jax.numpy as jnp
    import optax

    x, y, n, batch = jnp.asarray(given.x), jnp.asarray(given.y.astype(np.int32)), len(given.y), given.batch
    update = optax.adamw(LR, weight_decay=DECAY)

    def outputs(parameters: list[Any], x: Any) -> Any:
        for weight, bias in parameters[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        return x @ parameters[-1][0] + parameters[-1][1]

    def loss(parameters: list[Any], rows: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(outputs(parameters, x[rows]), y[rows]).mean()

    def body(parameters: Any, state: Any, rows: Any) -> Any:
        move, state = update.update(jax.grad(loss)(parameters, rows), state, parameters)
        return optax.apply_updates(parameters, move), state

    step = jax.jit(body, donate_argnums=(0, 1))

    @partial(jax.jit, donate_argnums=(0, 1))
    def whole(parameters: Any, state: Any, order: Any) -> Any:
        return jax.lax.scan(lambda now, rows: (body(*now, rows), None), (parameters, state), order)[0]

    def go(start: tuple[Any, Any], chance: np.random.Generator, epochs: int) -> Predict:
        now = start
        for _ in range(epochs):
            order = chance.permutation(n)[: n // batch * batch].reshape(-1, batch).astype(np.int32)
            if scan:
                now = whole(*now, order)
            else:
                for rows in order:
                    now = step(*now, rows)
        parameters = jax.block_until_ready(now)[0]
        return lambda x: outputs(parameters, x)

    def begin() -> Go:
        chance = np.random.default_rng(0)
        wide = [(m, k, m**-0.5) for m, k in ((32, 64), (64, 64), (64, 10))]
        drawn = [(chance.uniform(-b, b, (m, k)), chance.uniform(-b, b, k)) for m, k, b in wide]
        parameters = [(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in drawn]
        return partial(go, (parameters, update.init(parameters)), chance)

    return begin


def contender(name: str) -> Callable[[Data], Callable[[], Go]]:
    """By its name: what a contender needs once, then what it needs a fit, then the fit."""
    if name.startswith("keras-"):
        return partial(keras, steps_per_execution=int(name.removeprefix("keras-")))
    found: dict[str, Callable[[Data], Callable[[], Go]]] = {"raw": raw, "sklearn": sklearn, "ours": ours}
    found |= {"ours-folder": partial(ours, folder=True)}
    found |= {"eager": partial(ours, program="off"), "eager-folder": partial(ours, program="off", folder=True)}
    found |= {"jax-step": partial(jax, scan=False), "jax-scan": partial(jax, scan=True)}
    return found[name]


def main() -> None:
    """Answers requests until stdin ends."""
    make = contender(sys.argv[1])
    kept: dict[tuple[int, bool], Callable[[], Go]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        bare = request["epochs"] == 0
        given, epochs = data(request["batch"], request["quick"], bare), max(request["epochs"], 1)
        key = given.batch, bare
        if key not in kept:
            kept[key] = make(given)
        go = kept[key]()
        gc.collect()
        start = time.perf_counter()
        predict = go(epochs)
        seconds = time.perf_counter() - start
        right = (np.asarray(predict(given.x[:2048])).argmax(1) == given.y[:2048]).mean()
        steps = epochs * (len(given.y) // given.batch)
        answers.write(json.dumps({"seconds": seconds, "steps": steps, "accuracy": round(float(right), 4)}) + "\n")


if __name__ == "__main__":
    main()
