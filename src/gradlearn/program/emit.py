"""A loop as a function in LLVM's language: loops over its coordinates, inside them loads, arithmetic and stores.

    define void @k(ptr noalias %p0, ptr noalias %p1) { for i0 { for i1 { ... } } }

Each place that a loop touches is one pointer; joined loops touch no common element through two of them (`loops.joinable`), which is
what `noalias` promises, and what lets LLVM use vector instructions. A product and a sum may become one operation, and sums may be
taken in another order; else every operation is rounded as it stands. Loops that differ only in where things lie are one function.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Sequence

from gradlearn.program.expression import BYTES, FLOATS, Access, Expr
from gradlearn.program.functions import FUNCTIONS, elementary
from gradlearn.program.loops import Loop, Span, Store, one_to_one, rewrite, walk
from gradlearn.program.unfit import Unfit

TYPES = {"f32": "float", "f64": "double", "i64": "i64", "i32": "i32", "i16": "i16", "i8": "i8", "u8": "i8", "b1": "i8"}
_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "shl": "shl", "lshr": "lshr"}
_COMPARE = {"lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge", "eq": "eq", "ne": "ne"}
_INTRINSICS = {"abs": "fabs", "round": "rint"} | {op: op for op in ("sqrt", "floor", "ceil", "trunc", "pow", "fma")}
_SMALLEST = {"f32": -math.inf, "f64": -math.inf, "i64": -(1 << 63), "i32": -(1 << 31), "i16": -(1 << 15), "i8": -(1 << 7), "u8": 0}
_LARGEST = {
    "f32": math.inf,
    "f64": math.inf,
    "i64": (1 << 63) - 1,
    "i32": (1 << 31) - 1,
    "i16": (1 << 15) - 1,
    "i8": 127,
    "u8": 255,
}


class Kernel:
    """The text of one loop.

    Attributes:
        text: all of it behind the function's name.
        places: (store, offset in bytes) of each pointer.
        needs: what it calls, to be declared.
    """

    def __init__(self, loop: Loop) -> None:
        memo: dict[int, Expr] = {}
        value = [tuple(rewrite(e, elementary, memo) for e in (s.value, *s.indices)) for s in loop.stores]
        while any(e.op in FUNCTIONS for each in value for e in walk(each)):
            memo = {}
            value = [tuple(rewrite(e, elementary, memo) for e in each) for each in value]
        self.stores = [Store(s.access, v, tuple(i), s.fold, s.fresh) for s, (v, *i) in zip(loop.stores, value, strict=True)]
        loads = [e for s in self.stores for e in walk((s.value, *s.indices)) if e.op == "load"]
        accesses = [*(e.data for e in loads), *(s.access for s in self.stores)]
        if any(s.fold and s.access.kind == "b1" for s in self.stores):
            raise Unfit("folds truth values, which programs do not know")
        fixed = any(e.op == "index" for s in self.stores for e in walk((s.value, *s.indices)))
        self.order, self.dims, self.groups = _arrange(loop.dims, accesses, self.stores, fixed)
        self.places: list[tuple[int, int]] = []
        self.needs: set[str] = set()
        self._lines: list[str] = []
        self._count = 0
        self._known: dict[int, str] = {}
        self._write()
        arguments = ", ".join(f"ptr noalias %p{i}" for i in range(len(self.places)))
        self.text = f"({arguments}) #0 {{\nentry:\n" + "\n".join(self._lines) + "\n  ret void\n}"

    def _write(self) -> None:
        depth = len(self.dims)
        self._sums: dict[int, tuple[str, int]] = {}
        for k, s in enumerate(self.stores):
            if s.fold and not s.indices:
                level = max((i + 1 for i in range(depth) if self._stride(s.access, i)), default=0)
                outer = self._meets(s.access, level)
                if level < depth:
                    self._sums[k] = (self._line(f"alloca {TYPES[s.access.kind]}"), level)
                if s.fresh and (outer or level == depth):
                    self._begin(s)
        self._nest(0, [])

    def _meets(self, access: Access, level: int) -> bool:
        """Whether several coordinates of the loops outside of a level lead to one element."""
        strides = tuple(self._stride(access, i) for i in range(level))
        return not one_to_one(Span(access._replace(strides=strides), tuple(self.dims[:level]), True, False))

    def _begin(self, s: Store) -> None:
        """The place of a fold before the first value comes."""
        levels = [i for i in range(len(self.dims)) if self._stride(s.access, i)]
        self._over(levels, 0, [None] * len(self.dims), s)

    def _over(self, levels: list[int], at: int, index: list[str | None], s: Store) -> None:
        if at == len(levels):
            self._store(s.access, self._address(s.access, index, []), _identity(s))
            return
        name, end = self._open(self.dims[levels[at]])
        inner = [*index]
        inner[levels[at]] = name
        self._over(levels, at + 1, inner, s)
        self._close(end)

    def _nest(self, level: int, index: list[str | None]) -> None:
        mine = [(k, slot) for k, (slot, own) in self._sums.items() if own == level]
        for k, slot in mine:
            self._lines.append(f"  store {TYPES[self.stores[k].access.kind]} {_identity(self.stores[k])}, ptr {slot}")
        if level == len(self.dims):
            self._innermost(index)
        else:
            name, end = self._open(self.dims[level])
            self._nest(level + 1, [*index, name])
            self._close(end)
        for k, slot in mine:
            s = self.stores[k]
            address = self._address(s.access, [*index, *[None] * (len(self.dims) - level)], [])
            total = self._line(f"load {TYPES[s.access.kind]}, ptr {slot}")
            if self._meets(s.access, level) or not s.fresh:
                total = self._fold(s, self._load(s.access, address), total)
            self._store(s.access, address, total)

    def _innermost(self, index: list[str | None]) -> None:
        self._index, self._known = index, {}
        ready = [([self._value(i) for i in s.indices], self._value(s.value)) for s in self.stores]
        for k, (s, (indices, value)) in enumerate(zip(self.stores, ready, strict=True)):
            if k in self._sums:
                slot, kind = self._sums[k][0], TYPES[s.access.kind]
                old = self._line(f"load {kind}, ptr {slot}")
                self._lines.append(f"  store {kind} {self._fold(s, old, value)}, ptr {slot}")
                continue
            address = self._address(s.access, index, indices)
            self._store(s.access, address, self._fold(s, self._load(s.access, address), value) if s.fold else value)

    # ------------------------------------------------------------------------------------------------------ control

    def _open(self, size: int) -> tuple[str, tuple[str, str, int, str]]:
        self._count += 1
        n = self._count
        before, top = f"b{n}", f"l{n}"
        self._lines += [f"  br label %{before}", f"{before}:", f"  br label %{top}", f"{top}:"]
        name = f"%i{n}"
        self._lines.append(f"  {name} = phi i64 [0, %{before}], [{name}n, %{top}e]")
        return name, (name, top, size, f"x{n}")

    def _close(self, end: tuple[str, str, int, str]) -> None:
        name, top, size, after = end
        self._lines += [
            f"  br label %{top}e",
            f"{top}e:",
            f"  {name}n = add nuw nsw i64 {name}, 1",
            f"  {name}c = icmp eq i64 {name}n, {size}",
            f"  br i1 {name}c, label %{after}, label %{top}",
            f"{after}:",
        ]

    def _line(self, text: str) -> str:
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        return name

    # ------------------------------------------------------------------------------------------------------ memory

    def _stride(self, access: Access, level: int) -> int:
        """Elements from one coordinate of a level to the next."""
        return access.strides[self.groups[level][-1]]

    def _pointer(self, access: Access) -> str:
        key = (access.store, access.offset * BYTES[access.kind])
        if key not in self.places:
            self.places.append(key)
        return f"%p{self.places.index(key)}"

    def _address(self, access: Access, index: Sequence[str | None], indices: Sequence[str]) -> str:
        terms = [(i, self._stride(access, level)) for level, i in enumerate(index) if i is not None]
        terms += list(zip(indices, access.steps, strict=True))
        total = ""
        for name, stride in terms:
            if stride:
                term = name if stride == 1 else self._line(f"mul nsw i64 {name}, {stride}")
                total = self._line(f"add nsw i64 {total}, {term}") if total else term
        pointer = self._pointer(access)
        return self._line(f"getelementptr inbounds {TYPES[access.kind]}, ptr {pointer}, i64 {total}") if total else pointer

    def _load(self, access: Access, address: str) -> str:
        value = self._line(f"load {TYPES[access.kind]}, ptr {address}")
        return self._line(f"icmp ne i8 {value}, 0") if access.kind == "b1" else value

    def _store(self, access: Access, address: str, value: str) -> None:
        if access.kind == "b1":
            value = self._line(f"zext i1 {value} to i8")
        self._lines.append(f"  store {TYPES[access.kind]} {value}, ptr {address}")

    def _fold(self, s: Store, old: str, value: str) -> str:
        kind = s.access.kind
        if s.fold == "add":
            word = "fadd reassoc" if kind in FLOATS else "add"
            return self._line(f"{word} {TYPES[kind]} {old}, {value}")
        if s.fold == "mul":
            word = "fmul reassoc" if kind in FLOATS else "mul"
            return self._line(f"{word} {TYPES[kind]} {old}, {value}")
        return self._extreme(s.fold, kind, old, value, False)

    # ------------------------------------------------------------------------------------------------------ arithmetic

    def _value(self, e: Expr) -> str:
        stack = [e]
        while stack:  # not by recursion: expressions grow long
            top = stack[-1]
            missing = [a for a in top.args if id(a) not in self._known]
            if id(top) in self._known or not missing:
                stack.pop()
                if id(top) not in self._known:
                    self._known[id(top)] = self._compute(top, [self._known[id(a)] for a in top.args])
            else:
                stack += missing
        return self._known[id(e)]

    def _compute(self, e: Expr, args: list[str]) -> str:
        kind = "i1" if e.kind == "b1" else TYPES[e.kind]
        if e.op == "number":
            return literal(e.data, e.kind)
        if e.op == "index":
            return self._index[self.order.index(e.data)] or "0"
        if e.op == "load":
            return self._load(e.data, self._address(e.data, self._index, args))
        if e.op == "to":
            return self._convert(e.args[0].kind, e.kind, args[0])
        if e.op == "where":
            return self._line(f"select i1 {args[0]}, {kind} {args[1]}, {kind} {args[2]}")
        if e.op in _COMPARE:
            return self._compared(e, args)
        if e.op in ("maximum", "minimum"):
            return self._extreme(e.op, e.kind, args[0], args[1], e.args[1].op == "number")
        if e.op in ("bits", "from_bits"):
            return self._line(f"bitcast {TYPES[e.args[0].kind]} {args[0]} to {kind}")
        return self._arithmetic(e, kind, args)

    def _arithmetic(self, e: Expr, kind: str, args: list[str]) -> str:
        real = e.kind in FLOATS
        if e.op == "neg":
            return self._line(f"fneg {kind} {args[0]}" if real else f"sub {kind} 0, {args[0]}")
        if e.op == "abs" and not real:
            return self._extreme("maximum", e.kind, args[0], self._line(f"sub {kind} 0, {args[0]}"), False)
        if e.op in ("div", "fmod") and real:
            return self._line(f"{'fdiv' if e.op == 'div' else 'frem'} {kind} {args[0]}, {args[1]}")
        if e.op in _ARITHMETIC:
            word = f"f{_ARITHMETIC[e.op]} contract" if real else _ARITHMETIC[e.op]
            word = "or" if (e.op, e.kind) == ("add", "b1") else word  # two truths are one
            return self._line(f"{word} {kind} {args[0]}, {args[1]}")
        return self._called(e, kind, args)

    def _called(self, e: Expr, kind: str, args: list[str]) -> str:
        if e.op in _INTRINSICS and e.kind in FLOATS:
            name = f"llvm.{_INTRINSICS[e.op]}.{e.kind}"
        elif e.op == "erf_of" and e.kind in FLOATS:
            name = "erff" if e.kind == "f32" else "erf"
        else:
            raise Unfit(f"computes {e.op} of {e.kind}, which programs do not know")
        self.needs.add(f"declare {kind} @{name}({', '.join([kind] * len(args))})")
        return self._line(f"call {kind} @{name}({', '.join(f'{kind} {a}' for a in args)})")

    def _compared(self, e: Expr, args: list[str]) -> str:
        kind = e.args[0].kind
        if kind in FLOATS:
            word = "une" if e.op == "ne" else "o" + e.op
            return self._line(f"fcmp {word} {TYPES[kind]} {args[0]}, {args[1]}")
        word = _COMPARE[e.op].replace("s", "u") if kind in ("u8", "b1") else _COMPARE[e.op]
        return self._line(f"icmp {word} {'i1' if kind == 'b1' else TYPES[kind]} {args[0]}, {args[1]}")

    def _extreme(self, op: str, kind: str, a: str, b: str, constant: bool) -> str:
        """The larger or smaller one; NaN if either is, as in PyTorch."""
        word = "gt" if op == "maximum" else "lt"
        t = "i1" if kind == "b1" else TYPES[kind]
        if kind not in FLOATS:
            word = ("u" if kind in ("u8", "b1") else "s") + word
            return self._line(f"select i1 {self._line(f'icmp {word} {t} {a}, {b}')}, {t} {a}, {t} {b}")
        best = self._line(f"select i1 {self._line(f'fcmp u{word} {t} {a}, {b}')}, {t} {a}, {t} {b}")
        if constant:
            return best
        return self._line(f"select i1 {self._line(f'fcmp uno {t} {b}, {b}')}, {t} {b}, {t} {best}")

    def _convert(self, before: str, after: str, value: str) -> str:
        a, b = ("i1" if k == "b1" else TYPES[k] for k in (before, after))
        if after == "b1":
            return self._line(f"fcmp une {a} {value}, {literal(0, before)}" if before in FLOATS else f"icmp ne {a} {value}, 0")
        if before in FLOATS and after in FLOATS:
            word = "fpext" if after == "f64" else "fptrunc"
        elif before in FLOATS:
            return self._whole(before, after, value)
        elif after in FLOATS:
            word = "uitofp" if before in ("u8", "b1") else "sitofp"
        elif before == "b1" or BYTES[after] > BYTES[before]:
            word = "zext" if before in ("u8", "b1") else "sext"
        elif BYTES[after] < BYTES[before]:
            word = "trunc"
        else:
            return value
        return self._line(f"{word} {a} {value} to {b}")

    def _whole(self, before: str, after: str, value: str) -> str:
        """A float as an integer: small kinds by way of a large one; what does not fit is some number, everywhere the same."""
        wide = "i32" if after == "i32" else "i64"
        found = self._line(f"freeze {wide} {self._line(f'fptosi {TYPES[before]} {value} to {wide}')}")
        return found if after in ("i32", "i64") else self._line(f"trunc {wide} {found} to {TYPES[after]}")


def literal(value: float, kind: str) -> str:
    """A constant as LLVM writes it: floats by their bits."""
    if kind in FLOATS:
        value = ctypes.c_float(value).value if kind == "f32" else value  # rounded; infinite where it is too large
        return "0x" + struct.pack(">d", value).hex().upper()
    if kind == "b1":
        return "true" if value else "false"
    half = 1 << (8 * BYTES[kind] - 1)
    return str((int(value) + half) % (2 * half) - half)


def _identity(s: Store) -> str:
    kind = s.access.kind
    table = {"add": 0, "mul": 1, "maximum": _SMALLEST.get(kind, 0), "minimum": _LARGEST.get(kind, 0)}
    return literal(table[s.fold], kind)


def _arrange(
    dims: tuple[int, ...], accesses: Sequence[Access], stores: Sequence[Store], fixed: bool
) -> tuple[list[int], list[int], list[list[int]]]:
    """(order of dimensions, sizes of the loops from outside in, which dimensions each loop walks): memory in its own order."""
    order = list(range(len(dims)))
    if len(dims) > 1:

        def gain(d: int) -> float:
            near = sum({1: 2.0, 0: 1.0}.get(a.strides[d], -2.0) for a in accesses)
            near += sum({1: 1.0}.get(s.access.strides[d], 0.0) for s in stores)
            return near - (4.0 * len(accesses) if dims[d] < 4 else 0.0)

        inner = max(order, key=lambda d: (gain(d), d))
        order = [*sorted((d for d in order if d != inner), key=lambda d: -_rank(d, accesses)), inner]
    groups = [[d] for d in order]
    if not fixed:
        i = len(groups) - 1
        while i > 0:
            outer, inner_group = groups[i - 1], groups[i]
            length = math.prod(dims[d] for d in inner_group)
            if all(a.strides[outer[-1]] == a.strides[inner_group[-1]] * length for a in accesses):
                groups[i - 1 : i + 1] = [[*outer, *inner_group]]
            i -= 1
    return order, [math.prod(dims[d] for d in g) for g in groups], groups


def _rank(d: int, accesses: Sequence[Access]) -> int:
    """How many longer steps than others a dimension takes through memory, over all accesses: the longest go outside."""
    return sum(sum(a.strides[d] > other for other in a.strides) for a in accesses)
