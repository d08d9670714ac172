"""B three ways on one problem: all examples a step, thirty-two, one. Prints three losses and draws three_batches.svg."""

from pathlib import Path

import torch
from torch import Tensor, nn

import gradlearn

KINDS = (("full batch", "full", 0.4, "#1f6fb4"), ("mini-batch", 32, 0.1, "#d9761b"), ("single", 1, 0.02, "#8b5fb8"))
PASSES, WIDE, HIGH = 5, 380, 300

chance = torch.Generator().manual_seed(0)
x = torch.randn(640, 2, generator=chance) @ torch.tensor([[1.0, 0.6], [0.0, 0.6]])
y = x @ torch.tensor([[2.0], [-1.0]]) + 0.5 * torch.randn(640, 1, generator=chance)  # noise: 0.25 is about the least


def path_of(batch: int | str, lr: float) -> Tensor:
    """theta before and after every step of five passes over the data: (steps + 1, 2)."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, -1.0)
    path = [model.weight.detach().clone()]
    gradlearn.fit(
        model,
        (x, y),
        loss="mse",
        batch=batch,
        epochs=PASSES,
        update="sgd",
        lr=lr,
        sgd__momentum=0.0,
        rate=["constant"],
        average="plain",
        valid=None,
        show=lambda descent, step: path.append(model.weight.detach().clone()),
    )
    return torch.cat(path)


def losses(theta: Tensor) -> Tensor:
    """The mean squared error of each theta on all of the data: (k, 2) -> (k,)."""
    return (x @ theta.T - y).square().mean(0)


def line(points: Tensor, look: str) -> str:
    """A curve through points of the picture, (k, 2)."""
    return f'<polyline fill="none" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points.tolist())}" {look}/>'


def words(left: float, top: float, text: str, look: str = "") -> str:
    """A word at a place of the picture."""
    return f'<text x="{left}" y="{top}" font-family="sans-serif" font-size="13" {look}>{text}</text>'


def plane(theta: Tensor) -> Tensor:
    """Places in the left half: both axes from -1.5 to 2.5."""
    return torch.stack([10 + (theta[:, 0] + 1.5) / 4 * WIDE, 30 + (1.5 - theta[:, 1]) / 4 * HIGH], 1)


def course(loss: Tensor) -> Tensor:
    """Places in the right half: passes to the right, the loss from 0.1 to 20 upwards, in powers of ten."""
    across = torch.linspace(0, 1, len(loss)) * WIDE
    return torch.stack([WIDE + 70 + across, 30 + HIGH * (20 / loss).log10() / torch.tensor(200.0).log10()], 1)


best = torch.linalg.lstsq(x, y).solution
values, axes = torch.linalg.eigh(x.T @ x / len(x))  # the loss is its least value plus an ellipse's worth
circle = torch.linspace(0, 2 * torch.pi, 100)
ellipses = [
    axes @ (torch.stack([circle.cos(), circle.sin()]) * (more / values)[:, None].sqrt()) for more in (0.05, 0.3, 1, 2.5, 5, 8)
]
left, right = [line(plane((best + ellipse).T), 'stroke="#bbb"') for ellipse in ellipses], []
for value in (0.1, 1.0, 10.0):
    level = course(torch.full((2,), value))
    right += [line(level, 'stroke="#ddd"'), words(WIDE + 62, level[0, 1].item() + 4, f"{value:g}", 'text-anchor="end"')]
for k in range(PASSES + 1):
    right.append(words(WIDE + 70 + k * WIDE / PASSES, HIGH + 45, str(k), 'text-anchor="middle"'))

for k, (name, batch, lr, colour) in enumerate(KINDS):
    path = path_of(batch, lr)
    loss = losses(path)
    look = f'stroke="{colour}" stroke-width="{1 if len(path) > 500 else 2}"'
    left.insert(len(ellipses), line(plane(path), look))  # the noisiest lies below the others
    right.insert(0, line(course(loss), look))
    right.append(words(WIDE + 260, 95 + 18 * k, f"{name}: {len(path) - 1:,} steps", f'fill="{colour}"'))
    print(f"{name:10}  {len(path) - 1:5d} steps   loss {loss[-1]:.4f}")

spot = plane(best.T)[0].tolist()
left.append(f'<circle cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="4"/>')
frame = f'<rect width="100%" height="26" fill="#fff"/><rect x="{WIDE + 15}" width="100%" height="100%" fill="#fff"/>'
titles = words(10, 18, "theta: two weights, lines of equal loss") + words(
    WIDE + 70, 18, "loss on all examples, against passes over them"
)
svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDE + 80}" height="{HIGH + 60}">'
paper = '<rect width="100%" height="100%" fill="#fff"/>'
Path("three_batches.svg").write_text("".join([svg, paper, *left, frame, titles, *right, "</svg>\n"]))
