"""The table of scFormer's ablation: arms and baselines by its metrics of integration."""

from .ablation_table import failures, millions
from .protocols import PROTOCOLS
from .seed_tables import best, markdown_table, plain_table, runs_of
from .tables import markdown

ORDER = ("avg_bio", "ari", "nmi", "asw_cell", "avg_batch", "asw_batch", "graph_conn", "overall")
COLUMNS = {metric: PROTOCOLS["scformer"].groups["by its text"][metric] for metric in ORDER}
WITHIN = PROTOCOLS["scformer"].groups["ASW_batch within types"]


def finish(results):
    """Nothing is missing."""


def rows(results):
    """(label, [scores of each seed]) of the arms that ended, then of the baselines."""
    arms = [
        (label, runs_of(results, name, "scores"))
        for block in results["blocks"]
        for label, name in block["arms"]
        if name in results["arms"]
    ]
    return [row for row in arms if row[1]] + list(results["references"]["rows"].items())


def how(results):
    """What the numbers are, in a few sentences."""
    meta = results["meta"]
    seeds = f"seeds 0–{meta['seeds'] - 1}" if meta["seeds"] > 1 else "seed 0"
    return (
        f"{meta['cells']} cells of {meta['types']} types ({meta['label']}) in {meta['batches']}"
        f" batches ({meta['batch']}), {meta['genes']} HVGs; trained on {meta['training_cells']} of"
        f" them for {meta['steps']} steps of {meta['batch_size']}; all of them are embedded and"
        f" scored. {seeds}: mean ± standard deviation. Baselines see the same cells and genes; a"
        " seed also starts Louvain there, in the arms it is always started alike."
    )


def text(results):
    """The table as plain text, for the end of a run."""
    found = plain_table("option", rows(results), COLUMNS)
    return "\n".join([found, "", how(results) + " * best", *results["references"]["absent"]])


def page(results):
    """report.md."""
    meta, found = results["meta"], rows(results)
    parts = [
        f"# Ablation `{meta['suite']}`, budget {meta['budget']}",
        markdown_table("option", found, COLUMNS),
        how(results) + " The best of each column in bold.",
        *results["references"]["absent"],
        "As the paper reports it, the best of the seeds in each column by itself:",
        markdown_table("option", found, COLUMNS, best),
        "ASW_batch within types, as scib has it:",
        markdown_table("option", found, WITHIN),
        PROTOCOLS["scformer"].definition,
        *failures(results),
        "## Arms",
        markdown(["arm", "parameters", "best step by", "seconds"], _arms(results)),
        f"## Data\n\n- {', '.join(meta['train'])}",
    ]
    return "\n\n".join(parts) + "\n"


def _arms(results):
    return [
        [
            name,
            millions(arm["parameters"]),
            arm["best"],
            f"{sum(run['seconds'] for run in arm['runs']):.0f}",
        ]
        for name, arm in results["arms"].items()
    ]
