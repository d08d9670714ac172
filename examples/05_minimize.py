"""Any function: the nearest minimum, the best of a thousand valleys, a module's loss; and is it really a minimum?"""

import math

import torch
from torch import nn

from gradlearn import minimize

# the nearest minimum, from a start on a saddle: the gradient vanishes there, and the certificate names the way down
result = minimize(lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4, torch.zeros(2, dtype=torch.float64))
print(f"from a saddle: f = {result.fun:.6f}, {result.certificate.verdict}")

# a thousand valleys, moved and rotated so that nothing is in the middle
draw = torch.Generator().manual_seed(0)
turn, _ = torch.linalg.qr(torch.randn(10, 10, generator=draw, dtype=torch.float64))
place = 4 * torch.rand(10, generator=draw, dtype=torch.float64) - 2


def valleys(x: torch.Tensor) -> torch.Tensor:
    """Rastrigin's function, elsewhere and turned."""
    z = (x - place) @ turn
    return 10 * z.shape[-1] + (z * z - 10 * torch.cos(2 * math.pi * z)).sum(-1)


result = minimize(valleys, torch.full((10,), 4.0), bounds=(-5, 5), max_evals=40_000, target=1e-9)
error = float((result.x - place).norm())
print(f"best of all valleys: f = {result.fun:.1e}, {error:.1e} from the true place, {result.nfev} evaluations")

# the parameters of a module, in place
x = torch.linspace(-2, 2, 40, dtype=torch.float64)[:, None]
y = torch.sin(2 * x)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
result = minimize(lambda m: (m(x) - y).square().mean(), model, max_evals=400, search="none")
print(f"a small network: mean squared error {result.fun:.1e}")
print()
print(result.explain())
