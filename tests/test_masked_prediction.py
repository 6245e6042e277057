"""Bins predicted at masked genes: which entries there are, and what is true of them."""

import jax
import numpy as np
import pytest

from jaxcell import config
from jaxcell.data.prepare import prepare
from jaxcell.evaluation import masked
from jaxcell.masked_prediction import bins_of, predict, regress
from jaxcell.models.cell import CellModel
from jaxcell.training.checkpoint import Model
from jaxcell.training.means import tables_of
from tests.conftest import config_of, draw_cells


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    out = tmp_path_factory.mktemp("masked") / "store"
    return prepare(out, [draw_cells(5, 90, 40)], hold_out_fraction=0.2, progress=False)


def model_of(name, store, **fields):
    """A model as drawn, untrained."""
    c = config_of(name)
    c.update_from_flattened_dict(
        {
            **{"data.store": str(store.path), "model.vocabulary": 40, "data.sequence.number": 40},
            **{"model.encoder.layers": 1, "model.encoder.unroll": 1, **fields},
        }
    )
    c = config.settled(c)
    net = CellModel(c.model)
    return Model(
        config=c,
        vocabulary=store.vocabulary.with_specials(c.model.specials),
        labels={},
        ontologies={},
        variables=jax.device_get(net.init(jax.random.key(0))),
        tables=tables_of(store, c, net.rows),
        info={},
    )


@pytest.fixture(scope="module")
def model(store):
    return model_of("bioformers_encoder:tiny", store)


@pytest.fixture(scope="module")
def entries(model, store):
    return predict(model, store, ratio=0.25, nonzero=0.5, draws=2, batch_size=8)


def test_entries_are_the_masks_asked_for(entries, store):
    cells, half = store.sizes["valid"], len(entries.cell) // 2
    for draw in (slice(0, half), slice(half, None)):
        per_cell = np.bincount(entries.cell[draw], minlength=cells)
        assert per_cell.tolist() == [10] * cells  # int(.25 · 40)
        nonzero = np.bincount(entries.cell[draw], entries.truth[draw] > 0, minlength=cells)
        assert nonzero.tolist() == [5] * cells
    one = set(zip(entries.cell[:half], entries.gene[:half], strict=True))
    assert len(one) == half
    assert one != set(zip(entries.cell[half:], entries.gene[half:], strict=True))
    assert 0 <= entries.predicted.min() <= entries.predicted.max() < 64


def test_truth_is_the_bin_of_cell_and_gene(model, entries, store):
    bins = bins_of(model, store, "valid")
    assert bins.shape == (store.sizes["valid"], 40)
    assert (bins[entries.cell, entries.gene] == entries.truth).all()
    assert (bins == 0).any()


def test_masks_depend_on_neither_batch_nor_what_was_trained_with(store, entries):
    other = model_of("bioformers_encoder:tiny", store, **{"data.draw_masks.ratio": 0.5, "seed": 7})
    found = predict(other, store, ratio=0.25, nonzero=0.5, draws=2, batch_size=16)
    for name in ("cell", "gene", "truth"):
        assert (getattr(found, name) == getattr(entries, name)).all()


def test_regression_is_fitted_on_the_training_cells(model, entries, store):
    fitted = masked.fit(bins_of(model, store, "train"), 5)
    cells = bins_of(model, store, "valid")
    expected = fitted.predict(cells, entries.cell, entries.gene)
    assert (regress(model, store, entries, 5) == expected).all()


def test_of_a_decoder_every_next_gene_is_an_entry(store):
    model = model_of("bioformers_decoder:tiny", store)
    found = predict(model, store, batch_size=8)
    cells = store.sizes["valid"]
    # CLS predicts the first gene, the last gene none.
    assert np.bincount(found.cell).tolist() == [40] * cells
    assert np.bincount(found.gene).tolist() == [cells] * 40
    assert (bins_of(model, store, "valid")[found.cell, found.gene] == found.truth).all()


def test_what_is_refused(model, store, tmp_path):
    with pytest.raises(ValueError, match="loss: 'mvc' is unknown; known are mgm"):
        predict(model, store, loss="mvc")
    parts = [draw_cells(1, 40, 40), draw_cells(2, 40, 40)[:, :30].copy()]
    panels = prepare(tmp_path / "panels", parts, hold_out_fraction=0.2, progress=False)
    with pytest.raises(ValueError, match="10 of its genes are not measured in all"):
        bins_of(model, panels, "train")
    few = prepare(tmp_path / "few", parts[1:], hold_out_fraction=0.2, progress=False)
    with pytest.raises(ValueError, match="its genes are not those of the model"):
        predict(model, few)
    none = prepare(tmp_path / "none", parts[:1], progress=False)
    with pytest.raises(ValueError, match="holds no validation cells"):
        predict(model, none)
