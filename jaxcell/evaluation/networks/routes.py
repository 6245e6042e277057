"""Both routes of a study and how they compare with known targets.

M genes, n cells with a condition, k conditions, P programs.
"""

from .attention_route import attention_route
from .programs import program_scores
from .validation import against_known
from .vector_route import vector_route


def routes(study, seen, table, counts, names, **how):
    """What each route finds, and how both compare with known targets.

    Parameters
    ----------
    study : Study
    seen : ({model: maps [k, M, M]}, {model: received [k, M]}, cells [k]), or None
    table : {model: gene vectors [M, D]}, or None
    counts : CSR [n, n_var], normalised and logged
    names : of its columns, each once
    how : of `vector_route`

    Returns
    -------
    {'attention' | 'vectors' | 'known': Found}, scores of the cells [n, P] or None, programs or None
    """
    found, scores, cell_scores, programs = {}, {}, None, None
    if seen is not None:
        found["attention"] = attention_route(study, *seen)
        scores |= found["attention"].scores
    if table is not None:

        def score(programs):
            return program_scores(counts, names, programs, study.seed)

        found["vectors"], cell_scores, programs = vector_route(study, table, score, **how)
        scores |= found["vectors"].scores
    if study.known is not None:
        found["known"] = against_known(study, scores)
    return found, cell_scores, programs
