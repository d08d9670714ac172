"""`gradlearn` and `python -m gradlearn`: the command line's way in. Errors are one line, the exit code says their kind."""

from __future__ import annotations

import sys
import time

BEGUN = time.monotonic()


def main() -> None:
    """Run one command and exit."""
    from gradlearn.cli import run

    sys.exit(run(sys.argv[1:], BEGUN))


if __name__ == "__main__":
    main()
