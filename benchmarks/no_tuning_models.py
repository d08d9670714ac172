"""The networks of `workloads.py`, as PyTorch makes them: nothing but its own layers, its own first weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def plain_convolutions(channels: int, side: int, width: int = 1) -> nn.Sequential:
    """Two strided convolutions, two linear layers, no norms."""
    first = [nn.Conv2d(channels, 16 * width, 3, 2, 1), nn.ReLU(), nn.Conv2d(16 * width, 32 * width, 3, 2, 1), nn.ReLU()]
    flat = 32 * width * (side // 4) ** 2
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(flat, 64 * width), nn.ReLU(), nn.Linear(64 * width, 10))


class Flip(nn.Module):
    """Half of the pictures mirrored, in training."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w)."""
        if not self.training:
            return x
        return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)


def normed_convolutions(width: int = 1) -> nn.Sequential:
    """A flip and three strided convolutions with BatchNorm, for CIFAR-10."""
    layers: list[nn.Module] = [Flip()]
    sizes = [3, 16 * width, 32 * width, 64 * width]
    for a, b in pairwise(sizes):
        layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024 * width, 10))


class Residual(nn.Module):
    """Two convolutions with BatchNorm, beside a straight way."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            *(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()),
            *(nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)),
        )
        self.straight = nn.Identity() if a == b and stride == 1 else nn.Conv2d(a, b, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, a, h, w) -> (n, b, h / stride, w / stride)."""
        return torch.relu(self.way(x) + self.straight(x))


def residual_net(width: int = 1) -> nn.Sequential:
    """A stem and two residual blocks, for Fashion-MNIST."""
    w = 12 * width
    stem = [nn.Conv2d(1, w, 3, 2, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU()]
    return nn.Sequential(
        *stem, Residual(w, w, 1), Residual(w, 2 * w, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * w, 10)
    )


def mean_of(states: Tensor, tokens: Tensor) -> Tensor:
    """The mean over the places that hold a token: (n, T, d), (n, T) -> (n, d)."""
    held = (tokens != 0).unsqueeze(2).to(states.dtype)
    return (states * held).sum(1) / held.sum(1).clamp(min=1.0)


class Reader(nn.Module):
    """Embedding, GRU, dropout, the mean of its states, a linear layer."""

    def __init__(self, words: int = 2000, width: int = 48) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(words, width), nn.GRU(width, width, batch_first=True)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T) -> (n, 2)."""
        return self.head(self.drop(mean_of(self.cell(self.embed(tokens))[0], tokens)))


class Attention(nn.Module):
    """Embeddings of words and places, two transformer layers, the mean, a linear layer."""

    def __init__(self, words: int = 2000, width: int = 48, length: int = 18) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(words, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, batch_first=True) for _ in range(2))
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T) -> (n, 2)."""
        x = self.embed(tokens) + self.place.weight
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=tokens == 0)
        return self.head(mean_of(x, tokens))


class Translator(nn.Module):
    """GRU encoder and decoder, attention of the decoder's states on the encoder's."""

    def __init__(self, source: int, target: int, width: int = 64) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(source, width), nn.Embedding(target, width)
        self.encoder, self.decoder = nn.GRU(width, width, batch_first=True), nn.GRU(width, width, batch_first=True)
        self.mix, self.head = nn.Linear(2 * width, width), nn.Linear(width, target)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """(n, S), (n, T) -> logits (n, words, T)."""
        states, last = self.encoder(self.source(source))
        own, _ = self.decoder(self.target(target), last)
        weights = torch.softmax((own @ states.mT).masked_fill((source == 0).unsqueeze(1), -1e9), 2)
        return self.head(torch.tanh(self.mix(torch.cat([own, weights @ states], 2)))).mT


class Letters(nn.Module):
    """The next letter, by an LSTM."""

    def __init__(self, letters: int = 64, width: int = 64) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(letters, 32), nn.LSTM(32, width, batch_first=True)
        self.head = nn.Linear(width, letters)

    def forward(self, codes: Tensor) -> Tensor:
        """(n, T) -> logits (n, letters, T)."""
        return self.head(self.cell(self.embed(codes))[0]).mT


class Census(nn.Module):
    """Numbers beside embedded categories, into an MLP."""

    def __init__(self, kinds: Sequence[int], numbers: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(k, 4) for k in kinds)
        self.body = mlp(numbers + 4 * len(kinds), width, width, 2)

    def forward(self, numbers: Tensor, kinds: Tensor) -> Tensor:
        """(n, numbers), (n, categories) -> (n, 2)."""
        return self.body(torch.cat([numbers, *(e(kinds[:, k]) for k, e in enumerate(self.embed))], 1))
