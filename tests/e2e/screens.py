"""What journeys in a browser do alike."""

from typing import Any

PASSWORD = "correct horse"


def register(page: Any, address: str, email: str) -> None:
    """Make an account, in whichever language the page is."""
    page.goto(f"{address}/#/register")
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=country]").fill("DE")
    page.locator("form.form button").click()
    page.wait_for_url("**/#/onboarding")
