"""The sick runs of the zoo, kind by kind; what the kinds are and how they may be named is in `zoo_kinds.py`."""

from __future__ import annotations

from typing import Any

from zoo_kinds import KINDS
from zoo_runs import Case, case

CONSTANT = {"rate": ["constant"], "average": "plain"}


def ill(kind: str, base: str, tag: str = "", **more: Any) -> Case:
    """A sick run, labelled as its kind; its inputs are not scaled behind its back, which would cure some."""
    k = KINDS[kind]
    label: dict[str, Any] = {"accept": k.accept, "also": k.also, "why": k.why, "remark": kind == "minimum"}
    options: dict[str, Any] = {"inputs": "as given"} | label | more
    return case(kind, base, tag, **options)


def sick() -> list[Case]:
    """All of them."""
    return [*rates(), *bad_examples(), *fits(), *layers(), *faults_of_data(), *places(), *machine()]


def rates() -> list[Case]:
    """Too high and too low."""
    high, low = "rate too high", "rate too low"
    return [
        ill(high, "mlp", "sgd", update="sgd", times=60.0),
        ill(high, "mlp", "adamw", times=60.0, **CONSTANT),
        ill(high, "conv", "sgd", update="sgd", times=30.0),
        ill(high, "conv", "adamw", times=100.0),
        ill(high, "gru", "adamw", times=100.0),
        ill(high, "attention", "adamw", times=100.0),
        ill(high, "friedman", "sgd", update="sgd", times=60.0),
        ill(high, "autoencoder", "adamw", times=100.0, model={"act": "tanh"}, **CONSTANT),
        ill(high, "linear", "sgd", update="sgd", times=60.0),
        ill(high, "function", "sgd", update="sgd", lr=2.2, sgd__momentum=0.0, batch="full", rate=["constant"]),
        ill(high, "table", "adamw", times=100.0, **CONSTANT),
        ill(low, "mlp", "adamw", times=1e-3),
        ill(low, "conv", "sgd", update="sgd", times=1e-3),
        ill(low, "convbn", "adamw", times=1e-3),
        ill(low, "gru", "adamw", times=1e-3),
        ill(low, "table", "adamw", times=1e-3),
        ill(low, "friedman", "sgd", update="sgd", times=1e-3),
        ill(low, "logistic", "sgd", update="sgd", times=2e-4),
        ill(low, "autoencoder", "adamw", times=1e-3),
    ]


def bad_examples() -> list[Case]:
    """Single examples that spoil a run."""
    return [
        ill("NaN example", "mlp", faults=(("nan", 1),)),
        ill("NaN example", "conv", faults=(("nan", 3),)),
        ill("NaN example", "convbn", faults=(("nan", 2),)),
        ill("NaN example", "table", faults=(("nan", 2),)),
        ill("NaN example", "friedman", faults=(("nan", 1),)),
        ill("infinite target", "friedman", faults=(("infinite", 1),)),
        ill("infinite target", "diabetes", faults=(("infinite", 1),)),
        ill("infinite target", "linear", faults=(("infinite", 2),)),
        ill("huge inputs", "mlp", faults=(("huge", 8, 1e4),)),
        ill("huge inputs", "conv", faults=(("huge", 24, 1e4),)),
        ill("huge inputs", "table", faults=(("huge", 16, 1e4),)),
        ill("huge inputs", "friedman", faults=(("huge", 8, 1e4),)),
        ill("huge inputs", "linear", faults=(("huge", 4, 1e4),)),
    ]


def fits() -> list[Case]:
    """Too close a fit, and too loose a one."""
    over, under = "overfit", "underfit"
    strong: dict[str, Any] = {"why": "weight decay holds the weights near zero", "adamw__weight_decay": 20.0}
    return [
        ill(
            over,
            "mlp",
            faults=(("flipped", 0.1), ("few", 150)),
            model={"widths": (128, 128)},
            steps=800,
            also=("minimum", "data fault"),
        ),
        ill(over, "conv", faults=(("few", 150),), model={"channels": (16, 32)}, steps=400),
        ill(over, "convbn", faults=(("few", 200),), steps=400),
        ill(over, "gru", faults=(("few", 400),), steps=300),
        ill(over, "attention", faults=(("few", 400),), steps=300, model={"dropout": 0.0}),
        ill(over, "table", faults=(("few", 300),), model={"widths": (64, 64)}, steps=600),
        ill(over, "friedman", faults=(("few", 100),), data="noisy", model={"widths": (128, 128)}),
        ill(over, "diabetes", model={"widths": (128, 128)}, steps=800),
        ill(under, "mlp", "two-units", model={"widths": (2,), "act": "tanh"}, steps=1000, times=2.0),
        ill(under, "mlp", "decay", **strong),
        ill(
            under, "mlp", "dropout", model={"dropout": 0.9, "act": "gelu"}, steps=800, why="dropout of 90 % leaves next to nothing"
        ),
        ill(under, "friedman", "one-unit", model={"widths": (1,), "act": "tanh"}),
        ill(under, "friedman", "decay", **strong),
        ill(under, "logistic", "rings", data="rings", why="a line cannot part a circle from what is around it"),
        ill(under, "autoencoder", "bottleneck", model={"widths": (32, 1, 32), "act": "tanh"}),
        ill(under, "conv", "one-channel", model={"channels": (1, 1, 1, 1), "act": "gelu"}),
    ]


