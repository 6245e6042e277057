"""Wrong uses of files of cells: what is not there, no h5ad, no counts, without names or cells."""

from tests.wrong_uses.table import wrong_uses

PREPARE = "prepare {out}/s {t}/"
KNOWN = "holds no input that is known; known: FILE.h5ad"

test_what_is_no_file_of_cells = wrong_uses(
    [
        (PREPARE + "god.h5ad", "{t}/god.h5ad does not exist; did you mean {t}/good.h5ad?"),
        (PREPARE + "nowhere/a.h5ad", "the folder {t}/nowhere does not exist either"),
        (PREPARE + "nothing", "{t}/nothing", KNOWN),
        (PREPARE + "only_text", "{t}/only_text", KNOWN),
        (PREPARE + "folder.h5ad", "{t}/folder.h5ad", KNOWN),
        (PREPARE + "text.h5ad", "text.h5ad is not an HDF5 file, so not an h5ad", "another file"),
        (PREPARE + "empty.h5ad", "empty.h5ad is empty (0 bytes); copy it again"),
        (PREPARE + "truncated.h5ad", "truncated.h5ad is truncated or damaged", "copy it again"),
        (PREPARE + "damaged.h5ad", "damaged.h5ad, X is damaged: an index 1000000 among 120 genes"),
        (PREPARE + "other_hdf5.h5ad", "is HDF5 but not an h5ad: it has ['x'], not obs and var"),
        (PREPARE + "cells.pdf", "unknown kind of input '.pdf'", "or KIND:PATH, of h5ad, zarr"),
        (PREPARE + "genes.txt", "{t}/genes.txt has no counts below and right of its first names"),
        (PREPARE + "*.loom", "*.loom: nothing that is known matches; known: FILE.h5ad"),
        (PREPARE + "store", "found a store, expected files of raw counts; train on it (--config."),
        (PREPARE + "no_cells.h5ad", "no_cells.h5ad is empty: 0 cells × 120 genes at X"),
        (PREPARE + "no_genes.h5ad", "no_genes.h5ad is empty: 60 cells × 0 genes at X"),
        ("prepare {out}/s gs://mine/x.h5ad", "gs://mine/x.h5ad: inputs are read from files; copy"),
        ("prepare {out}/s", "no input: give one or more files of raw counts, or a manifest"),
        (PREPARE + "good.h5ad {t}/good.h5ad", "{t}/good.h5ad is given twice"),
        ("inspect {t}/god.h5ad", "{t}/god.h5ad does not exist; did you mean {t}/good.h5ad?"),
        ("inspect {t}/text.h5ad", "text.h5ad is not an HDF5 file, so not an h5ad"),
        ("embed {t}/god.h5ad {out}/o.h5ad --checkpoint {t}/model", "did you mean {t}/good.h5ad?"),
        ("embed {t}/text.h5ad {out}/o.h5ad --checkpoint {t}/model", "is not an HDF5 file"),
        ("embed {t}/no_cells.h5ad {out}/o.h5ad --checkpoint {t}/model", "is empty: 0 cells"),
        ("evaluate {t}/god.h5ad --key X --label kind --out {out}/e", "god.h5ad: no such file"),
        ("annotation {t}/god.h5ad --checkpoint {t}/model --truth kind --out {out}/a",
         "{t}/god.h5ad does not exist; did you mean {t}/good.h5ad?"),
        ("perturb split {t}/god.h5ad {out}/s.json", "god.h5ad: no such file", "{t}/good.h5ad?"),
    ]
)  # fmt: skip

WHERE = "Say where the raw counts are: --counts layers/NAME or --counts raw"

test_what_is_no_count = wrong_uses(
    [
        (PREPARE + "normalised.h5ad", "normalised.h5ad, X: 100% of the non-zero values are not int",
         "this looks log-normalised to a total of about 1e+04", WHERE),
        (PREPARE + "scaled.h5ad", "scaled.h5ad, X: values below zero", "scaled (z-scored)", WHERE),
        (PREPARE + "estimated.h5ad", "estimated.h5ad, X: 100% of", "not raw counts", WHERE),
        (PREPARE + "nan.h5ad", "nan.h5ad, X: 453 of the values read are NaN or infinite", WHERE),
        (PREPARE + "huge.h5ad", "huge.h5ad, X: values up to 1.4e+11; counts are below", WHERE),
        (PREPARE + "zeros.h5ad", "zeros.h5ad, X: all 60 cells are empty"),
        (PREPARE + "good.h5ad --counts layers/raw", "no counts at 'layers/raw'; it has X, layers/l"),
        (PREPARE + "good.h5ad --counts raw", "no counts at 'raw'; it has X, layers/log (--counts)"),
        (PREPARE + "good.h5ad --counts Y", "no counts at 'Y'; it has X, layers/log (--counts)"),
        (PREPARE + "good.h5ad --counts layers/log", "looks like log1p of counts",
         "Counts were found in X (--counts X)"),
        (PREPARE + "good.h5ad --values log1p", "found integers, as of raw counts", "expected values"),
        ("inspect {t}/good.h5ad --counts layers/x", "no counts at 'layers/x'; it has X, layers/log"),
        ("embed {t}/normalised.h5ad {out}/o.h5ad --checkpoint {t}/model", "log-normalised", WHERE),
        ("evaluate {t}/embedded.h5ad --key X_a --label kind --counts layers/log --out {out}/e",
         "{t}/embedded.h5ad", "looks like log1p of counts", "Counts were found in X"),
        ("perturb split {t}/screen.h5ad {out}/s.json --kind list", "look like raw counts",
         "(--values counts)"),
    ]
)  # fmt: skip

