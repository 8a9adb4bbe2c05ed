"""The picture's part of a report: figures, rate-quality curve, ladder."""

import html
from collections.abc import Mapping
from typing import Any

from transcoding.fixed import APPLE_H264
from transcoding.report.curve import Curves, Point, draw, fixed_points, hulls, probe_curves
from transcoding.report.words import NOTHING, Text, number, section, table

Facts = Mapping[str, Any]


def treatment(facts: Facts) -> str:
    return str(facts["plan"].get("treatment", "fast"))


def figures(facts: Facts, checks: Facts) -> str:
    """The few numbers that a person looks for first."""
    seconds = round(facts["duration_ms"] / 1000)
    size = sum(rendition["bytes"] for rendition in [*facts["video"], *facts["audio"]])
    broken = sum(f["severity"] == "MUST" and f["state"] == "fail" for f in checks.get("findings", ()))
    entries = [
        (Text("length", "длительность"), f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"),
        (Text("MB altogether", "МБ всего"), number(size / 1e6, 1)),
        (Text("rungs", "ступеней"), number(len(facts["video"]))),
        (Text("VMAF of the top rung", "VMAF верхней ступени"), number(_top_score(facts), 1)),
        (Text("protection", "защита"), html.escape(str(facts.get("protection", "clear")))),
    ]
    if checks:
        entries.append((Text("broken MUST rules", "нарушено правил MUST"), number(broken)))
    cells = "".join(f"<div><b>{value}</b>{name.html()}</div>" for name, value in entries)
    return f'<section class="figures">{cells}</section>'


def _top_score(facts: Facts) -> float | None:
    return max((score for rung in facts["video"] if (score := score_of(rung)) is not None), default=None)


def score_of(rung: Facts) -> float | None:
    """The mean VMAF that was measured on a rung's final segments."""
    told = rung.get("vmaf")
    return told.get("mean") if isinstance(told, Mapping) else told


def _worst(rung: Facts) -> float | None:
    told = rung.get("vmaf")
    return told.get("min") if isinstance(told, Mapping) else None


def curve(facts: Facts) -> str:
    """Rate against quality: probes and their hull where there are any, the rungs, and the fixed ladder."""
    probes = probe_curves(facts.get("probes", ()))
    planned = [
        Point(rung["predicted_kbps"], rung["predicted_vmaf"], rung["name"])
        for rung in facts["plan"]["rungs"]
        if rung.get("predicted_vmaf") is not None and rung.get("predicted_kbps")
    ]
    measured = [Point(max(1, rung["average_bps"] / 1000), score_of(rung), rung["name"]) for rung in facts["video"]]
    top = max(rung["height"] for rung in facts["plan"]["rungs"])
    drawn = draw(Curves(probes, hulls(probes), planned, measured, fixed_points(probes, top)))
    if probes:
        note = Text(
            "Each line is one size at three or more CRFs, the mean over the samples; VMAF at the source's size. "
            "Brown marks on the axis: the rates of Apple's fixed H.264 ladder.",
            "Линия – один размер при трёх и более CRF, среднее по пробам; VMAF в размере исходника. "
            "Коричневые отметки на оси – скорости постоянной лестницы H.264 от Apple.",
        )
    else:
        note = Text(
            "No probes were made for this treatment: the points are the finished rungs. "
            "Brown marks on the axis: the rates of Apple's fixed H.264 ladder.",
            "Для этой обработки проб не делали: точки – готовые ступени. "
            "Коричневые отметки на оси – скорости постоянной лестницы H.264 от Apple.",
        )
    if not drawn:
        nothing = Text("No quality was measured.", "Качество не измерялось.")
        drawn = f"<p><i>{nothing.html()}</i></p>"
    return section(Text("Rate and quality", "Скорость и качество"), note, drawn)


def rungs(facts: Facts) -> str:
    """The ladder: planned beside measured, and what the fixed ladder takes for the same size."""
    planned = {rung["name"]: rung for rung in facts["plan"]["rungs"]}
    head = [
        Text("Rung", "Ступень"), Text("Size", "Размер"), Text("Codec", "Кодек"), Text("CRF", "CRF"),
        Text("kbit/s planned", "кбит/с план"), Text("average", "среднее"), Text("peak", "пик"),
        Text("VMAF planned", "VMAF план"), Text("measured", "измерено"), Text("worst segment", "худший сегмент"),
        Text("MB", "МБ"), Text("Apple, kbit/s", "Apple, кбит/с"),
    ]  # fmt: skip
    body = []
    for rung in facts["video"]:
        plan = planned.get(rung["name"], {})
        body.append(
            [
                rung["name"], f"{rung['width']}×{rung['height']}", str(rung["codec"]), _crf(plan),
                number(plan.get("predicted_kbps")), number(rung["average_bps"] / 1000),
                number(rung["peak_bps"] / 1000), number(plan.get("predicted_vmaf"), 1), number(score_of(rung), 1),
                number(_worst(rung), 1), number(rung["bytes"] / 1e6, 1), _fixed(rung["height"]),
            ]
        )  # fmt: skip
    note = Text(
        "Measured on the final segments against the source.", "Измерено на готовых сегментах относительно исходника."
    )
    return section(Text("Ladder", "Лестница"), note, table(head, body))


def _crf(plan: Facts) -> str:
    return f"{plan['crf']:g}" if "crf" in plan else NOTHING


def _fixed(height: int) -> str:
    return " / ".join(number(kbps) for _, size, kbps in APPLE_H264 if size == height) or NOTHING
