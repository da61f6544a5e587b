"""The tables of the model card.

Enters: figures.json as a dictionary, the learning curve, CARD.md. Leaves: CARD.md with everything between
its two marks written anew; the words around them are written by people.
"""

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
RULE_THRESHOLD = "0.6"


def fill(card, figures, curve):
    text = card.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    card.write_text(f"{before}{BEGIN}\n{tables(figures, curve)}\n{END}{after}")


def tables(figures, curve):
    judged = figures["validation"]
    return "\n\n".join([
        "### Average precision, clean and spoilt", precision_table(judged["classes"]),
        "### At calibrated 0.60", threshold_table(judged["classes"]),
        "### Agreement with the original at calibrated 0.60", agreement_table(judged["agreement"]),
        "### Pictures with a class that is not on them, at calibrated 0.60", alarm_table(judged["false alarms"]),
        "### By longer side in network pixels, at calibrated 0.60, IoU 0.3", size_table(judged["sizes"]),
        "### The same weights at 416×256", precision_by_class(figures["smaller input"]),
        "### Calibration", calibration_table(figures["calibration"]),
        "### Learning curve", curve_table(curve)])


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def figure(value):
    return "–" if value is None else f"{value:.3f}".replace("0.", ".", 1) if value < 1 else "1.0"


def with_interval(value, interval):
    return "–" if value is None else f"{figure(value)} ({figure(interval[0])} to {figure(interval[1])})"


def precision_table(classes):
    rows = []
    for name, entry in classes.items():
        rows.append([name, entry["pictures"], entry["labels"],
                     *(with_interval(entry[key], entry[f"{key} interval"]) for key in ("AP30", "AP50"))])
    return table(["class and pictures", "pictures", "boxes", "AP30", "AP50"], rows)


def threshold_table(classes):
    rows = []
    for name, entry in classes.items():
        at = {iou: entry[f"at IoU {iou}"][RULE_THRESHOLD] for iou in (0.3, 0.5)}
        rows.append([name, *shares(at[0.3]), *shares(at[0.5])])
    return table(["class and pictures", "P, IoU 0.3", "R, IoU 0.3", "P, IoU 0.5", "R, IoU 0.5"], rows)


def shares(at):
    return [with_interval(at[key], at[f"{key} interval"]) for key in ("precision", "recall")]


def agreement_table(agreement):
    rows = [[name, entry["labels"], figure(entry["AP50"]), *shares(entry[RULE_THRESHOLD])]
            for name, entry in agreement.items()]
    return table(["class", "original's boxes over 0.5", "AP50", "P", "R"], rows)


def alarm_table(alarms):
    rows = [[name, entry["pictures"], entry["with"], figure(entry["interval"][1])] for name, entry in alarms.items()]
    return table(["class on folder", "pictures", "with it", "at most (95 %)"], rows)


def size_table(sizes):
    names = list(sizes)
    rows = []
    for size in sizes[names[0]]:
        bins = [sizes[name][size] for name in names]
        rows.append([size, *(f"{figure(b['recall'])} of {b['labels']}, P {figure(b['precision'])} of {b['reported']}"
                             for b in bins)])
    return table(["longer side", *names], rows)


def precision_by_class(figures):
    return table(["class", "AP30", "AP50"],
                 [[name, *(with_interval(entry[key], entry[f"{key} interval"]) for key in ("AP30", "AP50"))]
                  for name, entry in figures.items()])


def calibration_table(calibration):
    rows = [[label, entry["a"], entry["b"], f"{entry['hits']} / {entry['misses']}",
             entry.get("platt b", "–"), entry.get("raw score of the rules' threshold", "–")]
            for label, entry in calibration.items()]
    return table(["class", "a", "b", "matches / misses", "b before moving", "raw score at 0.60"], rows)


def curve_table(curve):
    keys = ["rat AP30", "rat AP50", "rat recall at P 0.9", "cigarette AP30", "cigarette AP50", "head AP50",
            "person AP50"]
    return table(["minutes", "steps", *keys],
                 [[line["minutes"], line["step"], *(figure(line[key]) for key in keys)] for line in curve])
