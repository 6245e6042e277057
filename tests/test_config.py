"""Configs: what is refused before any compile, JSON and back, and the registry."""

import json
from dataclasses import dataclass

import pytest
from ml_collections import ConfigDict

from jaxcell import config
from jaxcell.registry import build
from jaxcell.training import loop
from jaxcell.variants import VARIANTS
from tests.conftest import ROOT, config_of

NAMES = sorted(p.stem for p in (ROOT / "configs").glob("*.py"))
BINNED = ("scformer", "bioformer", "bioformers_encoder", "bioformers_decoder")
ARMS = (  # of TxFM's ablation, that other systems have no room for
    *("mse", "smooth_l1", "nb", "zinb", "relu", "clamped_relu", "softmax"),
    *("linear_decoder", "mlp1_decoder", "mlp8_decoder"),
)


@pytest.mark.parametrize("name", [*NAMES, *(f"{n}:tiny" for n in NAMES)])
def test_every_config_holds_and_survives_json(name):
    c = config_of(name)
    config.check(c)
    again = config.from_json(config.to_json(c))
    config.check(again)
    assert config.differences(c, again) == []
    assert again.stages == tuple(c.stages)  # JSON's lists are tuples again
    again.data.store = "a store"  # and what was None can be set
    again.optimizer.weight_decay = 0.1


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("train.batch_size", 0, "config.train.batch_size: found 0, expected a number above 0"),
        ("model.width", 100, "config.model.width: found 100, expected a multiple of 12 heads"),
        ("steps", -5, "config.steps: found -5, expected 0 or more"),
        ("model.specials", (), "config.model.front: no token for the pool 'cls'"),
        ("optimizer.b1", 2.0, "config.optimizer.b1: found 2.0, expected in [0, 1)"),
        ("dtype", "float16", "config.dtype: found 'float16', expected one of auto, float32"),
        (
            "stages",
            ("embed",),
            "config.embed.input: found '', expected a value for the stage embed",
        ),
        ("stages", ("trian",), "config.stages: found 'trian', expected one of prepare, train"),
        ("data.total", "all", "config.data.total: found 'all', expected one of measured, source"),
        ("model.encoder.drop_path", 1.0, "config.model.encoder.drop_path: found 1.0"),
        ("evaluate.seeds", 0, "config.evaluate.seeds: found 0, expected a number above 0"),
        (
            "evaluate.protocols",
            ("scgpt",),
            "config.evaluate.protocols: found 'scgpt', expected one",
        ),
        (
            "evaluate.baselines",
            ("hvg",),
            "config.evaluate.baselines: found 'hvg', expected raw, log, hvgN, pca",
        ),
        ("model.tokens", ("gene", "valu"), "config.model.tokens: found 'valu', expected one of"),
        ("losses.expression.weight", 0.0, "config.losses: found 'no weight above 0'"),
        (
            "data.transforms",
            ("normalize",),
            "config.data.transforms: found ('normalize',), expected",
        ),
        (
            "data.transforms",
            ("normalise", "draw_masks", "sequence"),
            "config.data.transforms: found ('normalise', 'draw_masks', 'sequence'), expected norm",
        ),
        (
            "data.transforms",
            ("normalise", "sample_genes", "flag_genes"),
            "config.data.transforms: found ('normalise', 'sample_genes', 'flag_genes'), expected "
            "sequence, which puts the flagged genes first",
        ),
        (
            "data.transforms",
            ("normalise", "sample_genes", "bin"),
            "found ('normalise', 'sample_genes', 'bin'), expected normalise "
            "and one of sample_genes and sequence; thin before them, bin between them",
        ),
        (
            "model.fields.value.input",
            "flags.perturbed",
            "config.model.fields.value.input: found 'flags.perturbed', expected flags that "
            "data.transforms make: none without flag_genes",
        ),
        (
            "model.pool",
            "max",
            "config.model.pool: found 'max', expected cls, mean, weighted, last, <cls>",
        ),
        ("model.heads.expression.kind", "mlp", "config.model.heads.expression.kind: 'mlp' is unk"),
        ("losses.expression.kind", "l2", "config.losses.expression.kind: 'l2' is unknown; known"),
        ("best", ("val/lss", "min"), "config.best: 'val/lss' is unknown; known are val/loss"),
    ],
)
def test_what_can_be_known_to_be_wrong_is_refused(path, value, text):
    c = config_of("txfm_b")
    c.update_from_flattened_dict({path: value})
    with pytest.raises(ValueError) as error:
        loop.check(c)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("sequence.number", 0, "sequence.number: found 0, expected a number above 0"),
        ("sequence.zeros", "some", "sequence.zeros: found 'some', expected one of exclude, all"),
        ("sequence.order", "id", "sequence.order: found 'id', expected one of random, value"),
        ("sequence.total", "sum", "sequence.total: found 'sum', expected one of cell, shown"),
        ("sequence.ratio", 9.0, "sequence.ratio: found 9.0, expected a share from 0 to 1"),
        ("sequence.dropout", 2.0, "sequence.dropout: found 2.0, expected a share from 0 to 1"),
        ("sequence.chunk", -1, "sequence.chunk: found -1, expected 0 or more"),
        ("sequence.temperature", -9.0, "sequence.temperature: found -9.0, expected a number from"),
        ("thin.method", "rda", "thin.method: found 'rda', expected one of binomial, poisson"),
        ("thin.probability", 2.0, "thin.probability: found 2.0, expected 0 to 1"),
        ("thin.least_total", -1.0, "thin.least_total: found -1.0, expected 0 or more"),
        ("draw_masks.ratio", 15.0, "draw_masks.ratio: found 15.0, expected 0 to 1"),
        ("draw_masks.replaced", 0.1, "draw_masks.replaced: found 0.1, expected 0 to 0.05"),
        ("draw_masks.fields", ("value",), "draw_masks.fields: found 'value', expected some of"),
        ("flag_genes.label", "", "flag_genes.label: found '', expected a name"),
        ("flag_genes.flag", "crispr", "model.fields.flag.input: found 'flags.perturbed', expected"),
    ],
)
def test_what_is_wrong_in_sequences_is_refused(path, value, text):
    c = config_of("bmfm_rna_mlm:tiny")
    c.data.transforms = ("thin", "normalise", "sequence", "flag_genes", "draw_masks")
    c.data.flag_genes.label = "guide"
    c.model.fields.flag = {"kind": "lookup", "input": "flags.perturbed", "of": 2}
    c.model.tokens = (*c.model.tokens, "flag")
    config.check(c)
    c.data.update_from_flattened_dict({path: value})
    with pytest.raises(ValueError) as error:
        loop.check(c)
    assert f"{'' if path == 'flag_genes.flag' else 'data.'}{text}" in str(error.value)


