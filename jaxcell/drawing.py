"""What all pictures have in common beside their colours: names, numbers, titles, bare axes."""

from collections import defaultdict

from jaxcell.palette import FAINT, GRID, INK, LINE, PALETTE, STYLES

COLOURS = 8  # of lines; the next so many have another style
TITLE = 0.7  # inches that `titled` takes


def short(name, most=30):
    """A name of at most so many letters: of a long one its two ends. For pictures: `label`."""
    return _cut(name, most, most // 2)


def label(name, most=30):
    """A short name as it stands in a picture, where matplotlib would read $…$ as a formula."""
    return short(name, most).replace("$", r"\$")


def told_apart(names, most=30):
    """`label` of each; names that differ look different, by another cut or by more letters.

    names : iterable of str, of which some may be equal
    """
    names = list(names)
    texts, alike = {name: short(name, most) for name in names}, defaultdict(list)
    for name, text in texts.items():
        alike[text].append(name)
    for group in alike.values():
        if len(group) > 1:
            taken = {text for name, text in texts.items() if name not in group}
            texts |= next(found for found in _cuts(group, most) if _all_new(found, taken))
    return [texts[name].replace("$", r"\$") for name in names]


def _cuts(names, most):
    """Ever longer cuts of names {name: text}; of one length that nearest to the middle first."""
    whole = max(map(len, names))
    for letters in range(most, whole):
        for head in sorted(range(letters), key=lambda k: abs(k - letters // 2)):
            yield {name: _cut(name, letters, head) for name in names}
    yield {name: name for name in names}


def _all_new(texts, taken):
    found = set(texts.values())
    return len(found) == len(texts) and (found.isdisjoint(taken) or set(texts) == found)


def _cut(name, most, head):
    """At most so many letters, of a long name the first ``head`` and … and the last ones."""
    tail = most - 1 - head
    return name if len(name) <= most else f"{name[:head]}…{name[len(name) - tail :]}"


def thousands(number, digits=3):
    """1, 1k, −2.5M, 0.0025."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")):
        if abs(number) >= size or size == 1:
            return f"{number / size:.{digits}g}{letter}".replace("-", "−")


def tick(value, place=None):
    """`thousands` as matplotlib asks for it, with all digits of a mark."""
    return thousands(value, 6)


def look(number):
    """Colour and style of the line with this number."""
    style = STYLES[number // COLOURS % len(STYLES)]
    return {"color": PALETTE[number % COLOURS], "ls": style}


def titled(figure, text, caption="", left=0.2):
    """What a picture shows, and how to read it, in its topmost `TITLE` inches."""
    width, height = figure.get_size_inches()
    lines = ((text, 0.15, dict(size=14, weight="bold", color=INK)),
             (caption, 0.43, dict(size=9, color=FAINT)))  # fmt: skip
    for line, below, how in lines:
        line = line.replace("$", r"\$")
        figure.text(left / width, 1 - below / height, line, va="top", **how)


def below_title(width, height):
    """An empty figure, laid out by matplotlib below its title."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=140, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - TITLE / height))
    return figure


def dress(axes):
    """Two thin axes, thin lines along the values."""
    axes.tick_params(labelsize=8, labelcolor=FAINT, color=LINE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)


def legend_below(figure, names):
    """The names of lines that `look` draws, under all panels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **look(i), lw=1.8) for i in range(len(names))]
    figure.legend(handles, [label(name, 60) for name in names], loc="outside lower left",
                  ncols=min(len(names), 4), frameon=False, fontsize=9, labelcolor=INK)  # fmt: skip
