import psycopg

from matinee.settings import Settings


def test_each_test_has_a_migrated_database(settings: Settings) -> None:
    with psycopg.connect(settings.database()) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM migration ORDER BY name")]
    assert names[0] == "0001_foundation"
