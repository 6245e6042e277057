"""What suites of labelled cells share: a model seen by each of its CLS tokens, and its input.

n cells, D width.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcell.evaluation import inputs
from jaxcell.models import pools
from jaxcell.models.heads import reads_of
from jaxcell.predictions import label_heads
from jaxcell.suites import naming, vectors
from jaxcell.training.checkpoint import load_model

BASELINES = ("raw", "log", "hvg2000", "pca")


def views(asked, adata, baselines=(), label_token="", **options):
    """As `vectors.methods`, but three rows for a model with a CLS token for labels.

    Its own pool (reconstruction CLS), the token that its label heads read (label CLS: of several
    the first in front of the genes), and both side by side. Source: BMFM-RNA 4.5.

    label_token : a front token to take instead, of every model that has it
    """
    found = []
    for name, path in asked.checkpoints.items():
        one = replace(asked, checkpoints={name: path})
        pool, token = _tokens(path, label_token)
        if token is None:
            found += vectors.methods(one, adata, **options)
            continue
        both = {"pooling": "+".join((*pool, token))}
        [joined] = vectors.methods(one, adata, embed=both, **options)
        share = len(pool) / (len(pool) + 1)
        found += [
            _part(joined, f"{name}, reconstruction CLS", lambda x, at: x[:, :at], share),
            _part(joined, f"{name}, label CLS", lambda x, at: x[:, at:], share),
            replace(joined, name=f"{name}, both CLS"),
        ]
    if label_token and not any("CLS" in method.name for method in found):
        raise ValueError(f"label token: no checkpoint has {label_token!r} in front of its genes")
    alone = replace(asked, checkpoints={})
    rest = vectors.methods(alone, adata, baselines=baselines, **options)
    naming.check_rows(asked.checkpoints, (m.name for m in rest))
    own = [method.name for method in found]
    if twice := [name for name in own if own.count(name) > 1]:
        raise ValueError(
            f"checkpoint: found two models with the row {twice[0]!r}; expected names of their own"
        )
    return found + rest


def _tokens(path, label_token):
    """A model's own pool (names), and its token for labels or None."""
    model = load_model(path)
    spec = model.config.model
    pool, front = pools.names_of(spec.pool), tuple(spec.front)
    wanted = [label_token] if label_token else [reads_of(spec.heads[h]) for h in label_heads(model)]
    there = [token for token in front if token in wanted and token not in pool]
    # 'cls' is the first token by another name.
    there = [token for token in there if not ("cls" in pool and token == front[0])]
    return pool, there[0] if there else None


def _part(joined, name, of, share):
    def matrix(seed):
        x = joined.matrix(seed)
        return of(x, round(share * x.shape[1]))

    return replace(joined, name=name, mark={**joined.mark, "view": name}, matrix=matrix)


def read(asked, planted):
    """The AnnData of ``--data FILE``, or the generated one of ``--planted``.

    planted : () -> AnnData; what ``--planted`` stands for

    Raises
    ------
    ValueError, FileNotFoundError
        Neither, both, several files, or no file.
    """
    if asked.options["planted"]:
        if asked.data:
            raise ValueError(f"data: found {asked.data[0]} beside --planted, expected one of them")
        return planted()
    if len(asked.data) != 1 or Path(asked.data[0]).is_dir():
        raise ValueError(
            f"data: found {', '.join(map(str, asked.data)) or 'none'}, expected one h5ad file "
            "(--data FILE), or --planted for generated cells"
        )
    return inputs.read(asked.data[0])


def source_of(asked):
    """What errors call the cells that `read` gives."""
    return str(asked.data[0]) if asked.data else "the generated cells"


def fitting(baselines, adata):
    """These baselines without hvgN of as many genes as there are: that is `log`."""
    few = [b for b in baselines if b.startswith("hvg") and int(b[3:]) >= adata.n_vars]
    return [b for b in baselines if b not in few] or ["log"]


def digest(*values):
    """Hash of what a part depends on: arrays of strings and numbers, or text."""
    found = hashlib.sha256()
    for value in values:
        found.update("\n".join(map(str, np.asarray(value).ravel().tolist())).encode() + b"\0")
    return found.hexdigest()
