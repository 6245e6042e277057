"""The arms of TxFM's ablation, its Table 5 a–g, around a default config."""

from jaxcell.ablations.arms import Arm, Budget
from jaxcell.evaluation.ablation_table import DEFAULT
from jaxcell.variants import variant


def small(c):
    """The variant :cpu, half as wide again and for a minute: the suite in an hour on two cores."""
    c = variant(c, "cpu")
    c.model.width = 96
    c.model.encoder.heads = 6
    c.train.batch_size = 32
    c.optimizer.learning_rate = 3e-3
    c.steps = 900
    return c


def medium(c):
    """The paper's B, 1M cells seen: some hours of one GPU for the suite."""
    c.train.batch_size = 256
    c.epochs, c.steps = 0, 4000
    return c


def large(c):
    """The paper's B at its batch size, 31M cells seen (the paper: 287M)."""
    c.epochs, c.steps = 0, 20_000
    return c


BUDGETS = {"small": Budget(small), "medium": Budget(medium), "large": Budget(large)}


def blocks(c):
    """TxFM's Table 5 a–g around a default config: [(title, [Arm, …]), …].

    K is a quarter, a half, one and two of the default's (paper: 512 to 4096); the backbones have
    the paper's ratios of width, heads and blocks (384 : 768 : 1024, 6 : 12 : 16, 12 : 12 : 24), but
    that one block stays one: a second would attend among all K visible genes, at K times the cost.
    The default arm stands in every block.
    """
    k = c.data.sample_genes.number

    def visible(times):
        n = max(1, int(k * times))
        return Arm(str(n), f"k{n}", fields={"data.sample_genes.number": n})

    def temperature(t):
        return Arm(f"{t:g}", f"temperature_{t:g}", fields={"data.sample_genes.temperature": t})

    def variants(**labels):
        return [Arm(label, name, name) for name, label in labels.items()]

    def default(label):
        return [Arm(label, DEFAULT)]

    small_one = _backbone(c, "-S", 1 / 2, 1, c.model.encoder.drop_path)
    deep = c.model.encoder.layers > 1
    large_one = _backbone(c, "-L", 4 / 3, 2 if deep else 1, 0.3 if deep else 0.0)
    return [
        (
            "loss",
            variants(mse="MSE", smooth_l1="SmoothL1")
            + default("Poisson")
            + variants(nb="NB", zinb="ZINB"),
        ),
        ("preprocessing", variants(no_library="log1p") + default("LibNorm, log1p")),
        ("# unmasked", [visible(1 / 4), visible(1 / 2), *default(str(k)), visible(2)]),
        (
            "temperature",
            [
                *map(temperature, (-1.0, -0.5)),
                *default("0 (uniform)"),
                *map(temperature, (0.5, 1.0)),
            ],
        ),
        (
            "decoder",
            variants(linear_decoder="linear", mlp1_decoder="1-layer MLP")
            + default("4-layer MLP")
            + variants(mlp8_decoder="8-layer MLP"),
        ),
        (
            "activation",
            variants(relu="ReLU", clamped_relu="clamped ReLU")
            + default("rect. tanh")
            + variants(softmax="softmax"),
        ),
        ("backbone", [small_one, *default("-B"), large_one]),
    ]


def _backbone(c, name, times, deeper, drop_path):
    e = c.model.encoder
    layers = e.layers * deeper
    fields = {
        "model.width": round(c.model.width * times),
        "model.encoder.heads": round(e.heads * times),
        "model.encoder.layers": layers,
        "model.encoder.unroll": layers if e.unroll == e.layers else e.unroll,
        "model.encoder.drop_path": drop_path,
    }
    return Arm(name, f"backbone{name.lower()}", fields=fields)
