"""Results as SVG: bars with their ratio to tare, and lines on logarithmic scales for what grows."""
import math
import re
from xml.sax.saxutils import escape

from report import number

COLOURS = {"tare": "#0b6e4f", "crun": "#c84c09", "runc": "#3d5a80", "youki": "#8f2d56"}
OTHERS = ["#b08900", "#5e548e", "#2a9d8f", "#7f5539"]
SHADOW = "#9aa0a6"  # of what is not a runtime
WIDTH, LABEL, BAR, GAP, HEAD = 720, 190, 22, 8, 44
PLOT_HEIGHT, MARGIN, LEGEND = 320, 56, 170
STYLE = ('<style>text{font:13px system-ui,sans-serif;fill:#222}.t{font-size:15px;font-weight:600}.s{font-size:11px;fill:#666}'
         '@media(prefers-color-scheme:dark){text{fill:#ddd}.s{fill:#aaa}}</style>')


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def colour(who):
    """The same for a runtime in every plot, whatever else its row says after the name."""
    name = re.split("[ ,+]", who)[0]
    if name in ["floor", "nothing", "no"]:
        return SHADOW
    return COLOURS.get(name) or OTHERS[sum(name.encode()) % len(OTHERS)]


def picture(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
            + "\n".join([STYLE, *parts]) + "\n</svg>\n")


def bars(result):
    """A bar for each row; a thin line from p10 to p90 where it was timed."""
    rows = result["rows"]
    most = max(max(row.get("p90", 0), row["median"]) for row in rows) or 1
    scale = (WIDTH - LABEL - 170) / most
    own = next((row["median"] for row in rows if row["who"] == "tare"), 0)
    parts = [text(8, 24, f"{result['title']}, {result['unit']}", "t")]
    for i, row in enumerate(rows):
        y = HEAD + i * (BAR + GAP)
        length, end = row["median"] * scale, max(row.get("p90", 0), row["median"]) * scale
        parts.append(text(LABEL - 8, y + 16, row["who"], anchor="end"))
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" fill="{colour(row["who"])}"/>')
        if "p10" in row:
            parts.append(f'<path d="M{LABEL + row["p10"] * scale:.1f} {y + BAR / 2}H{LABEL + row["p90"] * scale:.1f}" '
                         'stroke="#000" stroke-opacity=".45" stroke-width="2"/>')
        ratio = f" ({row['median'] / own:.2f} ×)" if own and row["who"] != "tare" else ""
        parts.append(text(LABEL + end + 8, y + 16, number(row["median"]) + ratio))
    return picture(WIDTH, HEAD + len(rows) * (BAR + GAP) + 8, parts)


def decades(low, high):
    """Powers of ten from at most `low` to at least `high`."""
    first = math.floor(math.log10(low))
    return [10.0 ** e for e in range(first, max(math.ceil(math.log10(high)), first + 1) + 1)]


def lines(result):
    """A line for each name, both scales logarithmic."""
    rows = [row for row in result["rows"] if row["median"] > 0]
    names = list(dict.fromkeys(row["who"] for row in rows))
    sizes = sorted({row["n"] for row in rows})
    ticks = decades(min(row["median"] for row in rows), max(row["median"] for row in rows))
    right, bottom = WIDTH - LEGEND, HEAD + PLOT_HEIGHT

    def x(n):
        span = math.log10(sizes[-1] / sizes[0]) or 1
        return MARGIN + math.log10(n / sizes[0]) / span * (right - MARGIN)

    def y(value):
        return bottom - math.log10(value / ticks[0]) / math.log10(ticks[-1] / ticks[0]) * PLOT_HEIGHT

    parts = [text(8, 24, f"{result['title']}, {result['unit']}", "t")]
    for tick in ticks:
        parts.append(f'<path d="M{MARGIN} {y(tick):.1f}H{right}" stroke="#888" stroke-opacity=".35"/>')
        parts.append(text(MARGIN - 6, y(tick) + 4, f"{tick:g}", "s", "end"))
    for size in sizes:
        parts.append(text(x(size), bottom + 18, str(size), "s", "middle"))
    parts.append(text((MARGIN + right) / 2, bottom + 36, result["of"], "s", "middle"))
    of = {name: sorted((row["n"], row["median"]) for row in rows if row["who"] == name) for name in names}
    label = float("inf")  # where the last one is; from the lowest line up, so that none lies on another
    for name, points in sorted(of.items(), key=lambda line: line[1][-1][1]):
        path = "L".join(f"{x(n):.1f} {y(value):.1f}" for n, value in points)
        dashes = ' stroke-dasharray="5 4"' if " " in name else ""
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour(name)}" stroke-width="2.5"{dashes}/>')
        parts += [f'<circle cx="{x(n):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour(name)}"/>' for n, value in points]
        size, last = points[-1]
        label = min(y(last) + 4, label - 16)
        parts.append(text(right + 10, label, f"{name} {number(last)}" + ("" if size == sizes[-1] else f" at {size}")))
    return picture(WIDTH, bottom + 48, parts)


def plot(result):
    """The picture of a result, or None where there is nothing to see."""
    if not result["rows"]:
        return None
    return lines(result) if result["of"] else bars(result)
