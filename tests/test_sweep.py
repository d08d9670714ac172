"""One formula, two ways: compiled and in pure PyTorch give the same bits, whatever the tensors look like."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradlearn import sweep as sweeping
from gradlearn.sweep import Sweep, absolute, lerp, maximum, minimum, sign, sqrt, sweep, where

pytest.importorskip("numba", reason="the extra `fast` is not installed: there is one way only")


def adam(p: Any, m: Any, v: Any, g: Any, a1: float, a2: float, step: float, eps: float) -> tuple[Any, ...]:
    """Two means, a root and a division."""
    m, v = lerp(m, g, a1), lerp(v, g * g, a2)
    return p - step * m / (sqrt(v) + eps), m, v


def all_functions(p: Any, q: Any, g: Any, zero: float, least: float) -> tuple[Any, ...]:
    """Everything that a formula may call."""
    a = where(p * g > zero, maximum(absolute(p), least), minimum(p, q))
    return a + sign(g) * maximum(p, q), minimum(g, least)


def sums(p: Any, g: Any, lr: float) -> tuple[Any, ...]:
    """A step, and <p, g> and |g|^2."""
    return p - lr * g, p * g, g * g


def only_sums(p: Any, g: Any) -> tuple[Any, ...]:
    """Nothing written."""
    return (p * g,)


def sums_twin(p: Any, g: Any, lr: float) -> tuple[Any, ...]:
    """As many of everything as `sums`."""
    return p + lr * g, p - g, g + g


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Choose one: "compiled" or "plain"."""

    def choose(way: str) -> None:
        monkeypatch.setattr(sweeping, "ENOUGH", 0 if way == "compiled" else 1 << 60)
        monkeypatch.setattr(sweeping, "_native", lambda: way == "compiled")

    return choose


def column(shapes: list[tuple[int, ...]], seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes]


SHAPES = [(5, 3), (), (0,), (100_003,), (2, 3, 4, 4), (1,)]
ADAM = (0.1, 0.01, 1e-3, 1e-8)


def adam_columns(dtype: torch.dtype = torch.float32, shapes: list[tuple[int, ...]] = SHAPES) -> list[list[Tensor]]:
    p, m, v, g = (column(shapes, seed, dtype) for seed in range(4))
    return [p, m, [t.abs() for t in v], g]


def same(a: list[list[Tensor]], b: list[list[Tensor]]) -> bool:
    return all(torch.equal(s, t) for x, y in zip(a, b, strict=True) for s, t in zip(x, y, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_give_the_same_bits(ways: Callable[[str], None], dtype: torch.dtype):
    results = []
    for way in ("compiled", "plain"):
        ways(way)
        columns = adam_columns(dtype)
        for _ in range(3):
            assert sweep(adam, columns[:3], columns[3:], ADAM) == []
        results.append(columns)
    assert same(*results)
    assert not same(results[0], adam_columns(dtype))


def test_the_plain_way_is_the_formula_itself(ways: Callable[[str], None]):
    ways("plain")
    columns, before = adam_columns(), adam_columns()
    sweep(adam, columns[:3], columns[3:], ADAM)
    for j in range(len(SHAPES)):
        p, m, v, g = (c[j].double() for c in before)
        m, v = m + 0.1 * (g - m), v + 0.01 * (g * g - v)
        assert torch.allclose(columns[0][j].double(), p - 1e-3 * m / (v.sqrt() + 1e-8), atol=1e-6)
        assert torch.allclose(columns[1][j].double(), m, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_function_means_the_same_in_both_ways_also_of_what_is_no_number(ways: Callable[[str], None], dtype: torch.dtype):
    odd = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1.0, -1.0, 1e-40], dtype=dtype)
    results = []
    for way in ("compiled", "plain"):
        ways(way)
        p = odd.repeat_interleave(64).clone()
        q = odd.repeat_interleave(8).repeat(8).clone()
        g = odd.repeat(64).clone()
        sweep(all_functions, [[p], [q]], [[g]], (0.0, 0.5))
        results.append((p, q))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a.nan_to_num(7e7), b.nan_to_num(7e7))


