"""How the tables of bits and of prediction are made from recorded titles."""

import pytest

from benchmarks.transcoding import bits, probes


def rung(kbps: float, vmaf: float, codec: str = "h264", error: float = 0.0) -> dict:
    return {"codec": codec, "kbps": kbps, "vmaf": vmaf, "predicted_kbps": kbps * 1.1, "predicted_vmaf": vmaf + error}


def title(name: str, rungs: list[dict], fixed: list[dict], lines: int = 1080) -> dict:
    cpu = {"probes_h264": 50.0, "ladder_h264": 20.0, "cuts_per_s": 0.01}
    shape = {"size": [lines * 16 // 9, lines], "seconds": 10.0, "sampled_s": 10.0, "cpu_s": cpu}
    return {"name": name, "rungs": rungs, "fixed": fixed} | shape


FIXED = [rung(8000, 98), rung(1000, 80), rung(145, 40)]
OURS = [rung(4000, 96), rung(1000, 85), rung(150, 50), rung(3000, 96, "av1"), rung(900, 86, "av1")]


def by_name(rows: list[dict]) -> dict[str, dict]:
    return {row["name"]: row for row in rows}


def test_viewers_take_the_best_rung_that_their_bandwidth_bears() -> None:
    rows = by_name(bits.rows([title("a", OURS, FIXED)]))
    # Half of the viewers have 6000 kbit/s for the picture; 8000 of log-normal(6000, 0.8) is at 0.64, 1000 at 0.013.
    fixed = rows["delivered, H.264, all clips"]["reference"]
    assert fixed == pytest.approx(0.36 * 8000 + 0.628 * 1000 + 0.012 * 145, rel=0.02)
    assert rows["delivered, H.264, all clips"]["value"] == pytest.approx(0.694 * 4000 + 0.293 * 1000 + 2, rel=0.02)
    assert rows["delivered, AV1 above, all clips"]["value"] == pytest.approx(0.807 * 3000 + 0.184 * 900 + 2, rel=0.02)
    assert rows["stored, H.264, all clips"]["ratio"] == pytest.approx(5150 / 9145, abs=0.001)
    assert rows["VMAF lost, H.264, all clips"]["value"] < 0
    assert rows["VMAF lost, H.264, all clips"]["holds"]
    assert not rows["delivered, H.264, all clips"]["holds"]


def test_goals_are_for_large_clips_and_the_flattered_one_is_also_left_out() -> None:
    rows = by_name(
        bits.rows([title("tos_wave", OURS[:1], FIXED), title("b", FIXED, FIXED), title("c", OURS, FIXED, 360)])
    )
    assert rows["delivered, H.264, without tos_wave"]["ratio"] == 1.0
    assert rows["delivered, H.264, all clips"]["ratio"] != 1.0
    assert rows["delivered, H.264, under 720 lines"]["goal"] is None
    assert bits.rows([]) == []


def test_prediction_errors_and_costs() -> None:
    rungs = [rung(1000, 90, error=number / 10) for number in range(11)]
    rows = by_name(probes.rows([title("a", rungs, FIXED)]))
    assert rows["prediction error of VMAF, p50, 11 rungs"]["value"] == pytest.approx(0.5)
    assert rows["prediction error of VMAF, p90, 11 rungs"]["value"] == pytest.approx(0.9)
    assert rows["prediction error of VMAF, p90, 11 rungs"]["holds"]
    # 48 s of 5 CPU s each and 4500 s of looking for cuts, against 4500 s of a ladder that costs 2 CPU s a second.
    assert rows["probe cost of 75 minutes, a"]["ratio"] == pytest.approx((48 * 5 + 45) / 9000, abs=1e-3)
