"""Execute the notebooks of this folder.

    python colab/run.py [NAME.ipynb …]           # as they are; their outputs are stored in them
    python colab/run.py --small [NAME.ipynb …]   # with small.yaml's parameters; nothing is stored
    python colab/run.py --stamp                  # writes the address below into all four

Each runs in an empty folder, with the package that is installed here. What is stored says nothing
of the machine: no paths, and no progress bars, which nobody needs afterwards.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import yaml

# The one place that names the repository: what Colab opens, and what the first cell installs.
REPOSITORY = "jaxcell/jaxcell"

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.name for path in HERE.glob("*.ipynb")))
INSTALLED = "jaxcell[eval,ontology]"  # satisfied where jaxcell is: nothing is installed again
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/main/colab/{name})"
)
INSTALL = """\
# Installs jaxcell, the same in all notebooks. On a GPU it brings the JAX for it.
import os

EXTRAS = "eval,ontology" + ",cuda12" * os.path.exists("/dev/nvidiactl")
ADDRESS = f"jaxcell[{{EXTRAS}}] @ git+https://github.com/{repository}"
SOURCE = os.environ.get("JAXCELL_SOURCE", ADDRESS)
%pip install --quiet "{{SOURCE}}"\
"""
# Of a bar, or of progress as a line a minute.
BAR = re.compile(r"^.*\d%(\|.*\|.*\[.*\]|\), .*)$\n?", re.MULTILINE)
# Of whoever runs this, not of who reads it.
MACHINE = re.compile(r"(?<![\w.])/(tmp|home|root|work|usr|opt|var|mnt|Users|private)/[\w./-]*")


def stamped(notebook, name):
    """The notebook with the badge as its first cell, and the install cell as its first code."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells[0].source = BADGE.format(repository=REPOSITORY, name=name)
    code[0].source = INSTALL.format(repository=REPOSITORY)
    return notebook


def execute(path, parameters, keep):
    """Run a notebook in an empty folder; keep: write it back with its outputs."""
    import papermill

    os.environ.setdefault("JAXCELL_SOURCE", INSTALLED)
    # Bars are text here: what Jupyter would need to draw them is not asked for.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder, "done.ipynb")
        work = Path(folder, "work")
        work.mkdir()
        papermill.execute_notebook(
            path, done, parameters, cwd=work, kernel_name="python3", progress_bar=False,
            request_save_on_cell_execute=False,
        )  # fmt: skip
        if keep:
            notebook = cleaned(nbformat.read(done, 4), f"{os.path.realpath(work)}/")
            nbformat.write(notebook, path)


def cleaned(notebook, work):
    """A notebook that was executed in ``work``, as it is stored.

    Raises
    ------
    ValueError
        An output names another place of this machine.
    """
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
        cell.outputs = [] if number == 1 else list(_told(cell.outputs, work))
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    if found := MACHINE.search(nbformat.writes(notebook)):
        raise ValueError(f"an output names a place of this machine: {found[0]}")
    return notebook


def _told(outputs, work):
    """A cell's stdout in one piece, then its stderr, then what it displays."""
    for name in ("stdout", "stderr"):
        own = [o.text for o in outputs if o.output_type == "stream" and o.name == name]
        text = BAR.sub("", plain("".join(own))).replace(work, "").strip("\n")
        if text := re.sub(r"\S*/ipykernel_\d+/\d+\.py", "<cell>", text):
            yield nbformat.v4.new_output("stream", name=name, text=text)
    yield from (output for output in outputs if output.output_type != "stream")


def plain(text):
    """What a terminal shows in the end: of a line that is written over, what stands there last."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return re.sub(r"\n{2,}", "\n", "\n".join(lines)).lstrip("\n")


def main(argv=None):
    """Parse the arguments; execute, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--small", action="store_true", help="small.yaml's setting; stores nothing")
    parser.add_argument("--stamp", action="store_true", help="write the repository's address")
    asked = parser.parse_args(argv)
    names = [Path(name).name for name in asked.names] or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"{unknown[0]}: no such notebook; there are {', '.join(NAMES)}")
    small = yaml.safe_load((HERE / "small.yaml").read_text(encoding="utf-8"))
    for name in names:
        path = HERE / name
        if asked.stamp:
            nbformat.write(stamped(nbformat.read(path, 4), name), path)
            continue
        began = time.monotonic()
        execute(path, small[name] if asked.small else {}, keep=not asked.small)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
