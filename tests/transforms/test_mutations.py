"""Every unit test fails when a chosen clause of its model is removed or bent.

One clause of every model is changed at a time: unit tests see nothing of other models but their column types, so all
models of a round can be wrong together, and few dbt runs do for all.
"""

import json
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest

import pytest

from warehouse import dbt


@dataclass(frozen=True)
class Mutation:
    """`clause` stands in the model's file exactly once, `instead` takes its place, `caught_by` must fail."""

    model: str
    clause: str
    instead: str
    caught_by: str


WINS = "int_events_first_receipt_wins"
TOUCHED_EVENTS = "int_events_only_touched_days"
LAST = "int_playback_session_last_counter_wins"
TOUCHED_PLAYBACKS = "int_playback_session_only_touched"
ROOT = "dim_title_item_is_the_root"
COMPLETION = "fct_playback_session_completion"
POSITIVE = "fct_interaction_what_is_positive"
FIRST = "fct_exposure_first_one"
MOMENTS = "mart_experiment_moments_by_hand"
ACTIVITY = "feat_profile_activity_windows"
TASTE = "feat_profile_taste_top_genre"
POPULARITY = "feat_title_popularity_windows"

SERVES = "stg_packages_one_serves_at_a_time"
COMPLEXITY = "int_title_complexity_on_the_line_of_the_two_nearest"
SAVING = "mart_encoding_saving_by_hand"

MUTATIONS = [
    Mutation("stg_events", "cast(event_ts as date)", "cast(received_at as date)", "stg_events_day_of_event_time"),
    Mutation(
        "stg_titles",
        "coalesce(cast(round(duration_ms / 1000.0) as integer), runtime_s)",
        "runtime_s",
        "stg_titles_package_length_wins",
    ),
    Mutation("int_events", "where repetitions.event_id is null", "", WINS),
    Mutation("int_events", "order by received_at, log_id", "order by received_at desc, log_id", WINS),
    Mutation(
        "int_events",
        "received_at, log_id, source_file) as place",
        "received_at, log_id desc, source_file) as place",
        WINS,
    ),
    Mutation("int_events", "and receipts.event_date in (select event_date from touched)", "", TOUCHED_EVENTS),
    Mutation(
        "int_events",
        "    where event_id in (select event_id from repeated)",
        "    where event_date in (select event_date from touched)",
        TOUCHED_EVENTS,
    ),
    Mutation("int_playback_session", "max(coalesce(played_ms, 0)) as played_ms", "sum(played_ms) as played_ms", LAST),
    Mutation("int_playback_session", "title_id is null, event_ts, seq", "event_ts, seq", LAST),
    Mutation("int_playback_session", "where playback_id is not null\n    {% if", "where true\n    {% if", LAST),
    Mutation("int_playback_session", "cast(started_at as date)", "cast(ended_at as date)", LAST),
    Mutation("int_playback_session", "max_by(rendition", "min_by(rendition", LAST),
    Mutation("int_playback_session", "and playback_id in (select playback_id from touched)", "", TOUCHED_PLAYBACKS),
    Mutation("dim_title", "chains.ancestor_id, chains.grandparent_id, ", "", ROOT),
    Mutation(
        "dim_title",
        "select parent_id, packaged_at from chains where kind <> 'extra'",
        "select parent_id, packaged_at from chains",
        ROOT,
    ),
    Mutation("dim_title", "min(packaged_at)", "max(packaged_at)", ROOT),
    Mutation("fct_playback_session", "900 *", "990 *", COMPLETION),
    Mutation("fct_playback_session", "coalesce(titles.item_id, playbacks.title_id)", "titles.item_id", COMPLETION),
    Mutation("fct_playback_session", "left join titles", "inner join titles", COMPLETION),
    Mutation("fct_interaction", "playbacks.played_ms >= 100 *", "playbacks.played_ms > 100 *", POSITIVE),
    Mutation("fct_interaction", "rate_value >= 3.5", "rate_value > 3.5", POSITIVE),
    Mutation("fct_interaction", "where event_type in ('rate', 'favourite')", "", POSITIVE),
    Mutation("fct_interaction", "when titles.runtime_s is not null then", "when true then", POSITIVE),
    Mutation("fct_exposure", "where ranked.place = 1", "", FIRST),
    Mutation("fct_exposure", "count(distinct exposure_variant)", "count(exposure_variant)", FIRST),
    Mutation("fct_exposure", "partition by exposure_experiment, account_key", "partition by account_key", FIRST),
    Mutation("mart_title_day", "count(distinct profile_key)", "count(profile_key)", "mart_title_day_sums"),
    Mutation("mart_title_day", "where title_id is not null", "", "mart_title_day_sums"),
    Mutation("mart_title_week", "views desc nulls last, ", "", "mart_title_week_ranks_by_views"),
    Mutation(
        "mart_title_week",
        "date_trunc('week', event_date)",
        "date_trunc('month', event_date)",
        "mart_title_week_ranks_by_views",
    ),
    Mutation("mart_experiment_moments", "where variants_seen = 1", "", MOMENTS),
    Mutation(
        "mart_experiment_moments", "        and playbacks.started_at >= units.first_exposed_at\n\n)", ")", MOMENTS
    ),
    Mutation("mart_experiment_moments", "interval '14' day", "interval '15' day", MOMENTS),
    Mutation("mart_experiment_moments", "case when unit = 1 then 0 else ms_before end", "ms_before", MOMENTS),
    Mutation("mart_experiment_moments", "sum(y * y - y_was * y_was)", "sum((y - y_was) * (y - y_was))", MOMENTS),
    Mutation("stg_packages", "where state <> 'failed'", "", SERVES),
    Mutation("stg_packages", "row_number() over first_to_last > 1", "true", SERVES),
    Mutation("stg_package_rungs", "rung.vmaf as", "rung.height as", "stg_package_rungs_one_row_each"),
    Mutation("int_title_complexity", "where codec = 'h264' and", "where", COMPLEXITY),
    Mutation("int_title_complexity", "sum(kbps * weight) / sum(weight)", "avg(kbps)", COMPLEXITY),
    Mutation("int_title_complexity", "least(step, ln(4))", "step", COMPLEXITY),
    Mutation("int_title_complexity", "and points.height = largest.height", "", COMPLEXITY),
    Mutation("mart_encoding_saving", "min(kbps)", "max(kbps)", SAVING),
    Mutation("mart_encoding_saving", "and bits > 0", "", SAVING),
    Mutation("mart_encoding_saving", "started_at < packages", "started_at <= packages", SAVING),
    Mutation("mart_encoding_saving", "rungs.height,\n", "", SAVING),
    Mutation("mart_encoding_saving", "else 0 end as from_height", "else height end as from_height", SAVING),
    Mutation("feat_profile_activity", "range between 6 preceding", "range between 7 preceding", ACTIVITY),
    Mutation("feat_profile_activity", "range between 29 preceding", "range between 30 preceding", ACTIVITY),
    Mutation("feat_profile_taste", "where is_positive", "", TASTE),
    Mutation("feat_profile_taste", "profile_days.day - 89", "profile_days.day - 890", TASTE),
    Mutation(
        "feat_profile_taste", "interactions.item_id = titles.title_id", "interactions.title_id = titles.title_id", TASTE
    ),
    Mutation(
        "feat_title_popularity",
        "coalesce(lead(day) over (partition by item_id, profile_key order by day), day + 30)",
        "day + 30",
        POPULARITY,
    ),
    Mutation("feat_title_popularity", "range between 13 preceding", "range between 6 preceding", POPULARITY),
    Mutation(
        "feat_title_popularity",
        "select item_id, until_day, -1 from viewings",
        "select item_id, until_day, 0 from viewings",
        POPULARITY,
    ),
    Mutation(
        "feat_title_content",
        "least(titles.created_at",
        "greatest(titles.created_at",
        "feat_title_content_known_before_it_is_used",
    ),
]


