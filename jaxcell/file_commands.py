"""What to type next about a file, a store or an AnnData: commands to paste, or calls in Python."""

import re
import shlex
from pathlib import Path

CONFIG, KEY, HELD_OUT = "configs/txfm_b.py:cpu", "X_mine", 0.1


def commands(source, look, *, labels, estimated, stored=False, several=False, checkpoint=None):
    """Commands that go from a file to a report of its embeddings, a line each.

    Parameters
    ----------
    source : str, what was looked at; look : what was found of it, or of its first input
    labels : its usable labels; estimated : whether its counts are no integers
    stored : whether it is a store; several : whether it holds several inputs
    checkpoint : of a model that is there; else one is trained
    """
    name = re.sub(r"\W+", "_", Path(source.rpartition(":")[2]).name.split(".")[0]) or "mine"
    store, run = source if stored else f"stores/{name}", checkpoint or f"runs/{name}"
    training = f"jaxcell train --config={CONFIG} --config.data.store={shlex.quote(store)}"
    training += f" --workdir=runs/{name}"
    if stored:
        return [_command("verify", source), training]
    how, batch = _reading(look, estimated), _batch(look)
    kept = [*labels, *([batch] if batch else [])]
    made = _command("prepare", store, source, **how, labels=kept, hold_out_fraction=HELD_OUT)
    # embed takes one input at a time.
    cells, embedded = look["file"] if several else source, f"{name}_embedded.h5ad"
    lines = [] if checkpoint else [made, training]
    lines.append(_command("embed", cells, embedded, checkpoint=str(run), key=KEY, **how))
    if labels:
        asked = {"key": KEY, "label": labels[0], "batch": batch, **_values(how)}
        lines.append(_command("evaluate", embedded, **asked, out=f"{name}_report"))
    return lines


def calls(look, *, labels, estimated, checkpoint=None):
    """The same of an AnnData that is called ``adata``: lines of Python."""
    how, batch = _reading(look, estimated), _batch(look)
    kept, run = [*labels, *([batch] if batch else [])], str(checkpoint or "runs/mine")
    made = _call("prepare", "'stores/mine', adata", **how, labels=kept, hold_out_fraction=HELD_OUT)
    training = [
        f"c = jaxcell.config.load({CONFIG!r})",
        "c.data.store = 'stores/mine'",
        "jaxcell.train(c, 'runs/mine')",
    ]
    lines = ["import jaxcell, jaxcell.config", *([] if checkpoint else [made, *training])]
    lines.append(_call("embed", f"adata, {run!r}", key=KEY, **how))
    if labels:
        asked = {"label": labels[0], "batch": batch, **_values(how)}
        lines.append(_call("evaluate", f"adata, [{KEY!r}]", **asked, out="mine_report"))
    return lines


def _reading(look, estimated):
    """Options of prepare and embed by which the counts and genes are read."""
    how = {} if look["counts"] == "X" else {"counts": look["counts"]}
    if estimated:
        how["allow_non_integer"] = True
    if look["identifiers"]["duplicates"]:
        how["duplicates"] = "sum"
    if look["panels"] and look["panels"]["advised"]:
        how["measured_by"] = _batch(look)
    return how


def _values(how):
    """Those that evaluate takes."""
    return {k: v for k, v in how.items() if k in ("counts", "allow_non_integer")}


def _batch(look):
    return look["panels"] and look["panels"]["by"]


def _command(verb, *words, **options):
    text = " ".join(["jaxcell", verb, *map(shlex.quote, words)])
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            text += f" {flag}"
        elif value:
            values = value if isinstance(value, list) else [str(value)]
            text += f" {flag} {' '.join(map(shlex.quote, values))}"
    return text


def _call(verb, words, **options):
    more = "".join(f", {name}={value!r}" for name, value in options.items() if value)
    return f"jaxcell.{verb}({words}{more})"
