"""Claim: a certificate's verdict is right on 48 known points, and its eigenvalues are the dense ones to 1e-6 on networks.

Known functions: minima (strict, flat, curved valleys, kinks), saddles (monkey saddles, maxima, degenerate ones), plateaus, points
that are not stationary, functions without a bottom. Each is asked four times: with autograd, as a black box, in a rotated and
scaled frame, and a millionth beside the point. Networks of 75 to 1,991 parameters (MLP, convolution, GRU, attention) at their
start, at minima and at constructed saddles: the smallest and largest eigenvalue, dense and by Lanczos, against
`torch.linalg.eigvalsh` of a Hessian from `torch.autograd.functional.hessian`; where the next eigenvalue is at least a
thousandth of the largest away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

import measure
from gradlearn.curvature import Certificate, Hessian, certify

pi = math.pi


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rastrigin(x: Tensor) -> Tensor:
    return (x * x - 10 * torch.cos(2 * pi * x) + 10).sum()


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def himmelblau(x: Tensor) -> Tensor:
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def ackley(x: Tensor) -> Tensor:
    return -20 * torch.exp(-0.2 * (x * x).mean().sqrt()) - torch.exp(torch.cos(2 * pi * x).mean()) + 20 + math.e


def beale(x: Tensor) -> Tensor:
    return sum(((a - x[0] + x[0] * x[1] ** k) ** 2 for k, a in ((1, 1.5), (2, 2.25), (3, 2.625))), torch.zeros(()))


def powell(x: Tensor) -> Tensor:
    return (x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4


def griewank(x: Tensor) -> Tensor:
    return 1 + (x * x).sum() / 4000 - torch.cos(x / torch.arange(1.0, len(x) + 1).double().sqrt()).prod()


KNOWN: list[tuple[str, Callable[[Tensor], Tensor], Tensor, str]] = [
    ("bowl", lambda x: (x * x).sum(), t(0, 0, 0), "minimum"),
    ("bowl of 1e8 to 1", lambda x: 0.5 * (1e8 * x[0] ** 2 + x[1] ** 2), t(0, 0), "minimum"),
    ("bowl, tiny and far", lambda x: 1e-12 * ((x - 1000) ** 2).sum(), t(1000, 1000), "minimum"),
    ("bowl on 1e9", lambda x: 1e9 + (x * x).sum(), t(0, 0), "minimum"),
    ("rosenbrock, 30", rosenbrock, torch.ones(30, dtype=torch.float64), "minimum"),
    ("rastrigin, 10", rastrigin, torch.zeros(10, dtype=torch.float64), "minimum"),
    ("rastrigin, a local one", rastrigin, torch.full((10,), 0.99495863768, dtype=torch.float64), "minimum"),
    ("himmelblau", himmelblau, t(3, 2), "minimum"),
    ("beale", beale, t(3, 0.5), "minimum"),
    ("griewank, 10", griewank, torch.zeros(10, dtype=torch.float64), "minimum"),
    ("powell, singular Hessian", powell, t(0, 0, 0, 0), "minimum"),
    ("quartic", lambda x: (x**4).sum(), t(0, 0), "minimum"),
    ("sextic", lambda x: (x**6).sum(), t(0, 0), "minimum"),
    ("flat valley", lambda x: x[0] ** 2 + 0 * x[1], t(0, 3), "minimum"),
    ("curved valley", lambda x: (x[1] - x[0] ** 2) ** 2, t(1, 1), "minimum"),
    ("sphere of minima", lambda x: ((x * x).sum() - 1) ** 2, t(1, 0, 0), "minimum"),
    ("cross x^2 y^2", lambda x: x[0] ** 2 * x[1] ** 2, t(0, 0), "minimum"),
    ("ackley, a kink", ackley, t(0, 0), "minimum"),
    ("saddle", lambda x: x[0] ** 2 - x[1] ** 2, t(0, 0), "saddle"),
    ("saddle of 1e6 to 1", lambda x: 0.5 * (1e6 * x[0] ** 2 - x[1] ** 2), t(0, 0), "saddle"),
    ("monkey saddle", lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, t(0, 0), "saddle"),
    ("monkey saddle, far", lambda x: (x[0] - 100) ** 3 - 3 * (x[0] - 100) * (x[1] - 100) ** 2, t(100, 100), "saddle"),
    ("xyz", lambda x: x.prod(), t(0, 0, 0), "saddle"),
    ("wxyz", lambda x: x.prod(), t(0, 0, 0, 0), "saddle"),
    ("x^4 - y^4", lambda x: x[0] ** 4 - x[1] ** 4, t(0, 0), "saddle"),
    ("x^2 - y^4", lambda x: x[0] ** 2 - x[1] ** 4, t(0, 0), "saddle"),
    ("peano: every line rises", lambda x: (x[1] - x[0] ** 2) * (x[1] - 3 * x[0] ** 2), t(0, 0), "saddle"),
    ("inflection x^3", lambda x: (x**3).sum(), t(0), "saddle"),
    ("ridge", lambda x: -(x[0] ** 2) + 0 * x[1], t(0, 2), "saddle"),
    ("maximum", lambda x: -(x * x).sum(), t(0, 0), "saddle"),
    ("flat maximum -x^4", lambda x: -(x**4).sum(), t(0, 0), "saddle"),
    ("himmelblau, its saddle", himmelblau, t(0.08667750456, 2.8842547011), "saddle"),
    ("himmelblau, its maximum", himmelblau, t(-0.270844590667, -0.923038522), "saddle"),
    ("top of a double well", lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2, t(0, 0), "saddle"),
    ("constant", lambda x: (0 * x).sum() + 3, t(1, 2), "plateau"),
    ("exponential tail", lambda x: torch.exp(-x).sum(), t(50), "plateau"),
    ("saturated sigmoids", lambda x: torch.sigmoid(-x).sum(), t(-30, -30), "plateau"),
    ("beside a Gaussian well", lambda x: -torch.exp(-(x * x).sum()), t(6, 6), "plateau"),
    ("a valley that ends in a drop", lambda x: x[0] ** 2 + torch.sigmoid(-x[1]), t(0, -30), "plateau"),
    ("bowl, a step beside", lambda x: (x * x).sum(), t(1, 1), "not converged"),
    ("1e8 to 1, steep part done", lambda x: 0.5 * (1e8 * x[0] ** 2 + x[1] ** 2), t(1e-8, 1), "not converged"),
    ("rosenbrock, in the valley", rosenbrock, t(0.99, 0.9801), "not converged"),
    ("kink, along it", lambda x: x[0].abs() + 0.1 * x[1] ** 2, t(1e-12, 1), "not converged"),
    ("1/x", lambda x: (1 / x).sum(), t(1), "not converged"),
    ("line", lambda x: x[0] + 2 * x[1], t(0, 0), "unbounded"),
    ("slight line", lambda x: 1e-9 * x[0] + 0 * x[1], t(0, 0), "unbounded"),
    ("cubic", lambda x: x[0] ** 3 + x[1] ** 2, t(1, 0), "unbounded"),
    ("minus logarithm", lambda x: -torch.log(x).sum(), t(1, 2), "unbounded"),
]


def functions() -> list[measure.Row]:
    """Every known point, asked four times."""
    rows = []
    for name, f, x, wanted in KNOWN:
        n = len(x)
        g = torch.Generator().manual_seed(n)
        Q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64))[0]
        u = torch.randn(n, generator=g, dtype=torch.float64)
        beside = x + 1e-6 * max(1.0, float(x.norm())) * u / u.norm() if wanted in ("minimum", "saddle") else x
        begin = time.perf_counter()
        asked: dict[str, Certificate] = {"as it is": certify(f, x)}
        seconds = time.perf_counter() - begin
        asked["black box"] = certify(lambda y, f=f: f(y.detach()).detach(), x)
        asked["rotated"] = certify(lambda y, f=f, Q=Q: 37.0 * f(Q @ y), Q.T @ x)
        asked["beside"] = certify(f, beside)
        got = {f"{way}": c.verdict for way, c in asked.items()}
        first = asked["as it is"]
        rows.append(
            {
                "function": name,
                "true": wanted,
                **got,
                "values": first.evaluations,
                "products": first.products,
                "ms": round(1e3 * seconds, 1),
            }
        )
    return rows


class Gru(nn.Module):
    """(n, 8) as two steps of four."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.head = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 3)."""
        return self.head(self.mixer(x.view(len(x), 2, 4))[0][:, -1])


