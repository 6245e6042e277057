"""The engine on a table of its own: layouts by hand, and what it refuses."""

import numpy as np
import pytest

from jaxcell.conversion.layouts import LAYOUTS
from jaxcell.conversion.torch import LeftOut, Rule, convert_tensors, plan, tensors_of

RULES = (
    Rule("layers.{at}.weight", "blocks/kernel", "linear"),
    Rule("layers.{at}.bias", "blocks/bias", "flat"),
    Rule("out.weight", "out/kernel", "joined"),
    Rule("both.weight", ("first", "second"), "linear", axis=1),
    Rule("norm.mean", "mean", at=0),
    Rule("norm.seen", "seen", "count", at=0),
    Rule("table", "rows", "tokens"),
    Rule("classes", "labels", "classes"),
    Rule("pairs", "parts", "parted"),
    Rule("pairs.bias", "parts_bias", "parted_bias"),
    Rule("codes", "codes", "codes"),
    Rule("block.0", "first_block", at=0),
    Rule("block.{at}", "further", start=1),
    *(Rule(f"{name}.{{at}}", "qk", "linear", slot=(1, k)) for k, name in enumerate("qk")),
    Rule("one", "outputs", "row", at=0),
    Rule("basis", "basis"),  # which the model has not
)
LEFT_OUT = (LeftOut(r"optimizer\..*", "of training"), LeftOut("basis", "fixed"))
CONTEXT = {"rows": np.array([2, 0, 1, 3]), "width": 3, "codes": 2, "genes": 4}
SHAPES = {
    **{"blocks/kernel": (2, 3, 2, 5), "blocks/bias": (2, 2, 5), "out/kernel": (2, 3, 4)},
    **{"first": (2, 4), "second": (3, 4), "mean": (1, 3), "seen": (1,)},
    **{"rows": (6, 2), "labels": (4, 2), "parts": (6, 6), "parts_bias": (6, 2), "codes": (5, 2)},
    **{"first_block": (1, 2), "further": (2, 2), "qk": (2, 3, 2, 2, 4), "outputs": (1, 3)},
}


def source():
    random = np.random.default_rng(0)
    shapes = {"out.weight": (4, 6), "both.weight": (4, 5), "norm.mean": (3,), "classes": (3, 2)}
    shapes |= {f"layers.{i}.weight": (10, 3) for i in (0, 1)} | {"table": (4, 2)}
    shapes |= {f"layers.{i}.bias": (10,) for i in (0, 1)} | {"optimizer.lr": (1,)}
    shapes |= {"pairs": (8, 3), "pairs.bias": (8,), "codes": (3, 2), "one": (1, 3), "basis": (2,)}
    shapes |= {f"block.{i}": (2,) for i in (0, 1, 2)}
    shapes |= {f"{name}.{i}": (8, 3) for name in "qk" for i in (0, 1)}
    found = {name: random.normal(size=shape) for name, shape in shapes.items()}
    return found | {"norm.seen": np.array(7)}


def converted(tensors, **how):
    made = plan(tensors, RULES, LEFT_OUT, SHAPES)
    return convert_tensors(tensors, made, SHAPES, **CONTEXT, **how)


def test_layouts_by_hand():
    t = source()
    found = converted(t, dtype=np.float64)
    assert {path: x.shape for path, x in found.items()} == SHAPES
    x, heads = np.random.default_rng(1).normal(size=3), np.random.default_rng(2).normal(size=(2, 3))
    for i in (0, 1):
        want = t[f"layers.{i}.weight"] @ x + t[f"layers.{i}.bias"]
        got = np.einsum("d,dhc->hc", x, found["blocks/kernel"][i]) + found["blocks/bias"][i]
        np.testing.assert_allclose(got.ravel(), want, atol=1e-12)
    want = t["out.weight"] @ heads.ravel()
    got = np.einsum("hc,hcd->d", heads, found["out/kernel"])
    np.testing.assert_allclose(got, want, atol=1e-12)
    want = t["both.weight"] @ np.r_[heads[:, 0], x]
    np.testing.assert_allclose(heads[:, 0] @ found["first"] + x @ found["second"], want, atol=1e-12)
    np.testing.assert_array_equal(found["mean"][0], t["norm.mean"])
    np.testing.assert_array_equal(found["seen"], [7])
    np.testing.assert_array_equal(found["rows"][[2, 0, 1, 3]], t["table"])
    np.testing.assert_array_equal(found["rows"][4:], 0)
    for token, row in enumerate(CONTEXT["rows"]):
        np.testing.assert_array_equal(found["parts"][row, :3], t["pairs"][2 * token])
        np.testing.assert_array_equal(found["parts"][row, 3:], t["pairs"][2 * token + 1])
        np.testing.assert_array_equal(
            found["parts_bias"][row], t["pairs.bias"][2 * token : 2 * token + 2]
        )
    np.testing.assert_array_equal(found["codes"][[0, 1, 4]], t["codes"])
    np.testing.assert_array_equal(found["codes"][2:4], 0)
    np.testing.assert_array_equal(found["first_block"][0], t["block.0"])
    np.testing.assert_array_equal(found["further"], [t["block.1"], t["block.2"]])
    np.testing.assert_array_equal(found["outputs"], t["one"])
    for k, name in enumerate("qk"):
        got = np.einsum("d,dhc->hc", x, found["qk"][1, :, k]).ravel()
        np.testing.assert_allclose(got, t[f"{name}.1"] @ x, atol=1e-12)
    np.testing.assert_array_equal(found["labels"][:3], t["classes"])
    np.testing.assert_allclose(found["labels"][3], t["classes"].mean(0), atol=1e-12)


