"""Who may call what: every route, six roles, their own object, somebody else's and none (ASVS 5.0, 8.2.1-8.2.3).

The routes come from the app; one that the table does not name fails the test. What nobody foresaw to succeed must not.
"""

import pytest

from serving.app import create_app
from serving.openapi import documented_app
from tests.serving.security.table import ROLES, RULES, Cast, Rule, ask, routes


def test_every_route_is_in_the_table():
    assert routes(documented_app()) == set(RULES), "add what is new to TABLE in table.py, delete what is gone"


@pytest.fixture(scope="module")
def people(world) -> Cast:
    return Cast(world)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: f"{rule.method} {rule.path}")
def test_a_route_answers_each_role_as_the_table_says(rule: Rule, people: Cast) -> None:
    wrong = []
    for role in ROLES:
        # The own object last: the request may take it away.
        for whose in ("none", "other", "own") if len(rule.answers) > 1 else ("own",):
            answer = ask(people, rule, role, whose)
            if answer.status_code not in rule.expected(role, whose):
                wrong.append(
                    f"{role}, {whose}: {answer.status_code}, not {rule.expected(role, whose)}: {answer.text[:200]}"
                )
            if rule.kind == "spends":
                people.spend(role)
    assert not wrong, "\n".join([f"{rule.method} {rule.path}", *wrong])


def test_a_route_beside_the_table_is_found(world) -> None:
    app = create_app(world.settings)
    app.add_api_route("/api/backdoor", lambda: None, methods=["POST"])
    assert routes(app) - set(RULES) == {("POST", "/api/backdoor")}


def test_what_changes_how_one_signs_in_asks_again_who_one_is(world) -> None:
    """7.5.1: a stolen session alone changes no password, e-mail, second factor or PIN, nor erases the account."""
    me = world.person()
    stale = world.context.tokens.issue(me.account_id, me.session_id, "viewer")
    asked_again = []
    with world.browser(headers={"authorization": f"Bearer {stale}"}) as browser:
        for rule in RULES.values():
            url = rule.path.replace("{profile_id}", me.profile_id)
            if rule.who == "fresh":
                answer = browser.request(rule.method, url, json=rule.body)
                assert (answer.status_code, answer.json()["code"]) == (403, "fresh_required"), rule.name
                asked_again.append(rule.path)
    assert {"/api/auth/email", "/api/auth/totp", "/api/profile/pin", "/api/account/erase"} <= set(asked_again)
