"""Wrong uses of configs: files that are none, misspelt fields, values that cannot be."""

from tests.wrong_uses.table import slow, wrong_uses

TINY = "train --config=configs/txfm_b.py:tiny --config."
RUN = "train --config=configs/txfm_b.py:tiny --workdir={out}/w --config.data.store={t}/store --config."
DEMO = "train --config=configs/demo.py:tiny --workdir={out}/w --config."
NONE = "no such config; expected a Python file, FILE.py[:variant], or the folder of a trained model"

test_files_that_are_no_config = wrong_uses(
    [
        ("train --config={t}/brokn.py", "{t}/brokn.py", NONE, "did you mean {t}/broken.py?"),
        ("train --config={t}/broken.py", "{t}/broken.py, line 2: NameError: name 'nothing'"),
        ("train --config={t}/raises.py", "{t}/raises.py, line 2: ValueError: mine"),
        ("train --config={t}/syntax.py", "{t}/syntax.py, line 1: SyntaxError"),
        ("train --config={t}/no_config.py", "no_config.py, expected get_config(name) in it"),
        ("train --config={t}/number.py", "number.py: get_config returned a int, expected the config"),
        ("train --config={t}/binary.py", "{t}/binary.py: SyntaxError"),
        ("train --config={t}/good.h5ad", "{t}/good.h5ad", NONE),
        ("train --config={t}/store", "{t}/store", NONE),
        ("train --config={t}/odd_config", "not the config of a trained model, or damaged", "a whole"),
        ("train --config=configs", "configs", NONE),
        ("train --config=configs/txfm_b.py:tinny", "txfm_b:tinny is unknown", "did you mean tiny?"),
        ("plan --config {t}/no.py", "{t}/no.py", NONE),
        ("train --config=configs/txfm_b.py:tiny --workdir={out}/w", "config.data.store is not set: "
         "make a store with `jaxcell prepare STORE FILE.h5ad …`"),
    ]
)  # fmt: skip

test_fields_that_are_none = wrong_uses(
    [
        (TINY + "modle.width=3", "the config txfm_b_tiny has no such field; did you mean --config.mo"),
        (TINY + "model.widht=3", "did you mean --config.model.width?"),
        (TINY + "train.xyzzy=3", "no such field; beside it are accumulate, batch_size"),
        (TINY + "model.width=wide", "--config.model.width: found 'wide', expected a whole number"),
        (TINY + "optimizer.learning_rate=fast", "found 'fast', expected a number; it is 0.003"),
        (TINY + "train.tensorboard=maybe", "found 'maybe', expected true or false; it is False"),
        (TINY + "train=3", "this is a block of fields; name one, as --config.train.accumulate=…"),
        (TINY + "train.batch_size", "Missing value for flag --config.train.batch_size"),
        (TINY + "steps=3 more", "found more, expected --config.FIELD=VALUE"),
        (TINY + "steps=3 --dry_rn", "unrecognized arguments: --dry_rn; did you mean --dry_run?"),
        ("plan --config configs/txfm_b.py:tiny --config.mesh.fdsp=4", "mean --config.mesh.fsdp?"),
    ],
    code=2,
)  # fmt: skip

TRANSFORMS = "expected normalise and one of sample_genes and sequence"

