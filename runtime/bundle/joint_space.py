"""What a manifest says of a joint space: where cells and texts have places beside each other."""

from dataclasses import dataclass

JOINT = "joint"  # kind of the projector that leads there: one vector a cell


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """Graph `text.onnx` and its files: what gives texts a place in a joint space.

    `text_ids` [B,T] int64 -> `text_vectors` [B,J] float32 of length 1.
    """

    model: str
    input_size: int  # most text tokens, special tokens included
    vocabulary_size: int
    hidden_size: int
    cls_token: int  # put in front of a text
    sep_token: int  # put behind it
    files: tuple[str, ...]  # all that it needs beside its graph and the graph's data


@dataclass(frozen=True, kw_only=True)
class JointSpace:
    """A space of cells and texts; scores are products of unit vectors times exp(temperature)."""

    size: int  # J
    temperature: float  # as trained: a natural logarithm
    text: TextTower | None = None
