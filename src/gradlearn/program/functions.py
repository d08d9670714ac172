"""Exponentials, logarithms and the like in elementary arithmetic, so that a loop over them runs in vectors.

    exp x = 2^n exp r,  n = round(x / ln 2),  r = x - n ln 2,   exp r by a polynomial (float32) or a fraction (float64)

Moshier's Cephes (1989) has the coefficients, Eigen those of tanh and erf in float32. Errors are up to three units in the last
place, of those two up to six; below the normal numbers there is 0. Powers, and the error function in float64, are the C library's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gradlearn.program.expression import Expr, compare, make, number, to, unary, where


def polynomial(x: Expr, coefficients: Sequence[float], monic: bool = False) -> Expr:
    """Horner's rule, highest power first; monic: the highest coefficient is one and not given."""
    value = x + coefficients[0] if monic else number(coefficients[0], x.kind)
    for c in coefficients[1:]:
        value = value * x + c
    return value


def _bits(x: Expr) -> Expr:
    return make("bits", "i32" if x.kind == "f32" else "i64", (x,))


def _from_bits(x: Expr) -> Expr:
    return make("from_bits", "f32" if x.kind == "i32" else "f64", (x,))


def _shift(x: Expr, places: int, op: str) -> Expr:
    return make(op, x.kind, (x, number(places, x.kind)))


_EXP32 = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_EXP64_P = (1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1)
_EXP64_Q = (3.00198505138664455042e-6, 2.52448340349684104192e-3, 2.27265548208155028766e-1, 2.00000000000000000005e0)
_LOG32 = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LOG64_P = (
    1.01875663804580931796e-4,
    4.97494994976747001425e-1,
    4.70579119878881725854e0,
    1.44989225341610930846e1,
    1.79368678507819816313e1,
    7.70838733755885391666e0,
)
_LOG64_Q = (
    1.12873587189167450590e1,
    4.52279145837532221105e1,
    8.29875266912776603211e1,
    7.11544750618563894466e1,
    2.31251620126765340583e1,
)
_TANH32_P = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
_TANH32_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_TANH64_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
_TANH64_Q = (1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)
_ERF32_P = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF32_Q = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02)
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17)  # their sum is pi / 2 to 107 bits
_SIN32 = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS32 = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN64 = (
    1.58962301576546568060e-10,
    -2.50507477628578072866e-8,
    2.75573136213857245213e-6,
    -1.98412698295895385996e-4,
    8.33333333332211858878e-3,
    -1.66666666666666307295e-1,
)
_COS64 = (
    -1.13585365213876817300e-11,
    2.08757008419747316778e-9,
    -2.75573141792967388112e-7,
    2.48015872888517045348e-5,
    -1.38888888888730564116e-3,
    4.16666666666665929218e-2,
)


def exp(x: Expr) -> Expr:
    """e^x; 0 where it would be below the normal numbers, infinite above the largest."""
    single = x.kind == "f32"
    low, high = (-86.98, 88.72283) if single else (-708.0, 709.782712893384)
    inside = where(compare("lt", x, low), low, where(compare("gt", x, high), high, x))
    n = unary("floor", inside * math.log2(math.e) + 0.5)
    if single:
        r = inside - n * 0.693359375 - n * -2.12194440e-4
        value = polynomial(r, _EXP32) * (r * r) + r + 1.0
    else:
        r = inside - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6
        z = r * r
        p = r * polynomial(z, _EXP64_P)
        value = p / (polynomial(z, _EXP64_Q) - p) * 2.0 + 1.0
    whole, bias, places = ("i32", 126, 23) if single else ("i64", 1022, 52)
    value = value * _from_bits(_shift(to(n, whole) + bias, places, "shl")) * 2.0  # 2^n in two factors: 2^128 is no float32
    value = where(compare("gt", x, high), math.inf, where(compare("lt", x, low), 0.0, value))
    return where(compare("eq", x, x), value, x)