def layers() -> list[Case]:
    """What is wrong inside the net."""
    dead, full, small, large = "dead units", "saturated units", "vanishing", "exploding"
    deep = (20,) * 20
    thrice = (("kaiming", 3.0),)
    return [
        ill(dead, "mlp", "bias", changes=(("bias", -10.0),)),
        ill(dead, "conv", "bias", changes=(("bias", -10.0),)),
        ill(dead, "friedman", "bias", changes=(("bias", -10.0),)),
        ill(dead, "table", "bias", changes=(("bias", -10.0),)),
        ill(dead, "mlp", "spike", changes=(("trained", 100, 5e-3, 30.0),)),
        ill(dead, "autoencoder", "spike", model={"act": "relu"}, changes=(("trained", 100, 5e-3, 10.0),)),
        ill(full, "mlp", "tanh", model={"act": "tanh"}, changes=(("scaled", 30.0),)),
        ill(full, "mlp", "sigmoid", model={"act": "sigmoid"}, changes=(("scaled", 60.0),)),
        ill(full, "friedman", "tanh", model={"act": "tanh"}, changes=(("scaled", 30.0),)),
        ill(full, "table", "tanh", model={"act": "tanh"}, changes=(("scaled", 30.0),)),
        ill(full, "conv", "tanh", model={"act": "tanh"}, changes=(("scaled", 30.0),)),
        ill(small, "mlp", "sigmoid", model={"widths": deep, "act": "sigmoid"}),
        ill(small, "friedman", "sigmoid", model={"widths": deep, "act": "sigmoid"}, steps=300),
        ill(small, "table", "sigmoid", model={"widths": deep, "act": "sigmoid"}, steps=200),
        ill(small, "mlp", "tanh", model={"widths": deep, "act": "tanh"}, changes=(("scaled", 0.3),), update="sgd"),
        ill(small, "diabetes", "sigmoid", model={"widths": deep, "act": "sigmoid"}, update="sgd"),
        ill(large, "mlp", model={"widths": (32,) * 10}, changes=thrice),
        ill(large, "friedman", model={"widths": (32,) * 10}, changes=thrice, steps=300),
        ill(large, "table", model={"widths": (32,) * 10}, changes=thrice),
        ill(large, "conv", model={"kind": "deep conv", "layers": 10}, changes=thrice, steps=120),
        ill(large, "diabetes", model={"widths": (32,) * 10}, changes=thrice, update="sgd"),
    ]


def faults_of_data() -> list[Case]:
    """What is wrong with all of the data."""
    labels, still, same, apart, rare = "wrong labels", "constant features", "same examples", "unscaled columns", "rare class"
    third = (("flipped", 0.3),)
    return [
        ill(labels, "mlp", faults=third),
        ill(labels, "conv", faults=third),
        ill(labels, "logistic", faults=third),
        ill(labels, "table", faults=third),
        ill(labels, "mlp", "batchnorm", faults=third, model={"norm": True}),
        ill(still, "logistic", faults=(("constant", 0.5),)),
        ill(still, "friedman", faults=(("constant", 0.3),)),
        ill(still, "mlp", faults=(("constant", 0.5, 0.0),)),
        ill(still, "linear", faults=(("constant", 0.4),)),
        ill(still, "diabetes", "copies", faults=(("repeated", 10),)),
        ill(same, "mlp", faults=(("leaked", 1.0),)),
        ill(same, "conv", faults=(("leaked", 0.3),)),
        ill(same, "gru", faults=(("leaked", 0.5),)),
        ill(same, "table", faults=(("leaked", 0.5),)),
        ill(same, "friedman", faults=(("leaked", 0.2),)),
        ill(apart, "logistic", "raw", data="raw_breast"),
        ill(apart, "friedman", "scale", faults=(("uneven", 1e6),)),
        ill(apart, "diabetes", "scale", faults=(("uneven", 1e6),)),
        ill(apart, "friedman", "offset", faults=(("offset", 1e4),)),
        ill(apart, "mlp", "offset", faults=(("offset", 1e4),)),
        ill(apart, "table", "scale", faults=(("uneven", 1e6),)),
        ill(rare, "mlp", faults=(("rare", 0.01, 8),), reach=0.98),
        ill(rare, "conv", faults=(("rare", 0.01, 6),)),
        ill(rare, "table", faults=(("rare", 0.01),)),
        ill(rare, "gru", faults=(("rare", 0.01),)),
    ]


