"""The healthy runs of the zoo: models and data well set, and what looks odd in them but is as it should be."""

from __future__ import annotations

from typing import Any

from zoo_runs import Case, case

CONSTANT = {"rate": ["constant"], "average": "plain"}


def well(base: str, tag: str = "", **more: Any) -> Case:
    """A healthy run."""
    return case("healthy", base, tag, **more)


def usual(base: str) -> list[Case]:
    """A base as it is, at a third and at twice its rate, by momentum, and with nothing set."""
    rates = [well(base, "tuned"), well(base, "third", times=1 / 3), well(base, "twice", times=2.0)]
    words = base in ("gru", "attention")  # plain gradient descent hardly moves an embedding
    other = well(base, "batch-64", batch=64, steps=150) if words else well(base, "sgd", update="sgd")
    few = {"steps": 100} if base == "logistic" else {}  # nothing set goes fast: it is done before it learns 450 rows by heart
    return [*rates, other, well(base, "auto", update="auto", **few)]


def healthy() -> list[Case]:
    """All of them."""
    bases = ("mlp", "conv", "convbn", "gru", "attention", "table", "friedman", "diabetes", "logistic", "autoencoder")
    return [c for base in bases for c in usual(base)] + updates() + batches_and_lengths() + warm() + odd()


def updates() -> list[Case]:
    """Other updates at their own rates."""
    return [
        well("mlp", "muon", update="split", lr=0.01),
        well("mlp", "soap", update="soap", lr=5e-3),
        well("conv", "muon", update="split", lr=0.01),
        well("convbn", "muon", update="split", lr=0.01, steps=120),
        well("gru", "muon", update="split", lr=0.01),
        well("attention", "muon", update="split", lr=0.02),
        well("friedman", "soap", update="soap", lr=3e-3),
        well("autoencoder", "muon", update="split", lr=0.01),
        well("logistic", "soap", update="soap", lr=0.01),
        well("table", "lion", update="lion", lr=1e-3),
    ]


def batches_and_lengths() -> list[Case]:
    """Small and large batches, short and long runs, a rate that never falls."""
    return [
        well("mlp", "batch-8", batch=8, times=0.5),
        well("mlp", "batch-4-sgd-spiky", batch=4, update="sgd", times=0.4, steps=1000),
        well("friedman", "batch-4", batch=4, times=0.3, steps=1200),
        well("table", "batch-8", batch=8, times=0.5, steps=800),
        well("conv", "batch-128", batch=128, times=2.0, steps=120),
        well("friedman", "batch-256", batch=256, times=2.0, steps=300),
        well("logistic", "full-batch", batch="full", times=2.0),
        well("diabetes", "full-batch", batch="full", steps=200),
        well("mlp", "150-steps", steps=150),
        well("conv", "150-steps", steps=150, times=2.0, reach=0.75),
        well("friedman", "150-steps", steps=150, reach=0.25),
        well("mlp", "1500-steps", steps=1500, times=0.3),
        well("friedman", "1500-steps", steps=1500, times=0.3),
        well("autoencoder", "1500-steps", steps=1500, times=0.5),
        well("linear", "1000-steps", steps=1000),
        well("mlp", "constant-rate", times=0.3, **CONSTANT),
        well("table", "constant-rate", times=0.2, steps=600, **CONSTANT),
        well("convbn", "cosine", rate=["warmup", "cosine"]),
    ]


def warm() -> list[Case]:
    """Weights that were trained before: the loss starts near its end and hardly falls."""
    again = (("trained", 400),)
    return [
        well("mlp", "warm", changes=again, times=0.2),
        well("friedman", "warm", changes=again, times=0.2, steps=400),
        well("table", "warm", changes=(("trained", 300),), times=0.1, steps=300),
        well("conv", "warm", changes=(("trained", 150),), times=0.1, steps=150),
        well("logistic", "warm", changes=again, times=0.2),
        well("autoencoder", "warm", changes=again, times=0.3),
    ]


def odd() -> list[Case]:
    """What may be taken for a trouble and is none."""
    return [
        well("mlp", "dropout", model={"dropout": 0.3}, steps=600),
        well("table", "dropout", model={"dropout": 0.2}),
        well("mlp", "smoothed-labels", loss="smooth"),
        well("conv", "smoothed-labels", loss="smooth"),
        well("mlp", "batchnorm", model={"norm": True}),
        well("mlp", "tanh", model={"act": "tanh"}),
        well("table", "gelu", model={"act": "gelu"}),
        well("mlp", "hinge", loss="hinge", reach=0.05),
        well("friedman", "noisy-target", data="noisy", times=0.5, model={"widths": (16,)}, steps=300, reach=0.75),
        well("linear", "noisy-target", steps=400),
        well("logistic", "80-20", faults=(("rare", 0.2, 0),)),
        well("table", "80-20", faults=(("rare", 0.2),)),
        well(
            "mlp",
            "late-start",
            model={"widths": (64, 64, 64), "act": "tanh"},
            changes=(("scaled", 0.5, True),),
            update="sgd",
            times=2.0,
        ),
        well("conv", "late-start", model={"kind": "deep conv", "layers": 5}, reach=0.68),
        well("mlp", "two-constant-pixels", faults=(("constant", 0.04, 0.0),)),
        well("function", "bowl", update="sgd", batch="full", model={"start": 3.0}, steps=150),
    ]
