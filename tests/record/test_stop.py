from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gradlearn.record.stop import Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_flag(number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with Signals() as signals:
        assert (signals.number, signals.code) == (0, 0)
        os.kill(os.getpid(), number)
        assert (signals.number, signals.code) == (number, 128 + number)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), Signals():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_changes_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with Signals() as signals:
            seen.append((signal.getsignal(signal.SIGINT), signals.number))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, 0)]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.number == 0
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


PROGRAM = """
import time
from gradlearn.record.stop import Signals
try:
    with Signals() as signals:
        print("ready", flush=True)
        while not signals.number:
            time.sleep(0.01)
        print("saving", flush=True)
        time.sleep(60)
finally:
    print("torn", flush=True)
"""


@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_at_once(second, code):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "saving\n"
    start = time.perf_counter()
    process.send_signal(second)
    assert process.wait(10) == code
    assert time.perf_counter() - start < 1.0
    assert process.stdout.read() == ""
    process.stdout.close()
