"""scFormer's checkpoints: the config that args.json, vocab.json and the tensors' shapes describe.

V genes, S special tokens, d width, K batches. The folder is what scFormer's scripts save: weights,
args.json (the script's arguments) and vocab.json (token → row). What the weights show is read from
their names and shapes, and arguments that say otherwise are an error:

- category or continuous values; no norm, batch norm or domain norm, affine or not; batch labels
- the decoder: three layers, with logits of zero or without, or the one of June 2022; MVC's style
- the classifier and the adversary, and of how many classes

The arguments say what cannot be seen: heads, dropout, ``pad_value`` and ``mask_value``,
``mask_ratio``, and ``n_bins``. Where they name no bins the values are raw counts, cut off at
``clip``: the published checkpoint of June 2022 (13, the 99th percentile of its counts above zero,
which only its log tells). Its cells have their expressed genes alone, as its longest of 438 tokens
(of 999 genes) says, and its vectors are as they are; with bins all genes are shown, and vectors
have length 1, as in the scripts of today (``include_zero_gene`` in the arguments decides).
"""

import json
import re

import numpy as np

from jaxcell import config
from jaxcell.conversion.described import Described, Family, Tensors, argument
from jaxcell.conversion.rules.scformer import CLASSIFIER_LAYERS, RULES
from jaxcell.data.genes import strip_version
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.registry import lookup

CLIP = 13
SPECIAL = re.compile(r"<.+>")
CLASS, BATCH = "cell_type", "batch"  # labels of ours: what the checkpoint's classes are of
POOLS = {"cls": "cls", "w-pool": "weighted"}  # 'avg-pool' is a mean over padding too


def describe(source, clip=None):
    """The model that a checkpoint of scFormer holds.

    Parameters
    ----------
    source : `files.Source`, with args.json and vocab.json beside the weights
    clip : the highest value, of raw counts; None: 13

    Returns
    -------
    Described

    Raises
    ------
    ValueError
        Something is missing, two things contradict each other, or there is no such model here.
    """
    if clip is not None and clip < 1:
        raise ValueError(f"clip: found {clip}, expected a count above 0")
    args, vocab = source.json("args.json"), source.json("vocab.json")
    return described(Tensors(source.tensors, "scFormer"), args, vocab, [], clip)


def described(t, args, vocab, said, clip=None):
    """`describe`, of its `Tensors` t, arguments and tokens; what is assumed is added to ``said``.

    scGPT's are described by it too; `families.scgpt` then changes what they have otherwise.
    """
    vocabulary, rows = _vocabulary(vocab, t.shape("encoder.embedding.weight", 2)[0])
    c = config.scformer(config.defaults())
    c.name, c.batch, c.model.vocabulary = "scformer", BATCH, len(vocabulary)
    c.model.specials = vocabulary.specials
    _sizes(c, t, args)
    _values(c, t, args, clip, said)
    _norm(c, t)
    classes = _heads(c, t, args)
    batches = {number for number, _, _ in classes.get(BATCH, [])}
    if len(batches) > 1:
        found = ", ".join(f"{tensor}: {number}" for number, _, tensor in classes[BATCH])
        raise ValueError(f"the tensors have different numbers of batches ({found})")
    classes = {label: found[0] for label, found in classes.items()}
    c.batch = BATCH if BATCH in classes else ""
    c.labels = ("cls",) if CLASS in classes else ()
    c = config.settled(c)
    if CLASS in classes and (classes[CLASS][0] < 2 or args.get("no_cls")):
        c.losses.cls.weight = 0.0
        said.append("cls_decoder is one that was never trained: it predicts nothing")
    config.check(c)
    return Described(c, vocabulary, rows, classes, said, {}, {"args.json": json.dumps(args)})


