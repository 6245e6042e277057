"""Checks of what a batch holds, `config.data`, against what model and losses make of it."""

from jaxcell.registry import did_you_mean

TOKENISERS = ("sample_genes", "sequence")  # of data.transforms: what a cell shows
# What predicts a masked field: the targets of which one loss at least has to have one.
PREDICTED = {
    "values": ("batch.target", "batch.panel", "batch.panel_raw"),
    "genes": ("batch.gene_target",),
}


def check_transforms(c):
    """Raise ValueError for transforms in a wrong order, or that do not fit each other."""
    names, order = tuple(c.data.transforms), ("thin", "normalise", "bin", "sample_genes")
    order = (*order, "sequence", "flag_genes", "draw_masks")
    wanted = (
        "normalise and one of sample_genes and sequence; thin before them, bin between them; "
        "flag_genes and draw_masks behind them"
    )
    places = [order.index(name) if name in order else -1 for name in names]
    ok = places == sorted(set(places)) and -1 not in places and "normalise" in names
    ok = ok and sum(name in names for name in TOKENISERS) == 1
    require(ok, "data.transforms", names, wanted)
    front = tuple(c.model.front)
    first = front == tuple(c.model.specials)[: len(front)]
    needs = "the first of model.specials, or (), where sample_genes makes the tokens"
    require("sequence" in names or first, "model.front", front, needs)
    needs = "sequence, which puts the flagged genes first"
    require("sequence" in names or "flag_genes" not in names, "data.transforms", names, needs)
    line = c.data.sequence
    needs = "less: some genes are shown"
    require(line.dropout != 1, "data.sequence.dropout", line.dropout, needs)
    require(not 0 < line.number <= line.chunk, "data.sequence.chunk", line.chunk, needs)
    _check_first(c)
    _check_bins(c)
    _check_mask_token(c)
    _check_flags(c)
    _check_pair(c)
    _check_values(c)


def _check_first(c):
    """Where the pool reads a cell's first gene it is the same gene in each cell."""
    m, line, pool = c.model, c.data.sequence, c.model.pool
    pools = pool.split("+") if isinstance(pool, str) else pool
    if "first" not in pools or m.front or m.specials:
        return
    why = "for model.pool = 'first', which reads the vocabulary's first gene in each cell"
    names = tuple(c.data.transforms)
    require("sequence" in names, "data.transforms", names, f"sequence {why}")
    for name, found in (
        ("data.sequence.order", line.order),
        ("data.sequence.zeros", line.zeros),
        ("embed.zeros", c.embed.zeros),
    ):
        require(found == "vocabulary", name, found, f"'vocabulary' {why}")


def _check_bins(c):
    """What makes values of counts by itself would bring back what the bins have replaced."""
    if "bin" not in c.data.transforms:
        return
    _check_rows(c)
    total = c.data.sequence.total
    if "sequence" in c.data.transforms:
        wanted = "'cell' with bin among data.transforms: a cell's bins are of all its genes"
        require(total == "cell", "data.sequence.total", total, wanted)
    names = tuple(c.data.transforms)
    wanted = "no thin with bin and draw_masks: what is predicted of thinned counts is not binned"
    require(not {"thin", "draw_masks"} <= set(names), "data.transforms", names, wanted)


def _check_rows(c):
    """Tables and logits have a row for each bin, and codes rows of their own."""
    number = c.data.bin.number
    for name in c.model.tokens:
        field = c.model.fields.get(name, {})
        if field.get("kind") == "bins":
            codes = [row for row in field.codes if row > 0]  # 0 is the bin of zero
            wanted = f"{number} or more, as data.bin.number"
            require(field.number >= number, f"model.fields.{name}.number", field.number, wanted)
            wanted = f"rows from data.bin.number = {number} on, or 0, or -1 for none"
            own = all(row >= number for row in codes)
            require(own, f"model.fields.{name}.codes", tuple(field.codes), wanted)
    for one in c.losses.values():
        _, _, head = one.pred.partition("heads.")
        head = c.model.heads.get(head, {})
        if one.get("target") in ("batch.target", "batch.next_values") and "outputs" in head:
            where = f"model.heads.{one.pred.removeprefix('heads.')}.outputs"
            wanted = f"{number}, as data.bin.number"
            classes = one.kind == "cross_entropy"
            require(not classes or head.outputs == number, where, head.outputs, wanted)


def _check_mask_token(c):
    """Where a hidden token shows a row of a table there has to be a token of that row."""
    m, specials = c.model, tuple(c.model.specials)
    if "draw_masks" not in c.data.transforms or "<mask>" in specials:
        return
    needs = "<mask> among them, which stands where draw_masks hides"
    require("genes" not in c.data.draw_masks.fields, "model.specials", specials, f"{needs} genes")
    for name in m.tokens:
        field = m.fields.get(name, {})
        rows = field.get("kind") == "periodic" or field.get("special_rows", False)
        wanted = f"{needs}: model.fields.{name} has rows for special tokens"
        require(not rows, "model.specials", specials, wanted)


def _check_flags(c):
    """A field that reads flags of tokens needs the transform that makes them."""
    made = set()
    if "flag_genes" in c.data.transforms:
        made = {f"flags.{c.data.flag_genes.flag}"}
    for name in c.model.tokens:
        read = c.model.fields[name].get("input", "") if name in c.model.fields else ""
        needs = f"flags that data.transforms make: {', '.join(made) or 'none without flag_genes'}"
        ok = not read.startswith("flags.") or read in made
        require(ok, f"model.fields.{name}.input", read, needs)


