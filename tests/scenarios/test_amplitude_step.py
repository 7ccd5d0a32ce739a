"""The steps that call Amplitude and Braze, and mutants of the simulator that it meets, as `wavetank check` plays them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scenarios import mutants, packs
from scenarios.packs import BadPack, Scenario
from scenarios.runner import Plan, Pool, Result

RULE = "CUR-087"
UPLOAD = {"events": [{"user_id": "someone", "event_type": "a"}]}
SEARCH = {"path": "/api/2/usersearch", "query": {"user": "someone"}, "auth": "basic"}


def scenarios(folder: Path, **steps: list[Any]) -> list[Scenario]:
    """One scenario for each list of steps, read as any pack is."""
    made = [
        {
            "id": name,
            "title": name,
            "connector": "none",
            "rules": [RULE],
            "when": when,
            "then": [{"answers": {"status": "2xx"}}],
        }
        for name, when in steps.items()
    ]
    (folder / "pack").mkdir(exist_ok=True)
    (folder / "pack" / "file.yaml").write_text(yaml.safe_dump({"group": "g", "scenarios": made}), "utf-8")
    return packs.load(folder)


def played(orders: list[tuple[Scenario, Plan]]) -> list[Result]:
    """All by one worker process, in order."""
    with Pool(1) as pool:
        found = {(scenario.id, plan.mutant): result for scenario, plan, result in pool.play(orders)}
    return [found[scenario.id, plan.mutant] for scenario, plan in orders]


def test_saving_repeating_and_judging(tmp_path: Path) -> None:
    saved = {**SEARCH, "save": {"who": "/body/matches/0/amplitude_id"}}
    again = {**SEARCH, "query": {"user": "${who}"}, "expect": {"at": {"/matches/0/amplitude_id": "${who}"}}}
    given = scenarios(
        tmp_path,
        good=[{"amplitude": UPLOAD}, {"amplitude": saved}, {"amplitude": again}],
        wrong=[{"amplitude": UPLOAD}, {"amplitude": {**SEARCH, "key": "wrong", "expect": {"status": 200}}}],
        unsaved=[{"amplitude": saved}, {"amplitude": again}],
        unknown=[{"amplitude": again}],
        paused=[
            {"amplitude": {**UPLOAD, "times": 3, "pause": "1h", "save": {"at": "/body/server_upload_time"}}},
            {"control": {"method": "GET", "path": "/clock/now", "expect": {"body": {"epoch_ms": "${at}"}}}},
        ],
    )
    good, wrong, unsaved, unknown, paused = played([(each, Plan(pictures=False)) for each in given])
    assert (good.verdict, paused.verdict) == ("kept", "kept")
    assert wrong.verdict == "broken"
    assert wrong.failures[0]["text"] == "status of the answer"
    # What an answer lacks is a failure of the scenario's rules; what no step saves is a fault of the scenario.
    assert (unsaved.verdict, unsaved.rules) == ("broken", {RULE: "broken"})
    assert "/matches/0/amplitude_id" in unsaved.failures[0]["text"]
    assert unknown.verdict == "not_proven"


def test_an_expectation_of_a_step_names_rules_of_its_scenario(tmp_path: Path) -> None:
    with pytest.raises(BadPack, match="CUR-088"):
        scenarios(tmp_path, bad=[{"amplitude": {**UPLOAD, "expect": {"status": 200, "rule": "CUR-088"}}}])
    with pytest.raises(BadPack, match=r"scenario\.schema\.json"):
        scenarios(tmp_path, bad=[{"amplitude": {**UPLOAD, "expects": {"status": 200}}}])


def test_braze_is_called_by_the_same_mechanism(tmp_path: Path) -> None:
    track = {"path": "/users/track", "json": {"attributes": [{"external_id": "p{n}"}]}}
    cohort = {
        "path": "/partners/amplitude/cohorts",
        "json": {"cohort_id": "c", "name": "C", "created_at": "2026-01-01"},
    }
    given = scenarios(
        tmp_path,
        keys=[
            {"braze": {**track, "key": "wrong", "expect": {"status": 401}}},
            {"braze": {**track, "key": "none", "expect": {"body": {"message": "Invalid API Key"}}}},
            {"braze": {**cohort, "expect": {"status": 401}}},
            {"braze": {**cohort, "auth": "partner", "key": "none"}},
        ],
        padded=[{"braze": {**track, "pad": 5_000_000, "expect": {"status": 413}}}, {"braze": track}],
        often=[
            {"braze": {**track, "times": 3, "pause": "1h"}},
            {
                "control": {
                    "method": "GET",
                    "path": "/clock/now",
                    "expect": {"at": {"/epoch_ms": 1767225600000 + 7200000}},
                }
            },
            {"braze": {**track, "times": 5, "at_once": True}},
            {"advance": "1s"},
            {"expect": [{"braze_users": {"count": 5}}]},
        ],
        wrong=[{"braze": {**track, "expect": {"status": 200}}}],
    )
    *kept, wrong = played([(each, Plan(pictures=False)) for each in given])
    assert [each.verdict for each in kept] == ["kept", "kept", "kept"]
    assert wrong.verdict == "broken"
    with pytest.raises(BadPack, match=r"scenario\.schema\.json"):
        scenarios(tmp_path, bad=[{"braze": {**track, "region": "other"}}])


def test_a_mutant_of_a_view_plays_in_a_lab_of_its_own_and_is_gone_afterwards() -> None:
    ids = {each.id: each for each in packs.load()}
    hours, links = ids["amp-export-hours"], ids["amp-cohort-link"]
    broken, kept, also_broken, also_kept = played(
        [
            (hours, Plan(mutant="amp-end-excluded", pictures=False)),
            (hours, Plan(pictures=False)),
            (links, Plan(mutant="amp-link-for-an-hour", pictures=False)),
            (links, Plan(pictures=False)),
        ]
    )
    view, default = mutants.find("amp-end-excluded"), mutants.find("amp-link-for-an-hour")
    assert broken.verdict == "broken"
    assert all(broken.rules[rule] == "broken" for rule in view.rules)
    assert also_broken.verdict == "broken"
    assert all(also_broken.rules[rule] == "broken" for rule in default.rules)
    assert (kept.verdict, also_kept.verdict) == ("kept", "kept")


@pytest.mark.parametrize(("prefix", "pack", "least"), [("AMP-", "amplitude", 60), ("BRZ-", "braze", 250)])
def test_rules_of_a_platform_are_the_simulator_s_and_need_no_connector(prefix: str, pack: str, least: int) -> None:
    from scenarios.rulebook import rules

    mine = [rule for rule in rules().values() if rule.id.startswith(prefix)]
    assert len(mine) >= least
    assert {rule.scope for rule in mine} == {"simulator"}
    assert all(not each.connector for each in packs.load() if each.pack == pack)