test_values_that_cannot_be = wrong_uses(
    [
        (TINY + f"data.store=s --config.{field}={value}", f"config.{field}: ", said)
        for field, value, said in (
            ("train.batch_size", "0", "found 0, expected a number above 0"),
            ("train.batch_size", "-4", "found -4, expected a number above 0"),
            ("steps", "-1", "found -1, expected 0 or more"),
            ("steps", "0", "found 0, expected steps or epochs above 0"),
            ("seed", "-1", "found -1, expected 0 or more"),
            ("seed", "99999999999999999999", "expected a number below 4294966296"),
            ("name", "a/b", "found 'a/b', expected a name without '/'"),
            ("name", "''", "found '', expected a name without '/'"),
            ("stages", "\"()\"", "found (), expected some of prepare, train, embed, evaluate"),
            ("dtype", "float16", "expected one of auto, float32, bfloat16; did you mean bfloat16?"),
            ("optimizer.learning_rate", "-1", "found -1.0, expected a number above 0"),
            ("optimizer.learning_rate", "nan", "found nan, expected a finite number"),
            ("optimizer.learning_rate", "inf", "found inf, expected a finite number"),
            ("optimizer.warmup_steps", "-3", "found -3, expected 0 or more"),
            ("optimizer.schedule", "cosin", "found 'cosin', expected one of", ),
            ("optimizer.kind", "sgd", "found 'sgd', expected one of adamw, adam"),
            ("model.width", "33", "found 33, expected a multiple of 2 heads"),
            ("model.width", "0", "found 0, expected a number above 0"),
            ("model.encoder.layers", "0", "found 0, expected a number above 0"),
            ("model.encoder.dropout", "1.5", "found 1.5, expected within [0, 1)"),
            ("model.encoder.drop_path", "-1", "found -1.0, expected within [0, 1)"),
            ("model.encoder.activation", "swish", "'swish' is unknown; known are geglu, gelu"),
            ("model.encoder.norm", "batch", "'batch' is unknown; known are layer, rms"),
            ("model.pool", "maximum", "found 'maximum', expected cls, mean"),
            ("losses.expression.weight", "-1", "found -1.0, expected 0 or more"),
            ("losses.expression.kind", "poison", "'poison' is unknown"),
            ("losses.expression.reduce", "sum", "'sum' is unknown; known are batch_mean, masked_m"),
            ("losses.expression.pred", "heads.nothing", "has no 'nothing'; there is expression"),
            ("model.heads.expression.kind", "mlp", "'mlp' is unknown; known are classifier"),
            ("model.fields.gene.kind", "lookups", "did you mean lookup?"),
            ("data.transforms", "normalise", TRANSFORMS),
            ("data.transforms", "\"('normalize','sample_genes')\"", TRANSFORMS),
            ("data.sample_genes.number", "0", "found 0, expected a number above 0"),
            ("data.normalise.library_size", "0", "found 0.0, expected a number above 0"),
            ("data.sampling", "\"('capp',)\"", "'capp' is unknown; known are cap, round_robin"),
            ("data.threads", "-1", "found -1, expected 0 or more"),
            ("train.accumulate", "3", "found 3, expected a divisor of batch_size = 16"),
            ("train.log_every", "0", "found 0, expected a number above 0"),
            ("attention", "flashy", "expected one of auto, xla, cells, cudnn, flash; did you mean"),
            ("attention", "cudnn", "found 'cudnn', expected 'auto' or 'xla' on cpu"),
            ("best", "\"('val/loss','least')\"", "found 'least', expected one of min, max"),
            ("best", "\"('val/los','min')\"", "'val/los' is unknown; known are val/loss"),
            ("stages", "\"('trian',)\"", "found 'trian', expected one of prepare, train"),
            ("labels", "\"('cell_type',)\"", "expected (): this model has no label to learn"),
        )
    ]
)  # fmt: skip

test_what_does_not_fit_together = wrong_uses(
    [
        (TINY + "stages=\"('train','embed')\"", "config.embed.input: found '', expected a value for"),
        (TINY + "data.store=s --config.train.lora.rank=4", "config.optimizer.frozen: found ''"),
        (TINY + "data.store=s --config.data.sampling=\"('cap',)\"", "config.data.cap: found cells 0"),
        (DEMO + "evaluate.label=", "config.evaluate.label: found '', expected a value for the stage"),
        (DEMO + "evaluate.baselines=\"('nothing',)\"", "config.evaluate.baselines: found 'nothing'",
         "expected raw, log, hvgN, pca"),
        (DEMO + "prepare.files=\"('{t}/god.h5ad',)\"", "config.prepare.files: {t}/god.h5ad does not",
         "did you mean {t}/good.h5ad?"),
        slow(DEMO + "embed.input={t}/god.h5ad", "config.embed.input: {t}/god.h5ad does not exist"),
        slow(DEMO + "prepare.labels=\"('lab',)\"", "label column 'lab'", "it has: bulk_labels"),
        ("train --config=configs/bioformer.py:tiny --config.data.bin.number=1", "found 51, expected 1"),
        ("train --config=configs/bioformer.py:tiny --config.data.draw_masks.ratio=1.5",
         "config.data.draw_masks.ratio: found 1.5, expected 0 to 1"),
        ("train --config=configs/bioformer.py:tiny --config.data.bin.method=quantile",
         "config.data.bin.method: found 'quantile', expected one of cell_high"),
        slow(RUN + "mesh.data=3", "config.mesh: {{'data': 3", "does not lay out 8 devices"),
        slow(RUN + "optimizer.frozen=((", "config.optimizer.frozen: '((' is no regex"),
        slow(RUN + "optimizer.frozen=nothing_like_it", "config.optimizer.frozen"),
        slow(RUN + "data.mixture=\"('x=1',)\"", "config.data.mixture: 'x' matches no dataset"),
        slow(RUN + "best=\"('val/avg_bio','max')\" --config.evaluate.label=lab",
             "config.evaluate.label: found 'lab', expected a label of {t}/store", "kind, donor"),
        slow(RUN + "train.init_from={t}/no", "config.train.init_from: {t}/no: no model there"),
        slow(RUN + "train.init_from={t}/bins_model", "params/fields"),
    ]
)  # fmt: skip
