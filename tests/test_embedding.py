"""Embeddings: a cell's vector is its own, what is wrong is refused, the rest of the file stays."""

import shutil

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import jaxcell
from jaxcell import cli, embed
from jaxcell.data.prepare import prepare
from jaxcell.data.transforms import SampleGenes
from jaxcell.training import loop
from jaxcell.training.checkpoint import load_model
from tests.conftest import draw_cells
from tests.training.test_training import tiny

KEY = "X_txfm_b_tiny"
few_genes = pytest.mark.filterwarnings("ignore:.*with under half of them")


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    loop.train(tiny(store, **{"embed.genes": 32}), workdir)
    return workdir


@pytest.fixture
def cells():
    return draw_cells(5, 37, 300)


def vectors(adata, trained, **options):
    return embed(adata.copy(), trained, progress=False, **options).obsm[KEY]


def test_vectors_do_not_depend_on_neighbours_order_or_batch_size(cells, trained):
    whole = vectors(cells, trained)
    assert whole.shape == (37, 32)
    assert whole.dtype == np.float32
    assert np.unique(whole, axis=0).shape == whole.shape  # every cell its own
    order = np.random.default_rng(0).permutation(37)
    np.testing.assert_array_equal(vectors(cells[order], trained), whole[order])
    for size in (1, 5, 16, 1000):
        np.testing.assert_array_equal(vectors(cells, trained, batch_size=size), whole)
    np.testing.assert_array_equal(vectors(cells[11:12], trained), whole[11:12])


def test_vectors_do_not_depend_on_the_order_of_genes_or_how_x_is_stored(cells, trained):
    whole = vectors(cells, trained)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(vectors(cells[:, order], trained), whole)
    for form in (sp.csc_matrix, lambda x: x.toarray(), lambda x: x.astype(np.int32)):
        other = cells.copy()
        other.X = form(cells.X)
        np.testing.assert_array_equal(vectors(other, trained), whole)


def test_the_draw_is_the_seeds_and_the_cells_own(cells, trained):
    whole = vectors(cells, trained)
    np.testing.assert_array_equal(vectors(cells, trained), whole)
    assert np.abs(vectors(cells, trained, seed=1) - whole).max() > 0
    twins = anndata.concat([cells[:1], cells[:1]], index_unique="-")
    pair = vectors(twins, trained)
    np.testing.assert_array_equal(pair[0], pair[1])


@few_genes
def test_shown_genes_are_k_of_the_measured_as_in_training(cells, trained, monkeypatch):
    shown = []
    plain = SampleGenes.__call__

    def spy(self, draft):
        plain(self, draft)
        shown.append((draft.batch["ids"].copy(), draft.batch["length"].copy()))

    monkeypatch.setattr(SampleGenes, "__call__", spy)
    vectors(cells[:, 20:120], trained)
    ((ids, length),) = shown
    assert (length == 33).all()
    drawn = ids[:, 1:]
    assert ((drawn >= 20) & (drawn < 120)).all()  # of the file's genes only
    dense = cells.X.toarray()
    zeros = np.mean([dense[b, drawn[b]] == 0 for b in range(37)])
    assert zeros == pytest.approx((dense[:, 20:120] == 0).mean(), abs=0.05)  # zeros included


@few_genes
def test_a_file_with_fewer_genes_than_k_shows_them_all(cells, trained):
    few = vectors(cells[:, :20], trained)
    assert np.isfinite(few).all()
    np.testing.assert_array_equal(few, vectors(cells[:, :20], trained, seed=9))  # nothing to draw


