"""The evaluation's results as tables, and the bars that a finished model clears."""

from __future__ import annotations

import math

from course_lib.mini.exam import BARRED

STYLE_BAR, OTHER_BAR, NEAR_CEILING, MEAN_BAR = 0.98, 0.92, 0.03, 0.96
PSNR_BAR, SSIM_BAR = 30.0, 0.93
LOSS_BAR = 8.0


def table(part: str, result: dict) -> str:
    """One part's numbers as aligned text."""
    return "\n".join(_TABLES[part](result))


def bars(results: dict) -> list[dict]:
    """Every bar whose part was run: ``{"name", "value", "bar", "met"}``."""
    found = []
    if "attributes" in results:
        rows, ceiling = results["attributes"]["generated"], results["attributes"]["painted"]
        found += [_attribute_bar(name, rows[name], ceiling[name]) for name in BARRED]
        mean = mean_share(rows)
        found.append(_bar("mean of the nine", mean, f">= {MEAN_BAR:.0%}", mean >= MEAN_BAR))
    if "autoencoder" in results:
        row = results["autoencoder"]["all"]
        found.append(_bar("PSNR, dB", row["psnr"], f">= {PSNR_BAR}", row["psnr"] >= PSNR_BAR))
        found.append(_bar("SSIM", row["ssim"], f">= {SSIM_BAR}", row["ssim"] >= SSIM_BAR))
    if "memory" in results:
        copied = results["memory"]["copied"]
        found.append(_bar("copied pictures", copied, "= 0", copied == 0))
    if "paraphrases" in results:
        loss = results["paraphrases"]["loss_points"]
        found.append(_bar("loss by paraphrase", loss, f"<= {LOSS_BAR} points", loss <= LOSS_BAR))
    return found


def mean_share(rows: dict) -> float:
    """Mean accuracy of the nine attributes, each counting alike."""
    return sum(rows[name]["share"] for name in BARRED) / len(BARRED)


def summary(found: list[dict]) -> str:
    """One line on how many bars are met, and one on each that is not."""
    missed = [bar for bar in found if not bar["met"]]
    lines = [f"{len(found) - len(missed)} of {len(found)} bars met"] if found else ["no bars"]
    lines += [f"  missed: {b['name']} is {b['value']:.4g}, bar {b['bar']}" for b in missed]
    return "\n".join(lines)


def _bar(name: str, value: float, bar: str, met: bool) -> dict:
    return {"name": name, "value": value, "bar": bar, "met": bool(met)}


def _attribute_bar(name: str, row: dict, ceiling: dict) -> dict:
    if name == "style":
        return _bar(name, row["share"], f">= {STYLE_BAR:.0%}", row["share"] >= STYLE_BAR)
    bar = min(OTHER_BAR, ceiling["share"] - NEAR_CEILING)
    text = f">= {bar:.1%}" + (" (ceiling - 3 points)" if bar < OTHER_BAR else "")
    return _bar(name, row["share"], text, row["share"] >= bar)


def _percent(value: float) -> str:
    return "    -" if math.isnan(value) else f"{100 * value:5.1f}"


def _judge_table(result: dict) -> list[str]:
    lines = [
        "The judge on held-out paintings, % (stated: what the prompts say; seen: all visible)",
        f"  {'attribute':18}{'n':>6}  stated  95 % interval      seen",
    ]
    for name, row in result["accuracy"].items():
        interval = f"{_percent(row['low'])} to {_percent(row['high'])}"
        seen = _percent(result["visible"][name]["share"])
        lines.append(f"  {name:18}{row['n']:>6}   {_percent(row['share'])}  {interval}     {seen}")
    mean, seen = (_percent(mean_share(result[k])) for k in ("accuracy", "visible"))
    lines.append(f"  {'mean of the nine':24}   {mean}{'':21}{seen}")
    return lines + _confusion_lines(result["confusions"])


def _confusion_lines(rows: list[dict]) -> list[str]:
    lines = [f"  {r['count']:4}  {r['attribute']}: {r['prompted']} -> {r['seen']}" for r in rows]
    return ["Most often something else is seen", *lines]


