"""Genes that a label names: found by name, shown first, flagged; and what cannot be is refused."""

import anndata
import numpy as np
import pandas as pd
import pytest

from jaxcell import config
from jaxcell.data.flags import FlagGenes
from jaxcell.data.pipeline import Batches
from jaxcell.data.prepare import prepare
from jaxcell.data.sequence import Sequence
from jaxcell.data.vocabulary import Vocabulary
from jaxcell.training import setup
from tests.conftest import config_of, draw_cells
from tests.data.test_transforms import draft

V = 30
GENES = Vocabulary([f"G{i}" for i in range(V)], [f"ENSG{i:011}" for i in range(V)])
CLASSES = ["ctrl", "G3+ctrl", "ctrl+G20", "G4+G0", "ENSG00000000007.5", "G9+ENSG00000000009", ""]
NAMED = [[], [3], [20], [4, 0], [7], [9], []]


def flags(classes=CLASSES, **fields):
    given = {"label": "guide", "labels": {"other": ["x"], "guide": classes}, "genes": GENES}
    return FlagGenes(**given | fields)


def flagged(matrix, codes, number, gene_sets=(range(V),), *, by=None, **fields):
    """The batch of cells with these classes; two special tokens in front."""
    made = draft(matrix, gene_sets)
    made.rows.labels = np.stack([np.zeros(len(codes)), codes], axis=1).astype(np.int32)
    by = by or flags()
    Sequence(number, V, np.array([V, V + 1]), np.array([-1.0, -2]), first=by, **fields)(made)
    by(made)
    return made.batch


def test_classes_name_genes_by_symbol_or_ensembl_id():
    table = flags().table
    assert table.shape == (8, 2)
    found = [[gene for gene in row if gene >= 0] for row in table.tolist()]
    assert found == [*NAMED, []]  # the last row: cells without a class
    assert flags(["G1_G2", "wt"], separator="_", control="wt").table.tolist()[0] == [1, 2]
    assert flags(["A+B"], separator="", genes=Vocabulary(["A+B"], [""])).table[0, 0] == 0
    assert flags(["ctrl"]).table.shape == (2, 0)


@pytest.mark.parametrize(
    "how",
    [
        dict(zeros="exclude"),
        dict(zeros="exclude", order="value", dropout=0.9),
        dict(zeros="exclude", most=9, chunk=5),
        dict(zeros="all"),
        dict(zeros="interleave", total="shown", scale_to=100.0),
        dict(zeros="interleave", dropout=1.0, chunk=100, expressed_only=0.5),
        dict(zeros="random", order="value"),
    ],
)
@pytest.mark.parametrize("number", [2, 6, 29])
def test_named_genes_stand_first_and_are_flagged_whatever_their_counts(how, number):
    random = np.random.default_rng(0)
    matrix = np.zeros((140, V))
    for b in range(140):
        matrix[b, random.permutation(V)[: random.integers(0, 9)]] = random.integers(1, 5)
    codes = np.arange(140) % 8 - 1  # with cells of no class
    batch = flagged(matrix, codes, number, **how)
    found = batch["flags"]["perturbed"]
    assert found.dtype == np.int32
    assert found.shape == batch["ids"].shape
    for b, code in enumerate(codes):
        named, length = NAMED[code] if code >= 0 else [], batch["length"][b]
        ids = batch["ids"][b, 2:length].tolist()
        assert ids[: len(named)] == named
        assert len(set(ids)) == len(ids) <= number
        want = np.zeros(found.shape[1], int)
        want[2 : 2 + len(named)] = 1
        np.testing.assert_array_equal(found[b], want)  # nor is padding, which bears gene 0's id
        shown = batch["values"][b, 2:length] > 0
        np.testing.assert_array_equal(shown, matrix[b, ids] > 0)


def test_without_named_genes_tokens_are_as_without_flags():
    matrix = np.random.default_rng(1).integers(0, 2, (20, V))
    for zeros in ("exclude", "interleave", "all"):
        batch = flagged(matrix, np.zeros(20), 12, zeros=zeros)
        plain = draft(matrix, [range(V)])
        Sequence(12, V, np.array([V, V + 1]), np.array([-1.0, -2]), zeros=zeros)(plain)
        for k in ("ids", "values", "length"):
            np.testing.assert_array_equal(batch[k], plain.batch[k])
        assert not batch["flags"]["perturbed"].any()


