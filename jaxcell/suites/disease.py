"""Disease subtypes: which cluster of an embedding carries a disease's signature?

Source: BMFM-RNA (2026), section 11 (disease-associated astrocytes). n cells, g genes.
"""

import numpy as np

from jaxcell import files
from jaxcell.data.genes import identify
from jaxcell.data.splits import is_missing
from jaxcell.evaluation import baselines, html, inputs, signature_report, signatures
from jaxcell.evaluation import treated as obs_of
from jaxcell.suites import naming, vectors, views
from jaxcell.suites.planted_screen import planted_astrocytes
from jaxcell.suites.suite import Part, Suite

HEALTHY = ("control", "ctrl", "ct", "healthy", "normal", "wt", "nc")
PLANTED = {"disease": "disease=AD", "cells": "cell_type=astrocyte", "truth": "planted=DAA"}
SHOWN = 5_000  # cells of a picture
REFERENCES = {"genes": "Random genes, PCA", "clusters": "Shuffled clusters, PCA"}
FEWEST = 50  # cells, diseased and healthy each
RANDOM_SEED = 10_000  # of the random signature: apart from those that it is compared with


def arguments(p):
    """The suite's options."""
    add = p.add_argument
    add("--planted", action="store_true", help="generated astrocytes, no --data")
    add("--counts", default="X", help="where the raw counts are: X, layers/NAME or raw")
    add("--disease", default="", metavar="OBS[=VALUE]",
        help="diseased cells; without VALUE all but control, healthy, normal …")  # fmt: skip
    add("--cells", default="", metavar="OBS=VALUE", help="these only, as cell_type=astrocyte")
    add("--signature", default="", metavar="TSV",
        help="gene, direction (up, down); disease-associated astrocytes by default")  # fmt: skip
    add("--resolution", type=float, default=signatures.RESOLUTION, help="of Leiden (1)")
    add("--truth", default="", metavar="OBS=VALUE", help="cells of the cluster that is to be found")


def plan(asked):
    """A part for the cells, and one for each method and seed."""
    o = dict(asked.options)
    adata = views.read(asked, planted_astrocytes)
    if o["planted"]:
        o |= {name: o[name] or value for name, value in PLANTED.items()}
    if not o["resolution"] > 0:
        raise ValueError(f"resolution: found {o['resolution']}, expected a number above 0")
    signature = signatures.read_signature(o["signature"]) if o["signature"] else signatures.DAA
    where = views.source_of(asked)
    with files.about(where):
        keep, diseased, dropped = _kept(adata.obs, o)
        truth = obs_of.of_value(adata.obs, o["truth"], "truth")[keep] if o["truth"] else None
        adata = adata[keep].copy()
        x = baselines.normalise(inputs.raw_counts(adata, o["counts"], name=where)[0])
        w, absent = signatures.weights(signature, _symbols(adata.var))
    task = _Task(x, w, diseased, truth, o["resolution"])
    shared = {"counts": o["counts"], "where": where}
    names = asked.baselines or views.fitting(views.BASELINES, adata)
    compared = views.views(asked, adata, names, **shared)
    alone = type(asked)({}, (), asked.out)
    [pca] = vectors.methods(alone, adata, baselines=["pca"], **shared)
    naming.check_rows(asked.checkpoints, REFERENCES.values())
    mark = {
        "cells": vectors.fingerprint(adata),
        "counts": o["counts"],
        "obs": views.digest(diseased, [] if truth is None else truth),
        "signature": views.digest(w),
        "resolution": o["resolution"],
    }
    about = {"dropped": dropped, "absent": absent, "signature": signature}
    parts = [Part("cells", "cells", {**mark, **about}, lambda: about | task.described())]
    for seed in range(asked.seeds):
        parts += [_part(task, method, seed, mark) for method in compared]
        parts += [_part(task, pca, seed, mark, what) for what in REFERENCES]
    return parts


