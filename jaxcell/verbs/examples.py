"""The last lines of each --help: an example or two, by verb.

The first of a verb works as it is pasted, in a checkout, with the extra eval and nothing but what
the demo leaves, wherever that can be; files of one's own are called a.h5ad and the like.
"""

DEMO = "python -m jaxcell.main --config=configs/demo.py --workdir=runs/demo"

EXAMPLES = {
    "": (DEMO, "jaxcell prepare --help"),  # of jaxcell itself
    "doctor": ("jaxcell doctor", "jaxcell doctor a.h5ad"),
    "prepare": (
        "jaxcell prepare stores/pbmc scanpy:pbmc68k_reduced --labels bulk_labels "
        "--hold-out-fraction 0.1",
        "jaxcell prepare stores/mine a.h5ad b.h5ad --labels cell_type batch "
        "--hold-out batch=donor3",
    ),
    "inspect": ("jaxcell inspect scanpy:pbmc68k_reduced", "jaxcell inspect a.h5ad --out look"),
    "verify": ("jaxcell verify runs/demo/store",),
    "train": (
        DEMO,
        "jaxcell train --config=configs/txfm_b.py:tiny --config.data.store=runs/demo/store "
        "--workdir=runs/tiny",
    ),
    "plan": (
        "jaxcell plan --config configs/txfm_b.py:cpu",
        "jaxcell plan --config configs/txfm_b.py --topology v5e:4x4 --out plan.json",
    ),
    "embed": (
        "jaxcell embed runs/demo/embeddings.h5ad embedded.h5ad --checkpoint runs/demo "
        "--key X_again",
        "jaxcell embed a.h5ad a_embedded.h5ad --checkpoint runs/mine --counts layers/counts",
    ),
    "phenoprint": (
        "jaxcell phenoprint screen.h5ad kept.h5ad --checkpoint runs/mine --perturbation gene "
        "--control non-targeting --batch plate",
    ),
    "complete": ("jaxcell complete a.h5ad completed.h5ad --checkpoint runs/decoder",),
    "explain": (
        "jaxcell explain runs/demo/embeddings.h5ad explained.h5ad --checkpoint runs/demo "
        "--output cell --genes 64",
        "jaxcell explain a.h5ad explained.h5ad --checkpoint runs/wced --output cell_type "
        '--target "T cell" --group donor --figure pictures',
    ),
    "evaluate": (
        "jaxcell evaluate runs/demo/embeddings.h5ad --key X_demo --label bulk_labels "
        "--baselines log pca shuffled --out report",
        "jaxcell evaluate a_embedded.h5ad --key X_txfm_b --label cell_type --batch batch "
        "--out report",
    ),
    "annotation": (
        "jaxcell annotation a_embedded.h5ad --checkpoint runs/wced --truth "
        "cell_type_ontology_term_id --out types",
    ),
    "gene-errors": (
        "jaxcell gene-errors runs/demo/store gene_errors.tsv --checkpoint runs/demo --genes 128",
    ),
    "report": (
        "jaxcell report runs/demo --out curves",
        "jaxcell report runs/a runs/b --out curves",
    ),
    "genes": ("jaxcell genes genes.h5ad --checkpoint runs/demo",),
    "relations": ("jaxcell relations genes.h5ad --pairs corum.tsv reactome.tsv --out relations",),
    "learnability": (
        "jaxcell learnability runs/demo/gene_errors.tsv --min-detected 10 --out learnability",
    ),
    "perturb": (
        "jaxcell perturb split norman.h5ad split.json --control control",
        "jaxcell perturb evaluate norman.h5ad --split split.json --control control --out report",
    ),
    "perturb split": (
        "jaxcell perturb split norman.h5ad split.json --control control --train-cells train.h5ad "
        "--vocabulary genes.txt",
    ),
    "perturb predict": (
        "jaxcell perturb predict train.h5ad predicted.h5ad --checkpoint runs/norman "
        "--split split.json --control condition=control",
    ),
    "perturb evaluate": (
        "jaxcell perturb evaluate norman.h5ad --split split.json --control control "
        "--predictions mine=predicted.h5ad --out report",
    ),
    "network": (
        "jaxcell network a.h5ad --checkpoint runs/0 runs/1 --condition stim --tf STAT1 "
        "--known dorothea.tsv --out net",
    ),
    "masked": ("jaxcell masked stores/mine --checkpoint runs/bioformers --regression 300",),
    "ablate": (
        "jaxcell ablate --suite scformer --train a.h5ad --label cell_type --batch batch "
        "--out ablation",
    ),
    "benchmark": ("jaxcell benchmark cells --help", "jaxcell benchmark moa --planted --out moa"),
    "benchmark cells": (
        "jaxcell benchmark cells --checkpoint TxFM=runs/demo "
        "--data runs/demo/embeddings.h5ad:bulk_labels --baselines log pca --seeds 1 --out bench",
    ),
    "benchmark annotation": (
        "jaxcell benchmark annotation --checkpoint WCED=runs/wced --data a.h5ad "
        "--label cell_type --batch batch --out bench",
    ),
    "benchmark transductive": (
        "jaxcell benchmark transductive --checkpoint TxFM=runs/mine --data a.h5ad "
        "--label cell_type --epochs 20 --out bench",
    ),
    "benchmark txfm": (
        "jaxcell benchmark txfm --checkpoint TxFM=runs/mine --data screen.h5ad "
        "--perturbation gene --control non-targeting --batch plate --out bench",
    ),
    "benchmark genes": (
        "jaxcell benchmark genes --checkpoint TxFM=runs/mine --cells a.h5ad --markers cell_type "
        "--pairs corum.tsv --out bench",
    ),
    "benchmark perturbation": (
        "jaxcell benchmark perturbation --data norman.h5ad --seeds 1 --out bench",
    ),
    "benchmark network": ("jaxcell benchmark network --checkpoint TxFM=runs/mine --out bench",),
    "benchmark moa": (
        "jaxcell benchmark moa --planted --baselines raw log pca --seeds 1 --out moa",
    ),
    "benchmark disease": (
        "jaxcell benchmark disease --planted --baselines raw log pca --seeds 1 --out disease",
    ),
    "resume": ("jaxcell resume runs/mine", "jaxcell resume stores/mine"),
    "convert": (
        "jaxcell convert runs/demo demo_torch --to torch",
        "jaxcell convert scformer_pbmc models/scformer",
    ),
}


def epilog(verb):
    """The examples of a verb for the end of its --help; '' where there are none."""
    lines = EXAMPLES.get(verb, ())
    if not lines:
        return ""
    made = any("runs/demo" in line for line in lines if line != DEMO)
    head = f"examples (runs/demo is made by `{DEMO}`):" if made else "examples:"
    return "\n  ".join([head, *lines])
