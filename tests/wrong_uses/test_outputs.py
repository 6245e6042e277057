"""Wrong uses of outputs: there already, equal to an input, a file for a folder, nowhere."""

from tests.wrong_uses.table import slow, wrong_uses

THERE = "exists already"
RUN = "train --config=configs/txfm_b.py:tiny --config.data.store={t}/store --workdir={t}/"
EVALUATE = "evaluate {t}/embedded.h5ad --key X_a --label kind --out {t}/"
NETWORK = "network {t}/good.h5ad --checkpoint {t}/bins_model --condition donor --out {t}/"

test_outputs = wrong_uses(
    [
        ("prepare {t}/store {t}/good.h5ad", "{t}/store exists already: remove it, or choose another"),
        ("prepare {t}/good.h5ad {t}/good.h5ad", "{t}/good.h5ad exists already"),
        ("prepare {t}/nothing {t}/good.h5ad", "{t}/nothing exists already"),
        ("prepare {t}/good.h5ad/s {t}/second.h5ad", "{t}/good.h5ad is not a folder one can write"),
        ("embed {t}/good.h5ad {t}/good.h5ad --checkpoint {t}/model", THERE, "name another output"),
        ("embed {t}/good.h5ad {t}/second.h5ad --checkpoint {t}/model", THERE),
        ("embed {t}/good.h5ad {out}/no/o.h5ad --checkpoint {t}/model", "its folder does not exist; make"),
        ("embed {t}/good.h5ad {t}/genes.txt/o.h5ad --checkpoint {t}/model", "its folder does not exist"),
        ("embed {t}/good.h5ad {out}/o.csv --checkpoint {t}/model", "o.csv: expected a file ending in",
         "name it {out}/o.csv.h5ad"),
        ("embed {t}/good.h5ad - --checkpoint {t}/model", "-: expected a file ending in .h5ad; name"),
        ("embed {t}/good.h5ad '' --checkpoint {t}/model", "found '' for an output, expected the path"),
        ("genes {out}/g --checkpoint {t}/model", "{out}/g: expected a file ending in .h5ad; name it"),
        ("complete {t}/good.h5ad {out}/c.zarr --checkpoint {t}/model", "a file ending in .h5ad"),
        ("perturb predict {t}/screen.h5ad {out}/p.json --checkpoint {t}/model --genes G1", ".h5ad; na"),
        ("perturb split {t}/screen.h5ad {out}/s.json --train-cells {out}/t.csv", "t.csv: expected a f"),
        ("perturb split {t}/screen.h5ad ''", "found '' for an output"),
        ("prepare '' {t}/good.h5ad", "found '' for an output, expected the path of a store"),
        ("prepare . {t}/good.h5ad", ".: is the folder that you are in, or one around it", "a new one"),
        ("convert {t}/torch_folder ''", "found '' for an output, expected the path of a folder"),
        ("convert {t}/torch_folder ..", "..: is the folder that you are in, or one around it"),
        ("gene-errors {t}/store '' --checkpoint {t}/model", "found '' for an output"),
        ("genes {t}/good.h5ad --checkpoint {t}/model", THERE),
        ("genes {out}/no/g.h5ad --checkpoint {t}/model", "its folder does not exist; make it first"),
        ("gene-errors {t}/store {t}/good.h5ad --checkpoint {t}/model", THERE),
        ("gene-errors {t}/store {out}/no/e --checkpoint {t}/model", "its folder does not exist"),
        ("complete {t}/good.h5ad {t}/good.h5ad --checkpoint {t}/model", THERE),
        ("explain {t}/good.h5ad {t}/good.h5ad --checkpoint {t}/model --output cell", THERE),
        ("explain {t}/good.h5ad {out}/x.h5ad --checkpoint {t}/model --output cell --figure {t}/good.h5ad",
         "{t}/good.h5ad: it is a file; explain writes a folder: name one (--figure)"),
        ("phenoprint {t}/screen.h5ad {t}/good.h5ad --checkpoint {t}/model --perturbation condition "
         "--control ctrl --batch plate", THERE),
        ("perturb split {t}/screen.h5ad {t}/good.h5ad", "exists; expected a file to be made"),
        ("perturb predict {t}/screen.h5ad {t}/good.h5ad --checkpoint {t}/model --genes G1", THERE),
        ("convert {t}/torch_folder {t}/nothing", "{t}/nothing: exists already; remove it or name"),
        ("convert {t}/model {t}/nothing --to torch", "{t}/nothing: exists already"),
        ("inspect {t}/good.h5ad --out {t}/good.h5ad", "is a file; inspect writes a folder"),
        (EVALUATE + "good.h5ad", "is a file; evaluate writes a folder"),
        (EVALUATE + "good.h5ad/e", "{t}/good.h5ad is a file; evaluate writes a folder: name one (--out)"),
        ("relations {t}/genes.h5ad --pairs {t}/pairs.tsv --out {t}/good.h5ad", "is a file; relations"),
        (NETWORK + "good.h5ad", "is a file; network writes a folder"),
        ("benchmark cells --data {t}/good.h5ad:kind --out {t}/good.h5ad", "is a file; a benchmark"),
        ("plan --config configs/txfm_b.py:tiny --no-search --out {t}/nothing", "found a folder, expec"),
        ("plan --config configs/txfm_b.py:tiny --out {out}/no/p", "there is no folder {out}/no; make"),
        (RUN + "good.h5ad", "{t}/good.h5ad: found a file, expected a folder for the run (--workdir)"),
        slow(RUN + "good.h5ad/w", "{t}/good.h5ad/w: {t}/good.h5ad is a file; name another folder"),
        (RUN + "store", "{t}/store: holds a store; name another folder for the run (--workdir)"),
        slow(RUN + "model", "{t}/model: holds a model that no run here has trained; name another folder"),
        slow(RUN + "model/model", "{t}/model/model: holds a model; name another folder"),
    ]
)  # fmt: skip
