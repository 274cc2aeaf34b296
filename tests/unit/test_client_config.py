"""Settings: typed, and clear about what is wrong."""

from pathlib import Path

import pytest

from tensorfleet.config import STORE_VARIABLES, settings, span
from tensorfleet.errors import InvalidRequest
from tensorfleet.sdk.processes import environment


def test_nothing_said_is_the_folder_here() -> None:
    found = settings({})
    assert (found.home, found.server, found.log_level) == (Path.cwd() / ".tensorfleet", "", "info")
    assert (found.documents, found.objects) == ("", "")


def test_what_is_said_is_typed(tmp_path: Path) -> None:
    given = {"TENSORFLEET_HOME": str(tmp_path), "TENSORFLEET_SERVER": "a:1,b:2", "TENSORFLEET_LOG_LEVEL": "DEBUG"}
    found = settings(given)
    assert (found.home, found.server, found.log_level) == (tmp_path, "a:1,b:2", "debug")


def test_every_bad_variable_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = {
        "TENSORFLEET_HOME": str(tmp_path / "file"),
        "TENSORFLEET_SERVER": "nowhere",
        "TENSORFLEET_LOG_LEVEL": "loud",
        "MONGODB_URL": "127.0.0.1:27017",
        "OBJECTS_URL": "ftp://host/objects",
    }
    with pytest.raises(InvalidRequest) as told:
        settings(given)
    assert {each.field for each in told.value.violations} == set(given)


@pytest.mark.parametrize(
    ("url", "database", "documents"),
    [
        ("mongodb://h", "", "mongodb://h/tensorfleet"),
        ("mongodb://h:1,i:2/?replicaSet=r", "", "mongodb://h:1,i:2/tensorfleet?replicaSet=r"),
        ("mongodb+srv://h/own", "", "mongodb+srv://h/own"),
        ("mongodb://h/own", "other", "mongodb://h/other"),
        # Whose password it is does not change with the database.
        ("mongodb://u:p%40@h", "", "mongodb://u:p%40@h/tensorfleet?authSource=admin"),
        ("mongodb://u:p@h/own", "other", "mongodb://u:p@h/other?authSource=own"),
        ("mongodb://u:p@h/?authSource=x", "other", "mongodb://u:p@h/other?authSource=x"),
        ("mongodb://u:p@h/?tls=true&authMechanism=PLAIN", "a", "mongodb://u:p@h/a?tls=true&authMechanism=PLAIN"),
    ],
)
def test_a_mongodb_and_its_database(url: str, database: str, documents: str) -> None:
    assert settings({"MONGODB_URL": url, "MONGODB_DB": database}).documents == documents
    assert settings({"MONGODB_DB": "alone"}).documents == ""


@pytest.mark.parametrize(
    ("objects", "found"),
    [
        ("gridfs://", "gridfs+srv://u:p@h/fleet?authSource=admin"),
        ("gridfs://i:2/own", "gridfs://i:2/own"),
        ("gridfs+srv://u:p@i", "gridfs+srv://u:p@i/tensorfleet?authSource=admin"),
        ("file:///var/objects", "file:///var/objects"),
        ("s3://bucket/a%20fleet", "s3://bucket/a%20fleet"),
        ("", ""),
    ],
)
def test_where_objects_are(objects: str, found: str) -> None:
    given = {"MONGODB_URL": "mongodb+srv://u:p@h", "MONGODB_DB": "fleet", "OBJECTS_URL": objects}
    assert settings(given).objects == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"S3_BUCKET": "fleet"}, "s3://fleet"),
        ({"S3_BUCKET": "fleet", "S3_PREFIX": "/a b/c/"}, "s3://fleet/a%20b/c"),
        ({"S3_BUCKET": "fleet", "S3_ENDPOINT_URL": "http://h:1"}, "s3://fleet?endpoint=http%3A%2F%2Fh%3A1"),
        (
            {"S3_BUCKET": "fleet", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "other"},
            "s3://fleet?region=eu-west-1",
        ),
        ({"S3_BUCKET": "fleet", "S3_ADDRESSING_STYLE": "virtual"}, "s3://fleet?addressing=virtual"),
        ({"S3_BUCKET": "fleet", "OBJECTS_URL": "file:///objects"}, "file:///objects"),
        (
            {
                "OBJECTS_URL": "s3://mine?region=eu-west-1",
                "S3_BUCKET": "fleet",
                "AWS_REGION": "x",
                "S3_ENDPOINT_URL": "http://h",
            },
            "s3://mine?endpoint=http%3A%2F%2Fh&region=eu-west-1",
        ),
        ({"S3_ENDPOINT_URL": "http://h:1"}, ""),
    ],
)
def test_a_bucket(given: dict[str, str], found: str) -> None:
    assert settings(given).objects == found


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        ("S3_BUCKET", {"S3_BUCKET": "A bucket"}),
        ("OBJECTS_URL", {"OBJECTS_URL": "s3://key:hunter2@bucket"}),
        ("OBJECTS_URL", {"OBJECTS_URL": "s3://bucket?secret=hunter2"}),
        ("S3_ENDPOINT_URL", {"S3_BUCKET": "fleet", "S3_ENDPOINT_URL": "localhost:9000"}),
        ("S3_ENDPOINT_URL", {"S3_BUCKET": "fleet", "S3_ENDPOINT_URL": "http://u:hunter2@h"}),
        ("S3_ADDRESSING_STYLE", {"S3_BUCKET": "fleet", "S3_ADDRESSING_STYLE": "no"}),
        ("MONGODB_URL", {"MONGODB_URL": "http://u:hunter2@h"}),
        ("MONGODB_URL", {"MONGODB_URL": "mongodb://u:hunter2@"}),
        ("MONGODB_URL", {"MONGODB_URL": "mongodb://u:hun/ter2@h"}),
        ("MONGODB_DB", {"MONGODB_URL": "mongodb://u:hunter2@h", "MONGODB_DB": "a.b"}),
        ("OBJECTS_URL", {"OBJECTS_URL": "gridfs://"}),
        ("OBJECTS_URL", {"OBJECTS_URL": "gridfs://u:hunter2@h/a.b"}),
        ("OBJECTS_URL", {"OBJECTS_URL": "/var/objects"}),
    ],
)
def test_stores_that_cannot_be_name_their_variable_and_no_password(variable: str, given: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as told:
        settings(given)
    assert [each.field for each in told.value.violations] == [variable]
    assert "hun" not in str(told.value)


def test_workers_are_not_told_where_things_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STORE_VARIABLES:
        monkeypatch.setenv(name, "mongodb://u:hunter2@h")
    assert not set(STORE_VARIABLES) & environment("worker").keys()
    assert set(STORE_VARIABLES) < environment("orchestrator").keys()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("1.5 min", 90), ("2h", 7200), (" 7d ", 604_800)],
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "2 weeks", "1h30", "nan", "1e3", "2H"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s"):
        span(text)
