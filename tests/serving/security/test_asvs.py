"""The rules of OWASP's Application Security Verification Standard 5.0 that this API promises, each as a test.

`WHERE` says for each rule which test shows it. Here are those of chapters 3 and 14, on what browsers are told; beside
them `test_asvs_input` and `test_asvs_tokens`. They go over every route that the app has.
"""

import re
from pathlib import Path

import httpx
import pytest

from tests.serving.security.table import RULES, Cast, Rule, ask, operations

ACCESS = "matinee_access"  # the access cookie's name without HTTPS
TESTS = Path(__file__).parents[2]
HERE = "serving/security/test_asvs.py"
INPUT = "serving/security/test_asvs_input.py"
TOKENS = "serving/security/test_asvs_tokens.py"
MATRIX = "serving/security/test_matrix.py::test_a_route_answers_each_role_as_the_table_says"
ATTACKS = "serving/security/test_attacks.py::test_no_attempt_without_the_right_succeeds"

# Rule of ASVS 5.0 -> the tests (file::function) that show it.
WHERE: dict[str, tuple[str, ...]] = {
    "1.2.4 no SQL injection": (f"{INPUT}::test_strings_stay_strings",),
    "1.3.6 no request forgery from the server": ("matinee/test_addresses.py::test_nothing_inside_is_reached_directly",),
    "2.2.1 what is not in the schema has no effect": (f"{INPUT}::test_fields_that_nobody_asked_for_change_nothing",),
    "3.4.1-3.4.6 headers of browsers' defences": (f"{HERE}::test_every_answer_carries_the_headers_of_defence",),
    "3.5.1 no request forgery across sites": (f"{HERE}::test_a_cookie_alone_changes_nothing_from_another_site",),
    "4.1.4 only methods that are meant": (f"{INPUT}::test_methods_that_are_not_meant_are_refused",),
    "4.2.1 one request is one request": (f"{INPUT}::test_lines_cannot_be_smuggled_into_headers",),
    "6.1.1 guessing locks no owner out": (
        "serving/test_accounts_guessing.py::test_guessing_from_everywhere_gets_one_guess_an_address_and_the_owner_in",
    ),
    "6.2.1, 6.2.8, 6.2.9 length of passwords": (
        "serving/test_accounts.py::test_long_and_unicode_passwords_count_whole",
        "serving/test_accounts_guessing.py::test_a_hash_counts_every_character",
    ),
    "6.2.4, 6.2.12 passwords that are known": (
        "serving/test_accounts_guessing.py::test_what_is_guessed_first_is_refused",
        "serving/test_accounts_guessing.py::test_leaked_passwords_are_asked_for_by_five_digits_and_pass_where_nobody_answers",
    ),
    "6.3.1 guessing is limited": (
        "serving/test_accounts_guessing.py::test_ten_wrong_passwords_from_an_address_and_no_more",
        "serving/test_profiles.py::test_guessing_pins_is_limited_even_at_once",
        "serving/test_limits.py::test_guesses_at_once_do_not_slip_through",
    ),
    "6.3.8 nobody learns who has an account": (f"{TOKENS}::test_a_login_tells_nothing_of_who_has_an_account",),
    "6.5.1, 6.5.5 codes open once and not for long": (
        "serving/test_accounts_credentials.py::test_a_second_factor_takes_each_code_once",
        "serving/test_accounts_credentials.py::test_codes_cannot_be_guessed_and_the_secret_is_sealed",
    ),
    "7.2.3 session tokens are random": (f"{TOKENS}::test_tokens_are_long_random_and_not_kept",),
    "7.2.4, 7.4.1 an ended session opens nothing within a second": (
        "serving/test_tokens.py::test_what_one_process_ends_no_other_serves_a_second_later",
        "serving/test_accounts.py::test_what_was_given_out_before_a_logout_opens_nothing_more",
    ),
    "7.3.1, 10.4.5 a refresh token opens once": (
        "serving/test_tokens.py::test_fifty_refreshes_at_once_end_with_one_token_and_a_late_one_ends_the_session",
    ),
    "7.4.3, 7.5.2 sessions are listed and ended": (
        "serving/test_accounts_credentials.py::test_another_ones_session_is_not_there_and_all_others_end_at_once",
    ),
    "7.5.1 who one is is asked again": (
        "serving/security/test_matrix.py::test_what_changes_how_one_signs_in_asks_again_who_one_is",
    ),
    "8.2.1 functions by role": (MATRIX, "serving/security/test_matrix.py::test_every_route_is_in_the_table"),
    "8.2.2 objects by owner": (MATRIX, ATTACKS),
    "8.2.3 fields by role": (f"{INPUT}::test_fields_that_nobody_asked_for_change_nothing",),
    "9.1.1-9.2.4 tokens are genuine, timely, ours and of the right kind": (
        f"{TOKENS}::test_a_forged_token_opens_nothing",
    ),
    "11.4.2 passwords are kept as Argon2id": (
        "serving/test_accounts.py::test_passwords_are_kept_as_argon2id_and_refresh_tokens_as_hashes",
    ),
    "13.4.2 no debug output": ("serving/test_app.py::test_a_defect_answers_500_and_tells_only_the_log",),
    "14.2.1 no secrets in addresses": (f"{HERE}::test_no_address_takes_a_secret",),
    "14.3.2 private answers are not stored": (f"{HERE}::test_private_answers_are_not_stored",),
    "15.3.3 bodies that no parser survives": (f"{INPUT}::test_bodies_that_are_no_bodies",),
    "16.2.5 secrets are not logged": ("serving/test_logs.py::test_a_request_is_a_line_of_json_without_secrets",),
    "16.3.1-16.4.2 deeds are logged, and the log cannot be changed": (
        "matinee/test_audit_log.py::test_a_row_that_was_changed_removed_or_moved_is_found",
    ),
}