def places() -> list[Case]:
    """Where a descent can stand still."""
    flat, saddle, bottom = "plateau", "saddle", "minimum"
    full: dict[str, Any] = {"update": "sgd", "batch": "full", "rate": ["constant"]}
    strong: dict[str, Any] = {"sgd__weight_decay": 0.02}
    product: dict[str, Any] = {"model": {"name": "product", "size": 2, "start": 1e-5}, "lr": 0.01, "sgd__momentum": 0.0}
    ridge: dict[str, Any] = {"model": {"name": "ridge", "size": 4}, "sgd__momentum": 0.0}
    return [
        ill(flat, "friedman", "clamped", model={"kind": "flat", "how": "clamp"}, steps=300),
        ill(flat, "mlp", "clamped", model={"kind": "flat", "how": "clamp"}),
        ill(flat, "table", "rounded", model={"kind": "flat", "how": "round"}),
        ill(flat, "function", "well", model={"name": "well", "start": 4.0}, **full),
        ill(flat, "mlp", "parity", data="parity", update="sgd"),
        ill(saddle, "function", "product", **product, **full),
        ill(saddle, "function", "ridge", changes=(("near_zero", 1e-9),), **ridge, **full),
        ill(saddle, "mlp", "zero", model={"act": "tanh"}, changes=(("near_zero", 0.0),), update="sgd"),
        ill(
            saddle, "autoencoder", "zero", model={"act": "none"}, changes=(("near_zero", 1e-4),), update="sgd", times=0.3, steps=300
        ),
        ill(saddle, "friedman", "zero", model={"act": "tanh"}, changes=(("near_zero", 1e-5),), update="sgd", steps=300),
        ill(saddle, "friedman", "equal", model={"act": "tanh", "widths": (32,)}, changes=(("equal",),), steps=1000, **full),
        ill(bottom, "function", "bowl", model={"start": 3.0}, steps=800, **full),
        ill(bottom, "linear", "full", steps=1000, **full),
        ill(bottom, "logistic", "decay", steps=1500, times=4.0, **strong, **full),
        ill(bottom, "diabetes", "linear", model={"widths": ()}, steps=1500, times=4.0, **full),
        ill(bottom, "function", "valley", model={"name": "valley", "size": 2, "start": -0.5}, steps=1500, lr=0.01, **full),
    ]


def machine() -> list[Case]:
    """Noise of the batch, numbers of too few bits, data that come too late."""
    noise, bits, late = "noise floor", "precision fault", "slow data"
    two: dict[str, Any] = {"batch": 2, **CONSTANT}
    brain, half = ({"faults": (("smaller", kind),), "changes": (("half", kind),)} for kind in ("bfloat16", "float16"))
    under: dict[str, Any] = {"loss": "small mse", "update": "sgd", **half}
    return [
        ill(noise, "linear", "sgd", update="sgd", times=0.3, steps=1500, **two),
        ill(noise, "linear", "adamw", steps=1500, **two),
        ill(noise, "friedman", "adamw", steps=2000, also=("plateau", "dead units"), **two),
        ill(noise, "friedman", "sgd", update="sgd", times=0.3, steps=2000, **two),
        ill(noise, "mlp", "adamw", steps=1500, **two),
        ill(noise, "conv", "sgd", update="sgd", times=0.3, steps=1000, **two),
        ill(bits, "mlp", "bfloat16", times=0.01, **brain),
        ill(bits, "friedman", "bfloat16", update="sgd", times=0.01, **brain),
        ill(bits, "friedman", "float16", **under),
        ill(bits, "diabetes", "float16", **under),
        ill(bits, "linear", "large-weights", model={"kind": "offset", "around": 1e6}, adamw__weight_decay=0.0),
        ill(late, "mlp", "batches", faults=(("slow", 0.006),), steps=200),
        ill(late, "friedman", "items", faults=(("slow_items", 2e-4),), steps=150),
        ill(late, "table", "examples", faults=(("slow", 0.0, 2e-4),), steps=200),
        ill(late, "conv", "batches", faults=(("slow", 0.03),), steps=60),
    ]