def test_the_heads_bound_follows_the_library_size():
    c = config_of("txfm_b")
    c.data.normalise.library_size = 1e4
    assert c.model.heads.expression.library_size == 1e4
    config.check(c)


def test_an_unknown_variant_lists_the_known():
    with pytest.raises(ValueError, match="txfm_b:huge is unknown; known are annotate, annotate_o"):
        config_of("txfm_b:huge")


def test_variants_are_applied_from_left_to_right():
    c = config_of("txfm_s:tiny,zinb,mlp8_decoder")
    assert c.name == "txfm_s_tiny_zinb_mlp8_decoder"
    assert (c.model.width, c.model.heads.expression.blocks) == (32, 8)
    assert sorted(c.model.heads) == ["dispersion", "expression", "zero_inflation"]
    assert {one.kind for one in c.losses.values()} == {"zinb"}
    assert config_of("txfm_b:nb,mse").losses == config_of("txfm_b:mse").losses
    with pytest.raises(ValueError, match="tiny:nbb is unknown; known are"):
        config_of("txfm_b:tiny,nbb")


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_variant_of_every_config_holds(name):
    for system in NAMES:
        if system in BINNED and name in ARMS:
            with pytest.raises(ValueError, match="of models with a head 'expression'"):
                config_of(f"{system}:{name}")
            continue
        c = config_of(f"{system}:{name}")
        if system == "bioformers_decoder" and name in ("performer", "nystrom"):
            with pytest.raises(ValueError, match="causal"):
                config.check(c)
            continue
        config.check(c)
        assert config.differences(c, config.from_json(config.to_json(c))) == []
    loop.check(config_of(f"txfm_b:{name}"))


@pytest.mark.parametrize("system", ["bmfm_rna_wced", "bmfm_rna_mlm"])
def test_other_losses_of_cell_types_settle_and_hold(system):
    for name, kind, labels in (
        ("cpu,flat", "cross_entropy", ()),
        ("flat,paper", "cross_entropy", ()),
        ("tiny,sigmoids", "independent_sigmoids", ("cell_type",)),
        ("flat,sigmoids", "independent_sigmoids", ("cell_type",)),
    ):
        c = config.settled(config_of(f"{system}:{name}"))
        config.check(c)
        assert (c.losses.cell_type.kind, c.ontology.labels) == (kind, labels)
        assert ("leaves" in c.losses.cell_type) == bool(labels)
        assert c.losses.cell_type.reduce == "masked_mean"
    loop.check(config.settled(config_of(f"{system}:tiny,flat")))


