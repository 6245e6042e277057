"""The public functions say what they take: for type checkers, which read this file too."""

import ast
import inspect
from importlib.resources import files
from pathlib import Path

import pytest

import jaxcell


def uses() -> None:  # never called: mypy checks it, an ignored error that is none is one to it
    """What a user writes is right to a type checker, and what fails is wrong."""
    store = jaxcell.prepare("store", ["cells.h5ad"], labels=["kind"], hold_out_fraction=0.1)
    assert store.path
    workdir: Path = jaxcell.train("configs/txfm_b.py:tiny", "runs/one")
    jaxcell.embed("cells.h5ad", [workdir, "runs/two"], out="embedded.h5ad", genes="all")
    jaxcell.evaluate("embedded.h5ad", ["X_txfm_b"], label="kind", out="report")["results"]
    jaxcell.prepare("store", "cells.h5ad", min_genes="many")  # type: ignore[arg-type]
    jaxcell.train("configs/txfm_b.py").glob(1)  # type: ignore[arg-type]
    jaxcell.embed("cells.h5ad", workdir, genes=[1])  # type: ignore[arg-type]
    jaxcell.evaluate("embedded.h5ad", label="kind")  # type: ignore[call-arg]
    jaxcell.plan("configs/txfm_b.py", batch="many")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", jaxcell.__all__)
def test_a_public_function_says_all_its_types(name):
    signature = inspect.signature(getattr(jaxcell, name))
    silent = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not silent
    assert signature.return_annotation is not signature.empty


def test_type_checkers_see_the_public_functions_where_they_are():
    tree = ast.parse(files("jaxcell").joinpath("__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    said = {alias.asname: node.module for node in block.body for alias in node.names}
    assert said == jaxcell._VERBS
    assert files("jaxcell").joinpath("py.typed").is_file()