def log(x: Expr) -> Expr:
    """Natural logarithm; -infinity at 0, NaN below."""
    single = x.kind == "f32"
    whole, places, bias, tiny = ("i32", 23, 126, 2.0**-126) if single else ("i64", 52, 1022, 2.0**-1022)
    small = compare("lt", x, tiny)
    lift = 2.0**25 if single else 2.0**54
    scaled = where(small, x * lift, x)
    bits = _bits(scaled)
    e = to(_shift(bits, places, "lshr") - number(bias, whole), x.kind) - where(small, math.log2(lift), number(0, x.kind))
    mantissa = make("and", whole, (bits, number((1 << places) - 1, whole)))
    m = _from_bits(make("or", whole, (mantissa, number(bias << places, whole))))  # in [0.5, 1)
    less = compare("lt", m, math.sqrt(0.5))
    e = where(less, e - 1.0, e)
    m = where(less, m + m, m) - 1.0
    z = m * m
    fraction = polynomial(m, _LOG32) if single else polynomial(m, _LOG64_P) / polynomial(m, _LOG64_Q, monic=True)
    y = m * (z * fraction)
    y = y - e * 2.121944400546905827679e-4 - z * 0.5
    value = m + y + e * 0.693359375
    value = where(compare("lt", x, math.inf), value, x)
    return where(compare("gt", x, 0.0), value, where(compare("eq", x, 0.0), -math.inf, where(compare("lt", x, 0.0), math.nan, x)))


def log1p(x: Expr) -> Expr:
    """log(1 + x) where x may be tiny."""
    u = x + 1.0
    d = u - 1.0
    value = log(u) * (x / where(compare("eq", d, 0.0), 1.0, d))
    return where(compare("eq", d, 0.0), x, where(compare("lt", u, math.inf), value, u))


def expm1(x: Expr) -> Expr:
    """e^x - 1 where x may be tiny."""
    u = exp(x)
    d = u - 1.0
    plain = where(compare("lt", unary("abs", x), 0.5), d * x / where(compare("eq", u, 1.0), 1.0, log(u)), d)
    return where(compare("eq", u, 1.0), x, plain)


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent: one fraction up to where it is 1 (float32), or by the exponential (float64)."""
    size = unary("abs", x)
    if x.kind == "f32":
        inside = where(compare("lt", x, -7.905), -7.905, where(compare("gt", x, 7.905), 7.905, x))
        z = inside * inside
        value = where(compare("lt", size, 4e-4), x, inside * polynomial(z, _TANH32_P) / polynomial(z, _TANH32_Q))
        return where(compare("gt", x, 9.0), 1.0, where(compare("lt", x, -9.0), -1.0, value))
    z = x * x
    near = x + x * (z * polynomial(z, _TANH64_P) / polynomial(z, _TANH64_Q, monic=True))
    far = 1.0 - 2.0 / (exp(size + size) + 1.0)
    return where(compare("lt", size, 0.625), near, where(compare("lt", x, 0.0), -far, far))


def erf(x: Expr) -> Expr:
    """The error function, float32: an odd polynomial over an even one on [-4, 4]; the C library's for float64."""
    if x.kind != "f32":
        return make("erf_of", x.kind, (x,))
    inside = where(compare("lt", x, -4.0), -4.0, where(compare("gt", x, 4.0), 4.0, x))
    z = inside * inside
    return (inside * polynomial(z, _ERF32_P) / polynomial(z, _ERF32_Q)).clamp(-1.0, 1.0)


def _turn(x: Expr, quarter: int) -> Expr:
    """sin(x + quarter pi / 2); some number in [-1, 1] beyond 2^52, where neighbours are more than a turn apart."""
    wide = to(x, "f64")
    n = unary("floor", wide * (2.0 / math.pi) + 0.5)
    r = wide
    for part in _HALF_PI:
        r = make("fma", "f64", (-n, number(part, "f64"), r))  # exact, or nearly so: what is left may be tiny
    r = to(r.clamp(-1.0, 1.0), x.kind)
    z = r * r
    single = x.kind == "f32"
    sine = polynomial(z, _SIN32 if single else _SIN64) * z * r + r
    cosine = polynomial(z, _COS32 if single else _COS64) * (z * z) - z * 0.5 + 1.0
    q = make("and", "i64", (to(n, "i64") + quarter, number(3, "i64")))
    odd = compare("eq", make("and", "i64", (q, number(1, "i64"))), 1)
    value = where(odd, cosine, sine)
    return where(compare("ge", q, 2), -value, value)


FUNCTIONS: dict[str, Callable[[Expr], Expr]] = {
    "exp": exp,
    "log": log,
    "log1p": log1p,
    "expm1": expm1,
    "tanh": tanh,
    "erf": erf,
    "sin": lambda x: _turn(x, 0),
    "cos": lambda x: _turn(x, 1),
}


def elementary(e: Expr) -> Expr | None:
    """The expression of a function's value in elementary arithmetic; None for what is elementary."""
    return FUNCTIONS[e.op](e.args[0]) if e.op in FUNCTIONS else None