@pytest.mark.parametrize("way", ["compiled", "plain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_over_all_tensors(ways: Callable[[str], None], way: str, dtype: torch.dtype):
    ways(way)
    p, g = column(SHAPES, 0, dtype), column(SHAPES, 1, dtype)
    dot = sum((a.double() * b.double()).sum().item() for a, b in zip(p, g, strict=True))
    size = sum(b.double().square().sum().item() for b in g)
    found = sweep(sums, [p], [g], (0.1,))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert abs(found[0] - dot) < tolerance * size**0.5 * 100
    assert found[1] == pytest.approx(size, rel=tolerance)


@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_a_formula_may_write_nothing(ways: Callable[[str], None], way: str):
    ways(way)
    p, g = column(SHAPES, 0), column(SHAPES, 1)
    versions = [t._version for t in (*p, *g)]
    found = sweep(only_sums, [], [p, g], ())
    assert found[0] == pytest.approx(sum((a.double() * b.double()).sum().item() for a, b in zip(p, g, strict=True)), abs=1e-3)
    assert same([p, g], [column(SHAPES, 0), column(SHAPES, 1)])
    assert versions == [t._version for t in (*p, *g)]


@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_nothing_to_do_is_no_error(ways: Callable[[str], None], way: str):
    ways(way)
    assert sweep(sums, [[]], [[]], (0.1,)) == []
    assert sweep(sums, [[torch.zeros(0)]], [[torch.zeros(0)]], (0.1,)) == [0.0, 0.0]


def strided(kind: str) -> list[list[Tensor]]:
    """Four columns of two tensors, one of which is laid out in an odd way."""
    columns = adam_columns(shapes=[(4, 6, 5, 2), (6, 4)])
    for k, c in enumerate(columns):
        if kind == "channels_last":
            c[0] = c[0].to(memory_format=torch.channels_last)
        elif kind == "gaps":
            wide = torch.zeros(6, 8)
            wide[:, ::2] = c[1]
            c[1] = wide[:, ::2]
        elif kind == "one transposed" and k == 3:
            c[1] = c[1].t().contiguous().t()
        elif kind == "offset":
            c[0] = torch.cat([torch.zeros(3), c[0].flatten()])[3:].view(4, 6, 5, 2)
        elif kind == "expanded" and k == 3:
            c[1] = c[1][:1].expand(6, 4)
        elif kind == "negative view" and k == 3:
            c[1] = torch._neg_view(-c[1])
    return columns


@pytest.mark.parametrize("kind", ["channels_last", "gaps", "one transposed", "offset", "expanded", "negative view"])
def test_the_layout_of_tensors_does_not_matter(ways: Callable[[str], None], kind: str):
    results = []
    for way in ("compiled", "plain"):
        ways(way)
        columns = strided(kind)
        walk = Sweep(adam)
        for _ in range(3):
            walk(columns[:3], columns[3:], ADAM)
        results.append(columns)
    ways("plain")
    reference = [[t.contiguous().clone() for t in c] for c in strided(kind)]
    for _ in range(3):
        sweep(adam, reference[:3], reference[3:], ADAM)
    assert same(*results)
    assert same(results[0], reference)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_numbers_are_rounded_once(ways: Callable[[str], None], dtype: torch.dtype):
    ways("compiled")  # which leaves them to PyTorch
    columns = adam_columns(dtype)
    wide = [[t.float() for t in c] for c in columns]
    sweep(adam, columns[:3], columns[3:], ADAM)
    ways("plain")
    sweep(adam, wide[:3], wide[3:], ADAM)
    assert same(columns[:3], [[t.to(dtype) for t in c] for c in wide[:3]])


def test_a_coordinate_does_not_depend_on_where_it_lies_or_on_threads(ways: Callable[[str], None], monkeypatch: pytest.MonkeyPatch):
    """One vector, many tensors of it, three threads: the same bits. Vectors end in scalars somewhere else in each."""
    ways("compiled")
    monkeypatch.setattr(sweeping, "SHARED", 1)
    whole = adam_columns(shapes=[(10_007,)])
    cuts = [0, 1, 8, 1003, 1003, 5000, 10_007]
    pieces = [[t[0].clone()[a:b].clone() for a, b in itertools.pairwise(cuts)] for t in whole]
    shared = [[t[0].clone()] for t in whole]
    sweep(adam, whole[:3], whole[3:], ADAM)
    sweep(adam, pieces[:3], pieces[3:], ADAM)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = sweep(sums, [[t.clone() for t in shared[0]]], shared[3:], (0.1,))
        sweep(adam, shared[:3], shared[3:], ADAM)
    finally:
        torch.set_num_threads(before)
    for k in range(3):
        assert torch.equal(whole[k][0], torch.cat(pieces[k]))
        assert torch.equal(whole[k][0], shared[k][0])
    assert found[1] == pytest.approx(shared[3][0].double().square().sum().item(), rel=1e-5)


def test_threads_work_in_a_forked_process(ways: Callable[[str], None], monkeypatch: pytest.MonkeyPatch):
    ways("compiled")
    monkeypatch.setattr(sweeping, "SHARED", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        columns = adam_columns(shapes=[(1000,)])
        sweep(adam, columns[:3], columns[3:], ADAM)  # the threads are there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
            child = os.fork()
        if child == 0:
            sweep(adam, columns[:3], columns[3:], ADAM)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)


def test_what_is_moved_between_two_passes_is_found(ways: Callable[[str], None]):
    """Replaced data, replaced state, a new gradient, fewer tensors: each pass looks where things are now."""
    results = []
    for way in ("compiled", "plain"):
        ways(way)
        walk = Sweep(adam)
        columns = adam_columns(shapes=[(50,), (60,)])
        p = [nn.Parameter(t) for t in columns[0]]
        for t in range(6):
            if t == 1:
                p[0].data = p[0].data.clone() + 1.0
            if t == 2:
                columns[2][1] = columns[2][1].clone() * 2.0
            if t == 3:
                columns[3] = column([(50,), (60,)], 9)
            if t == 4:
                p[1].data = p[1].data.reshape(6, 10).t().contiguous().t()[:, :10].reshape(60)
            last = 1 if t == 5 else 2
            with torch.no_grad():
                walk([p[:last], columns[1][:last], columns[2][:last]], [columns[3][:last]], ADAM)
        results.append([[q.detach() for q in p], *columns])
    assert same(*results)


@pytest.mark.parametrize("way", ["compiled", "plain"])
def test_autograd_sees_that_a_parameter_was_changed(ways: Callable[[str], None], way: str):
    ways(way)
    p = nn.Parameter(torch.ones(10))
    loss = (p * p).sum()
    with torch.no_grad():
        sweep(sums, [[p]], [[torch.ones(10)]], (0.1,))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_are_not_held_on_to(ways: Callable[[str], None]):
    import weakref

    ways("compiled")
    walk = Sweep(sums)
    p, g = torch.ones(10), torch.ones(10)
    walk([[p]], [[g]], (0.1,))
    gone = weakref.ref(g)
    del g
    assert gone() is None


def test_formulas_of_one_shape_are_not_mixed_up(ways: Callable[[str], None]):
    ways("compiled")
    p, g = torch.full((40,), 3.0), torch.full((40,), 2.0)
    assert sweep(sums, [[p.clone()]], [[g]], (0.5,)) == [240.0, 160.0]
    assert sweep(sums_twin, [[p]], [[g]], (0.5,)) == [40.0, 160.0]
    assert torch.equal(p, torch.full((40,), 4.0))


def test_what_numba_does_not_know_is_said_and_done_in_plain_pytorch(ways: Callable[[str], None]):
    def odd(p: Any, g: Any) -> tuple[Any, ...]:
        return (p + g.tanh(),)

    ways("compiled")
    p = torch.zeros(5)
    with pytest.warns(RuntimeWarning, match="not compiled"):
        sweep(odd, [[p]], [[torch.ones(5)]], ())
    assert torch.allclose(p, torch.ones(5).tanh())
    sweep(odd, [[p]], [[torch.ones(5)]], ())  # said once
    assert torch.allclose(p, 2 * torch.ones(5).tanh())


def test_compiling_begins_once_plain_pytorch_has_cost_as_much(monkeypatch: pytest.MonkeyPatch):
    def shrink(p: Any, g: Any) -> tuple[Any, ...]:
        return (p - g,)

    monkeypatch.setattr(sweeping, "ENOUGH", 1000)
    asked: list[int] = []
    monkeypatch.setattr(sweeping, "_native", lambda: asked.append(1) is not None)
    walk, p, g = Sweep(shrink), torch.ones(100), torch.ones(100)
    for _ in range(400):
        walk([[p]], [[g]], ())
    passes = -(-300 * 1000 // (100 + sweeping.TENSOR))
    assert len(asked) == 400 - passes + 1
    asked.clear()
    Sweep(only_sums)([], [[p], [g]], ())  # with sums: by size alone
    Sweep(only_sums)([], [[p[:0]], [g[:0]]], ())
    assert len(asked) == 2
    monkeypatch.setattr(sweeping, "ENOUGH", 1 << 20)
    Sweep(only_sums)([], [[p], [g]], ())
    assert len(asked) == 2


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own for what numba keeps."""
    from numba.core import config

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


def compiled(folder: Path, formula: str, half: float = 0.5) -> tuple[float, int]:
    """What a formula of this text, always of one name and place, makes of 3 and 2; and whether it was found on disk."""
    from gradlearn import native

    path = folder / "formulas.py"
    path.write_text(f"from gradlearn.sweep import absolute, sqrt\nHALF = {half}\ndef step(p, g, a):\n    return ({formula},)\n")
    spec = importlib.util.spec_from_file_location("formulas", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    sys.modules["formulas"] = module
    try:
        spec.loader.exec_module(module)
        native.ready.cache_clear()
        p, g = torch.full((40,), 3.0), torch.full((40,), 2.0)
        sweep(module.step, [[p]], [[g]], (0.5,))
        loop: Any = native.ready(module.step, 1, 1, 1, torch.float32)
    finally:
        sys.dont_write_bytecode = before
        del sys.modules["formulas"]
    return p[0].item(), sum(loop.stats.cache_hits.values())


FORMULAS = {
    "p - a * g": 2.0,
    "p + a * g": 4.0,
    "sqrt(p * p + a - a) + p": 6.0,
    "absolute(p * p + a - a) + p": 12.0,
    "p + g * a * HALF": 3.5,
}


def test_what_is_kept_on_disk_is_found_again_and_never_taken_for_another_formula(
    ways: Callable[[str], None], kept: Path, tmp_path: Path
):
    """Formulas of one name, file and line, that differ in an operator, a function, a constant: each gets its own."""
    ways("compiled")
    for hits in (0, 1):
        for text, value in FORMULAS.items():
            assert compiled(tmp_path, text) == (value, hits)
    assert compiled(tmp_path, "p + g * a * HALF", half=2.0) == (5.0, 0)
    assert len(list(kept.rglob("*.nbi"))) == len(list(kept.rglob("*.nbc"))) == len(FORMULAS) + 1


def test_processes_that_compile_at_one_time_do_not_take_each_others_code(ways: Callable[[str], None], kept: Path, tmp_path: Path):
    ways("compiled")
    children = []
    for i, (text, value) in enumerate(FORMULAS.items()):
        (tmp_path / str(i)).mkdir()
        child = os.fork()
        if child == 0:
            try:
                fine = compiled(tmp_path / str(i), text)[0] == value
            finally:
                os._exit(0 if fine else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(FORMULAS)
    for i, (text, value) in enumerate(FORMULAS.items()):
        assert compiled(tmp_path / str(i), text) == (value, 1)


def test_a_damaged_file_is_not_taken(ways: Callable[[str], None], kept: Path, tmp_path: Path):
    ways("compiled")
    assert compiled(tmp_path, "p - a * g") == (2.0, 0)
    for kind in ("*.nbi", "*.nbc"):
        for path in kept.rglob(kind):
            path.write_bytes(path.read_bytes()[:40])
        assert compiled(tmp_path, "p - a * g") == (2.0, 0)


def test_a_place_that_cannot_be_written_to_does_not_break_it(
    ways: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """No place at all, and one that is full: compiled for this process only."""
    from numba.core import caching, config

    ways("compiled")
    monkeypatch.setattr(config, "CACHE_DIR", "/proc/nowhere")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    assert compiled(tmp_path, "p - a * g") == (2.0, 0)

    def full(self: Any, name: str, data: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    assert compiled(tmp_path, "p - a * g") == (2.0, 0)


def test_with_numbas_compiler_off_all_is_plain(ways: Callable[[str], None], monkeypatch: pytest.MonkeyPatch):
    from numba.core import config

    from gradlearn import native

    ways("compiled")
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    native.ready.cache_clear()
    p = torch.ones(5)
    sweep(sums, [[p]], [[torch.ones(5)]], (0.5,))
    assert torch.equal(p, torch.full((5,), 0.5))
    assert native.ready(sums, 1, 1, 1, torch.float32) is None
    native.ready.cache_clear()