def _attributes_table(result: dict) -> list[str]:
    rows, ceiling = result["generated"], result["painted"]
    lines = [
        "Prompted attributes that the judge finds, % (ceiling: in paintings)",
        f"  {'attribute':18}{'n':>6}  found  ceiling  difference  95 % interval   bar",
    ]
    for name in sorted(rows, key=lambda n: n not in BARRED):
        row, best = rows[name], ceiling[name]["share"]
        line = (
            f"  {name:18}{row['n']:>6}  {_percent(row['share'])}    {_percent(best)}"
            f"  {100 * (row['share'] - best):+10.1f}"
            f"  {_percent(row['low'])} to {_percent(row['high'])}"
        )
        if name in BARRED:
            bar = _attribute_bar(name, row, ceiling[name])
            line += f"   {'met   ' if bar['met'] else 'missed'} {bar['bar']}"
        lines.append(line)
    mean, best = mean_share(rows), mean_share(ceiling)
    met = "met   " if mean >= MEAN_BAR else "missed"
    lines.append(
        f"  {'mean of the nine':24}  {_percent(mean)}    {_percent(best)}"
        f"  {100 * (mean - best):+10.1f}{'':18}{met} >= {MEAN_BAR:.0%}"
    )
    lines.append("Accessories that a full caption leaves out and the picture has not, %")
    for name, row in result["absent_when_unasked"].items():
        lines.append(f"  {name:18}{row['n']:>6}  {_percent(row['share'])}")
    lines.append("The nine attributes together, by style, %")
    for name, row in result["by_style"].items():
        lines.append(f"  {name:18}{row['n']:>6}  {_percent(row['share'])}")
    return lines + _confusion_lines(result["confusions"])


def _autoencoder_table(result: dict) -> list[str]:
    lines = ["Held-out paintings through the autoencoder", f"  {'style':18}{'n':>6}   PSNR   SSIM"]
    for name, row in result.items():
        lines.append(f"  {name:18}{row['n']:>6}  {row['psnr']:5.2f}  {row['ssim']:.3f}")
    return lines


def _kid_table(result: dict) -> list[str]:
    def line(name: str, key: str) -> str:
        halves = result[f"{key}_of_halves"]
        return f"  {name:32}{result[key]:9.4f}  (halves: +- {halves['deviation']:.4f})"

    return [
        "Kernel distance in the judge's features (unbiased, cubic kernel); less is closer",
        line("generated against paintings", "kid"),
        line("paintings against paintings", "floor"),
    ]


def _clip_table(result: dict) -> list[str]:
    lines = ["CLIP score, 100 x cosine of picture and prompt"]
    for name, row in result.items():
        lines.append(f"  {name:18}{row['mean']:6.2f} +- {row['interval']:.2f}")
    return lines


def _diversity_table(result: dict) -> list[str]:
    lines = ["Mean distance of two pictures of one description", f"  {'':12}features  pixels"]
    for name, row in result.items():
        lines.append(f"  {name:12}{row['features']:8.3f}  {row['pixels']:6.3f}")
    return lines


def _memory_table(result: dict) -> list[str]:
    lines = [f"Distance to the nearest of {result['training']:,} training portraits"]
    lines.append(f"  {'':24}least    1 %  median")
    for space in ("features", "pixels"):
        for who in ("generated", "held_out"):
            row = result[space][who]
            values = "  ".join(f"{row[k]:5.3f}" for k in ("least", "1%", "median"))
            lines.append(f"  {space:10}{who:12}  {values}")
        lines.append(f"  {space:10}ratio of medians    {result[space]['ratio_of_medians']:.3f}")
        pairs = [f"{p['prompt']}-{p['training']} ({p['distance']:.3f})"
                 for p in result[space]["closest"]]  # fmt: skip
        lines.append(f"  {space:10}closest, prompt-training: {', '.join(pairs)}")
    lines.append(f"  copied (nearer than half the least of held-out paintings): {result['copied']}")
    return lines


def _paraphrases_table(result: dict) -> list[str]:
    plain, free = result["template"], result["paraphrased"]
    lines = ["Prompts in people's own words, %", f"  {'attribute':18}{'n':>6}  template  own words"]
    for name, row in plain.items():
        if row["n"]:
            share = f"{_percent(row['share'])}     {_percent(free[name]['share'])}"
            lines.append(f"  {name:18}{row['n']:>6}     {share}")
    each = result["loss_per_sentence"]
    lines.append(
        f"  loss: {result['loss_points']:.1f} points; by sentence "
        f"{each['mean']:.1f} +- {each['interval']:.1f}"
    )
    return lines + [f"  {row['loss']:5.1f}  {row['sentence']}" for row in result["worst"]]


_TABLES = {
    "judge": _judge_table,
    "attributes": _attributes_table,
    "autoencoder": _autoencoder_table,
    "kid": _kid_table,
    "clip": _clip_table,
    "diversity": _diversity_table,
    "memory": _memory_table,
    "paraphrases": _paraphrases_table,
}
