"""A step as one program: what a step does is written down once, joined into loops, compiled, and run many steps a call.

    recording -> meaning -> loops -> memory -> machine code            (`compiled.py` puts them together)

A small model's step is a few hundred calls into PyTorch of a microsecond's work each, and each call costs several. Here the calls
of one real step, forward and backward, are listened to; elementwise ones are joined into loops, products go to the library that
PyTorch itself uses, and LLVM turns the rest into machine code in a fraction of a second: no C compiler, no graph capture of Python.
"""
