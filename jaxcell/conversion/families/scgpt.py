"""scGPT's checkpoints, which are scFormer's but for what is told here.

The folder is what its scripts save: weights, vocab.json (token → row), and args.json where the run
wrote one; what that leaves out is as in the published whole-human model, and said. Otherwise than
scFormer's,

- attention may have the names of flash kernels, in the same order of rows
- ties of bins are drawn, here by the cell's own counts; <cls> shows ``pad_value``
- there is a norm of the sum only where it has tensors, of eps 6.1e-5
- a cell shows its expressed genes alone, as when scGPT's own inference embeds it; beyond
  ``max_seq_len`` so many of them, drawn by its own counts

A fine-tuned model without flash kernels has scFormer's names: it is named by family='scgpt'.
"""

import json
import re

from jaxcell import config
from jaxcell.conversion.described import Family, Tensors
from jaxcell.conversion.families import scformer
from jaxcell.conversion.rules.scformer import SCGPT_LEFT_OUT, SCGPT_RULES

EPS = 6.1e-5  # of its batch and domain norms
PUBLISHED = {  # of the whole-human checkpoint, for what args.json does not say
    **{"nheads": 8, "dropout": 0.2, "n_bins": 51, "pad_token": "<pad>"},
    **{"pad_value": -2, "mask_value": -1, "mask_ratio": (0.25, 0.5, 0.75), "max_seq_len": 1200},
}
FLASH = re.compile(r"transformer_encoder\.layers\.\d+\.self_attn\.(_impl\.)?Wqkv\.weight")
# Arguments of scGPT's scripts alone: of its pretraining, and of its fine-tuning.
OWN = (
    *("training_tasks", "USE_GENERATIVE_TRAINING"),
    *("GEPC", "fast_transformer", "pre_norm", "norm_scheme", "input_emb_style", "input_style"),
)
# What there is no part for: {argument: (what it may be, what that would mean)}.
KNOWN = {
    "pre_norm": ((None, False), "residuals that begin at the normed input"),
    "norm_scheme": ((None, "post"), "residuals that begin at the normed input"),
    "input_emb_style": ((None, "continuous", "category"), "gene vectors scaled by values"),
    "input_style": ((None, "binned"), "values that are no bins"),
}


def describe(source, heads=None):
    """The model that a checkpoint of scGPT holds.

    Parameters
    ----------
    source : `files.Source`, with vocab.json, and args.json where there is one, beside the weights
    heads : of attention, where args.json does not say; None: 8, as published

    Returns
    -------
    Described

    Raises
    ------
    ValueError
        Something is missing, two things contradict each other, or there is no such model here.
    """
    told, said = _told(source), []
    args = _arguments(told, heads, "value_encoder.embedding.weight" in source.tensors, said)
    tensors = Tensors(source.tensors, "scGPT")
    found = scformer.described(tensors, args, source.json("vocab.json"), said)
    c = found.config
    c.name, c.model.norm_eps, c.data.bin.method = "scgpt", EPS, "cell_random"
    codes, specials = list(c.model.fields.value.codes), c.model.specials
    if args["pad_token"] not in specials:
        raise ValueError(f"vocab.json: has no {args['pad_token']}, which is args.json's pad_token")
    codes[specials.index("<cls>")] = codes[specials.index(args["pad_token"])]
    c.model.fields.value.codes = tuple(codes)
    if c.embed.zeros == "exclude":
        c.embed.genes = most = c.data.sequence.number
        said.append(
            f"a cell with more than {most} expressed genes shows so many, drawn by its own counts, "
            "as its inference draws them; --genes all for every one"
        )
    config.check(c)
    return found._replace(told={"args.json": json.dumps(told)})


def _told(source):
    """The arguments that lie beside the weights; {} where none do."""
    there = source.weights.with_name("args.json").is_file()
    return source.json("args.json") if there else {}


def _arguments(told, heads, category, said):
    """What args.json tells, checked, and what the published model has where it does not."""
    for name, (known, why) in KNOWN.items():
        if told.get(name) not in known:
            wanted = " or ".join(repr(one) for one in known if one is not None)
            raise ValueError(
                f"args.json: {name}: found {told[name]!r}, expected {wanted}: there is no part for "
                f"{why}"
            )
    if heads is not None and told.get("nheads", heads) != heads:
        raise ValueError(f"heads: found {heads}, args.json: nheads has {told['nheads']}")
    given = dict(told) if heads is None else {**told, "nheads": heads}
    absent = {name: value for name, value in PUBLISHED.items() if given.get(name) is None}
    if category:  # whose bins, padding and mask are rows of a table
        absent = {k: v for k, v in absent.items() if k not in ("n_bins", "pad_value", "mask_value")}
    if absent:
        values = ", ".join(f"{name} = {value}" for name, value in absent.items())
        said.append(f"args.json does not say, as in the whole-human model: {values}")
    args = {"include_zero_gene": False} | given | absent
    if isinstance(args["mask_ratio"], list | tuple):  # drawn for each batch
        ratios = args["mask_ratio"]
        if not ratios or not all(isinstance(one, int | float) for one in ratios):
            raise ValueError(f"args.json: mask_ratio: found {ratios!r}, expected a number or some")
        ratios = sorted(ratios)
        args["mask_ratio"] = ratios[len(ratios) // 2]
        said.append(f"of the mask ratios {ratios} it is {args['mask_ratio']} if trained further")
    return args


def recognises(source):
    """Whether names of tensors, or arguments beside them, are scGPT's alone."""
    if "encoder.embedding.weight" not in source.tensors:
        return False
    names = source.tensors
    own = "flag_encoder.weight" in names or any(map(FLASH.fullmatch, names))
    return own or any(name in _told(source) for name in OWN)


FAMILY = Family(recognises, describe, SCGPT_RULES, SCGPT_LEFT_OUT, options=("heads",))
