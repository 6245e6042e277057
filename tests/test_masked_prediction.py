"""What is scored as a masked gene's bin is one, or it is refused."""

from types import SimpleNamespace

import pytest

from jaxcell.data.store import Store
from jaxcell.masked_prediction import predict
from tests.conftest import config_of


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("bioformer:tiny", {"loss": "regression"}, "compares batch.token_panel, expected one of b"),
        ("bioformer:tiny", {"loss": "ecs"}, "compares batch.labels.cell_type, expected"),
        ("scformer:tiny", {"loss": "ecs"}, "compares pairs of cells"),
        ("bioformers_decoder:tiny,by_value", {}, "compares batch.next_ids"),
        ("bioformers_decoder:tiny", {"ratio": 0.2}, "ratio: found 0.2, expected none"),
        ("bioformers_encoder:tiny", {"loss": "mlm"}, "loss: 'mlm' is unknown; known are mgm"),
        ("txfm_b:tiny", {}, "expected 'bin' among them"),
    ],
)
def test_what_is_no_bin_of_a_masked_gene_is_refused(labelled, name, options, text):
    store, c = Store.open(labelled / "store"), config_of(name)
    vocabulary = store.vocabulary.with_specials(c.model.specials)
    with pytest.raises(ValueError, match=text):
        predict(SimpleNamespace(config=c, vocabulary=vocabulary), store, **options)


def test_other_genes_are_refused(labelled, store):
    c, own = config_of("scformer:tiny"), Store.open(labelled / "store").vocabulary
    model = SimpleNamespace(config=c, vocabulary=own.with_specials(c.model.specials))
    with pytest.raises(ValueError, match="its genes are not those of the model"):
        predict(model, store)