@few_genes
def test_it_is_the_models_forward_pass(cells, trained):
    """The vectors equal the model applied by hand, one cell at a time."""
    from jaxcell.models.cell import CellModel

    model = load_model(trained)
    net = CellModel(model.config.model)
    few = cells[:4, :20]
    dense = few.X.toarray()
    for b, found in enumerate(vectors(few, trained)):
        values = np.log1p(1e5 * dense[b] / dense[b].sum()).astype(np.float32)
        batch = {
            "ids": np.append(300, np.arange(20))[None],
            "values": np.append(0, values)[None],
            "length": np.array([21]),
        }
        cell = net.apply(model.variables, batch, {}, train=False)[0]["cell"]
        np.testing.assert_allclose(found, cell[0], atol=2e-5)


def test_a_file_gets_vectors_and_provenance_and_keeps_the_rest(cells, trained, tmp_path):
    cells.obsm["X_pca"] = np.ones((37, 2))
    cells.uns["note"] = "kept"
    cells.write_h5ad(tmp_path / "in.h5ad")
    out = embed(tmp_path / "in.h5ad", trained, out=tmp_path / "out.h5ad", progress=False)
    found = anndata.read_h5ad(out)
    np.testing.assert_array_equal(found.obsm[KEY], vectors(cells, trained))
    np.testing.assert_array_equal(found.X.toarray(), cells.X.toarray())
    assert found.uns["note"] == "kept"
    assert "X_pca" in found.obsm
    said = found.uns["jaxcell"][KEY]
    assert said["genes_matched"] == 300
    assert said["genes_shown"] == 32
    assert said["checkpoint_hash"] == load_model(trained).sha256
    assert said["values_seen"] == "integer counts"
    assert said["cells_per_s"] > 0
    # A second embedding of the same file joins the first.
    again = embed(out, trained, out=tmp_path / "two.h5ad", key="X_b", seed=3, progress=False)
    both = anndata.read_h5ad(again)
    assert {KEY, "X_b"} <= set(both.obsm)
    assert (both.uns["jaxcell"][KEY]["seed"], both.uns["jaxcell"]["X_b"]["seed"]) == (0, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad", "two.h5ad"]


def test_scanpy_finds_neighbours_on_it(cells, trained):
    import scanpy as sc

    adata = embed(cells, trained, progress=False)
    sc.pp.neighbors(adata, use_rep=KEY, n_neighbors=5)
    assert "connectivities" in adata.obsp


def test_a_step_folder_and_a_model_folder_are_checkpoints_too(cells, trained, tmp_path):
    shutil.copytree(trained / "model", tmp_path / "travelled")
    whole = vectors(cells, trained)
    np.testing.assert_array_equal(vectors(cells, tmp_path / "travelled"), whole)
    step = load_model(trained).info["step"]
    np.testing.assert_array_equal(vectors(cells, trained / "checkpoints" / step), whole)


def logged(adata):
    adata = adata.copy()
    adata.X = adata.X.multiply(1e4 / adata.X.sum(axis=1)).tocsr()
    adata.X.data = np.log1p(adata.X.data)
    return adata


def scaled(adata):
    adata = adata.copy()
    adata.X = adata.X.toarray() - adata.X.toarray().mean(axis=0)
    return adata


def spoiled(adata):
    adata = adata.copy()
    adata.X.data[3] = np.nan
    return adata


def renamed(adata, prefix):
    adata = adata.copy()
    adata.var_names = [f"{prefix}{i}" for i in range(adata.n_vars)]
    return adata


def doubled(adata):
    adata = adata.copy()
    adata.var_names = ["G0", "G0", *adata.var_names[2:]]
    return adata


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (logged, "log-normalised to a total of about 1e"),
        (scaled, r"values below zero .* scaled"),
        (spoiled, "1 of the values read are NaN or infinite"),
        (lambda a: renamed(a, "ZZZ"), "no gene matches the vocabulary"),
        (lambda a: a[:, :10], "only 10 of the model's 300 genes were found, fewer than"),
        (doubled, "--duplicates sum"),
        (lambda a: a[:0], "is empty"),
    ],
)
def test_wrong_input_is_refused(cells, trained, change, text):
    with pytest.raises(ValueError, match=text):
        vectors(change(cells), trained)