def test_the_way_back_gives_the_same_tensors():
    tensors, made = source(), converted(source())
    alone = [path for path in SHAPES if sum(path in rule.targets for rule in RULES) == 1]
    rules = [rule for rule in RULES if set(rule.targets) <= set(alone)]
    found = tensors_of({path: made[path] for path in alone}, rules, **CONTEXT)
    assert len(found) > 5
    for name, x in found.items():
        np.testing.assert_array_equal(x, tensors[name].astype(np.float32), err_msg=name)
        assert x.flags.c_contiguous


def test_what_is_left_out_is_said():
    made = plan(source(), RULES, LEFT_OUT, SHAPES)
    assert made.left_out == {"optimizer.lr": "of training", "basis": "fixed"}
    assert len(made.used) == len(source()) - 2


@pytest.mark.parametrize("how", LAYOUTS)
def test_layouts_go_both_ways(how):
    own = {"classes": (4, 2), "parted": (6, 6), "parted_bias": (6, 2), "tokens": (6, 2)}
    shape = own.get(how, (5, 2))
    layout, random = LAYOUTS[how], np.random.default_rng(0)
    x = random.normal(size=layout.shape(shape, CONTEXT))
    made = layout.make(x, shape, CONTEXT)
    assert made.shape == shape
    np.testing.assert_array_equal(layout.back(made, x.shape, CONTEXT), x)


def test_of_two_rules_the_one_whose_targets_there_are():
    rules = (Rule("w", ("a", "b")), Rule("w", "a"))
    for shapes, number in (({"a": (1,), "b": (1,)}, 2), ({"a": (1,)}, 1)):
        ((_, rule, _),) = plan(["w"], rules, (), shapes).used
        assert len(rule.targets) == number


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layers.1.bias"), r"layers\.1\.bias is missing.* blocks/bias\[1\]"),
        (lambda t: t.pop("table"), "tensor table is missing"),
        (lambda t: t.pop("block.0"), r"tensor block\.0 is missing: nothing fills first_block\[0\]"),
        (lambda t: t.pop("block.2"), r"tensor block\.2 is missing: nothing fills further\[1\]"),
        (lambda t: t.pop("k.1"), r"tensor k\.1 is missing: nothing fills qk\[1\]"),
        (lambda t: t.update({"k.1": t["k.1"].T}), r"k\.1 has shape \(3, 8\).*\(8, 3\)"),
        (lambda t: t.update({"k.01": t["k.1"]}), r"k\.01 and k\.1 are the same: qk"),
        (lambda t: t.update({"k.2": t["k.1"]}), r"k\.2 is unexpected: the model has no qk\[2\]"),
        (lambda t: t.update(pairs=t["pairs"][1:]), r"pairs has shape \(7, 3\).*\(8, 3\)"),
        (lambda t: t.update(other=t["table"]), "tensor other is unexpected"),
        (lambda t: t.update({"layers.2.bias": t["table"]}), r"layers\.2\.bias is unexpected"),
        (lambda t: t.update({"layers.01.bias": t["layers.1.bias"]}), "are the same: blocks/bias"),
        (lambda t: t.update(table=t["table"][:3]), r"table has shape \(3, 2\).*\(4, 2\)"),
        (lambda t: t.update({"both.weight": t["both.weight"].T}), r"both\.weight has shape"),
        (lambda t: t["classes"].__setitem__((0, 1), np.nan), "classes holds NaN"),
        (lambda t: t["classes"].__setitem__((0, 1), 1e60), "classes holds NaN or infinite"),
        (lambda t: t.update(classes=t["classes"].astype(int)), "classes is of type int64"),
        (lambda t: t.update(classes=t["classes"] * 1j), "classes is of type complex128"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    tensors = source()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        converted(tensors)
