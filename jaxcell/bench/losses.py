"""How losses and count activations pull on a prediction, as figures (TxFM, A.4 and C.1).

    python -m jaxcell.bench.losses --out=DIR

Every curve is one of our own functions, every gradient its ``jax.grad``.
"""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxcell.losses.expression import nb, poisson_log1p, zinb
from jaxcell.models.count_activations import COUNT_ACTIVATIONS
from jaxcell.palette import FAINT, GREEN, INK, LINE, VERMILION

COUNT = 10  # the observation of the first figure
MEANS = np.geomspace(0.1, 1e4, 400)
LIBRARY = 1e5
# From dispersed to nearly Poisson, or from few to many additional zeros: light to dark.
SHADES = ("#A6CEE3", "#6BAED6", "#2171B5", "#08306B")
POISSON, OTHER = VERMILION, GREEN


def of_mean(loss, k, mean):
    """A count's loss and its gradient with respect to the mean, of a cell of size factor 1: [n].

    ``loss`` takes z and k [1, n] in log1p space and further inputs by name.
    """

    def one(m):
        return loss(jnp.log1p(m)[None], jnp.full((1, m.size), float(k)))[0]

    mean = jnp.asarray(mean)
    return np.asarray(one(mean)), np.asarray(jax.grad(lambda m: one(m).sum())(mean))


def poisson(z, k):
    """Poisson loss of the mean expm1(z) and the count k itself, without pseudocounts."""
    return poisson_log1p(jnp.log(jnp.expm1(z)), jnp.log(k))


def negative_binomial(theta, pi=None):
    """``nb`` of inverse dispersion θ, or ``zinb`` with the probability π of additional zeros."""

    def loss(z, k):
        size = dict(total=jnp.ones(1), library_size=1.0)
        dispersion = jnp.full(z.shape[1], math.log(theta))
        if pi is None:
            return nb(z, k, dispersion, **size)
        return zinb(z, k, jnp.full(z.shape, math.log(pi / (1 - pi))), dispersion, **size)

    return loss