def _kept(obs, o):
    """Which cells are looked at bool [cells], which of them are diseased bool [n], the others."""
    if not o["disease"]:
        raise ValueError("disease: name the column of obs that tells diseased cells (--disease)")
    diseased, known = _diseased(obs, o["disease"])
    chosen = obs_of.of_value(obs, o["cells"], "cells") if o["cells"] else np.ones(len(obs), bool)
    keep = chosen & known
    dropped = {
        f"not of {o['cells']}": int((~chosen).sum()),
        "without a disease": int((~known & chosen).sum()),
    }
    for name, there in (("diseased", diseased), ("healthy", ~diseased)):
        if (keep & there).sum() < FEWEST:
            raise ValueError(
                f"disease: {(keep & there).sum()} of {keep.sum()} cells are {name}, expected "
                f"{FEWEST} or more (obs, {o['disease']}{', ' + o['cells'] if o['cells'] else ''})"
            )
    return keep, diseased[keep], {reason: n for reason, n in dropped.items() if n}


def _diseased(obs, asked):
    """Which cells are diseased, and of which it is known: bool [cells] each."""
    column = asked.partition("=")[0]
    found = obs_of.texts(obs, column, "disease")
    names = np.unique(found[~is_missing(found)])
    controls = [name for name in names if name.lower() in HEALTHY]
    if "=" not in asked and len(controls) == 1:
        return ~is_missing(found) & (found != controls[0]), ~is_missing(found)
    return obs_of.truth(obs, asked, "disease"), ~is_missing(found)


def _symbols(var):
    names = identify(var)
    return [s or str(own) for s, own in zip(names.symbols, var.index, strict=True)]


class _Task:
    """What all methods are asked: the same scores and the same diseased cells."""

    def __init__(self, x, w, diseased, truth, resolution):
        self.x, self.w, self.diseased, self.truth = x, w, diseased, truth
        self.resolution, self._scores = resolution, {}
        self.shown = np.sort(np.random.default_rng(0).permutation(len(diseased))[:SHOWN])

    def scores(self, seed=None):
        """The signature's scores and those of random ones; of a random signature by its seed."""
        if seed not in self._scores:
            w = self.w
            if seed is not None:
                w = signatures.random_weights(self.x, w, 1, RANDOM_SEED + seed)[:, 0]
            random = signatures.random_weights(self.x, w)
            both = signatures.scores(self.x, w), signatures.scores(self.x, random)
            self._scores[seed] = both
        return self._scores[seed]

    def described(self):
        """The cells of the pictures."""
        score = self.scores()[0][self.shown]
        return {
            "cells": len(self.diseased),
            "diseased": int(self.diseased.sum()),
            "found": int((self.w != 0).sum()),
            "score": [round(float(s), 3) for s in score],
            "is_diseased": self.diseased[self.shown].astype(int).tolist(),
        }

    def measure(self, x, seed, reference=None):
        """Clusters of vectors f32 [n, d], and what is in them."""
        members, space = signatures.clusters(x, seed, self.resolution)
        if reference == "clusters":
            members = np.random.default_rng(seed).permutation(members)
        score, random = self.scores(seed if reference == "genes" else None)
        rows = signatures.by_cluster(score, random, members, self.diseased)
        carrier = signatures.carrier(rows)
        found = {"rows": rows, "carrier": carrier and carrier["cluster"]}
        if self.truth is not None:
            found |= _agreement(members == found["carrier"], self.truth)
        if reference is None and seed == 0:
            layout = space.layout(seed)[self.shown]
            found["layout"] = [[round(float(v), 3) for v in point] for point in layout]
            found["members"] = members[self.shown].tolist()
        return found


def _agreement(own, truth):
    """Jaccard index and ARI of the cluster found and the cells that are to be found."""
    from sklearn.metrics import adjusted_rand_score

    jaccard = float((own & truth).sum() / (own | truth).sum())
    return {"jaccard": jaccard, "ari": float(adjusted_rand_score(truth, own))}


def _part(task, method, seed, mark, reference=None):
    name = REFERENCES.get(reference, method.name)
    about = {
        "name": name,
        "kind": "reference" if reference else method.kind,
        "fitted": method.fitted,
        "seed": seed,
    }

    def run():
        x = method.matrix(seed)
        return {**about, "dimensions": x.shape[1], **task.measure(x, seed, reference)}

    whole = {**mark, "method": method.mark, "name": name, "seed": seed}
    return Part(naming.part_key(name, f"seed{seed}"), f"{name}, seed {seed}", whole, run)


def text(results):
    """The main table."""
    return html.plain_table(signature_report.carrier_table(results))


SUITE = Suite(
    "Disease subtypes",
    "The cluster of cells that carries a disease's signature (BMFM-RNA 11).",
    arguments,
    plan,
    signature_report.blocks,
    text,
)
