"""The arrows of the architecture: who may import whom, read from the files."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Each room may import itself and what is named here, of this package.
BASE = {
    *("files", "registry", "config", "sharding", "variants", "systems"),
    *("progress", "interrupts", "calls", "writing"),
}
CONFIG = {"config_checks", "config_data_checks", "config_defaults", "systems", "variants"}
PARTS = {"data", "models", "losses"} | BASE
ABOVE = {"training", "processes", "hub"} | PARTS
VERBS = {"embedding", "monitor", "evaluation", "gene_vectors", "planning", "bench"}
STUDIES = {
    *("ablations", "network_cells", "networks", "perturbation", "perturbed", "predictions"),
    "results",
}
PUBLIC = (
    "manifest",
    "verify",
    "embed",
    "phenoprint",
    "evaluate",
    "report",
    "genes",
    "relations",
    "learnability",
    "annotation",
    "ablate",
    "benchmark",
    "masked_genes",
    "attributions",
    "complete",
    "perturb",
    "convert",
    "plan",
    "perturbation_split",
    "evaluate_perturbations",
    "network",
    "inspect",
    "doctor",
    "resume",
)

MAY = {
    "shipped": set(),
    "reading": {"data"},
    "files": set(),
    "registry": set(),
    "palette": set(),
    "drawing": {"palette"},
    "launchers": set(),
    "hub": set(),
    "progress": set(),
    "interrupts": set(),
    "calls": {"files", "writing"},
    "stages": {"files", "writing"},
    "processes": {"launchers"},
    "systems": set(),
    "variants": {"registry", "systems"},
    "config_checks": {"config_data_checks", "registry"},
    "config_data_checks": {"registry"},
    "config_defaults": {"systems"},
    "config": CONFIG | {"files", "registry", "shipped"},
    "sharding": {"registry", "config"},
    "data": BASE | {"config_data_checks"},
    "models": BASE,
    "losses": BASE,
    "training": PARTS | {"drawing", "hub", "palette", "processes"},
    "forward": ABOVE,
    "embedder": ABOVE,
    "predictions": ABOVE,
    "results": {"writing"},
    "writing": {"files"},
    "embedding": ABOVE | {"embedder", "forward", "predictions", "results"},
    "outputs": ABOVE,
    "attribution": ABOVE | {"forward"},
    "explain": ABOVE | {"attribution", "embedder", "evaluation", "outputs", "results"},
    "gene_vectors": ABOVE | {"results"},
    "generation": ABOVE | {"forward"},
    "completion": ABOVE | {"embedder", "gene_vectors", "generation", "results"},
    "perturbed": ABOVE | {"forward"},
    "perturbation": ABOVE | {"embedder", "evaluation", "perturbed", "results"},
    "inspection": {"data", "evaluation", "progress", "writing"},
    "curation": ABOVE | {"embedding", "evaluation", "results"},
    "cell_types": ABOVE | {"evaluation", "results"},
    "attention_maps": ABOVE | {"embedder", "evaluation", "forward"},
    "network_cells": ABOVE | {"evaluation"},
    "network_models": ABOVE | {"attention_maps", "embedder", "gene_vectors", "results"},
    "networks": ABOVE | {"evaluation", "network_cells", "network_models", "results"},
    "monitor": ABOVE | {"embedder", "forward", "evaluation"},
    "masked_prediction": ABOVE | {"evaluation"},
    "ablations": ABOVE | VERBS | {"masked_prediction"},
    "suites": ABOVE | VERBS | STUDIES,
    "failures": {"interrupts"},
    "overrides": {"config", "failures", "registry"},
    "planning": ABOVE,
    "file_commands": set(),
    "file_advice": {"data", "evaluation", "file_commands", "inspection", "training"},
    "diagnosis": {"data", "file_advice", "training", "writing"},
    "verbs": VERBS
    | {"ablations", "main", "masked_prediction", "overrides", "registry", "suites", "training"}
    | {"writing"},
    "bench": ABOVE | {"evaluation", "forward", "palette", "planning"},
    "evaluation": {
        "data",
        "drawing",
        "palette",
        *BASE,
    },  # arrays and AnnData in, tables out: never models or training
    "conversion": ABOVE | {"results"},
    "main": ABOVE | VERBS | {"cli", "overrides", "stages"},
    "resuming": {
        *("ablations", "calls", "config", "data", "files", "main", "overrides", "stages"),
        *("suites", "training", "verbs"),
    },
    "cli": {"failures", "interrupts", "main", "verbs"},
}
STEP = {"jax", "flax", "optax", "chex", "ml_collections"}
HEAVY = {"scanpy", "sklearn", "matplotlib", "scib_metrics", "torch", "igraph", "leidenalg"}


def modules():
    for path in sorted((ROOT / "jaxcell").rglob("*.py")):
        parts = path.relative_to(ROOT / "jaxcell").with_suffix("").parts
        if parts[0] != "__init__":
            yield path, parts


def imported(path, top_level=False):
    """Dotted names that a file imports; only outside functions when ``top_level``."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names)