def _vocabulary(vocab, rows):
    """Our vocabulary, genes and specials each in the foreign order, and where each row goes."""
    ids = [i for i in vocab.values() if type(i) is int]  # True is no id
    if sorted(ids) != list(range(rows)) or len(ids) < len(vocab):
        raise ValueError(
            f"vocab.json: has {len(vocab)} tokens, of which the ids are not each of 0 to "
            f"{rows - 1} once, as encoder.embedding.weight has {rows} rows"
        )
    names = sorted(vocab, key=vocab.get)
    special = [bool(SPECIAL.fullmatch(name)) for name in names]
    genes = [n for n, other in zip(names, special, strict=True) if not other]
    specials = [n for n, other in zip(names, special, strict=True) if other]
    if "<cls>" not in specials:
        raise ValueError("vocab.json: has no <cls>, whose vector is the cell's")
    ensembl = [strip_version(name) or "" for name in genes]
    symbols = ["" if e else name for name, e in zip(genes, ensembl, strict=True)]
    order = np.argsort(np.argsort(special, kind="stable"), kind="stable")
    return Vocabulary(symbols, ensembl, specials), order


def _sizes(c, t, args):
    m, e = c.model, c.model.encoder
    m.width = t.shape("encoder.embedding.weight", 2)[1]
    e.layers = t.numbers(r"transformer_encoder\.layers\.(\d+)\.")
    if not e.layers:
        t.shape("transformer_encoder.layers.0.self_attn.in_proj_weight", 2)  # raises
    e.hidden = t.shape("transformer_encoder.layers.0.linear1.weight", 2)[0]
    for name, found in {"embsize": m.width, "nlayers": e.layers, "d_hid": e.hidden}.items():
        if name in args and args[name] != found:
            raise ValueError(f"args.json: {name}: found {args[name]!r}, the tensors have {found}")
    e.heads = argument(args, "nheads", int, least=1)
    e.dropout = m.fields.value.dropout = float(
        argument(args, "dropout", int | float, e.dropout, least=0, most=1)
    )


def _values(c, t, args, clip, said):
    """What the value's encoder is shown: bins or counts, and of special and hidden tokens codes."""
    m, data = c.model, c.data
    bins, category = args.get("n_bins"), "value_encoder.embedding.weight" in t
    if category:
        rows = t.shape("value_encoder.embedding.weight", 2)[0]
        pad, hidden = rows - 2, rows - 1
        m.fields.value = {"kind": "bins", "input": "values", "number": rows, "norm": True}
        bins = rows - 2 if bins is None else bins
        if bins != rows - 2:
            raise ValueError(
                f"args.json: n_bins: found {bins}, expected {rows - 2}: of the rows of "
                "value_encoder.embedding.weight two are of padding and mask"
            )
    else:
        pad = float(argument(args, "pad_value", int | float, -2))
        hidden = float(argument(args, "mask_value", int | float, -1))
    token = args.get("pad_token", "<pad>")
    if "pad_token" in args and token not in m.specials:
        raise ValueError(
            f"args.json: pad_token: found {token!r}, expected one of vocab.json's special tokens, "
            f"{', '.join(m.specials)}"
        )
    known = {token: pad, "<mask>": hidden}
    zero = type(pad)(0)
    m.fields.value.codes = (*(known.get(name, zero) for name in m.specials), hidden)
    if bins:
        if clip is not None:
            raise ValueError(f"clip: found {clip}, expected none: the values are {bins} bins")
        data.bin.number = argument({"n_bins": bins}, "n_bins", int, least=2)
    else:
        data.bin.method, data.bin.c = "clip", clip or CLIP
        data.bin.number = data.bin.c + 1
        data.normalise.scale = c.embed.unit = False
        if clip is None:
            said.append(
                f"args.json names no n_bins: values are counts up to {CLIP}, as of the published "
                "checkpoint of June 2022; --clip N for another"
            )
    whole = args.get("include_zero_gene", bool(bins))
    if not isinstance(whole, bool):
        raise ValueError(f"args.json: include_zero_gene: found {whole!r}, expected true or false")
    zeros = "all" if whole else "exclude"
    data.sequence.zeros = c.embed.zeros = zeros
    longest = (
        argument(args, "max_seq_len", int, m.vocabulary + 1, least=2) - 1
    )  # <cls> is one of them
    data.sequence.number = max(1, min(m.vocabulary, longest))
    data.draw_masks.ratio = float(
        argument(args, "mask_ratio", int | float, data.draw_masks.ratio, least=0, most=1)
    )


