"""New processes by the hundred: children forked from a warm parent that has imported everything and computed nothing.

`import torch` takes 2.5 s, a fork 20 ms. A forked child is a new process as far as a run is concerned: the parent has
never seen the run, has one thread (`warm` checks), and has called no operation of torch.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def warm() -> None:
    """Imports torch and all of gradlearn; restarts this process once where torch would have several threads."""
    if any(os.environ.get(name) != value for name, value in THREADS.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | THREADS)
    import torch  # noqa: F401

    import gradlearn

    for module in pkgutil.walk_packages(gradlearn.__path__, "gradlearn."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise SystemExit(f"the parent has {threads} threads; a fork of it is not safe")


def start(function: Callable[..., object], *arguments: object, log: Path) -> int:
    """Calls `function(*arguments)` in a new process, its stdout and stderr into `log`. Returns the process id.

    The exit code is what the function returns if that is a number, else 0; 70 with a traceback in `log` if it raises.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        answer = function(*arguments)
        code = answer if isinstance(answer, int) else 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a started process; negative after a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def call(function: Callable[..., object], *arguments: object, log: Path, expect: tuple[int, ...] = (0,)) -> int:
    """Starts, waits, and raises with the end of `log` if the exit code is none of the expected."""
    code = wait(start(function, *arguments, log=log))
    if code not in expect:
        said = log.read_text(errors="replace")[-3000:] if log.exists() else ""
        raise RuntimeError(f"{function.__name__}: exit code {code}, expected {expect}\n{said}")
    return code