def test_few_genes_are_warned_of(cells, trained):
    with pytest.warns(
        UserWarning, match="100 of the model's 300 genes were found; with under half"
    ):
        vectors(cells[:, :100], trained)


def test_cells_without_counts_are_warned_of_and_counted(cells, trained):
    dense = cells.X.toarray()
    dense[4] = 0
    cells.X = sp.csr_matrix(dense)
    with pytest.warns(UserWarning, match="cells without any count.* predictions are missing"):
        found = embed(cells, trained, progress=False)
    assert found.uns["jaxcell"][KEY]["cells_without_counts"] == 1
    assert np.isfinite(found.obsm[KEY]).all()


def test_non_integers_are_taken_where_allowed_and_recorded(cells, trained):
    cells.X = (cells.X * 13.7).tocsr()
    with pytest.raises(ValueError, match="not integers"):
        vectors(cells, trained)
    with pytest.warns(UserWarning, match="non-integer values taken as they are"):
        found = embed(cells, trained, allow_non_integer=True, progress=False)
    assert "estimated" in found.uns["jaxcell"][KEY]["values_seen"]


def test_more_genes_than_in_training_can_be_shown(cells, trained):
    found = embed(cells.copy(), trained, genes="all", progress=False)
    said = found.uns["jaxcell"][KEY]
    assert (said["genes_shown"], said["draws"]) == (300, 1)
    # What a call asks for is not part of the checkpoint that it names.
    assert said["checkpoint_hash"] == load_model(trained).sha256
    with pytest.raises(ValueError, match="draws: found 3 where all genes are shown"):
        vectors(cells, trained, genes="all", draws=3)
    # All are shown: nothing to draw.
    again = vectors(cells, trained, genes=300, seed=4)
    np.testing.assert_array_equal(again, found.obsm[KEY])
    with pytest.raises(ValueError, match="config.embed.genes: found -1"):
        vectors(cells, trained, genes=-1)
    with pytest.raises(ValueError, match="zeros: found 'all', expected none for .*, which shows"):
        vectors(cells, trained, zeros="all")


def test_genes_that_a_batch_did_not_measure_are_not_shown(cells, trained):
    merged = cells.copy()
    merged.obs["batch"] = np.where(np.arange(37) < 20, "a", "b")
    dense = merged.X.toarray()
    dense[20:, :50] = 0  # not on b's panel
    merged.X = sp.csr_matrix(dense)
    with pytest.warns(UserWarning, match="fewer than 100 cells of batch = a, b"):
        found = embed(merged.copy(), trained, genes="all", measured_by="batch", progress=False)
    own = vectors(merged[20:, 50:], trained, genes="all")
    np.testing.assert_allclose(found.obsm[KEY][20:], own, atol=1e-5)
    assert np.abs(vectors(merged, trained, genes="all")[20:] - own).max() > 1e-2
    assert found.uns["jaxcell"][KEY]["gene_sets"] == 2
    assert found.uns["jaxcell"][KEY]["measured_by"] == "batch"
    # Nor where it is the only batch of a file.
    with pytest.warns(UserWarning, match="fewer than 100 cells of batch = b:"):
        alone = vectors(merged[20:], trained, genes="all", measured_by="batch")
    np.testing.assert_allclose(alone, own, atol=1e-5)
    with pytest.raises(ValueError, match=r"obs has no column 'btch' \(measured_by\); it has"):
        vectors(merged, trained, measured_by="btch")