def _norm(c, t):
    m = c.model
    if "bn.running_mean" in t:
        m.norm, m.domain.affine = "batch", "bn.weight" in t
    elif domains := t.numbers(r"dsbn\.bns\.(\d+)\."):
        m.domain.classes, m.domain.affine = domains, "dsbn.bns.0.weight" in t
    else:
        m.norm = ""


def _heads(c, t, args):
    """Heads and losses; {label: [(number of classes, what, tensor)]} of what has any."""
    m, classes = c.model, {}
    m.pool = lookup(POOLS, str(args.get("cell_emb_style", "cls")), "args.json: cell_emb_style")
    if m.norm == "domain":
        classes[BATCH] = [(m.domain.classes, "batch", "dsbn.bns")]
    m.conditions = {}
    if "batch_encoder.embedding.weight" in t:
        rows = t.shape("batch_encoder.embedding.weight", 2)[0]
        m.conditions = {"batch": {"label": c.batch, "classes": rows}}
        classes.setdefault(BATCH, []).append((rows, "batch", "batch_encoder.embedding.weight"))
    _decoders(c, t, args)
    for name, source, label, what in (
        ("cls", "cls_decoder", CLASS, "class"),
        ("dar", "grad_reverse_discriminator", BATCH, "batch"),
    ):
        if f"{source}.out_layer.weight" not in t:
            del m.heads[name], c.losses[name]
            continue
        layers = t.numbers(rf"{source}\._decoder\.(\d+)\.") // 2 + 1
        if layers > CLASSIFIER_LAYERS:
            raise ValueError(f"{source}: found {layers} layers, expected {CLASSIFIER_LAYERS}")
        number = t.shape(f"{source}.out_layer.weight", 2)[0]
        m.heads[name].classes, m.heads[name].layers = number, layers
        found = (number, what, f"{source}.out_layer.weight")
        classes.setdefault(label, []).append(found)
    return classes


def _decoders(c, t, args):
    """MGM's and MVC's heads, with their losses."""
    m = c.model
    mgm = m.heads.mgm
    single = "decoder.weight" in t
    last = "decoder.weight" if single else "decoder.fc.4.weight"
    mgm.layers, mgm.outputs = 1 if single else 3, t.shape(last, 2)[0]
    mgm.zero = "decoder.zero_logit.4.weight" in t
    if "mvc_decoder.gene2query.weight" in t:
        _mvc(m.heads.mvc, t, args)
    else:
        del m.heads["mvc"]
    for name in ("mgm", "mvc"):
        head = m.heads.get(name)
        if not head or not head.zero:
            del c.losses[f"{name}_zero"]
        if not head:
            del c.losses[name]
            continue
        if not m.conditions:
            del head["given"]
        c.losses[name].pred = f"heads.{name}.value" if head.zero else f"heads.{name}"
        if head.outputs > 1:
            c.losses[name].kind = "cross_entropy"
    del c.losses["ecs"]  # which nothing in the checkpoint tells of
    if mgm.outputs > 1:
        del c.losses["mgm_at_means"]


def _mvc(head, t, args):
    head.zero, head.outputs = "mvc_decoder.W_zero_logit.weight" in t, 1
    head.detach = "detach" in str(args.get("mvc_decoder_style", ""))
    if "mvc_decoder.W.weight" in t:
        return
    query = t.shape("mvc_decoder.gene2query.weight", 2)[0]
    head.outputs = t.shape("mvc_decoder.fc2.weight", 2)[0]
    # Side by side with the cell's vector, or, as wide as it, added to it.
    added = t.shape("mvc_decoder.fc1.weight", 2)[1] == query
    head.style = "sum_query" if added else "concat_query"


def recognises(source):
    """Whether these are the names of scFormer's tensors."""
    return "value_encoder.linear1.weight" in source.tensors or (
        "transformer_encoder.layers.0.linear1.weight" in source.tensors
    )


FAMILY = Family(recognises, describe, RULES, options=("clip",))
