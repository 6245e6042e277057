"""The suite txfm: six tasks on perturbed cells, after the post-processing that suits each best.

Source: TxFM sections 4.1, A.2 and B.1.1.
"""

import re
from functools import lru_cache

from jaxcell.evaluation.perturbed_cells import tasks
from jaxcell.files import near
from jaxcell.models.cell import layers_of
from jaxcell.suites import txfm_report
from jaxcell.suites.suite import Part, Suite
from jaxcell.suites.txfm_data import Perturbed, experiments
from jaxcell.training.checkpoint import load_model

VERSION = 2  # of the measures: raised when their results change


def arguments(p):
    """Options of the suite."""
    p.add_argument("--perturbation", default="", metavar="OBS", help="of --data FILE")
    p.add_argument("--control", default="", metavar="VALUE", help="of unperturbed cells")
    p.add_argument("--batch", nargs="+", default=(), metavar="OBS", help="together a cell's batch")
    p.add_argument(
        "--consistency-by",
        nargs="+",
        default=(),
        metavar="OBS",
        help="of few perturbations: score consistency in each of these groups",
    )
    p.add_argument("--log-values", action="store_true", help="X holds log-normalised values")
    p.add_argument("--pairs", nargs="+", default=(), metavar="FILE", help="known relations")
    p.add_argument("--train", metavar="FILE", help="counts that …_inductive are fitted on")
    p.add_argument(
        "--cells", type=int, default=tasks.CELLS, metavar="N", help="of a seed's subsample; 0: all"
    )
    p.add_argument("--layers", action="store_true", help="also behind each block of the models")


def plan(asked):
    """The parts: facts of each data set, then each method and seed."""
    if asked.options["cells"] < 0:
        raise ValueError(f"cells: found {asked.options['cells']}, expected 1 or more, or 0 for all")
    found = experiments(asked)
    for e in found:
        for path in (e.file, *e.pairs, *([e.train] if e.train else [])):
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such file (suite txfm){near(path)}")
    if asked.checkpoints and all(e.log_values for e in found):
        raise ValueError("data: log-normalised values, which no checkpoint embeds; expected counts")
    parts = []
    for e in found:
        data = Perturbed(e)
        mark = [VERSION, data.mark()]
        parts.append(Part(f"{_slug(e.name)}.data", f"{e.name}: cells", mark, data.facts))
        for method, layer in _methods(asked, data):
            parts += _of_method(asked, data, method, layer, mark)
    return parts


def _methods(asked, data):
    """Each Method of a data set, with the layer it comes from or None."""
    own = [(method, None) for method in data.methods(asked, names=data.baselines(asked))]
    own.append((data.reference(), None))
    if not asked.options["layers"] or data.experiment.log_values:
        return own
    blocks = {}
    for name, path in asked.checkpoints.items():
        encoder, decoder, _ = layers_of(load_model(path).config.model)
        blocks[name] = (encoder, encoder + decoder)
    for k in range(1, max((total for _, total in blocks.values()), default=0) + 1):
        for name, (encoder, total) in blocks.items():
            if k <= total:
                (method,) = _layer(asked, data, name, k)
                where = "encoder" if k <= encoder else "decoder"
                own.append((method, {"of": name, "number": k, "where": where}))
    return own


def _layer(asked, data, name, k):
    from dataclasses import replace

    one = replace(asked, checkpoints={name: asked.checkpoints[name]})
    found = data.methods(one, embed={"layer": k}, names=())
    return [replace(method, name=f"{name}, block {k}") for method in found]


def _of_method(asked, data, method, layer, mark):
    cells, shuffled = asked.options["cells"], method.kind == "reference"
    matrix = lru_cache(1)(method.matrix)  # the seeds of a method that has none share its vectors

    def run(seed):
        labels = tasks.shuffled(data.labels, seed) if shuffled else data.labels
        x = matrix(seed if method.seeded else 0)
        found = tasks.measure(x, labels, seed=seed, cells=cells)
        if seed == asked.seeds - 1:
            matrix.cache_clear()
        return {
            "data": data.experiment.name,
            "method": method.name,
            "kind": method.kind,
            "fitted": method.fitted,
            "dimensions": x.shape[1],
            "layer": layer,
            "seed": seed,
            "metrics": found,
        }

    own = [*mark, method.mark, method.name, cells, shuffled]
    name = data.experiment.name
    return [
        Part(
            f"{_slug(name)}.{_slug(method.name)}.{seed}",
            f"{name}: {method.name}, seed {seed}",
            [*own, seed],
            lambda seed=seed: run(seed),
        )
        for seed in range(asked.seeds)
    ]


def _slug(text):
    return re.sub(r"[^\w\-]+", "-", text, flags=re.ASCII).strip("-")


SUITE = Suite(
    title="Perturbed cells: TxFM's six tasks",
    about="batch mixing, separability, retrieval, consistency, relations and decoding",
    arguments=arguments,
    plan=plan,
    blocks=txfm_report.blocks,
    text=txfm_report.text,
)