def test_genes_that_no_training_cell_measured_are_not_shown(cells, sources, tmp_path):
    """A vocabulary may name more genes than the files; their rows are as they were drawn."""
    (tmp_path / "genes.txt").write_text("\n".join(cells.var_names))
    options = {"vocabulary": tmp_path / "genes.txt", "hold_out_fraction": 0.2, "progress": False}
    store = prepare(tmp_path / "store", sources[1], **options)  # has G30 … G269 of them
    loop.train(tiny(store, steps=2, **{"train.validate_every": 2}), tmp_path / "run")
    own = vectors(cells[:, 30:270], tmp_path / "run", genes="all")
    with pytest.warns(UserWarning, match="60 matched genes were measured in no training cell"):
        found = embed(cells.copy(), tmp_path / "run", genes="all", progress=False)
    np.testing.assert_allclose(found.obsm[KEY], own, atol=1e-5)
    assert found.uns["jaxcell"][KEY]["genes_untrained"] == 60
    obs = jaxcell.genes(tmp_path / "run").obs
    assert obs.index[~obs["trained"]].tolist() == [f"G{i}" for i in [*range(30), *range(270, 300)]]


def test_few_cells_at_once_change_nothing(cells, trained, monkeypatch):
    whole = vectors(cells, trained)
    monkeypatch.setattr("jaxcell.forward.SCORES", 4 * 2 * 33 * 33)  # four of the sixteen
    np.testing.assert_allclose(vectors(cells, trained), whole, atol=1e-6)


def test_a_costly_embedding_names_the_cheaper_way(cells, trained, capsys):
    embed(cells.copy(), trained, genes="all")
    assert "300 genes, training showed 32" in capsys.readouterr().out
    embed(cells.copy(), trained)
    assert capsys.readouterr().out == ""


def test_draws_are_averaged(cells, trained):
    first = vectors(cells, trained)
    three = vectors(cells, trained, draws=3)
    # Each draw is another one, and is a cell's own: as with one draw, order does not matter.
    np.testing.assert_array_equal(vectors(cells[::-1], trained, draws=3), three[::-1])
    np.testing.assert_array_equal(vectors(cells, trained, draws=1), first)
    two = vectors(cells, trained, draws=2)
    others = np.stack([first, 2 * two - first, 3 * three - 2 * two])
    assert (np.abs(others[1:] - others[:-1]).max(axis=(1, 2)) > 1e-3).all()
    # What one draw hides another shows: the mean lies nearer to the vector of all genes.
    whole = vectors(cells, trained, genes="all")
    many = vectors(cells, trained, draws=20)
    assert np.linalg.norm(many - whole) < 0.9 * np.linalg.norm(first - whole)


def test_a_vector_of_any_layer(cells, trained):
    """Blocks of the encoder, then of the decoder, by hand from the model's own parts."""
    from jaxcell.models.layers import Mlp

    found = embed(cells.copy(), trained, layer=1, progress=False)
    assert found.uns["jaxcell"][KEY]["layer"] == 1
    own = vectors(cells, trained)
    np.testing.assert_allclose(vectors(cells, trained, layer=2), own, atol=1e-6)
    assert np.abs(found.obsm[KEY] - own).max() > 1e-3
    head = load_model(trained).variables["params"]["heads"]["expression"]
    expected = own
    for i in range(4):
        expected = expected + Mlp(32).apply({"params": head[f"blocks_{i}"]}, expected)
        np.testing.assert_allclose(
            vectors(cells, trained, layer=3 + i), expected, rtol=1e-4, atol=1e-5
        )
    for layer in (0, 7):
        with pytest.raises(ValueError, match=f"layer: found {layer}, expected 1 to 2 .* or to 6"):
            vectors(cells, trained, layer=layer)


