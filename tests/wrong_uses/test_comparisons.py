"""Wrong uses of what measures: evaluate, relations, networks, perturbations and the suites."""

from tests.wrong_uses.table import wrong_uses

EVALUATE = "evaluate {t}/embedded.h5ad --out {out}/e --label "
IN = "{t}/embedded.h5ad: "

test_evaluate = wrong_uses(
    [
        (EVALUATE + "kind --key X_b", IN + "obsm has no 'X_b'; it has ['X_a', 'X_nan']"),
        (EVALUATE + "kind --key X_nan", IN + "obsm['X_nan'] has NaN or infinite", "embed them again"),
        (EVALUATE + "kinds --key X_a", IN + "obs has no label column 'kinds'", "did you mean kind?"),
        (EVALUATE + "one --key X_a", IN + "obs['one'] has one class only", "name another column"),
        (EVALUATE + "gone --key X_a", IN + "obs['gone']: 0 of 60 cells have a label; evaluate needs"),
        (EVALUATE + "kind --key X_a --batch lab", IN + "obs has no batch column 'lab'; it has"),
        (EVALUATE + "kind --key X_a --batch donor --test-batches x", "no cell is of batch ['x']"),
        (EVALUATE + "kind --key X_a --test-batches x", "needs a batch column: name it with batch="),
        (EVALUATE + "kind --key X_a --baselines pcaa", "'pcaa' is unknown; known are raw, log"),
        (EVALUATE + "kind --key X_a --baselines hvg0", "'hvg0' is unknown; known are raw, log"),
        (EVALUATE + "kind --key X_a --baselines genes", "genes=: found none"),
        (EVALUATE + "kind --key X_a --protocols mine", "found 'mine', expected some of scformer"),
        (EVALUATE + "kind --key X_a --seeds 0", "seeds=0: it has to be above 0"),
        (EVALUATE + "kind --key X_a --train {t}/god.h5ad", "{t}/god.h5ad does not exist; did you"),
        (EVALUATE + "kind --key X_a --train {t}/mouse.h5ad --baselines pca_inductive", "lacks 120"),
        (EVALUATE + "kind --embeddings A={t}/few_vectors.csv", "found 10 of the 60 evaluated cells"),
        (EVALUATE + "kind --embeddings A={t}/vector.csv", "no such file; did you mean {t}/vectors.c"),
        (EVALUATE + "kind --embeddings A={t}/good.h5ad", "found [] in obsm, expected 'A' or one ent"),
        (EVALUATE + "kind --embeddings {t}/vectors.csv", "expected NAME=FILE, each own"),
    ]
)  # fmt: skip

RELATIONS = "relations {t}/genes.h5ad --out {out}/r --pairs {t}/"
NETWORK = "network {t}/good.h5ad --checkpoint {t}/bins_model --out {out}/n --condition "

test_genes_and_networks = wrong_uses(
    [
        ("relations {t}/gene.h5ad --pairs {t}/pairs.tsv --out {out}/r", "did you mean {t}/genes.h5ad"),
        ("relations {t}/good.h5ad --pairs {t}/pairs.tsv --out {out}/r", "obsm has no entry"),
        (RELATIONS + "pair.tsv", "no such file of pairs; did you mean {t}/pairs.tsv?"),
        (RELATIONS + "one_column.tsv", "found the columns G1, expected a header with entity1"),
        (RELATIONS + "pairs.tsv --key nothing", "obsm has decoder, not nothing; `jaxcell genes`"),
        (RELATIONS + "pairs.tsv --cells {t}/mouse.h5ad", "no gene matches the vocabulary"),
        ("learnability {t}/no.tsv --out {out}/l", "no such gene-error table; `jaxcell gene-errors`"),
        ("learnability {t}/genes.txt --out {out}/l", "has no tab-separated column gene, ensembl"),
        ("learnability {t}/good.h5ad --out {out}/l", "{t}/good.h5ad: no tab-separated table"),
        (NETWORK + "lab", "condition: {t}/good.h5ad has no obs column 'lab'; it has ['kind'"),
        (NETWORK + "donor --reference x", "reference: found 'x', expected one of donor 0, donor 1"),
        (NETWORK + "donor --tf NOGENE", "tf: {t}/good.h5ad has no gene 'NOGENE'"),
        (NETWORK + "donor --known {t}/pair.tsv", "no such file; did you mean {t}/pairs.tsv?"),
        (NETWORK + "donor --known {t}/one_column.tsv", "expected a tab-separated header with tf and"),
        (NETWORK + "donor --sets {t}/genes.txt", "line 1: expected a name, a description and genes"),
        (NETWORK + "donor --number 0", "number: found 0, expected 20 genes or more"),
        (NETWORK + "donor --cells 0", "cells: found 0, expected a number above 0"),
        (NETWORK + "donor --layer 99", "layer: found 99, expected 1 to 2, the blocks of"),
        (NETWORK + "donor --resolution -1", "resolution: found -1.0, expected a number above 0"),
        (NETWORK + "donor --vectors {t}/gene.h5ad", "did you mean {t}/genes.h5ad?"),
        ("network {t}/good.h5ad --condition donor --out {out}/n", "checkpoint: found none, expected"),
    ]
)  # fmt: skip

