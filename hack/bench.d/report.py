"""Results as text."""

SHOWN = ["median", "p10", "p90", "cpu"]


def number(value):
    """Three digits that count."""
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def baselines(rows):
    """What rows are compared with: those that are called by a single name."""
    return [row["who"] for row in rows if "," not in row["who"] and "+" not in row["who"] and " " not in row["who"]]


def ratios(row, rows):
    """{who: how many times as much this row is}, among rows of the same size."""
    same = {other["who"]: other["median"] for other in rows if other["n"] == row["n"]}
    return {who: row["median"] / same[who] for who in baselines(rows) if same.get(who)}


def with_ratios(result):
    """The result, its rows completed for machines to read."""
    rows = [{**row, "ratio_to": ratios(row, result["rows"])} for row in result["rows"]]
    return {**result, "rows": rows}


def table(result):
    """Lines of text."""
    rows = result["rows"]
    lines = [f"{result['case']}: {result['title']}" + (f", {result['unit']}" if rows else "")]
    if rows:
        keys = [key for key in SHOWN if key in rows[0]] + [key for key in rows[0] if key not in ["who", "n", *SHOWN]]
        against = list(dict.fromkeys(baselines(rows)))
        head = ["", *([result["of"]] if result["of"] else []), *keys, *(f"/{who}" for who in against)]
        body = []
        for row in rows:
            share = ratios(row, rows)
            body.append([row["who"], *([str(row["n"])] if result["of"] else []),
                         *(number(row[key]) for key in keys),
                         *(f"{share[who]:.2f}" if who in share else "-" for who in against)])
        widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
        for line in [head, *body]:
            lines.append("  " + "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]))
    return lines + [f"  ({note})" for note in result["notes"]]


def heading(facts, versions):
    """What was measured where."""
    return [f"{name}: {version}" + (f" (left out: {facts['unable'][name]})" if name in facts["unable"] else "")
            for name, version in versions.items()] + [
        f"Linux {facts['kernel']}, {facts['cpus']} × {facts['cpu']}, cgroup view {facts['view']}, "
        f"{facts['rounds']} rounds, {facts['date']}, load {facts['load']}"]