def test_bfloat16_says_how_far_it_is_from_float32(cells, trained):
    found = embed(cells.copy(), trained, dtype="bfloat16", progress=False)
    exact, said = vectors(cells, trained), found.uns["jaxcell"][KEY]
    away = np.linalg.norm(found.obsm[KEY] - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert said["dtype"] == "bfloat16"
    assert said["distance_from_float32"] == pytest.approx(away[:16].mean(), rel=1e-3)
    assert 1e-5 < away.mean() < 0.05
    for size in (1, 7):  # exactly its own in bfloat16 too
        again = vectors(cells, trained, dtype="bfloat16", batch_size=size)
        np.testing.assert_array_equal(again, found.obsm[KEY])
    with pytest.raises(ValueError, match="dtype: found 'float16'"):
        vectors(cells, trained, dtype="float16")


def damaged(trained, tmp_path, name, change):
    folder = tmp_path / name.replace(".", "-")
    shutil.copytree(trained / "model", folder)
    change(folder / name)
    return folder


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        (
            "config.json",
            lambda f: f.write_text(f.read_text().replace("100000.0", "9999.0")),
            "changed",
        ),
        ("vocabulary.json", lambda f: f.write_text(f.read_text().replace("G7", "G7x")), "changed"),
        ("tables.npz", lambda f: f.write_bytes(b"x"), "changed since the model was saved"),
        ("model.safetensors", lambda f: f.write_bytes(f.read_bytes()[:999]), "is damaged"),
    ],
)
def test_a_model_folder_whose_parts_do_not_fit_is_refused(
    cells, trained, tmp_path, name, change, text
):
    with pytest.raises(ValueError, match=text) as error:
        embed(cells, damaged(trained, tmp_path, name, change))
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t * np.nan, "encoder/norm/scale holds NaN"),
        (lambda t: t[:-1], r"encoder/norm/scale has shape \(31,\), its config asks for \(32,\)"),
        (lambda t: None, "encoder/norm/scale is missing"),
        (lambda t: t * 1.001, "its tensors are not those that were saved"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(cells, trained, tmp_path, change, text):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    def spoil(file):
        with safe_open(file, "numpy") as opened:
            info = opened.metadata()
        tensors = load_file(file)
        name = "params/encoder/norm/scale"
        tensors[name] = change(tensors[name])
        save_file({k: v for k, v in tensors.items() if v is not None}, file, metadata=info)

    with pytest.raises(ValueError, match=text):
        embed(cells, damaged(trained, tmp_path, "model.safetensors", spoil))


def test_calls_that_cannot_end_well_are_refused_first(cells, trained, tmp_path):
    with pytest.raises(ValueError, match="batch_size: found 0"):
        vectors(cells, trained, batch_size=0)
    with pytest.raises(ValueError, match="seed: found -1"):
        vectors(cells, trained, seed=-1)
    for key in ("", "X/a"):
        with pytest.raises(ValueError, match="key: found .* expected a name without '/'"):
            vectors(cells, trained, key=key)
    with pytest.raises(ValueError, match="draws: found 8 where all genes are shown"):
        vectors(cells, trained, genes="all", draws=8)
    cells.write_h5ad(tmp_path / "in.h5ad")
    with pytest.raises(ValueError, match="its folder does not exist"):
        embed(tmp_path / "in.h5ad", trained, out=tmp_path / "no" / "out.h5ad")
    cells.X = cells.X.astype(bool)
    with pytest.raises(ValueError, match="True and False"):
        vectors(cells, trained)


def test_outputs_and_checkpoints_that_cannot_be_are_refused(cells, trained, tmp_path):
    cells.write_h5ad(tmp_path / "in.h5ad")
    with pytest.raises(ValueError, match="in.h5ad: exists already"):
        embed(tmp_path / "in.h5ad", trained, out=tmp_path / "in.h5ad")
    with pytest.raises(ValueError, match="no model there; expected a training run's workdir"):
        embed(cells, tmp_path)
    with pytest.raises(ValueError, match="name the h5ad file to write"):
        embed(tmp_path / "in.h5ad", trained)
    shutil.copytree(trained / "model", tmp_path / "model")
    (tmp_path / "model" / "vocabulary.json").unlink()
    with pytest.raises(ValueError, match=r"vocabulary\.json is missing; copy the whole model"):
        embed(cells, tmp_path)
    (tmp_path / "model" / "format_version").write_text("99\n")
    with pytest.raises(ValueError, match="has format '99', this jaxcell reads 1 to"):
        embed(cells, tmp_path)
    bad = logged(cells)
    bad.write_h5ad(tmp_path / "bad.h5ad")
    with pytest.raises(ValueError, match=r"bad\.h5ad"):
        embed(tmp_path / "bad.h5ad", trained, out=tmp_path / "out.h5ad", progress=False)
    assert not list(tmp_path.glob("out*"))  # nothing half-written


@pytest.mark.parametrize("text", ["5.5", "0", "-3", "many"])
def test_a_number_of_genes_that_is_none_is_said(text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["embed", "in", "out", "--checkpoint", "c", f"--genes={text}"])
    expected = f"--genes: found '{text}', expected a whole number above 0, or all"
    assert expected in capsys.readouterr().err


def test_vectors_that_are_replaced_are_named(cells, trained, tmp_path):
    found = embed(cells.copy(), trained, progress=False)
    found.write_h5ad(tmp_path / "in.h5ad")
    with pytest.warns(UserWarning, match="was there and is replaced"):
        embed(found, trained, progress=False)
    with pytest.warns(UserWarning, match="was there and is replaced"):
        embed(tmp_path / "in.h5ad", trained, out=tmp_path / "out.h5ad", progress=False)


def test_what_uns_cannot_take_is_refused_before_anything_is_computed(cells, trained, tmp_path):
    cells.uns["jaxcell"] = "mine"
    cells.write_h5ad(tmp_path / "in.h5ad")
    with pytest.raises(ValueError, match=r"AnnData: uns\['jaxcell'\] is not a dict .*\(a str\)"):
        vectors(cells, trained)
    cells.X.data[:] = 0.5  # which is refused, too, once cells are read
    with pytest.raises(ValueError, match=r"in\.h5ad: uns\['jaxcell'\] is not a dict of ours"):
        embed(tmp_path / "in.h5ad", trained, out=tmp_path / "out.h5ad", progress=False)
    with pytest.raises(ValueError, match="key: found 'predictions'"):
        embed(cells, trained, key="predictions")


@few_genes
def test_flags_come_from_obs_or_are_0(tmp_path):
    source = draw_cells(1, 60, 300)
    source.obs["guide"] = np.array(["ctrl", "G5+ctrl", "G7+G200"])[np.arange(60) % 3]
    source.write_h5ad(tmp_path / "cells.h5ad")
    store = prepare(
        tmp_path / "store", [tmp_path / "cells.h5ad"], labels=("guide",), progress=False
    )
    c = tiny(store, steps=1)
    c.data.transforms = ("normalise", "sequence", "flag_genes")
    c.data.flag_genes.label = "guide"
    c.model.fields.flag = {"kind": "lookup", "input": "flags.perturbed", "of": 2}
    c.model.tokens = (*c.model.tokens, "flag")
    loop.train(c, tmp_path / "run")
    cells = draw_cells(5, 12, 300)
    none = r"obs\['guide'\]: 12 cells name no genes \(no such column\); none .* as perturbed"
    with pytest.warns(UserWarning, match=none):
        plain = vectors(cells, tmp_path / "run")
    cells.obs["guide"] = np.array(["ctrl", "", "G5", "G200+G9"], object)[np.arange(12) % 4]
    cells.obs.loc[cells.obs_names[1], "guide"] = np.nan
    with pytest.warns(UserWarning, match=r"obs\['guide'\]: 3 cells name no genes; none of theirs"):
        flagged = vectors(cells, tmp_path / "run", batch_size=5)
    same = (flagged == plain).all(axis=1)
    np.testing.assert_array_equal(same, np.arange(12) % 4 < 2)
    cells.obs["guide"] = "KLF1"
    with pytest.raises(ValueError, match="1 names of guide are not genes .*: 'KLF1'"):
        vectors(cells, tmp_path / "run")
    cells.obs["guide"] = "G5"
    with pytest.raises(ValueError, match="guide names genes that its cells did not measure.*: G5"):
        vectors(cells[:, 10:], tmp_path / "run")