def rounds():
    """Lists of mutations with every model at most once."""
    by_model = defaultdict(list)
    for mutation in MUTATIONS:
        by_model[mutation.model].append(mutation)
    return [[m for m in together if m] for together in zip_longest(*by_model.values())]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("mutants") / "transforms"
    shutil.copytree(dbt.PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    return copy


def test_every_unit_test_has_a_mutation(empty):
    manifest = json.loads(dbt.parse(empty).read_text())
    assert {test["name"] for test in manifest["unit_tests"].values()} == {m.caught_by for m in MUTATIONS}


@pytest.mark.parametrize("together", rounds(), ids=lambda together: f"{len(together)}-models")
def test_unit_tests_catch(empty, project, together):
    for mutation in together:
        path = next(project.rglob(f"{mutation.model}.sql"))
        original = next(dbt.PROJECT.rglob(f"{mutation.model}.sql")).read_text()
        assert original.count(mutation.clause) == 1, (
            f"{mutation.clause!r} stands {original.count(mutation.clause)} times"
        )
        path.write_text(original.replace(mutation.clause, mutation.instead))
    result = dbt.run(empty, ["test", "--select", *(m.caught_by for m in together)], project=project)
    statuses = {node.name: node.status for node in result.nodes}
    survived = [m for m in together if statuses.get(m.caught_by) != "fail"]
    assert not survived, [(m, statuses.get(m.caught_by)) for m in survived]
