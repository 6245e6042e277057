"""The notebooks as they lie there: whole, alike, without logic, executed, and of no machine."""

import ast
import importlib.util
import json

import nbformat
import pytest
import yaml

from jaxcell.config import load
from tests.conftest import ROOT

FOLDER = ROOT / "colab"
NOTEBOOKS = {path.name: nbformat.read(path, 4) for path in sorted(FOLDER.glob("*.ipynb"))}
SMALL = yaml.safe_load((FOLDER / "small.yaml").read_text(encoding="utf-8"))
LARGEST = 2 * 2**20  # bytes
LOGIC = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension),
    *(ast.For, ast.While, ast.If, ast.IfExp, ast.Try, ast.With, ast.Match),
)

spec = importlib.util.spec_from_file_location("colab_run", FOLDER / "run.py")
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)

each = pytest.mark.parametrize("name", NOTEBOOKS)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tree(cell):
    return ast.parse("\n".join(s for s in cell.source.splitlines() if not s.startswith("%")))


def test_there_are_four_and_each_has_a_small_setting():
    assert len(NOTEBOOKS) == 4
    assert list(NOTEBOOKS) == list(runner.NAMES) == sorted(SMALL)


@each
def test_it_is_whole_and_bears_the_one_address(name):
    notebook = NOTEBOOKS[name]
    nbformat.validate(notebook)
    stamped = runner.stamped(nbformat.read(FOLDER / name, 4), name)
    assert stamped == notebook, "python colab/run.py --stamp"
    assert notebook.cells[0].cell_type == "markdown"
    assert f"{runner.REPOSITORY}/blob/main/colab/{name})" in notebook.cells[0].source
    first = code(notebook)[0].source
    assert first == code(next(iter(NOTEBOOKS.values())))[0].source
    assert first.endswith('%pip install --quiet "{SOURCE}"')
    assert f"git+https://github.com/{runner.REPOSITORY}" in first


@each
def test_it_holds_no_logic(name):
    for cell in code(NOTEBOOKS[name]):
        found = [type(n).__name__ for n in ast.walk(tree(cell)) if isinstance(n, LOGIC)]
        assert not found, f"{found} in\n{cell.source}"


@each
def test_its_parameters_are_those_of_the_small_setting(name):
    (cell,) = (c for c in code(NOTEBOOKS[name]) if c.metadata.get("tags") == ["parameters"])
    assigned = {target.id for one in tree(cell).body for target in one.targets}
    assert SMALL[name].keys() <= assigned


@each
def test_it_was_executed_from_top_to_bottom_and_shows_pictures(name):
    cells, pictures = code(NOTEBOOKS[name]), 0
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    for cell in cells:
        assert all(output.output_type != "error" for output in cell.outputs)
        pictures += sum("image/png" in output.get("data", {}) for output in cell.outputs)
    assert pictures >= 3
    assert (FOLDER / name).stat().st_size < LARGEST


@each
def test_it_tells_nothing_of_the_machine(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not runner.MACHINE.search(text)
    assert not any("papermill" in json.dumps(c.metadata) for c in NOTEBOOKS[name].cells)


@each
def test_the_configs_that_it_names_are_there(name):
    named = [
        node.value
        for cell in code(NOTEBOOKS[name])
        for node in ast.walk(tree(cell))
        if isinstance(node, ast.Constant) and str(node.value).startswith("configs/")
    ]
    assert named
    for path in named:
        assert load(ROOT / path).name


def test_text_is_stored_as_a_terminal_leaves_it():
    bar = "  0%|  | 0/9\r 50%|█ | 4/9\r100%|██| 9/9\n"
    assert runner.plain(bar) == "100%|██| 9/9\n"
    assert runner.plain("a long line\rwins\n\n\n\x1b[31mred\x1b[0m\n") == "winsng line\nred\n"
    assert runner.plain("\r 50%|█\r       \rstep 5: loss 1\n") == "step 5: loss 1\n"


def notebook_that_said(*outputs):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["papermill"] = {"duration": 1}
    notebook.cells = [nbformat.v4.new_code_cell("install"), nbformat.v4.new_code_cell("1")]
    notebook.cells[1].metadata = {"execution": {"started": "now"}, "tags": ["x"]}
    for cell in notebook.cells:
        cell.outputs = [nbformat.v4.new_output("stream", name=n, text=t) for n, t in outputs]
    return notebook


def test_what_a_cell_said_is_stored_without_its_place():
    bar = " 50%|█ | 4/9 [00:01<00:01, 4.0step/s]\r100%|██| 9/9 [00:02<00:00, 4.5step/s, loss 1]\n"
    said = [("stderr", bar), ("stdout", "in /tmp/x/run\n"), ("stderr", "careful\n")]
    found = runner.cleaned(notebook_that_said(*said), "/tmp/x/")
    assert found.cells[0].outputs == []
    assert [(o.name, o.text) for o in found.cells[1].outputs] == [
        ("stdout", "in run"), ("stderr", "careful"),
    ]  # fmt: skip
    assert found.cells[1].metadata == {"tags": ["x"]}
    assert "papermill" not in found.metadata
    with pytest.raises(ValueError, match="place of this machine: /home/me/lib/x.py"):
        runner.cleaned(notebook_that_said(("stderr", "/home/me/lib/x.py:3: Warning")), "/tmp/x/")