class Attention(nn.Module):
    """(n, 8) as three scaled copies that look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.mixer, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 8) -> (n, 3)."""
        x = x.view(len(x), 1, 8).expand(-1, 3, -1) * torch.tensor([[0.5], [1.0], [1.5]], dtype=x.dtype)
        return self.head(self.mixer(x, x, x, need_weights=False)[0].mean(1))


def mlp(*widths: int, act: type[nn.Module] = nn.Tanh) -> nn.Module:
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1])


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 6, 3), nn.GELU(), nn.Conv1d(6, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(24, 3)
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "MLP 8-6-3": lambda: mlp(8, 6, 3),
    "MLP 8-12-12-3": lambda: mlp(8, 12, 12, 3),
    "convolution": conv,
    "GRU": Gru,
    "attention": Attention,
    "MLP 8-40-37-3": lambda: mlp(8, 40, 37, 3, act=nn.GELU),
}


def loss_of(net: nn.Module, decay: float, seed: int) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """f, the start, and the targets: squared error on 64 examples, and a little weight decay."""
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(64, k, generator=g, dtype=torch.float64) for k in (8, 3))
    shapes = [(name, p.shape, p.numel()) for name, p in net.named_parameters()]

    def f(v: Tensor) -> Tensor:
        pieces = v.split([size for _, _, size in shapes])
        given = {name: piece.view(shape) for (name, shape, _), piece in zip(shapes, pieces, strict=True)}
        return (functional_call(net, given, (x,)) - y).square().mean() + decay * v.square().sum()

    return f, torch.cat([p.detach().flatten() for p in net.parameters()]), y


