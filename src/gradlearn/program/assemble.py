"""The whole program as text: where everything lies, and one function that takes many steps.

    run(table, steps, numbers, out):  for each step: gather, loss and gradient; finite? update, average : stop

What a step makes for itself lies in one piece of memory, each store for as long as it is needed. Everything else is reached through
a table of addresses, read anew in each call: parameters, the update's state, the data. Some move on with each step: the numbers of
the batch's examples, what was drawn for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradlearn.program.emit import TYPES, Kernel, literal
from gradlearn.program.expression import BYTES
from gradlearn.program.loops import Call, Item, Loop, Product
from gradlearn.program.machine import packed_size, products
from gradlearn.program.products import orient, packable
from gradlearn.step import FAR

ALIGN = 64


@dataclass(slots=True)
class Layout:
    """Where the stores of a program lie.

    Attributes:
        arena: store -> first byte in the program's own memory.
        table: store -> (entry of the table, bytes it moves on with each step).
        size: bytes of the program's own memory.
    """

    arena: dict[int, int] = field(default_factory=dict)
    table: dict[int, tuple[int, int]] = field(default_factory=dict)
    size: int = 0


def lay_out(items: Sequence[Item], sizes: dict[int, int], kept: set[int], layout: Layout) -> None:
    """A place for every store in `sizes` that the items touch; those in `kept` share theirs with nobody."""
    first: dict[int, int] = {}
    final: dict[int, int] = {}
    for i, item in enumerate(items):
        for span in item.spans():
            if span.access.store in sizes:
                first.setdefault(span.access.store, i)
                final[span.access.store] = i
    for store in kept:
        if store in sizes:
            first[store], final[store] = 0, len(items)
    free: list[tuple[int, int]] = []  # (bytes, where)
    ends: dict[int, list[int]] = {}
    for i in range(len(items) + 1):
        for store in sorted((s for s, at in first.items() if at == i), key=lambda s: -sizes[s]):
            need = -(-max(sizes[store], 1) // ALIGN) * ALIGN
            fits = sorted((size, where) for size, where in free if size >= need)
            if fits:
                size, where = fits[0]
                free.remove((size, where))
                if size > need:
                    free.append((size - need, where + need))
            else:
                where, layout.size = layout.size, layout.size + need
            layout.arena[store] = where
            ends.setdefault(final[store], []).append(store)
        for store in ends.pop(i, []):
            need = -(-max(sizes[store], 1) // ALIGN) * ALIGN
            free.append((need, layout.arena[store]))


@dataclass(slots=True)
class Parts:
    """The items of a program by when they run.

    Attributes:
        body: batch, loss, gradient.
        loss: the store of the loss, float64, and `square`: of the squared norm of the gradient.
        factor: the store that the factor of a clipped gradient is put into.
        clip: what scales the gradient.
        update: theta and the update's state.
        average: what an average does at a look.
        numbers: how many numbers each step is given; the first is the bound on the norm, the second whether the average looks.
    """

    body: list[Item]
    loss: int
    square: int
    factor: int
    clip: list[Item]
    update: list[Item]
    average: list[Item]
    numbers: int


_END = (
    "  %next = add i64 %s, 1",
    "  %more = icmp ult i64 %next, %steps",
    "  br i1 %more, label %step, label %end",
    "end:",
    "  ret i64 %next",
    "stop:",
    "  ret i64 %s",
    "}",
)


def split(items: Sequence[Item]) -> list[list[Item]]:
    """The pieces between the calls."""
    pieces: list[list[Item]] = [[]]
    for item in items:
        if isinstance(item, Call):
            pieces.append([])
        else:
            pieces[-1].append(item)
    return pieces


class Text:
    """The module of one program as it is written."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.kernels: dict[str, str] = {}
        self.declared: set[str] = set()
        self.constants: dict[str, str] = {}
        self.lines: list[str] = []
        self._count = 0
        self._packed: dict[int, int] = {}  # products by a packed matrix: where it lies in the program's own memory

    def module(self, parts: Parts) -> str:
        """All of it: @run, or @run, @run1, ... where PyTorch does something in between."""
        functions: list[str] = []
        pieces = split(parts.body)
        for i, piece in enumerate(pieces):
            self._begin(f"run{i or ''}", parts)
            if len(pieces) == 1:
                self._pack(piece)
            self._all(piece)
            if piece is pieces[-1]:
                self._check(parts)
                self._all(parts.update)
                self._average(parts)
            else:
                self.lines += ["  br label %done", "done:"]
            functions += [*self.lines, *_END]
        kernels = [f"define internal void @{name}{text}" for text, name in self.kernels.items()]
        constants = [f"@{name} = private constant {value}" for value, name in self.constants.items()]
        attributes = ['attributes #0 = { noinline nounwind "prefer-vector-width"="512" }']
        return "\n".join([*constants, *sorted(self.declared), *kernels, *functions, *attributes])

    def _begin(self, name: str, parts: Parts) -> None:
        """The head of a function, and of its loop over steps."""
        entries = max((entry for entry, _ in self.layout.table.values()), default=0) + 1
        self.lines = [f"define i64 @{name}(ptr %table, i64 %steps, ptr %numbers, ptr %out) {{", "entry:"]
        for i in range(entries):
            self.lines.append(f"  %a{i} = getelementptr i64, ptr %table, i64 {i}")
            self.lines.append(f"  %t{i} = load ptr, ptr %a{i}")
        self.lines += ["  br label %step", "step:", "  %s = phi i64 [0, %entry], [%next, %done]"]
        for entry, stride in sorted({at for at in self.layout.table.values() if at[1]}):
            self.lines.append(f"  %o{entry} = mul i64 %s, {stride}")
            self.lines.append(f"  %m{entry} = getelementptr i8, ptr %t{entry}, i64 %o{entry}")
        self._numbers(parts)

    def _numbers(self, parts: Parts) -> None:
        self.lines.append(f"  %n = mul i64 %s, {parts.numbers}")
        for i, name in enumerate(("clip", "look")):
            self.lines.append(f"  %n{name} = add i64 %n, {i}")
            self.lines.append(f"  %g{name} = getelementptr double, ptr %numbers, i64 %n{name}")
            self.lines.append(f"  %{name} = load double, ptr %g{name}")

    def _check(self, parts: Parts) -> None:
        """Loss and norm out; the end if they are not finite; the gradient scaled if it is too long."""
        loss, square = (self._base(store) for store in (parts.loss, parts.square))
        self.declared |= {"declare double @llvm.sqrt.f64(double)", "declare double @llvm.fabs.f64(double)"}
        self.lines += [
            f"  %loss = load double, ptr {loss}",
            f"  %square = load double, ptr {square}",
            "  %norm = call double @llvm.sqrt.f64(double %square)",
            "  %at = mul i64 %s, 2",
            "  %atloss = getelementptr double, ptr %out, i64 %at",
            "  store double %loss, ptr %atloss",
            "  %after = add i64 %at, 1",
            "  %atnorm = getelementptr double, ptr %out, i64 %after",
            "  store double %norm, ptr %atnorm",
            "  %total = fadd double %loss, %norm",
            "  %rest = fsub double %total, %total",
            f"  %finite = fcmp oeq double %rest, {literal(0.0, 'f64')}",
            "  br i1 %finite, label %go, label %stop",
            "go:",
            "  %size = call double @llvm.fabs.f64(double %clip)",
            f"  %clips = fcmp ogt double %size, {literal(0.0, 'f64')}",
            "  %long = fcmp olt double %size, %norm",
            "  %both = and i1 %clips, %long",
            "  br i1 %both, label %scale, label %move",
            "scale:",
            "  %cut = fdiv double %size, %norm",
            f"  %own = fcmp olt double %clip, {literal(0.0, 'f64')}",
            f"  %beyond = fmul double %size, {literal(FAR, 'f64')}",
            "  %strange = fcmp olt double %beyond, %norm",
            "  %none = and i1 %own, %strange",
            f"  %factor = select i1 %none, double {literal(0.0, 'f64')}, double %cut",
            f"  store double %factor, ptr {self._base(parts.factor)}",
        ]
        self._all(parts.clip)
        self.lines += ["  br label %move", "move:"]

    def _average(self, parts: Parts) -> None:
        if not parts.average:
            self.lines += ["  br label %done", "done:"]
            return
        self.lines += [f"  %looks = fcmp une double %look, {literal(0.0, 'f64')}", "  br i1 %looks, label %average, label %done"]
        self.lines.append("average:")
        self._all(parts.average)
        self.lines += ["  br label %done", "done:"]

    def _all(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Loop):
                self._loop(item)
            elif isinstance(item, Product):
                self._product(item)

    def _loop(self, loop: Loop) -> None:
        if 0 in loop.dims:
            return
        kernel = Kernel(loop)
        self.declared |= kernel.needs
        name = self.kernels.setdefault(kernel.text, f"k{len(self.kernels)}")
        places = ", ".join(f"ptr {self._base(store, offset)}" for store, offset in kernel.places)
        self.lines.append(f"  call void @{name}({places})")

    def _base(self, store: int, offset: int = 0) -> str:
        """The address of a byte of a store, in this step."""
        if store in self.layout.arena:
            origin, offset = "%t0", offset + self.layout.arena[store]
        else:
            entry, stride = self.layout.table[store]
            origin = f"%m{entry}" if stride else f"%t{entry}"
        if not offset:
            return origin
        self._count += 1
        self.lines.append(f"  %p{self._count} = getelementptr i8, ptr {origin}, i64 {offset}")
        return f"%p{self._count}"

    def _constant(self, value: str) -> str:
        return "@" + self.constants.setdefault(value, f"c{len(self.constants)}")

    def _pack(self, items: Sequence[Item]) -> None:
        """Lay out for the library, once a step, what it multiplies by several times."""
        if not {"pack", "packed"} <= products().keys():
            return
        for o, places in packable(items):
            size = packed_size(o.n, o.m, o.k)
            start, self.layout.size = self.layout.size, self.layout.size + -(-size // ALIGN) * ALIGN
            self._packed |= {id(items[i]): start for i in places}
            self.declared.add(f"declare void @product_pack({', '.join(['ptr'] * 9)})")
            n, m, k, lead = (self._constant(f"i32 {v}") for v in (o.n, o.m, o.k, o.leads[0]))
            source, one = self._base(o.first.store, o.first.offset * 4), self._constant(f"float {literal(1.0, 'f32')}")
            values = [self._word("A"), self._word(o.turns[0]), n, m, k, one, source, lead, self._own(start)]
            self.lines.append(f"  call void @product_pack({', '.join(f'ptr {v}' for v in values)})")

    def _word(self, letter: str) -> str:
        return self._constant(f'[2 x i8] c"{letter}\\00"')

    def _own(self, byte: int) -> str:
        self._count += 1
        self.lines.append(f"  %p{self._count} = getelementptr i8, ptr %t0, i64 {byte}")
        return f"%p{self._count}"

    def _product(self, p: Product) -> None:
        o, size = orient(p), BYTES[p.kind]
        n, m, k, lead1, lead2, lead3 = (self._constant(f"i32 {v}") for v in (o.n, o.m, o.k, *o.leads))
        unit, keep = (self._constant(f"{TYPES[p.kind]} {literal(v, p.kind)}") for v in (1.0, 1.0 if p.add else 0.0))
        words = [self._word(turn) for turn in o.turns]
        if id(p) in self._packed:
            self.declared.add(f"declare void @product_packed({', '.join(['ptr'] * 12)})")
            second, out = (self._base(a.store, a.offset * size) for a in (o.second, o.out))
            values = [self._word("P"), words[1], n, m, k, self._own(self._packed[id(p)]), lead1, second, lead2, keep, out, lead3]
            self.lines.append(f"  call void @product_packed({', '.join(f'ptr {v}' for v in values)})")
            return
        self.declared.add(f"declare void @product_{p.kind}({', '.join(['ptr'] * 13)})")
        places = [self._base(a.store, a.offset * size) for a in (o.first, o.second, o.out)]
        b = self._batch(p, places, [a.strides[2] * size for a in (o.first, o.second, o.out)])
        first, second, out = places
        values = [*words, n, m, k, unit, first, lead1, second, lead2, keep, out, lead3]
        self.lines.append(f"  call void @product_{p.kind}({', '.join(f'ptr {v}' for v in values)})")
        if b:
            self.lines += [
                f"  %q{b}n = add i64 %q{b}, 1",
                f"  %q{b}c = icmp eq i64 %q{b}n, {p.batch}",
                f"  br i1 %q{b}c, label %e{b}, label %h{b}",
                f"e{b}:",
            ]

    def _batch(self, p: Product, places: list[str], steps: Sequence[int]) -> int:
        """Begin a loop over a batch of products, whose places move on; the number of the loop, 0 where there is one product."""
        if p.batch == 1:
            return 0
        self._count += 1
        b = self._count
        self.lines += [f"  br label %f{b}", f"f{b}:", f"  br label %h{b}", f"h{b}:"]
        self.lines.append(f"  %q{b} = phi i64 [0, %f{b}], [%q{b}n, %h{b}]")
        for j, step in enumerate(steps):
            self.lines.append(f"  %q{b}o{j} = mul i64 %q{b}, {step}")
            self.lines.append(f"  %q{b}p{j} = getelementptr i8, ptr {places[j]}, i64 %q{b}o{j}")
            places[j] = f"%q{b}p{j}"
        return b
