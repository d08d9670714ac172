"""Threads for the parts of a batch: the same results in the same order, whatever their number, and PyTorch's own as they were."""

from __future__ import annotations

import threading

import pytest
import torch

from gradlearn.data import augment as module
from gradlearn.data.augment import Augment, apply
from gradlearn.data.crew import each_of
from photographs import made


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_from_as_many_threads(threads):
    def work(k: int) -> tuple[int, str, int]:
        torch.ones(200_000).sum()
        return k * k, threading.current_thread().name, torch.get_num_threads()

    found = each_of(work, range(200))
    assert [square for square, _, _ in found] == [k * k for k in range(200)]
    assert {inside for _, _, inside in found} == {1}
    assert (len({name for _, name, _ in found}) > 1) <= (threads > 1)
    assert torch.get_num_threads() == threads


def test_a_failure_in_a_part_is_the_callers(threads):
    def work(k: int) -> int:
        return 1 // (k - 3)

    with pytest.raises(ZeroDivisionError):
        each_of(work, range(6))


def test_pictures_are_the_same_for_any_number_of_threads(threads, monkeypatch):
    pixels, labels = made(24, 16, 20), torch.arange(24) % 5
    augment = Augment(crop=0.5, mirror=True, trivial=True, colour=0.3, cutout=5, size=(12, 12))
    whole = apply(augment, pixels, labels, 5, 7)[0]
    monkeypatch.setattr(module, "PART", 2 * 16 * 20 * 3)
    assert torch.equal(apply(augment, pixels, labels, 5, 7)[0], whole)
