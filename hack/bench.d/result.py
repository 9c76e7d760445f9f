"""What a case comes to, as data."""


def result(case, title, unit, rows, notes, of=None):
    """`rows` are {"who", "n", "median", …}: `n` counts what `of` names, where a case grows; other keys are told as they are."""
    return {"case": case, "title": title, "unit": unit, "of": of, "rows": rows, "notes": notes}
