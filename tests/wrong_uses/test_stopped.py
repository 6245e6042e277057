"""Wrong uses of stopped work: folders that are none, and damaged files of those that are."""

from tests.wrong_uses.table import wrong_uses

AGAIN = "remove it, and give the command that began the work again"
COPY = "copy it again, or start anew in another --workdir; --config.train.init_from={t}/"
CALL = "/command.json: is damaged: "

test_calls = wrong_uses(
    [
        ("resume {t}/call_cut", "{t}/call_cut" + CALL + "found no JSON", "an object; " + AGAIN),
        ("resume {t}/call_list", CALL + "found [], expected an object; " + AGAIN),
        ("resume {t}/call_bare", CALL + "arguments: found nothing, expected an object; " + AGAIN),
        ("resume {t}/call_odd_cwd", CALL + "cwd: found 3, expected a text; " + AGAIN),
        ("resume {t}/call_odd_verb", CALL + "verb: found 'frob', expected one of prepare, train, be"),
        ("resume {t}/call_moved", "{t}/call_moved: found the command.json of a store that is not fini",
         "expected that name: rename it (mv) to go on"),
        ("resume {t}/call_no_name", CALL + "arguments.name: found nothing, expected a text"),
        ("resume {t}/call_no_config", CALL + "arguments.config.train: found nothing, expected an obj"),
        ("resume {t}/call_odd_config", CALL + "config: found none of a run (", "all its fields; "),
        ("resume {t}/call_odd_fields", "call_odd_fields/command.json: is damaged, or of another vers",
         "unknown are the arguments shape; expected train, label, batch: " + AGAIN),
        ("resume {t}/call_no_suite", "suite: 'mine' is unknown; known are bioformers"),
        ("resume {t}/no_files", "{t}/.no_files.unfinished" + CALL + "arguments.files: found nothing",
         "expected a text or a list; " + AGAIN),
        ("resume {t}/.odd_prepare.unfinished", "unknown are the arguments sauce; expected out, files"),
        ("resume {t}/other_verb", CALL + "verb: found 'benchmark', expected prepare in a folder call"),
        ("benchmark cells --data {t}/good.h5ad:kind --out {t}/suite_cut",
         "{t}/suite_cut/suite.json: is damaged: found no JSON", "or name another folder"),
    ]
)  # fmt: skip

RUN = "/run.json: is damaged: "

test_runs = wrong_uses(
    [
        ("resume {t}/run_empty", "{t}/run_empty" + RUN + "found no JSON", COPY + "run_empty begins"),
        ("resume {t}/run_null", RUN + "found null, expected an object; " + COPY),
        ("resume {t}/run_bare", RUN + "config.train.batch_size: found nothing, expected a whole num"),
        ("resume {t}/run_no_session", RUN + "sessions: expected one object at least; " + COPY),
        ("resume {t}/run_no_steps", RUN + "steps: found nothing, expected a whole number; " + COPY),
        ("resume {t}/run_odd_config", RUN + "config: found none of a run (", COPY),
        ("resume {t}/run_odd_stages", "{t}/run_odd_stages/stages.json: is damaged: found no JSON",
         "remove it, and the stages prepare, embed and evaluate are gone through again"),
        ("report {t}/run_bare --out {out}/r", "{t}/run_bare" + RUN + "config.train.batch_size: found"),
        ("report {t}/run_odd_journal --out {out}/r", "metrics.jsonl: line 2 is damaged", "remove the"),
    ]
)  # fmt: skip

KNOWN = "; expected the workdir of a training run, the folder of a store whose making was stopped"

test_folders = wrong_uses(
    [
        ("resume {t}/no", "{t}/no: there is nothing" + KNOWN),
        ("resume {t}/good.h5ad", "{t}/good.h5ad: is a file, which cannot be gone on with" + KNOWN),
        ("resume {t}/nothing", "{t}/nothing: is an empty folder, which cannot be gone on with"),
        ("resume {t}/only_text", "{t}/only_text: is none of our folders, which cannot be gone on"),
        ("resume {t}/model/model", "is a finished model (to embed and the like: --checkpoint {t}/mod"),
        ("resume {t}/run_odd_stages/checkpoints", "is the saved steps of a training run (`jaxcell re",
         "--checkpoint {t}/run_odd_stages/checkpoints/STEP)" + KNOWN),
        ("resume {t}/run_odd_stages/checkpoints/6", "is a saved step of a training run", KNOWN),
        ("prepare {out}/s {t}/run_whole", "{t}/run_whole is a training run (`jaxcell resume {t}/run_",
         "--checkpoint {t}/run_whole), and holds no cells; known: FILE.h5ad"),
        ("embed {t}/model/model {out}/o.h5ad --checkpoint {t}/model", "is a finished model (to embed"),
        ("inspect {t}/run_odd_stages/checkpoints", "is the saved steps of a training run", "no cells"),
        ("resume {t}/store --config.steps=3", "expected no options: {t}/store holds a store"),
    ]
)  # fmt: skip

test_words = wrong_uses(
    [
        ("resume {t}/run_whole extra", "found extra, expected --config.FIELD=VALUE"),
        ("resume {t}/run_whole --config.stepz=3", "no such field; did you mean --config.steps?"),
        ("resume {t}/run_whole --config.steps=some", "found 'some', expected a whole number"),
    ],
    code=2,
)