MAP = "give a gene map (--gene-map FILE, or JAXCELL_GENES=FILE"
EMBED = "embed {t}/good.h5ad {out}/o.h5ad --checkpoint {t}/"

test_names_of_genes = wrong_uses(
    [
        (PREPARE + "twice.h5ad", "1 genes stand in more than one column: G7. --duplicates sum"),
        (PREPARE + "numbered.h5ad", "has no gene names in var: its index begins ['0', '1', '2']"),
        (PREPARE + "nameless.h5ad", "has no gene names in var", "(see --identifiers)"),
        (PREPARE + "good.h5ad {t}/ensembl.h5ad", "mixed identifiers", "ensembl.h5ad by Ensembl", MAP),
        (PREPARE + "good.h5ad --identifiers ensembl", "good.h5ad has no Ensembl ids in var"),
        (PREPARE + "good.h5ad --vocabulary {t}/no_genes.txt", "no_genes.txt names no gene"),
        (PREPARE + "good.h5ad --vocabulary {t}/other_genes.txt", "no gene matches the vocabulary"),
        (PREPARE + "good.h5ad --vocabulary {t}/genez.txt", "did you mean {t}/genes.txt?"),
        (PREPARE + "good.h5ad --vocabulary {t}/broken.json", "is not a vocabulary of jaxcell"),
        (PREPARE + "good.h5ad --vocabulary {t}/good.h5ad", "no UTF-8 text", "genes, one a line"),
        (PREPARE + "good.h5ad --gene-map {t}/mapp.tsv", "gene map {t}/mapp.tsv does not exist",
         "did you mean {t}/map.tsv?"),
        (PREPARE + "good.h5ad --gene-map {t}/bad_map.tsv", "line 2: expected tab-separated ensembl"),
        (PREPARE + "good.h5ad --gene-map {t}/good.h5ad", "no UTF-8 text", "expected a gene map"),
        (PREPARE + "good.h5ad --orthologs {t}/no.tsv", "table of orthologs {t}/no.tsv does not ex"),
        (PREPARE + "good.h5ad --orthologs {t}/bad_map.tsv", "line 1: expected tab-separated their"),
        (PREPARE + "good.h5ad --orthologs {t}/good.h5ad", "no UTF-8 text", "a table of orthologs"),
        ("inspect {t}/good.h5ad --gene-map {t}/no.tsv", "gene map {t}/no.tsv does not exist"),
        ("embed {t}/mouse.h5ad {out}/o.h5ad --checkpoint {t}/model", "no gene matches the vocabulary",
         "Are they the same species and kind of feature?"),
        (EMBED + "mouse_model", "the file has G0, G1, G2, the vocabulary Gm0, Gm1, Gm2"),
        (EMBED + "model --gene-map {t}/no.tsv", "gene map {t}/no.tsv does not exist"),
    ]
)  # fmt: skip

HAS = "it has: kind, batch, donor, one, age, gone"

test_columns_of_obs = wrong_uses(
    [
        (PREPARE + "good.h5ad --labels celltype", "label column 'celltype'", HAS, "(--labels)"),
        (PREPARE + "good.h5ad --labels kind kind", "labels: found 'kind' twice; expected each"),
        (PREPARE + "good.h5ad --labels gone", "label column 'gone': no kept cell", "(--labels)"),
        (PREPARE + "good.h5ad --hold-out donor", "hold_out 'donor': write column=value"),
        (PREPARE + "good.h5ad --hold-out 'donor=donor 9'", "donor has: donor 0, donor 1, donor 2"),
        (PREPARE + "good.h5ad --hold-out 'doner=donor 1'", "hold-out column 'doner'", HAS),
        (PREPARE + "good.h5ad --hold-out one=same", "no cell is left for training: hold out fewer"),
        (PREPARE + "good.h5ad --hold-out-file {t}/no.h5ad", "{t}/no.h5ad does not exist"),
        (PREPARE + "good.h5ad --hvg 20 --hvg-batch lab", "hvg_batch 'lab'", HAS, "(--hvg-batch)"),
        (PREPARE + "good.h5ad --measured-by lab", "column 'lab'", HAS, "(--measured-by)"),
        ("inspect {t}/good.h5ad --batch lab", "column 'lab': none of the sources has it; they have"),
        ("inspect {t}/good.h5ad --labels lab", "column 'lab': none of the sources has it"),
        (EMBED + "model --measured-by lab", "obs has no column 'lab' (measured_by); it has ['kind'"),
    ]
)  # fmt: skip