SPLIT = "perturb split {t}/screen.h5ad {out}/s.json --values counts "
PERTURBED = "perturb evaluate {t}/screen.h5ad --out {out}/e --values counts --split "
PHENOPRINT = "phenoprint {t}/screen.h5ad {out}/p.h5ad --checkpoint {t}/model --perturbation "

test_perturbations = wrong_uses(
    [
        ("perturb split {t}/good.h5ad {out}/s.json", "obs has no condition column 'condition'"),
        (SPLIT + "--control none", "no cell is 'none', the control; it has G1, G2+G3, ctrl"),
        (SPLIT + "--condition conditio", "did you mean condition?"),
        (SPLIT + "--cells lab=3", "obs has no cells column 'lab'"),
        (SPLIT + "--cells plate", "cells: found 'plate', expected OBS=VALUE"),
        (SPLIT, "simulation leaves 0 of 2 conditions to train on", "another kind, or cells"),
        (PERTURBED + "{t}/no.json", "split"),
        (PERTURBED + "single --baselines no", "baselines: found 'no', expected some of no_change"),
        (PERTURBED + "single --predictions {t}/good.h5ad", "expected NAME=FILE, each own"),
        (PERTURBED + "single --predictions A={t}/god.h5ad", "did you mean {t}/good.h5ad?"),
        (PERTURBED + "single --predictions A={t}/good.h5ad", "A: {t}/good.h5ad: obs has no condit"),
        ("perturb predict {t}/screen.h5ad {out}/p.h5ad --checkpoint {t}/model", "genes, split: found nei"),
        (PHENOPRINT + "lab --control ctrl --batch plate", "screen.h5ad: obs has no column lab; it"),
        (PHENOPRINT + "condition --control none --batch plate", "expected --control 'none', in 3"),
        (PHENOPRINT + "condition --control ctrl --batch lab", "screen.h5ad: obs has no column lab"),
        (PHENOPRINT + "condition --control ctrl --batch plate --cut 3", "cut: found 3.0, expected"),
    ]
)  # fmt: skip

CELLS = "benchmark cells --out {out}/b --data {t}/"
ANNOTATION = "benchmark annotation --out {out}/b --data {t}/"

test_suites = wrong_uses(
    [
        (CELLS + "god.h5ad:kind", "no such h5ad file, expected FILE[:LABEL[:BATCH]]; did you mean"),
        (CELLS + "good.h5ad:lab", "{t}/good.h5ad: obs has no label column 'lab'"),
        (CELLS + "good.h5ad:one", "{t}/good.h5ad: obs['one'] has one class only ('same')"),
        (CELLS + "good.h5ad:kind:lab", "obs has no batch column 'lab'; it has ['kind'"),
        (CELLS + "good.h5ad:kind --baselines no", "'no' is unknown; known are raw, log, hvgN"),
        (CELLS + "good.h5ad:kind --seeds 0", "seeds: found 0, expected 1 or more"),
        (CELLS + "good.h5ad:kind --checkpoint A={t}/no", "{t}/no: no model there"),
        (CELLS + "good.h5ad:kind --checkpoint {t}/model {t}/model", "two are called 'model'; write"),
        (CELLS + "nothing", "--data: found no file of the list in '{t}/nothing'; expected FILE[:"),
        (ANNOTATION + "good.h5ad", "label: found none, expected the obs column of {t}/good.h5ad"),
        (ANNOTATION + "good.h5ad --label kind --widths 0", "widths: found [0], expected above 0"),
        (ANNOTATION + "good.h5ad --label kind --dropout 2", "dropout: found 2.0, expected 0 <= drop"),
        ("benchmark transductive --out {out}/b --data {t}/good.h5ad --label kind", "found none, expe"),
        ("benchmark txfm --out {out}/b --data {t}/screen.h5ad", "need --perturbation, --control, --b"),
        ("benchmark genes --out {out}/b", "found no vectors; name --checkpoint, --vectors or --cells"),
        ("benchmark network --out {out}/b --checkpoint {t}/no", "--data: found no file and no folder"),
        ("benchmark perturbation --out {out}/b --data {t}/god.h5ad", "did you mean {t}/good.h5ad?"),
        ("benchmark moa --out {out}/b", "expected one h5ad file (--data FILE), or --planted"),
        ("benchmark disease --out {out}/b", "expected one h5ad file (--data FILE), or --planted"),
        ("ablate --suite mine --out {out}/a", "suite: 'mine' is unknown; known are bioformers"),
        ("ablate --suite txfm --train {t}/good.h5ad --out {out}/a", "name --perturbed, --perturbat"),
        ("ablate --suite scformer --train {t}/good.h5ad --label kind --batch lab --out {out}/a",
         "obs has no batch column 'lab'"),
        ("ablate --suite txfm --data {t}/nothing --out {out}/a", "no such file (--data, or JAXCELL_D"),
    ]
)  # fmt: skip
