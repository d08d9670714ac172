"""The operations of one coordinate: PyTorch's name -> what it computes, forward and backward.

Arguments come as expressions of one kind (that of the result), numbers as Python numbers, in PyTorch's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradlearn.program.expression import Complex, Expr, binary, compare, number, sign, to, unary, where
from gradlearn.program.frame import times
from gradlearn.program.unfit import Unfit

ROOT_HALF, ROOT_2_PI = math.sqrt(0.5), math.sqrt(2.0 * math.pi)


def _of(op: str) -> Callable[[Expr], Expr]:
    return lambda a: unary(op, a)


def _add(a: Any, b: Any, alpha: Any = 1) -> Any:
    if isinstance(a, Complex) or isinstance(b, Complex):
        (x, y), (u, v) = _pair(a), _pair(b)
        return Complex(_add(x, u, alpha), _add(y, v, alpha))
    return a + (b if alpha == 1 else b * alpha)


def _sub(a: Any, b: Any, alpha: Any = 1) -> Any:
    if isinstance(a, Complex) or isinstance(b, Complex):
        return _add(a, b, -alpha)
    return a - (b if alpha == 1 else b * alpha)


def _pair(a: Any) -> tuple[Any, Any]:
    return tuple(a) if isinstance(a, Complex) else (a, 0.0)  # pyright: ignore[reportReturnType]


def _neg(a: Any) -> Any:
    return Complex(-a.re, -a.im) if isinstance(a, Complex) else -a


def _div(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    if isinstance(b, Complex):
        size = b.re * b.re + b.im * b.im
        return times(a, Complex(b.re / size, -b.im / size))
    if isinstance(a, Complex):
        return Complex(a.re / b, a.im / b)
    if rounding_mode is None:
        return a / b
    return unary("trunc", a / b) if rounding_mode == "trunc" else _floor_divide(a, b)


def _floor_divide(a: Any, b: Any) -> Any:
    """The floor of the true quotient: that of the rounded one may be too large."""
    b = to(b, a.kind)
    rest = binary("fmod", a, b)
    whole = (a - rest) / b
    whole = where(_turned(rest, b), whole - 1.0, whole)
    down = unary("floor", whole)
    down = where(whole - down > 0.5, down + 1.0, down)
    return where(compare("eq", b, 0.0), a / b, where(compare("eq", whole, 0.0), a / b * 0.0, down))


def _remainder(a: Any, b: Any) -> Any:
    rest = binary("fmod", a, b)
    return where(_turned(rest, b), rest + b, rest)


def _turned(rest: Expr, b: Any) -> Expr:
    """Whether a remainder has another sign than what was divided by."""
    other = compare("ne", compare("lt", rest, 0.0), compare("lt", to(b, rest.kind), 0.0))
    return binary("and", compare("ne", rest, 0.0), other)


def _conj(a: Any) -> Any:
    return Complex(a.re, -a.im) if isinstance(a, Complex) else a


def _abs(a: Any) -> Any:
    if not isinstance(a, Complex):
        return unary("abs", a)
    x, y = unary("abs", a.re), unary("abs", a.im)
    long, short = binary("maximum", x, y), binary("minimum", x, y)
    share = where(compare("eq", long, short), 1.0, short / long)  # squares alone would leave the range of numbers
    return where(compare("eq", long, 0.0), 0.0, long * unary("sqrt", share * share + 1.0))


def _sgn(a: Any) -> Any:
    if not isinstance(a, Complex):
        return sign(a)
    size = _abs(a)
    return Complex(*(where(compare("eq", size, 0.0), 0.0, part / size) for part in a))


def _exp(a: Any) -> Any:
    if isinstance(a, Complex):
        size = unary("exp", a.re)
        return Complex(size * unary("cos", a.im), size * unary("sin", a.im))
    return unary("exp", a)


def _sigmoid(a: Any) -> Any:
    return 1.0 / (unary("exp", -a) + 1.0)


def _relu(a: Any) -> Any:
    return binary("maximum", a, 0)


def _power(a: Any, b: Any) -> Any:
    if not isinstance(a, (Expr, Complex)):
        a = number(a, b.kind)
    if isinstance(b, Expr) and b.op == "number":
        b = b.data
    if isinstance(b, Expr):
        return binary("pow", a, b)
    if isinstance(a, Complex) and not (b == int(b) and 0 <= b <= 8):
        raise Unfit(f"takes complex numbers to the power {b}, which programs do not know")
    if abs(b) <= 8 and b == int(b):
        return 1.0 / _whole_power(a, int(-b)) if b < 0 else _whole_power(a, int(b))
    if b in (0.5, -0.5):
        root: Any = unary("sqrt", a)  # pyright: ignore[reportArgumentType]  # a complex one has been refused
        return root if b > 0 else 1.0 / root
    return binary("pow", a, b)


def _whole_power(a: Any, n: int) -> Any:
    if n == 0:
        return number(1, _pair(a)[0].kind)
    half = _whole_power(a, n // 2)
    return (times(times(half, half), a) if n > 1 else a) if n % 2 else times(half, half)


def _clamp(a: Any, low: Any = None, high: Any = None) -> Any:
    return a.clamp(low, high)


def _lerp(a: Any, b: Any, weight: Any) -> Any:
    if isinstance(weight, Expr):
        return where(unary("abs", weight) < 0.5, a + (b - a) * weight, b - (b - a) * (1.0 - weight))
    return a + (b - a) * weight if abs(weight) < 0.5 else b - (b - a) * (1.0 - weight)


def _sinh(a: Any) -> Any:
    t = unary("expm1", unary("abs", a))
    half = where(t < math.inf, (t + t / (t + 1.0)) * 0.5, t)
    return where(a < 0, -half, half)


def _softplus(a: Any, beta: float = 1, threshold: float = 20) -> Any:
    return where(a * beta > threshold, a, unary("log1p", unary("exp", binary("minimum", a * beta, threshold))) * (1.0 / beta))


def _softplus_backward(g: Any, a: Any, beta: float, threshold: float) -> Any:
    return where(a * beta > threshold, g, g * _sigmoid(a * beta))


def _silu_backward(g: Any, a: Any) -> Any:
    s = _sigmoid(a)
    return g * s * ((1.0 - s) * a + 1.0)


def _gelu(a: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return a * 0.5 * (unary("tanh", (a * a * a * 0.044715 + a) * math.sqrt(2.0 / math.pi)) + 1.0)
    return a * 0.5 * (unary("erf", a * ROOT_HALF) + 1.0)


def _gelu_backward(g: Any, a: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        k = math.sqrt(2.0 / math.pi)
        t = unary("tanh", (a * a * a * 0.044715 + a) * k)
        return g * ((t + 1.0) * 0.5 + a * 0.5 * (1.0 - t * t) * (a * a * 0.134145 + 1.0) * k)
    return g * ((unary("erf", a * ROOT_HALF) + 1.0) * 0.5 + a * unary("exp", a * a * -0.5) * (1.0 / ROOT_2_PI))


def _elu(a: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    return where(a > 0, a * scale, unary("expm1", a * input_scale) * (alpha * scale))


def _elu_backward(g: Any, alpha: float, scale: float, input_scale: float, is_result: bool, a: Any) -> Any:
    slope = (
        g * input_scale * (a + alpha * scale) if is_result else g * unary("exp", a * input_scale) * (input_scale * alpha * scale)
    )
    return where(a <= 0, slope, g * scale)


def _leaky(a: Any, slope: float = 0.01) -> Any:
    return where(a > 0, a, a * slope)


def _hardtanh_backward(g: Any, a: Any, low: float, high: float) -> Any:
    return where(a <= low, 0.0, where(a >= high, 0.0, g))


def _hardsigmoid_backward(g: Any, a: Any) -> Any:
    return where(a > -3.0, where(a < 3.0, g * (1.0 / 6.0), 0.0), 0.0)


def _hardswish_backward(g: Any, a: Any) -> Any:
    return where(a <= -3.0, 0.0, where(a < 3.0, g * (a * (1.0 / 3.0) + 0.5), g))


def _mish(a: Any) -> Any:
    return a * unary("tanh", _softplus(a))


def _mish_backward(g: Any, a: Any) -> Any:
    t = unary("tanh", _softplus(a))
    return g * (t + a * _sigmoid(a) * (1.0 - t * t))


def _log_sigmoid(a: Any) -> Any:
    return binary("minimum", a, 0.0) - unary("log1p", unary("exp", -unary("abs", a)))


def _bce(a: Any, y: Any, weight: Any = None) -> Any:
    loss = (y - 1.0) * unary("log1p", -a).clamp(-100.0) - y * unary("log", a).clamp(-100.0)
    return loss if weight is None else loss * weight


def _bce_backward(g: Any, a: Any, y: Any, weight: Any = None) -> Any:
    slope = g * (a - y) / ((1.0 - a) * a).clamp(1e-12)
    return slope if weight is None else slope * weight


def _bce_logits(a: Any, y: Any, weight: Any = None, pos_weight: Any = None) -> Any:
    tail = -_log_sigmoid(a)
    loss = (1.0 - y) * a + (tail if pos_weight is None else ((pos_weight - 1.0) * y + 1.0) * tail)
    return loss if weight is None else loss * weight


def _smooth_l1(a: Any, b: Any, beta: float = 1.0) -> Any:
    z = unary("abs", a - b)
    return where(z < beta, z * z * (0.5 / beta), z - 0.5 * beta) if beta else z


def _smooth_l1_backward(g: Any, a: Any, b: Any, beta: float) -> Any:
    z = a - b
    return where(unary("abs", z) < beta, g * z * (1.0 / beta), g * sign(z)) if beta else g * sign(z)


def _huber(a: Any, b: Any, delta: float = 1.0) -> Any:
    z = unary("abs", a - b)
    return where(z < delta, z * z * 0.5, (z - 0.5 * delta) * delta)


def _huber_backward(g: Any, a: Any, b: Any, delta: float) -> Any:
    return g * (a - b).clamp(-delta, delta)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": _add,
    "sub": _sub,
    "rsub": lambda a, b, alpha=1: b - (a if alpha == 1 else a * alpha),
    "mul": times,
    "div": _div,
    "neg": _neg,
    "conj_physical": _conj,
    "_conj_physical": _conj,
    "abs": _abs,
    "exp": _exp,
    "reciprocal": lambda a: 1.0 / a,
    "sqrt": _of("sqrt"),
    "rsqrt": lambda a: 1.0 / unary("sqrt", a),
    "exp2": lambda a: unary("exp", a * math.log(2.0)),
    "expm1": _of("expm1"),
    "log": _of("log"),
    "log2": lambda a: unary("log", a) * (1.0 / math.log(2.0)),
    "log10": lambda a: unary("log", a) * (1.0 / math.log(10.0)),
    "log1p": _of("log1p"),
    "sin": _of("sin"),
    "cos": _of("cos"),
    "tan": lambda a: unary("sin", a) / unary("cos", a),
    "sinh": _sinh,
    "cosh": lambda a: (unary("exp", a) + unary("exp", -a)) * 0.5,
    "tanh": _of("tanh"),
    "erf": _of("erf"),
    "floor": _of("floor"),
    "ceil": _of("ceil"),
    "round": _of("round"),
    "trunc": _of("trunc"),
    "sign": sign,
    "sgn": _sgn,
    "sigmoid": _sigmoid,
    "relu": _relu,
    "pow": _power,
    "clamp": _clamp,
    "clamp_min": lambda a, low: a.clamp(low),
    "clamp_max": lambda a, high: a.clamp(None, high),
    "maximum": lambda a, b: binary("maximum", a, b),
    "minimum": lambda a, b: binary("minimum", a, b),
    "remainder": _remainder,
    "fmod": lambda a, b: binary("fmod", a, b),
    "lerp": _lerp,
    "addcmul": lambda a, b, c, value=1: a + b * c * value,
    "addcdiv": lambda a, b, c, value=1: a + b / c * value,
    "softplus": _softplus,
    "softplus_backward": _softplus_backward,
    "silu": lambda a: a * _sigmoid(a),
    "silu_backward": _silu_backward,
    "gelu": _gelu,
    "gelu_backward": _gelu_backward,
    "elu": _elu,
    "elu_backward": _elu_backward,
    "celu": lambda a, alpha=1.0: _elu(a, alpha, 1.0, 1.0 / alpha),
    "leaky_relu": _leaky,
    "leaky_relu_backward": lambda g, a, slope, result: where(a > 0, g, g * slope),
    "hardtanh": lambda a, low=-1.0, high=1.0: a.clamp(low, high),
    "hardtanh_backward": _hardtanh_backward,
    "hardsigmoid": lambda a: (a + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0),
    "hardswish": lambda a: a * (a + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0),
    "hardsigmoid_backward": _hardsigmoid_backward,
    "hardswish_backward": _hardswish_backward,
    "mish": _mish,
    "mish_backward": _mish_backward,
    "log_sigmoid_forward": _log_sigmoid,
    "log_sigmoid_backward": lambda g, a, _: g * _sigmoid(-a),
    "threshold": lambda a, at, value: where(a <= at, value, a),
    "threshold_backward": lambda g, a, at: where(a <= at, 0.0, g),
    "tanh_backward": lambda g, y: g * (1.0 - y * y),
    "sigmoid_backward": lambda g, y: g * ((1.0 - y) * y),
    "masked_fill": lambda a, mask, value: where(mask, value, a),
    "clone": lambda a: a,
    "_to_copy": lambda a: a,
    "alias_copy": lambda a: a,
}

LOSSES: dict[str, Callable[..., Any]] = {  # without `reduction`, which is not a matter of one coordinate
    "binary_cross_entropy": _bce,
    "binary_cross_entropy_backward": _bce_backward,
    "binary_cross_entropy_with_logits": _bce_logits,
    "mse_loss": lambda a, b: (a - b) * (a - b),
    "mse_loss_backward": lambda g, a, b: g * (a - b) * 2.0,
    "smooth_l1_loss": _smooth_l1,
    "smooth_l1_loss_backward": _smooth_l1_backward,
    "huber_loss": _huber,
    "huber_loss_backward": _huber_backward,
}

TRUTHS: dict[str, Callable[..., Any]] = {  # arguments as they are; the result is a truth value
    "lt": lambda a, b: compare("lt", a, b),
    "le": lambda a, b: compare("le", a, b),
    "gt": lambda a, b: compare("gt", a, b),
    "ge": lambda a, b: compare("ge", a, b),
    "eq": lambda a, b: compare("eq", a, b),
    "ne": lambda a, b: compare("ne", a, b),
    "isnan": lambda a: compare("ne", a, a),
    "isinf": lambda a: compare("eq", unary("abs", a), math.inf),
    "logical_not": lambda a: compare("eq", a, 0),
    "logical_and": lambda a, b: binary("and", to(a, "b1"), to(b, "b1")),
    "logical_or": lambda a, b: binary("or", to(a, "b1"), to(b, "b1")),
    "bitwise_and": lambda a, b: binary("and", to(a, "b1"), to(b, "b1")),
    "bitwise_or": lambda a, b: binary("or", to(a, "b1"), to(b, "b1")),
    "bitwise_not": lambda a: compare("eq", a, 0),
}