@pytest.mark.parametrize("rule", WHERE)
def test_each_rule_has_its_tests(rule: str) -> None:
    for node in WHERE[rule]:
        path, _, name = node.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), node


@pytest.fixture(scope="module")
def people(world) -> Cast:
    return Cast(world)


def test_a_cookie_alone_changes_nothing_from_another_site(world) -> None:
    """3.5.1-3.5.3: an unsafe request with cookies needs the page's own origin."""
    me, through = world.person("admin"), []
    unsafe = [rule for rule in RULES.values() if rule.method in ("POST", "PUT", "PATCH", "DELETE") and rule.refused]
    assert len(unsafe) > 5
    for origin in (None, "https://evil.example", "null", world.url + ".evil.example", "http://127.0.0.1", ""):
        with world.browser() as browser:
            browser.cookies.set(ACCESS, me.access)
            del browser.headers["origin"]
            for rule in unsafe:
                url = re.sub(r"\{\w+\}", "otters", rule.path)
                headers = {} if origin is None else {"origin": origin}
                answer = browser.request(rule.method, url, json=rule.body, headers=headers)
                if (answer.status_code, answer.json()["code"] if answer.content else "") != (403, "cross_site"):
                    through.append(f"{rule.name} from {origin}: {answer.status_code} {answer.text[:100]}")
    assert not through, "\n".join(through)


# What is the same for everybody may be kept by browsers and by the gateway.
SHAREABLE = {"/", "/static", "/api/docs", "/media-posters/{title_id}.jpg", "/api/openapi.json"}


@pytest.fixture(scope="module")
def answers(people) -> list[tuple[Rule, str, httpx.Response]]:
    """What every route answers to a viewer and to nobody."""
    heard = []
    for rule in RULES.values():
        for role in ("viewer", "anonymous"):
            heard.append((rule, role, ask(people, rule, role)))
            if rule.kind == "spends":
                people.spend(role)
    return heard


def test_private_answers_are_not_stored(answers) -> None:
    """14.3.2: of what belongs to one viewer nothing stays in a cache that others read."""
    for rule, role, answer in answers:
        cached = answer.headers["cache-control"]
        if rule.path not in SHAREABLE and rule.method == "GET":
            assert "no-store" in cached or cached.startswith("private"), f"{rule.name} as {role}: {cached}"


def test_every_answer_carries_the_headers_of_defence(answers) -> None:
    """3.4.1-3.4.8: successes and errors alike."""
    for rule, _, answer in answers:
        told = answer.headers
        policy = told["content-security-policy"]
        assert "object-src 'none'" in policy or "default-src 'none'" in policy, rule.name
        assert "base-uri 'none'" in policy, rule.name
        assert "frame-ancestors 'none'" in policy, rule.name
        assert told["x-content-type-options"] == "nosniff", rule.name
        # A form that is no script's has to tell its origin, which goes to this site alone.
        assert told["referrer-policy"] == ("same-origin" if rule.kind == "sandbox" else "no-referrer"), rule.name
        assert "server" not in told or "/" not in told["server"], f"{rule.name}: {told['server']}"
        for cookie in told.get_list("set-cookie"):
            assert "httponly" in cookie.lower(), rule.name
            assert "samesite=strict" in cookie.lower(), rule.name


def test_no_address_takes_a_secret() -> None:
    """14.2.1: passwords, tokens and PINs are in bodies, headers and cookies; only media addresses carry a token, which
    opens nothing without the browser's cookie."""
    secret = re.compile(r"passw|token|secret|pin$|code$|cookie", re.IGNORECASE)
    named = {
        (path, parameter["name"])
        for _, path, operation, _ in operations()
        for parameter in operation.get("parameters", ())
        if parameter["in"] in ("path", "query") and secret.search(parameter["name"])
    }
    # What a television shows on its screen for everybody in the room.
    assert named <= {("/api/auth/tv/{user_code}", "user_code")}
    assert {rule.path for rule in RULES.values() if "{token}" in rule.path} == {
        "/v/{token}/{title_id}/{package_id}/{name:path}"
    }


def test_a_browser_hears_no_address_of_another_host(world) -> None:
    """The host that a request names is never believed: media addresses are below this server, whatever it is called."""
    me = world.person()
    with httpx.Client(base_url=world.url) as browser:
        headers = {
            **me.headers,
            "host": "evil.example",
            "x-forwarded-host": "evil.example",
            "forwarded": "host=evil.example",
        }
        answer = browser.post("/api/watch/otters", json={}, headers=headers)
    assert answer.status_code == 200
    assert "evil.example" not in answer.text
