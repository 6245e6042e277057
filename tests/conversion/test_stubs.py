"""Pickled settings: their values are read, and nothing of them runs."""

import collections
import pathlib
import sys
import types

import pytest

from jaxcell.conversion.files import read_source

torch = pytest.importorskip("torch")

from tests.conversion import bmfm  # noqa: E402


def read(folder, make):
    """What is told by a checkpoint whose settings ``make`` of classes that nobody has."""
    with bmfm.their_classes() as classes:
        content = {"state_dict": {"a": torch.ones(2)}, "hyper_parameters": make(classes)}
        torch.save(content, folder / "last.ckpt")
    assert "bmfm_targets" not in sys.modules
    return read_source(folder).told


def test_values_of_every_kind(tmp_path):
    def make(classes):
        one = bmfm.of(classes["FieldInfo"], {"name": "genes", "number": 3, "none": None})
        one.itself, one.path, one.kind = one, pathlib.Path("/a/b"), classes["AttentionKind"].TORCH
        one.lists = collections.defaultdict(list, {"x": [1, (2.5, True)]})
        one.tensor, one.names = torch.ones(1), {"a"}
        return {"one": one, "again": one, "step": 7}

    one = {"name": "genes", "number": 3, "none": None, "itself": None, "path": "/a/b"}
    one |= {"kind": "torch", "lists": {"x": [1, [2.5, True]]}, "tensor": None, "names": ["a"]}
    assert read(tmp_path, make) == {"one": one, "again": one, "step": 7}


def test_state_in_slots_and_dicts_of_another_name(tmp_path, monkeypatch):
    module = types.ModuleType("pytorch_lightning.utilities.parsing")
    module.AttributeDict = type("AttributeDict", (dict,), {"__module__": module.__name__})
    slots = {"__slots__": ("x",), "__module__": module.__name__}
    module.Slotted = type("Slotted", (), slots)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    some = [module.Slotted() for _ in range(3)]
    for number, one in enumerate(some):
        one.x = number
    told = read(tmp_path, lambda _: module.AttributeDict(a=some))
    assert told == {"a": [{"x": 0}, {"x": 1}, {"x": 2}]}


def test_settings_that_are_none(tmp_path):
    assert read(tmp_path, lambda _: [1]) == {}
