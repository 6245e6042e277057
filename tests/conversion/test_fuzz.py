"""Spoiled checkpoints, 200 of them: each gives a message, and nothing half-written.

Of every family one small checkpoint, spoiled in one place drawn by a seed. A model that comes out
all the same must be the one of the whole checkpoint (a bit that means nothing, a type that holds
the same numbers), but for bits of numbers that no checksum covers: foreign safetensors have none.
"""

import shutil

import numpy as np
import pytest

from jaxcell.conversion.convert import convert
from jaxcell.training.checkpoint import flatten, load_model
from tests.training.test_formats import GOLDEN

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from jaxcell.conversion.torch_model import load as load_torch  # noqa: E402
from tests.conversion import bmfm, test_bioformer, test_scformer, test_scgpt  # noqa: E402


def _safe(folder):
    """scFormer's with its weights in safetensors."""
    state = test_scformer.model_of("june").state_dict()
    test_scformer.write(folder, "june", {})
    (folder / "best_model.pt").unlink()
    save_file(state, folder / "model.safetensors")
    return folder


def _ours(folder):
    shutil.copytree(GOLDEN / "2", folder, ignore=shutil.ignore_patterns("cells.npz"))
    return folder


def _exported(folder):
    convert(GOLDEN / "2", folder, to="torch")
    return folder


WRITE = {
    "scformer": lambda f: test_scformer.write(f, "june"),
    "scformer safetensors": _safe,
    "scgpt": lambda f: test_scgpt.write(f, next(iter(test_scgpt.VARIANTS))),
    "bioformer": test_bioformer.write,
    "bmfm_rna": lambda f: bmfm.write(f, "llama wced"),
    "bmfm_rna lightning": lambda f: bmfm.write(f, "llama mlm", told={}),
    "ours": _ours,
    "ours in torch": _exported,
}
# Whose every bit is covered by a checksum, of a zip archive or of our own.
COVERED = WRITE.keys() - {"scformer safetensors", "ours in torch"}
EACH = 25  # times 8 kinds: 200


def variables(name, folder, out):
    """The parameters of what a folder becomes, by the way that a user would take."""
    if name == "ours":
        return flatten(load_model(folder).variables)
    if name == "ours in torch":
        return {k: v.numpy() for k, v in load_torch(folder).state_dict().items()}
    convert(folder, out)
    return flatten(load_model(out).variables)


def weights_of(folder):
    """({name: tensor}, how to write them back) of a checkpoint's weights."""
    (file,) = (p for p in folder.iterdir() if p.suffix in (".pt", ".bin", ".safetensors"))
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            told = opened.metadata()
        state = load_file(file)
        return state, lambda: save_file(state, file, metadata=told)
    whole = torch.load(file, weights_only=False)  # written by these tests
    inside = whole.get("model_state_dict", whole)
    return inside, lambda: torch.save(whole, file)


def dropped(state, name, random):
    del state[name]


def renamed(state, name, random):
    state[f"{name}x"] = state.pop(name)


def retyped(state, name, random):
    kinds = (torch.int32, torch.bool, torch.complex64, torch.float16, torch.uint8)
    state[name] = state[name].to(kinds[random.integers(len(kinds))])


def resized(state, name, random):
    state[name] = state[name].reshape(-1)[:-1].clone()


def not_a_number(state, name, random):
    value = (np.nan, np.inf)[random.integers(2)]
    state[name] = torch.full_like(state[name].float(), value)


CHANGES = (dropped, renamed, retyped, resized, not_a_number)


def flip(folder, random):
    """Flip some bits of one file; the name of the file."""
    file = sorted(p for p in folder.rglob("*") if p.is_file())
    file = file[random.integers(len(file))]
    content = bytearray(file.read_bytes())
    for at in random.integers(len(content), size=random.integers(1, 4)):
        content[at] ^= 1 << random.integers(8)
    file.write_bytes(content)
    return file.name


def cut(folder, random):
    """Leave out the end of one file; the name of the file."""
    file = sorted(p for p in folder.rglob("*") if p.is_file())
    file = file[random.integers(len(file))]
    file.write_bytes(file.read_bytes()[: random.integers(file.stat().st_size)])
    return file.name


def spoil(folder, random):
    """Spoil a checkpoint in one place; (what was done, names of which a message must have one)."""
    # Lightning's settings are of classes that only their writer has: its tensors stay.
    changes = (flip, cut) if list(folder.glob("*.ckpt")) else (flip, flip, cut, *CHANGES)
    change = changes[random.integers(len(changes))]
    if change in (flip, cut):
        return change, (change(folder, random),)
    state, write = weights_of(folder)
    name = sorted(state)[random.integers(len(state))]
    change(state, name, random)
    write()
    # Without a tensor, or with one more, a checkpoint may look like another model's, and the error
    # is about what that would have.
    other = change in (dropped, renamed)
    return change, ("the tensor",) if other else (name.removeprefix("module."),)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", WRITE)
def test_spoiled_checkpoints(name, tmp_path):
    whole = WRITE[name](tmp_path / "whole")
    want, refused = variables(name, whole, tmp_path / "out"), 0
    for seed in range(EACH):
        random, folder = np.random.default_rng(seed), tmp_path / f"{seed}"
        shutil.copytree(whole, folder)
        change, names = spoil(folder, random)
        before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
        where, out = f"{name}, seed {seed}: {change.__name__} {names}", tmp_path / f"{seed} out"
        found = said = None
        try:
            found = variables(name, folder, out)
        except ValueError as error:
            refused, said = refused + 1, str(error)
        if found is None:
            assert any(n in said for n in names), f"{where}: {said}"
            assert len(said) < 1500, where
            assert not out.exists(), where
        elif change is not retyped:  # float16 is widened again
            assert (change is flip and name not in COVERED) or same(found, want), where
        assert not list(tmp_path.glob("*.partial")), where
        assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before, where
    assert refused > EACH // 4
