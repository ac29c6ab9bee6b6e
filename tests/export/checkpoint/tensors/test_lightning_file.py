"""Lightning checkpoints read as data: right numbers, nothing run, and damaged files refused."""

import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from tiny_joint import state_dict, tiny_joint, write_lightning

from c2t.export.checkpoint.tensors.inert_pickle import Inert, PickleError, read_inert
from c2t.export.checkpoint.tensors.lightning_file import read_state_dict
from c2t.runtime.system.errors import CheckpointError


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_reads_every_tensor_and_no_object(tmp_path: Path) -> None:
    state = state_dict(tiny_joint())
    write_lightning(tmp_path / "model.ckpt", state)
    with pytest.raises(Exception, match="training_package_that_is_gone"):
        torch.load(tmp_path / "model.ckpt", weights_only=False)
    read = read_state_dict(tmp_path / "model.ckpt")
    assert read.tensors.keys() == state.keys()
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in state.items())
    assert "training_package_that_is_gone.TrainingConfig" in read.ignored


def test_reads_views_and_every_kind_of_number(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "transposed": base.T,
        "part": base[1:3, 2:5],
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "long": base.long(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
        "flag": torch.tensor([True, False]),
    }
    torch.save(state, tmp_path / "plain.pt")
    read = read_state_dict(tmp_path / "plain.pt").tensors
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor), name


def test_runs_nothing(tmp_path: Path) -> None:
    place = tmp_path / "made"
    torch.save({"state_dict": {"w": torch.ones(2)}, "trap": Trap(place)}, tmp_path / "trap.ckpt")
    read = read_state_dict(tmp_path / "trap.ckpt")
    assert read.tensors["w"].tolist() == [1, 1]
    assert read.ignored == ("posix.mkdir",)
    assert not place.exists()
    torch.save({"state_dict": {"w": Trap(place)}}, tmp_path / "inside.ckpt")
    with pytest.raises(CheckpointError, match=r"'w' is no tensor but a posix\.mkdir"):
        read_state_dict(tmp_path / "inside.ckpt")
    assert not place.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(protocol: int) -> None:
    value = {"a": [1, 2.5, None, True], "b": {"c": ("x", (1, 2))}, 3: "n" * 300, "e": [], "f": {}}
    assert read_inert(pickle.dumps(value, protocol))[0] == value


def test_objects_and_strange_keys_hold_nothing() -> None:
    read, names = read_inert(pickle.dumps({"p": Path("x"), "s": {1, 2}, (1, 2): 5}))
    assert isinstance(read["p"], Inert)
    assert isinstance(read["s"], Inert)
    assert (1, 2) not in read
    assert any(name.endswith("PosixPath") for name in names)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02.", b"\x80\x02a.", b"nonsense", b"\x80\x02(.", b"\x80\x02\x82\x01."]
)
def test_refuses_damaged_pickles(content: bytes) -> None:
    with pytest.raises(PickleError):
        read_inert(content)


LONG = b"X" + (600).to_bytes(4, "little") + b"a" * 600
TENSOR, STORAGE = (
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"((Vstorage\nctorch\nFloatStorage\n"),
)
STORAGE += b"V0\nVcpu\nK\x01tQK\x00"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # As text it would have 2 ** 60 parentheses.
        (b"\x80\x04)" + b"2\x86" * 60 + b"\x8c\x01a\x93.", "by something else than text"),
        (b"\x80\x04" + LONG + LONG + b"\x93.", "a name of 1,200 letters"),
        # Their product would have millions of digits.
        (TENSOR + STORAGE + b"(" + b"K\x02" * 65 + b"t2tR.", "without a storage"),
        (TENSOR + STORAGE + b"(I" + b"9" * 20 + b"\nt2tR.", "without a storage"),
    ],
)
def test_refuses_what_would_grow_beyond_the_file(content: bytes, said: str) -> None:
    with pytest.raises(PickleError, match=said):
        read_inert(content)


def rewritten(source: Path, path: Path, **changed: bytes) -> Path:
    """A copy of the archive in which the entries that end so have other bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            for ending, other in changed.items():
                if info.filename.endswith(f"/{ending.replace('_', '/')}"):
                    content = other
            new.writestr(info, content)
    return path


def test_refuses_what_is_not_as_it_says(tmp_path: Path) -> None:
    good = tmp_path / "good.ckpt"
    torch.save({"state_dict": {"w": torch.arange(6.0)}}, good)
    short = rewritten(good, tmp_path / "short.ckpt", data_0=b"1234")
    with pytest.raises(CheckpointError, match="its 6 numbers have 4 bytes"):
        read_state_dict(short)
    big = rewritten(good, tmp_path / "big.ckpt", byteorder=b"big")
    with pytest.raises(CheckpointError, match="another byte order"):
        read_state_dict(big)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(good.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="damaged or was cut short"):
        read_state_dict(cut)
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(CheckpointError, match="it is text"):
        read_state_dict(tmp_path / "text.ckpt")
    with pytest.raises(CheckpointError, match="no such file"):
        read_state_dict(tmp_path / "absent.ckpt")
    torch.save([torch.ones(1)], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="holds one list"):
        read_state_dict(tmp_path / "list.ckpt")


def test_refuses_a_view_beyond_its_storage(tmp_path: Path) -> None:
    good = tmp_path / "good.ckpt"
    torch.save({"w": torch.arange(6.0)}, good)
    with zipfile.ZipFile(good) as archive:
        record = archive.read("good/data.pkl")
    # The shape (6,) is the only tuple of one number 6: K\x06\x85.
    assert record.count(b"K\x06\x85") == 1
    grown = rewritten(
        good, tmp_path / "grown.ckpt", **{"data.pkl": record.replace(b"K\x06\x85", b"K\x07\x85")}
    )
    with pytest.raises(CheckpointError, match="more than its 6 numbers"):
        read_state_dict(grown)


def test_damaged_bytes_are_refused_or_change_only_numbers(tmp_path: Path) -> None:
    good = tmp_path / "good.ckpt"
    write_lightning(good, {"w": torch.arange(6.0), "b": torch.ones(3, 2).bfloat16()})
    content, draw = good.read_bytes(), random.Random(7)
    bad = tmp_path / "bad.ckpt"
    refused = 0
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(draw.choice((1, 2, 4))):
            # Most of them in the pickle and in the archive's directory.
            changed[draw.choice((draw.randrange(2500), -draw.randrange(1, 2500)))] = draw.randrange(
                256
            )
        bad.write_bytes(changed)
        try:
            found = read_state_dict(bad).tensors
        except CheckpointError:
            refused += 1
            continue
        assert all(tensor.numel() <= 6 for tensor in found.values())
    assert refused > 50
