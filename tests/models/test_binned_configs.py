"""scFormer's, BioFormer's and BioFormers' configs against what their papers and code print.

Sources: scFormer, section 5, and its repository's integration script; BioFormer (Ho & Le), section
3.4; BioFormers (Biostate), sections 2.2 and 3.2.
"""

import pytest

from jaxcell import config
from jaxcell.models.cell import count_parameters
from tests.conftest import config_of

PRINTED = {
    "scformer": {
        **{"model.width": 64, "model.encoder.layers": 6, "model.encoder.heads": 4},
        **{"model.encoder.hidden": 64, "model.encoder.dropout": 0.2},
        **{"data.bin.method": "cell_high", "data.bin.number": 51, "data.draw_masks.ratio": 0.4},
        **{"losses.ecs.beta": 0.5, "losses.ecs.weight": 10.0, "losses.dar.weight": 1.0},
        **{"losses.mgm.kind": "mse", "losses.mvc.kind": "mse", "model.heads.dar.reverse": 1.0},
        **{"optimizer.kind": "adam", "optimizer.learning_rate": 1e-3, "optimizer.clip": 1.0},
        **{"optimizer.schedule": "step", "optimizer.decay": 0.9, "optimizer.weight_decay": 0.0},
        **{"epochs": 30, "train.batch_size": 32},
    },
    "scformer:paper": {
        **{"model.width": 128, "model.encoder.layers": 4, "model.encoder.heads": 4},
        **{"model.encoder.hidden": 128, "losses.ecs.beta": 0.6, "losses.ecs.weight": 10.0},
        **{"losses.mgm.kind": "cross_entropy", "losses.mvc.kind": "cross_entropy"},
        **{"data.draw_masks.ratio": 0.4, "optimizer.learning_rate": 1e-3},
        **{"epochs": 30, "train.batch_size": 16},
    },
    "bioformer": {
        **{"model.vocabulary": 1000, "model.width": 512, "model.encoder.layers": 12},
        **{"model.encoder.heads": 8, "model.encoder.hidden": 2048, "model.encoder.dropout": 0.1},
        **{"data.bin.number": 51, "data.bin.method": "gene", "data.draw_masks.ratio": 0.15},
        **{"losses.mlm.weight": 1.0, "losses.regression.weight": 0.1},
        **{"losses.study.weight": 0.1, "losses.ecs.weight": 0.1, "losses.ecs.tau": 1.0},
        **{"optimizer.kind": "adam", "optimizer.learning_rate": 1e-4},
        **{"optimizer.weight_decay": 1e-5, "epochs": 10, "train.batch_size": 78},
    },
    "bioformers_encoder": {
        **{"model.vocabulary": 2000, "model.width": 512, "model.encoder.layers": 8},
        **{"model.encoder.heads": 8, "data.bin.method": "value", "data.bin.b": 3.0},
        **{"data.bin.c": 8, "data.draw_masks.ratio": 0.1, "data.draw_masks.nonzero": 0.5},
        **{"optimizer.kind": "adamw", "optimizer.learning_rate": 2e-4},
        **{"optimizer.schedule": "cosine", "optimizer.warmup_steps": 2000, "epochs": 10},
    },
}
PRINTED["bioformers_decoder"] = {
    k: v for k, v in PRINTED["bioformers_encoder"].items() if "draw_masks" not in k
} | {"model.encoder.causal": True, "data.sequence.order": "random"}


@pytest.mark.parametrize("name", PRINTED)
def test_a_config_is_what_is_printed(name):
    found = config.flat(config_of(name))
    assert {k: found[k] for k in PRINTED[name]} == PRINTED[name]


def block(d, hidden):
    """Parameters of torch.nn.TransformerEncoderLayer."""
    return 4 * d * d + 4 * d + 2 * d * hidden + d + hidden + 4 * d


def test_parameters_are_those_of_the_parts():
    """BioFormer's blocks are its 37.8M; tables, heads and the study's unknown row beside them."""
    c = config.settled(config_of("bioformer"))
    d, studies = 512, 2
    tables = (1000 + 1) * d + 51 * d + (studies + 1) * d + 2 * d
    heads = (51 + 1 + studies) * (d + 1)
    blocks = 12 * block(d, 2048)
    assert round(blocks / 1e6, 1) == 37.8
    assert count_parameters(c.model) == blocks + tables + heads
    c = config.settled(config_of("bioformers_encoder"))
    value = 2 * d + d * d + d + 2 * d
    heads = 2 * (d * d + d) + 64 * (d + 1)
    gene = (2000 + 1) * d + 2 * d
    assert count_parameters(c.model) == 8 * block(d, d) + gene + value + heads


def test_of_bioformer_no_label_is_an_input_but_the_study():
    """The cell type enters the contrastive loss alone, and chooses no step."""
    c = config.settled(config_of("bioformer"))
    assert config.shown_labels(c.model) == ("dataset",)
    assert [k for k, one in c.losses.items() if "cell_type" in str(one)] == ["ecs"]
    assert c.best == ("val/mlm", "min")


def test_variants_change_what_they_name():
    code = config.flat(config_of("bioformer:code"))
    assert code["data.bin.method"] == "cell_low"
    assert code["losses.regression.where"] == "batch.expressed"
    paper = config_of("scformer:paper")
    assert not paper.model.conditions
    assert "zero" not in paper.model.heads.mgm
    assert config_of("bioformers_encoder:normalised").data.bin.normalised
    tokens = config_of("bioformers_encoder:external").model.tokens
    assert tuple(tokens) == ("gene", "value", "external")
    by_value = config_of("bioformers_decoder:by_value")
    assert by_value.losses.mgm.target == "batch.next_ids"
    assert by_value.data.sequence.order == "value"
    assert "query" not in by_value.model.tokens
