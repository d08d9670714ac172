"""What a step does that no program of ours can do: the reason why it is taken eagerly, as the end of a sentence."""

from __future__ import annotations


class Unfit(Exception):
    """The step cannot be compiled; the message ends the sentence "the model ..."."""
