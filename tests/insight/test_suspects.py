"""Labels in doubt: the definition worked out by hand, and labels that were flipped are found among those that were not."""

from __future__ import annotations

import torch

from gradlearn.insight.suspects import suspects


def test_the_definition_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95], [0.7, 0.3], [0.3, 0.7]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    # t_0 = (0.9 + 0.2 + 0.6) / 3 = 0.567, t_1 = (0.95 + 0.3 + 0.7) / 3 = 0.65
    rows, other = suspects(p.log(), labels)
    assert rows.tolist() == [1, 4]  # 0.8 - 0.2 before 0.7 - 0.3
    assert other.tolist() == [1, 0]


def test_flipped_labels_are_found_and_honest_ones_left() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (2000,), generator=generator)
    logits = torch.randn(2000, 5, generator=generator)
    logits[torch.arange(2000), truth] += 6.0
    flipped = torch.arange(0, 2000, 20)
    labels = truth.clone()
    labels[flipped] = (truth[flipped] + 1) % 5
    rows, other = suspects(logits.log_softmax(1), labels)
    found = set(rows.tolist())
    assert len(found & set(flipped.tolist())) >= 0.8 * len(flipped)
    assert len(found - set(flipped.tolist())) <= 0.002 * 2000
    assert (other == truth[rows]).double().mean() > 0.95


def test_a_class_without_examples_is_never_what_a_picture_looks_like() -> None:
    p = torch.tensor([[0.1, 0.1, 0.8]] * 3 + [[0.8, 0.1, 0.1]])
    rows, _ = suspects(p.log(), torch.tensor([0, 1, 0, 0]))
    assert rows.tolist() == []


def test_a_model_that_is_never_sure_suspects_nobody() -> None:
    p = torch.full((10, 4), 0.2)
    p[:, 0] = 0.4
    assert suspects(p.log(), torch.arange(10) % 4)[0].tolist() == []