def _axes(rows, columns, size, title, caption):
    """A figure with a heading, and its axes [rows, columns] without frames."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "jaxcell[eval]"') from error

    figure = Figure(size, dpi=150, facecolor="white", layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle(f"{title}\n\n", x=0.01, ha="left", size=12, weight="bold", color=INK)
    figure.text(0.012, 1 - 0.36 / size[1], caption, size=8.5, color=FAINT, va="top")
    for one in axes.ravel():
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(FAINT)
        one.tick_params(colors=FAINT, labelsize=8)
        one.grid(color=LINE, lw=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _name(axes, x, y, title):
    axes.set_xlabel(x, size=9, color=INK)
    axes.set_ylabel(y, size=9, color=INK)
    axes.set_title(title, size=10, color=INK, loc="left")


def overestimation(path):
    """Fig. 7: Poisson and NB against the predicted mean of one observed count."""
    figure, ((left, right),) = _axes(
        *(
            1,
            2,
            (10, 4.4),
            "Overestimated means: Poisson pulls back, the negative binomial lets go",
        ),
        f"one observed count of {COUNT}; the smaller the inverse dispersion θ, the sooner the "
        "gradient vanishes",
    )
    curves = []
    for theta, shade in zip((0.1, 1, 10, 1000), SHADES, strict=True):
        curves.append((f"NB, θ = {theta:g}", negative_binomial(theta), shade))
    curves.append(("Poisson", poisson, POISSON))  # over the nearly equal θ = 1000
    for label, loss, colour in curves:
        value, gradient = of_mean(loss, COUNT, MEANS)
        least = of_mean(loss, COUNT, np.array([float(COUNT)]))[0]
        line = dict(color=colour, lw=1.8, label=label, ls="--" if label == "Poisson" else "-")
        left.plot(MEANS, value - least, **line)
        right.plot(MEANS, gradient, **line)
    for one in (left, right):
        one.set_xscale("log")
        one.axvline(COUNT, color=FAINT, lw=0.8, ls=":")
        one.annotate("observed ", (COUNT, 0.97), xycoords=("data", "axes fraction"),
                     size=8, color=FAINT, ha="right", va="top")  # fmt: skip
    left.set_ylim(-0.5, 25)
    right.set_ylim(-3, 1.25)
    _name(left, "predicted mean", "loss above its least", "negative log-likelihood")
    _name(right, "predicted mean", "∂ loss / ∂ mean", "gradient")
    right.legend(frameon=False, fontsize=8.5, loc="lower right", labelcolor=INK)
    figure.savefig(path)


def saturation(path):
    """Fig. 8: ZINB of a count of 0 against the predicted mean, for several π and two θ."""
    figure, axes = _axes(
        *(2, 2, (10, 7), "A count of 0 under ZINB: the additional zeros explain it away"),
        "the loss ends at −ln π whatever the mean, and its gradient at 0; NB and Poisson beside it",
    )
    for (above, below), theta in zip(axes.T, (0.1, 100), strict=True):
        curves = [
            ("Poisson", poisson, POISSON),
            (f"NB, θ = {theta:g}", negative_binomial(theta), OTHER),
        ]
        for pi, shade in zip((0.01, 0.1, 0.5, 0.9), SHADES, strict=True):
            curves.append((f"ZINB, π = {pi:g}", negative_binomial(theta, pi), shade))
            above.axhline(-math.log(pi), color=shade, lw=0.8, ls=":")
        for label, loss, colour in curves:
            value, gradient = of_mean(loss, 0, MEANS)
            line = dict(color=colour, lw=1.8, label=label, ls="-" if "ZINB" in label else "--")
            above.plot(MEANS, value, **line)
            below.plot(MEANS, gradient, **line)
        for one in (above, below):
            one.set_xscale("log")
        above.set_ylim(-0.2, 6)
        below.set_ylim(-0.03, 1.08)
        kind = "dispersed" if theta < 1 else "nearly Poisson"
        _name(above, "predicted mean", "loss", f"negative log-likelihood, θ = {theta:g} ({kind})")
        _name(below, "predicted mean", "∂ loss / ∂ mean", f"gradient, θ = {theta:g}")
        below.legend(frameon=False, fontsize=8.5, loc="center right", labelcolor=INK)
    axes[0, 0].annotate("dotted: −ln π", (0.13, 5.3), size=8, color=FAINT)
    figure.savefig(path)


def activations(path):
    """Fig. 10: rectified tanh, ReLU and clamped ReLU, and their gradients."""
    figure, ((left, right),) = _axes(
        *(1, 2, (10, 4.4), "Count activations: from a gene's logit to ln(1 + count)"),
        f"library size {LIBRARY:,.0f}; rectified tanh tends to its logarithm, with ever less pull",
    )
    z = np.linspace(-8, 40, 481)
    for name, colour, style, width in (
        ("relu", POISSON, "-", 1.6),
        ("clamped_relu", OTHER, "--", 2.2),
        ("rectified_tanh", SHADES[2], "-", 2.2),
    ):
        apply = functools.partial(COUNT_ACTIVATIONS[name].apply, upper=LIBRARY)
        line = dict(color=colour, ls=style, lw=width, label=name.replace("_", " "))
        left.plot(z, apply(jnp.asarray(z)), **line)
        right.plot(z, jax.vmap(jax.grad(apply))(jnp.asarray(z)), **line)
    bound = math.log1p(LIBRARY)
    left.axhline(bound, color=FAINT, lw=0.8, ls=":")
    left.annotate("ln(1 + library size)", (-7.5, bound + 0.25), size=8, color=FAINT)
    left.set_ylim(-0.5, 18)
    right.set_ylim(-0.05, 1.3)
    right.axhline(bound / (4 * math.e), color=FAINT, lw=0.8, ls=":")
    right.annotate("ln(1 + library size) / 4e", (16, bound / (4 * math.e) + 0.03), size=8,
                   color=FAINT)  # fmt: skip
    _name(left, "logit", "ln(1 + normalised count)", "activation")
    _name(right, "logit", "∂ activation / ∂ logit", "gradient")
    left.legend(frameon=False, fontsize=8.5, loc="lower right", labelcolor=INK)
    figure.savefig(path)


FIGURES = {
    "overestimation.png": overestimation,
    "zinb_saturation.png": saturation,
    "activations.png": activations,
}


def main(_):
    """Write the figures and say where they are."""
    out = Path(flags.FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw(out / name)
        print(out / name)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "folder for the PNGs; made when absent")
    flags.mark_flag_as_required("out")
    app.run(main)
