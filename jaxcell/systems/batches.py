"""What of a config tells batches apart, by the one label that ``config.batch`` names."""

BATCH = "<batch>"  # stands for that label in heads, metadata, conditions and the domain norm


def place_batch(c):
    """Put ``c.batch`` where BATCH stands; without one, take away what reads it. Returns c.

    The domain norm becomes the plain batch norm then, with scale and bias, as in scFormer's code.
    """
    m = c.model
    with c.unlocked():
        for name in [n for n, head in m.heads.items() if head.get("label") == BATCH]:
            losses = [k for k, one in c.losses.items() if one.pred == f"heads.{name}"]
            if c.batch:
                m.heads[name].label = c.batch
                named = [str(text).partition("=")[0] for text in c.labels]
                c.labels = (*c.labels, *([] if name in named else [name]))
            else:
                del m.heads[name]
            for loss in losses:
                _place_loss(c, loss)
        for room in (m.metadata, m.conditions):
            for name in [n for n, one in room.items() if one.label == BATCH]:
                if c.batch:
                    room[name].label = c.batch
                else:
                    del room[name]
        for head in m.heads.values():
            if head.get("given", "") and head.given not in m.conditions:
                del head["given"]
        if m.domain.label == BATCH:
            m.domain.label = c.batch
            if m.norm == "domain" and not c.batch:
                m.norm, m.domain.affine = "batch", True
    return c


def _place_loss(c, name):
    if not c.batch:
        del c.losses[name]
        return
    own = {"target": f"batch.labels.{c.batch}", "where": f"batch.labels.{c.batch}"}
    c.losses[name].update(own)
