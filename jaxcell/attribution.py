"""Integrated gradients of a model's outputs over the vectors of its tokens, field by field.

B cells, T tokens of which the first S are special, G = T - S genes' tokens, N nodes.

Along the straight path from a baseline x' to the vectors x of a cell's tokens, F the output,

    attribution of token t's field = Σ_d (x - x')_td ∫₀¹ ∂F / ∂x_td (x' + α (x - x')) dα

(Sundararajan et al. 2017). They sum to F(x) - F(x'), but for the error of the integral. With a
share a_t of its own for every token and field, x' + a_t (x - x'), the sum over d is ∂F / ∂a_t: no
gradient as wide as the vectors is ever made.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxcell.forward import cells_at_once, in_micro_batches
from jaxcell.models.cell import CellModel
from jaxcell.models.fields import Between

BASELINES = ("pad", "zero")


def quadrature(steps):
    """Gauss-Legendre nodes and weights on [0, 1], f64 [N] each; weights sum to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def integrate(net, output, variables, tables, batch, pad, nodes):
    """Attributions to every field of every gene's token.

    Parameters
    ----------
    net : CellModel
    output : Output
    batch : tokens of B cells
    pad : number of the special token whose vectors are the baseline; None: zero vectors
    nodes : of `quadrature`, and its weights

    Returns
    -------
    {'fields': {field: [B, G]}, 'output' [B], 'baseline' [B] (F at either end), 'chosen' bool [B, n]
    (what of a label was explained)}; beyond a cell's length attributions are 0
    """
    front = len(net.spec.front)
    valid = jnp.arange(batch["ids"].shape[1])[None, front:] < batch["length"][:, None]

    def outputs(shares):
        how = dict(train=False, heads=output.heads, between=Between(shares, pad))
        return net.apply(variables, batch, tables, **how)[0]

    dtype = jnp.result_type(batch["values"])

    def at(share):
        return {name: jnp.full(valid.shape, share, dtype) for name in net.spec.tokens}

    ends = jax.lax.map(lambda share: outputs(at(share)), jnp.asarray([1.0, 0.0], dtype))
    own, base = (jax.tree.map(lambda a, i=i: a[i], ends) for i in (0, 1))
    chosen = output.choose(own)

    def total(shares):
        return output.value(outputs(shares), chosen).sum()

    def add(found, node):
        share, weight = node
        slope = jax.grad(total)(at(share))
        return jax.tree.map(lambda a, g: a + weight * g, found, slope), None

    found, _ = jax.lax.scan(add, at(0), tuple(jnp.asarray(a, dtype) for a in nodes))
    return {
        "fields": jax.tree.map(lambda a: jnp.where(valid, a, 0), found),
        "output": output.value(own, chosen),
        "baseline": output.value(base, chosen),
        "chosen": chosen,
    }


def pad_of(spec, baseline=None):
    """('pad', its number among the special tokens) or ('zero', None) of a config's model.

    baseline : 'pad', 'zero', or None for the first of them that the model knows

    Raises
    ------
    ValueError
        For another name, 'pad' where special tokens have no vectors of their own in the fields, or
        'zero' where a layer norm of the fields' sum jumps there.
    """
    has = spec.combine == "sum" and "<pad>" in spec.specials
    baseline = baseline or ("pad" if has else "zero")
    if baseline not in BASELINES:
        raise ValueError(f"baseline: found {baseline!r}, expected one of {', '.join(BASELINES)}")
    if baseline == "zero":
        if spec.combine == "sum" and spec.norm:
            raise ValueError(
                "baseline: found 'zero', expected 'pad': the norm of this model's fields sees only "
                "the direction of their sum, which zero vectors lack"
            )
        return baseline, None
    if not has:
        raise ValueError(
            "baseline: found 'pad', expected 'zero': this model's fields have no vectors of <pad>"
        )
    return baseline, spec.specials.index("<pad>")


def model_to_explain(spec, remat=False):
    """The CellModel of a config's ``model`` whose gradients are those of its outputs."""
    spec = spec.copy_and_resolve_references()
    spec.encoder.remat = "full" if remat else "none"
    for head in spec.heads.values():
        if head.get("reverse"):
            head.reverse = 0.0  # what it sends back is not the output's gradient
    return CellModel(spec)


class Attributor:
    """Variables, a batch of tokens → attributions as `integrate` returns them, in float32.

    Cells go through in micro-batches of one compiled shape, as in `Forward`: what is attributed
    in a cell does not depend on its neighbours.

    c : the checkpoint's config; output : Output; tables : the model's
    """

    def __init__(self, c, output, pad, steps, tables):
        nets = {remat: model_to_explain(c.model, remat) for remat in (False, True)}
        nodes, e = quadrature(steps), c.model.encoder
        self._tables = jax.device_put({k: tables.get(k, {}) for k in ("vectors", "known")})
        self._micro, self._grid = c.embed.micro_batch, "sequence" in c.data.transforms

        def some(net, variables, tables, batch):
            found = integrate(net, output, variables, tables, batch, pad, nodes)
            return jax.tree.map(lambda x: x if x.dtype == bool else x.astype(jnp.float32), found)

        def run(variables, tables, batch):
            m, tokens = batch["ids"].shape
            # A pass keeps scores, weights and their gradients of every block; where that is too
            # much, the blocks' inputs alone.
            few = cells_at_once(m, 3 * e.heads * e.layers, tokens)
            if remat := few < m:
                few = cells_at_once(m, 3 * e.heads, tokens)
            split = jax.tree.map(lambda a: a.reshape(m // few, few, *a.shape[1:]), batch)
            found = jax.lax.map(functools.partial(some, nets[remat], variables, tables), split)
            return jax.tree.map(lambda a: a.reshape(m, *a.shape[2:]), found)

        self._run, self._front = jax.jit(run), len(nets[False].spec.front)

    def __call__(self, variables, batch, advance=None):
        genes = batch["ids"].shape[1] - self._front

        def one(some):
            with jax.default_matmul_precision("highest"):
                found = self._run(variables, self._tables, some)
            # Cells of other lengths have other widths of tokens: all get the batch's.
            found["fields"] = {k: _as_wide(a, genes) for k, a in found["fields"].items()}
            return found

        return in_micro_batches(one, batch, self._micro, self._grid, advance)


def _as_wide(a, genes):
    a = np.asarray(a)[:, :genes]
    return np.pad(a, ((0, 0), (0, genes - a.shape[1])))