def test_names_that_are_no_genes_are_listed():
    with pytest.raises(ValueError) as error:
        flags(["G1", "G1+NOPE", "<cls>", "wt"])
    assert str(error.value) == (
        "config.data.flag_genes: 3 names of guide are not genes of the vocabulary, nor the control "
        "'ctrl': 'G1+NOPE': 'NOPE' is not among the 30 genes of the vocabulary; '<cls>': '<cls>' "
        "is a special token; 'wt': 'wt' is not among the 30 genes of the vocabulary"
    )
    with pytest.raises(ValueError, match=r"25 names of guide .* and 5 more$"):
        flags([f"X{i}" for i in range(25)])
    with pytest.raises(ValueError, match=r"label: found 'guide', .* store's labels: kind$"):
        flags(labels={"kind": []})
    for name in ("flag", "label"):
        with pytest.raises(ValueError, match=f"flag_genes.{name}: found '', expected a name"):
            flags(**{name: ""})


def test_a_named_gene_must_be_measured_and_find_room():
    with pytest.raises(ValueError, match=r"guide names genes that its cells did not .*: G4\+G0$"):
        flagged(np.zeros((3, V)), [0, 1, 3], 4, [range(2, V)])
    with pytest.raises(ValueError, match="number: found 1, expected room for 2 flagged genes"):
        flagged(np.zeros((3, V)), [0, 1, 3], 1)


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory):
    """A store of cells whose obs column 'guide' names genes; the second file lacks G0 … G29."""
    folder = tmp_path_factory.mktemp("perturbed")
    files = []
    for seed, guides in ((1, ["ctrl", "G5+ctrl", "G7+G200"]), (2, ["ctrl", "G100", None])):
        adata = draw_cells(seed, 60, 300)[:, 0 if seed == 1 else 30 :].copy()
        adata.obs["guide"] = pd.Categorical(np.array(guides, object)[np.arange(60) % 3])
        files.append(folder / f"{seed}.h5ad")
        adata.write_h5ad(files[-1])
    how = dict(labels=("kind", "guide"), hold_out_fraction=0.2, progress=False)
    return prepare(folder / "store", files, **how)


def tiny(store):
    c = config_of("bmfm_rna_wced:tiny")
    c.labels = ()
    c.data.transforms = ("normalise", "sequence", "flag_genes")
    c.data.flag_genes.label = "guide"
    c.data.sequence.update(number=40, zeros="interleave")
    c.model.fields.flag = {"kind": "lookup", "input": "flags.perturbed", "of": 2}
    c.model.tokens = (*c.model.tokens, "flag")
    c.model.vocabulary = len(store.vocabulary)
    return config.settled(c)


def test_batches_of_a_store_bear_flags(perturbed):
    c = tiny(perturbed)
    setup.check(c)
    setup.adopt(c, perturbed, print)
    batch = Batches(perturbed, c, "train", 32, stop=2)[1]
    found = 0
    for b in range(32):
        on = np.flatnonzero(batch["flags"]["perturbed"][b])
        shown = [perturbed.vocabulary.name(g) for g in batch["ids"][b, on]]
        code = batch["labels"]["guide"][b]
        name = perturbed.labels["guide"][code] if code >= 0 else ""
        assert shown == [part for part in name.split("+") if part not in ("", "ctrl")]
        found += len(shown)
    assert found > 10


def test_a_store_is_refused_before_training(perturbed, tmp_path):
    c = tiny(perturbed)
    c.data.flag_genes.control = "none"
    with pytest.raises(
        ValueError, match=r"2 names of guide .* 'none': .*'ctrl': 'ctrl' is not among the 300"
    ):
        setup.adopt(c, perturbed, print)
    c.data.flag_genes.label = "drug"
    with pytest.raises(ValueError, match=r"found 'drug', .* store's labels: kind, guide"):
        setup.adopt(c, perturbed, print)
    adata = anndata.read_h5ad(perturbed.datasets[1]["source"])
    adata.obs["guide"] = pd.Categorical(["G5", "G100"] * 30)
    adata.write_h5ad(tmp_path / "wrong.h5ad")
    files = [perturbed.datasets[0]["source"], tmp_path / "wrong.h5ad"]
    store = prepare(tmp_path / "store", files, labels=("guide",), progress=False)
    with pytest.raises(ValueError, match="guide names genes that its cells did not measure.*: G5$"):
        setup.adopt(tiny(store), store, print)