@pytest.mark.parametrize(("path", "parts"), list(modules()), ids=lambda p: str(p))
def test_imports_go_one_way(path, parts):
    room = parts[0]
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package != "jaxcell" or rest.split(".")[0] in ("__version__", "prepare"):
            continue
        other = rest.split(".")[0]
        if room == "verbs" and other in PUBLIC:
            continue  # the public API
        assert other in MAY[room] | {room}, f"{path} imports {name}"
        if room == "models":
            assert name.split(".")[0] != "data"


STEPS = [f"training/{file}.py" for file in ("step", "panel", "machine", "optim", "gradients")]


@pytest.mark.parametrize("room", ["models", "losses", *STEPS])
def test_the_training_step_needs_little(room):
    where = ROOT / "jaxcell" / room
    for path in [where] if where.suffix else where.glob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            assert top in STEP | {"jaxcell"} | set(sys.stdlib_module_names), f"{path}: {name}"


def test_models_in_torch_need_torch_and_data_without_jax():
    """What computes imports torch alone; what makes tokens of counts, our data beside it."""
    folder = ROOT / "jaxcell" / "conversion" / "torch_model"
    own = ("jaxcell.conversion.torch_model", "jaxcell.registry", "torch")
    for path in folder.glob("*.py"):
        for name in imported(path):
            ours = name.startswith(own) or name.split(".")[0] in sys.stdlib_module_names
            computes = path.stem not in ("load", "embedding")
            assert ours or not computes, f"{path}: {name}"
    absent = ("jax", "flax", "ml_collections", "orbax", "optax")
    done = run("import jaxcell.conversion.torch_model.embedding", absent)
    assert done.returncode == 0, done.stderr


def test_only_models_import_flax():
    for path, parts in modules():
        if parts[0] != "models":
            assert not any(n.split(".")[0] == "flax" for n in imported(path)), path


def test_configs_import_jaxcell_config_and_nothing_else():
    for path in (ROOT / "configs").glob("*.py"):
        assert all(n.startswith("jaxcell.config.") for n in imported(path)), path


def test_heavy_libraries_are_imported_where_they_are_used():
    for path, parts in modules():
        # A program of its own, which nobody imports, and the models in torch.
        if parts == ("bench", "torch_txfm") or parts[:2] == ("conversion", "torch_model"):
            continue
        found = {n.split(".")[0] for n in imported(path, top_level=True)} & HEAVY
        assert not found, f"{path} imports {found} at its top"


def run(code, blocked=()):
    block = "".join(f"sys.modules[{b!r}] = None;" for b in blocked)
    code = f"import sys; {block} {code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_import_jaxcell_imports_next_to_nothing():
    done = run("import jaxcell; print(len([m for m in sys.modules if m in ('jax', 'numpy')]))")
    assert done.stdout.strip() == "0", done.stderr


def test_the_bench_runs_where_only_the_steps_imports_are():
    absent = ("grain", "array_record", "anndata", "scanpy", "h5py", "orbax", "safetensors", "tqdm")
    done = run("import jaxcell.bench.step", absent)
    assert done.returncode == 0, done.stderr


def test_data_starts_no_backend():
    code = (
        "import jaxcell.data.pipeline, jaxcell.data.prepare, jax;"
        "from jax._src import xla_bridge; print(xla_bridge._backends)"
    )
    done = run(code)
    assert done.stdout.strip() == "{}", done.stderr