def trained(f: Callable[[Tensor], Tensor], v: Tensor, steps: int) -> Tensor:
    v = v.clone().requires_grad_()
    update = torch.optim.LBFGS([v], max_iter=steps, max_eval=2 * steps, tolerance_grad=1e-12, tolerance_change=0.0, history_size=60,
                               line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Tensor:
        update.zero_grad()
        loss = f(v)
        loss.backward()
        return loss

    update.step(closure)
    return polished(f, v.detach())


def polished(f: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """The minimum itself: Newton's method from close by, uphill directions turned around, until the gradient is rounding."""
    for _ in range(60):
        hessian = Hessian(f, v)
        gradient = hessian.grad
        if float(gradient.norm()) < 1e-11:
            break
        values, vectors = torch.linalg.eigh(hessian.dense())
        step = -(vectors / values.abs().clamp_min(1e-8)) @ (vectors.T @ gradient)
        share = 1.0
        while float(f(v + share * step)) > float(f(v)) and share > 1e-6:
            share /= 2
        v = v + share * step
    return v


def points(name: str, seed: int, steps: int) -> list[tuple[str, Callable[[Tensor], Tensor], Tensor, str]]:
    """(what, f, x, true verdict) of one network."""
    torch.manual_seed(seed)
    net = NETS[name]().double()
    f, start, y = loss_of(net, 5e-3, seed)
    free, _, _ = loss_of(net, 0.0, seed)
    zero = torch.zeros_like(start)
    zero[-3:] = y.mean(0)  # the last bias: the best constant; every weight is zero and so is the gradient
    return [
        ("start", f, start, "not converged"),
        ("minimum", f, trained(f, start, steps), "minimum"),
        ("saddle", free, zero, "saddle"),
    ]


def networks(seeds: int, steps: int, names: list[str]) -> list[measure.Row]:
    """Every network at each of its points, for each seed."""
    rows = []
    for name in names:
        for seed in range(1 if name == "MLP 8-40-37-3" else seeds):  # its oracle takes a minute
            for what, f, x, wanted in points(name, seed, steps):
                rows.append({"network": name, "n": len(x), "seed": seed, "point": what, **_against_dense(f, x, wanted)})
                print(f"  {name}, {len(x)} parameters, seed {seed}, {what}: {rows[-1]['verdict']}", flush=True)
    return rows


def _against_dense(f: Callable[[Tensor], Tensor], x: Tensor, wanted: str) -> dict[str, Any]:
    from gradlearn.curvature.derivatives import plain

    with plain():  # attention without its fused kernel, which has no second derivative
        true = torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, x))
    begin = time.perf_counter()
    dense = certify(f, x)
    seconds = time.perf_counter() - begin
    few = certify(f, x, dense=0, products=600)
    scale = float(true.abs().max())
    far = {"smallest": float(true[1] - true[0]) > 1e-3 * scale, "largest": float(true[-1] - true[-2]) > 1e-3 * scale}
    ends = {"smallest": float(true[0]), "largest": float(true[-1])}
    error = {
        way: max((abs(getattr(c, end) - ends[end]) / scale for end in ends if far[end]), default=0.0)
        for way, c in (("dense", dense), ("Lanczos", few))
    }
    return {
        "true": wanted,
        "verdict": dense.verdict,
        "gradient": dense.gradient,
        "by Lanczos": few.verdict,
        "smallest": ends["smallest"],
        "largest": ends["largest"],
        "separated": sum(far.values()),
        "dense error": error["dense"],
        "Lanczos error": error["Lanczos"],
        "products": few.products,
        "s": round(seconds, 2),
    }


def main() -> None:
    arguments = measure.options(__doc__).parse_args()
    torch.set_num_threads(1)
    known = functions()
    names = list(NETS)[:1] if arguments.quick else list(NETS)
    nets = networks(1 if arguments.quick else 2, 200 if arguments.quick else 4000, names)
    ways = ("as it is", "black box", "rotated", "beside")
    bars = [
        measure.bar(f"known functions right, {way}", sum(r[way] == r["true"] for r in known), len(known), below=False)
        for way in ways
    ]
    bars += [
        measure.bar("network verdicts right", sum(r["verdict"] == r["true"] for r in nets), len(nets), below=False),
        measure.bar("dense: largest error of a separated end", max(r["dense error"] for r in nets), 1e-6),
        measure.bar("Lanczos: largest error of a separated end", max(r["Lanczos error"] for r in nets), 1e-6),
    ]
    measure.table(known, "known functions")
    measure.table(nets, "networks")
    measure.table(bars)
    payload = {"claim": measure.first_line(__doc__), "bars": bars, "rows": nets, "functions": known}
    measure.write("certificate", payload, arguments.quick)


if __name__ == "__main__":
    main()