def _check_pair(c):
    """Where tokens show a control cell, nothing is made of them that belongs to the target."""
    pair, line, flag = c.data.pair, c.data.sequence, c.data.flag_genes
    names = tuple(c.data.transforms)
    for name, least in (("bins", 1), ("width", 0)):
        require(pair[name] > least, f"data.pair.{name}", pair[name], f"a number above {least}")
    show = "flag_genes" in names and flag.unmeasured == "show"
    whole = not show or line.zeros in ("exclude", "all", "vocabulary")
    require(whole, "data.sequence.zeros", line.zeros, "all or exclude, with unmeasured = 'show'")
    for loss in (one for one in c.losses.values() if one.get("target") == "batch.token_bins"):
        head = loss.pred.removeprefix("heads.")
        found = c.model.heads.get(head, {}).get("outputs")
        wanted = f"{pair.bins}, as data.pair.bins"
        require(found == pair.bins, f"model.heads.{head}.outputs", found, wanted)
    if not pair.label:
        return
    wrong = [name for name in ("thin", "bin", "draw_masks") if name in names]
    wanted = f"none of {', '.join(wrong)} with data.pair: tokens show another cell than the target"
    require(not wrong, "data.transforms", names, wanted)
    if "flag_genes" in names:
        wanted = f"{pair.label!r}, as data.pair.label"
        require(flag.label == pair.label, "data.flag_genes.label", flag.label, wanted)
    total = line.total if "sequence" in names else "cell"
    wanted = "'cell' with data.pair: the target is normalised by the sum of all its genes"
    require(total == "cell", "data.sequence.total", total, wanted)


def _check_values(c):
    """Values that are normalised already are not counts."""
    how, names = c.data.normalise, tuple(c.data.transforms)
    if how.given != "log1p":
        return
    wanted = "False with given = 'log1p', which are normalised already"
    require(not how.scale, "data.normalise.scale", how.scale, wanted)
    wanted = "no thin with data.normalise.given = 'log1p': only counts can be thinned"
    require("thin" not in names, "data.transforms", names, wanted)
    wanted = "bins by quantiles with data.normalise.given = 'log1p': these bins are of counts"
    counts = "bin" in names and c.data.bin.method in ("value", "clip")
    require(not counts, "data.bin.method", c.data.bin.method, wanted)
    for name, one in c.losses.items():
        raw = "batch.panel_raw" in (one.get("target"), one.get("pred"))
        wanted = "batch.panel with data.normalise.given = 'log1p': there are no counts"
        require(not raw, f"losses.{name}.target", one.get("target"), wanted)


def check_masks(c):
    """What is masked is predicted, and what reads masks or errors has them."""
    how, masks = c.data.draw_masks, "draw_masks" in c.data.transforms
    fields = tuple(how.fields) if masks else ()
    targets = {one.get("target") for one in c.losses.values() if one.weight}
    for name in fields:
        known = f"some of {', '.join(PREDICTED)}"
        require(name in PREDICTED, "data.draw_masks.fields", name, known)
        wanted = f"masked fields that a loss predicts: {name!r} by {' or '.join(PREDICTED[name])}"
        require(targets & set(PREDICTED[name]), "data.draw_masks.fields", fields, wanted)
    blocked, attention = masks and how.blocked, c.model.encoder.attention
    wanted = "False: only exact attention can keep tokens from being seen"
    require(not blocked or attention == "exact", "data.draw_masks.blocked", True, wanted)
    errors, of = c.train.gene_errors, c.train.gene_among
    wanted = "a prediction, by whose errors data.draw_masks.adaptive masks genes"
    require(errors or not adapts(c), "train.gene_errors", errors, wanted)
    wanted = "hidden or measured where no values are masked; or '' as train.gene_errors"
    known = of != "masked" or "values" in fields
    require(known or not errors, "train.gene_among", of, wanted)


def adapts(c):
    """Whether training masks genes by their errors in validation."""
    return "draw_masks" in c.data.transforms and c.data.draw_masks.adaptive


def bin_tables(data):
    """Names of the statistics of training cells by which ``config.data`` makes bins."""
    if "bin" not in data.transforms:
        return ()
    if data.bin.method == "gene":
        return ("bin_edges",)
    return ("mean_total",) if data.bin.method == "value" and data.bin.normalised else ()


def shown_labels(model):
    """Labels whose classes ``config.model`` shows to the encoder, norms cells by or tells heads."""
    shown = [*model.metadata.values(), *model.conditions.values()]
    shown += [model.domain] if model.norm == "domain" else []
    return tuple(dict.fromkeys(one.label for one in shown))


def tokeniser(data):
    """The block of ``config.data`` whose ``number`` of genes a cell shows."""
    return data[next(name for name in data.transforms if name in TOKENISERS)]


def among(name, values, known):
    """Raise ValueError for the first of a field's values that is not known."""
    for value in values:
        known_ones = f"one of {', '.join(known)}{did_you_mean(value, known)}"
        require(value in known, name, value, known_ones)


def require(ok, name, found, expected):
    """Raise ValueError, which names the field, unless ``ok``."""
    if not ok:
        raise ValueError(f"config.{name}: found {found!r}, expected {expected}")
