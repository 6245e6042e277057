"""Wrong uses of stores and checkpoints: absent, damaged, of another model or species, not ours."""

from tests.wrong_uses.table import slow, wrong_uses

RUN = "train --config=configs/txfm_b.py:tiny --workdir={out}/w --config.data.store={t}/"
MAKE = "make a store with: jaxcell prepare"

test_stores = wrong_uses(
    [
        ("verify {t}/no", "{t}/no does not exist", MAKE),
        ("verify {t}/good.h5ad", "{t}/good.h5ad is not a store", "no store.json", MAKE),
        ("verify {t}/no_json", "{t}/no_json is not a store or was left by an interrupted prep", MAKE),
        ("verify {t}/bad_json", "{t}/bad_json: store.json cannot be read"),
        ("verify {t}/cut", "train-00000-of-00001.array_record is truncated: 1000 bytes"),
        ("verify {t}/no_vocabulary", "{t}/no_vocabulary: vocabulary.json is missing"),
        ("verify {t}/future", "{t}/future: store.json changed since prepare"),
        ("inspect {t}/bad_json", "{t}/bad_json/store.json is damaged"),
        ("masked {t}/no --checkpoint {t}/bins_model", "{t}/no does not exist", MAKE),
        ("masked {t}/all_train --checkpoint {t}/bins_model", "holds no validation cells; prepare one"),
        ("masked {t}/other_store --checkpoint {t}/bins_model", "its genes are not those of the mod",
         "prepare a store with --vocabulary"),
        ("gene-errors {t}/all_train {out}/e --checkpoint {t}/model", "holds no validation cells"),
        ("gene-errors {t}/other_store {out}/e --checkpoint {t}/model", "not those of {t}/model"),
        ("gene-errors {t}/no {out}/e --checkpoint {t}/model", "{t}/no does not exist", MAKE),
        slow(RUN + "no", "{t}/no does not exist", MAKE),
        slow(RUN + "cut", "array_record is damaged: 1000 bytes", "copy the store again"),
        slow(RUN + "nothing", "{t}/nothing is not a store", MAKE),
        slow(RUN + "no_records", "is not complete: train-00000-of-00001.array_record is missing"),
        slow(RUN + "no_vocabulary", "is not complete: vocabulary.json is missing; copy the store"),
        slow(RUN + "bad_json", "{t}/bad_json/store.json is damaged"),
        slow(RUN + "future", "has store schema 99, this jaxcell reads 2"),
        slow(RUN + "normalised.h5ad", "this looks log-normalised", "--counts layers/NAME"),
        slow(RUN + "text.h5ad", "text.h5ad is not an HDF5 file"),
        slow("train --config=configs/bmfm_rna_wced.py:tiny --workdir={out}/w "
             "--config.data.store={t}/store", "has no label 'cell_type'; it has kind, donor, dataset",
             "Prepare it with --labels cell_type"),
        slow("train --config=configs/scformer.py:tiny --workdir={out}/w --config.batch=lab "
             "--config.data.store={t}/store", "has no label 'lab'", "Prepare it with --labels lab"),
        slow("train --config={t}/model:annotate --workdir={out}/w --config.data.store={t}/store "
             "--config.labels=\"('cell_type=lab',)\"", "has no label 'lab'; it has kind, donor"),
    ]
)  # fmt: skip

EMBED = "embed {t}/good.h5ad {out}/o.h5ad --checkpoint "
NONE = "no model there; expected a training run's workdir"

test_checkpoints = wrong_uses(
    [
        (EMBED + "{t}/no", "{t}/no", NONE),
        (EMBED + "{t}/nothing", "{t}/nothing", NONE),
        (EMBED + "{t}/good.h5ad", "{t}/good.h5ad", NONE),
        (EMBED + "{t}/store", "{t}/store", NONE),
        (EMBED + "{t}/weights.pt", "{t}/weights.pt", NONE),
        (EMBED + "{t}/torch_folder", NONE, "jaxcell convert {t}/torch_folder OUT"),
        (EMBED + "{t}/cut_model", "model.safetensors: is damaged", "copy it again"),
        (EMBED + "{t}/no_weights", "model.safetensors is missing; copy the whole model folder"),
        (EMBED + "{t}/no_tables", "tables.npz is missing; copy the whole model folder"),
        (EMBED + "{t}/odd_config", "config.json: changed since the model was saved"),
        (EMBED + "{t}/future_model", "has format '99', this jaxcell reads 1 to", "update jaxcell"),
        (EMBED + "{t}/model {t}/no", "{t}/no", NONE),
        (EMBED + "hf://me", "hf://me: is no address on the Hub; expected hf://ORG/NAME"),
        ("genes {out}/g.h5ad --checkpoint {t}/no", "{t}/no", NONE),
        ("masked {t}/store --checkpoint {t}/model", "expected 'bin' among them"),
        ("masked {t}/store --checkpoint {t}/bins_model --loss no", "'no' is unknown; known are mgm"),
        ("masked {t}/store --checkpoint {t}/bins_model --ratio 2", "found 2.0, expected 0 to 1"),
        ("masked {t}/store --checkpoint {t}/bins_model --draws 0", "draws: found 0, expected 1 or"),
        ("gene-errors {t}/store {out}/e --checkpoint {t}/no", "{t}/no", NONE),
        ("gene-errors {t}/store {out}/e --checkpoint {t}/model --draws 0", "draws: found 0, expected"),
        ("complete {t}/good.h5ad {out}/c.h5ad --checkpoint {t}/model", "which takes a decoder-only one"),
        ("explain {t}/good.h5ad {out}/x.h5ad --checkpoint {t}/model", "output: found 'cell_type', expected"),
        ("explain {t}/good.h5ad {out}/x.h5ad --checkpoint {t}/model --output expression",
         "target: found none, expected a gene"),
        ("explain {t}/good.h5ad {out}/x.h5ad --checkpoint {t}/model --output expression --target NO1",
         "target: 'NO1' is not among the 120 genes of the vocabulary"),
        ("explain {t}/good.h5ad {out}/x.h5ad --checkpoint {t}/model --output cell --target 999",
         "expected a component of the vector, 0 … 31"),
        ("explain {t}/good.h5ad {out}/x.h5ad --checkpoint {t}/model --output cell --steps 0",
         "steps: found 0, expected a number above 0"),
        ("annotation {t}/good.h5ad --checkpoint {t}/model --truth kind --out {out}/a",
         "{t}/model: has no label head 'cell_type'; it has none"),
        ("perturb predict {t}/screen.h5ad {out}/p.h5ad --checkpoint {t}/model --genes G1",
         "this model predicts no perturbations", "(a config's variant ':perturb')"),
        ("report {t}/nothing --out {out}/r", "is no training run (it has no run.json); name the --wo"),
        ("convert {t}/no {out}/m", "{t}/no: does not exist; expected a folder with a file of weights"),
        ("convert {t}/nothing {out}/m", "{t}/nothing: has no file of weights (.safetensors"),
        ("convert {t}/model {out}/m --to hub-folder --report {t}/nothing", "has no report.md; expect"),
        ("convert {t}/torch_folder {out}/m --classes a b", "--classes: found a, expected LABEL=FILE"),
        slow("convert {t}/torch_folder {out}/m", "refused: it is no checkpoint, is damaged"),
        slow("convert {t}/good.h5ad {out}/m", "refused: it is no checkpoint, is damaged"),
    ]
)  # fmt: skip
