"""One thread for every test and every process a test starts; `toys` can be imported from all test folders."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported: most tests of the report never do
sys.path.insert(0, str(Path(__file__).parent))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts `make test &`: every process would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