def test_differences_name_fields_and_both_values():
    a, b = config_of("txfm_b"), config_of("txfm_b")
    b.seed, b.data.workers = 3, 2
    assert config.differences(a, b) == ["seed: 0 there, 3 here"]


@dataclass
class Thing:
    size: int
    colour: str = "red"


def test_the_registry_is_loud():
    assert build({"thing": Thing}, {"kind": "thing"}, "c.x", size=2, unused=1) == Thing(2)
    with pytest.raises(ValueError, match="c.x.kind: 'thign' is unknown; known are thing"):
        build({"thing": Thing}, {"kind": "thign"}, "c.x")
    with pytest.raises(ValueError, match="c.x: 'thing' takes size, colour; not shape"):
        build({"thing": Thing}, {"kind": "thing", "shape": 1}, "c.x", size=1)
    with pytest.raises(ValueError, match="c.x: 'thing' needs size"):
        build({"thing": Thing}, {"kind": "thing"}, "c.x")
    with pytest.raises(ValueError, match="c.x: 'kind' is missing"):
        build({"thing": Thing}, {}, "c.x")


def test_a_model_from_before_a_field_reads_with_its_default():
    c = config_of("txfm_b:tiny")
    old = json.loads(config.to_json(c))
    del old["embed"]["draws"], old["data"]["normalise"]["scale"], old["evaluate"]
    old["losses"] = {"own": old["losses"]["expression"]}
    found = config.from_json(json.dumps(old))
    assert found.embed.draws == 1
    assert found.data.normalise.scale is True
    assert found.evaluate.label == ""
    assert list(found.losses) == ["own"]  # names that a config chose are not joined by others
    assert found.model.width == 32


def _ahead(c):
    c.losses.expression.target = "batch.next_values"


@pytest.mark.parametrize(
    ("fields", "change", "text"),
    [
        (
            {"model.encoder.attention": "performer", "model.encoder.causal": True},
            None,
            "config.model.encoder.attention: found 'performer', expected 'exact' for a causal",
        ),
        ({}, _ahead, "config.model.encoder.causal: found False, expected True for losses.express"),
        (
            {
                "model.encoder.causal": True,
                "data.transforms": ("normalise", "sequence"),
                "data.sequence.order": "value",
            },
            _ahead,
            "config.data.sequence.order: found 'value', expected 'random' for losses.expression",
        ),
        (
            {"model.tokens": ("gene", "value", "next")},
            lambda c: c.model.fields.update(next=ConfigDict({"kind": "next"})),
            r"config.model.combine: found 'concat', expected 'sum', so that special .*fields.next",
        ),
    ],
)
def test_what_comes_next_is_not_told(fields, change, text):
    c = config_of("txfm_b:tiny")
    with c.unlocked():
        c.update_from_flattened_dict(fields)
        if change:
            change(c)
    with pytest.raises(ValueError, match=text):
        config.check(c)


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        # Rows 51 and 52 would be both bins and padding, a hidden value.
        ("scformer:category", {"data.bin.number": 53}, "fields.value.codes: found .51, 0, 0, 52."),
        ("scformer:category", {"data.bin.number": 60}, "fields.value.number: found 53"),
        ("scformer:paper", {"data.bin.number": 60}, "heads.mgm.outputs: found 51, expected 60"),
        ("bioformer", {"data.bin.number": 52}, "fields.value.number: found 51, expected 52"),
        ("scformer", {"losses.ecs.beta": 7.0}, "losses.ecs.beta: found 7.0, expected a cosine"),
        ("scformer", {"train.accumulate": 2}, "train.accumulate: found 2, expected 1"),
        ("scformer", {"model.fields.value.codes": (0.0,)}, "value.codes: found .0.0,., expected 4"),
        # Zeros behind the expressed genes: whoever sees one knows the next.
        ("bioformers_decoder", {"data.sequence.zeros": "random"}, "zeros: found 'random'"),
        ("bioformers_decoder", {"data.sequence.order": "value"}, "order: found 'value'"),
    ],
)
def test_bins_and_orders_that_do_not_fit_are_refused(name, fields, text):
    c = config.settled(config_of(name))
    config.check(c)
    c.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=text):
        config.check(c)


def test_how_a_machine_computes_may_change_between_a_run_and_its_continuation():
    c = config_of("txfm_b:tiny")
    there = config.from_json(config.to_json(c))
    c.attention, c.model.encoder.remat, c.model.encoder.unroll = "xla", "dots", 2
    assert config.differences(there, c) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("attention", "triton"), ("model.encoder.remat", "some"), ("model.encoder.unroll", -3)],
)
def test_how_a_machine_computes_is_checked(field, value):
    c = config_of("txfm_b:tiny")
    c.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=rf"config\.{field}: found '?{value}'?, expected"):
        config.check(c)
