"""Locations: every way to write where models lie, and no way out of there."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from modelplex.aws.locations import (
    BadLocation,
    FileLocation,
    Location,
    S3Location,
    join,
    parse_model_data_url,
)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("s3://bucket/models/a/", "models/a/"),
        ("s3://bucket", ""),
        ("s3://bucket/", ""),
        ("s3://bucket/a b%20c.tar.gz", "a b%20c.tar.gz"),
        ("https://s3-us-west-2.amazonaws.com/bucket/models/", "models/"),
        ("https://s3.us-west-2.amazonaws.com/bucket/models/", "models/"),
        ("https://s3.amazonaws.com/bucket/models/", "models/"),
        ("https://s3.dualstack.us-west-2.amazonaws.com/bucket/models/", "models/"),
        ("https://s3.cn-north-1.amazonaws.com.cn/bucket/models/", "models/"),
        ("https://bucket.s3.us-west-2.amazonaws.com/models/", "models/"),
        ("https://bucket.s3-us-west-2.amazonaws.com/models/", "models/"),
        ("https://bucket.s3.amazonaws.com/", ""),
        ("https://bucket.s3.amazonaws.com:443", ""),
        ("https://bucket.s3.cn-north-1.amazonaws.com.cn/models/", "models/"),
        ("https://bucket.s3.amazonaws.com/a%20b/", "a b/"),
    ],
)
def test_every_way_to_write_a_prefix(url: str, key: str) -> None:
    """Path style, host style, old and new, with and without a region."""
    assert parse_model_data_url(url) == S3Location("bucket", key)


def test_a_bucket_may_have_dots() -> None:
    """The bucket is everything before the service's own name, even where that looks alike."""
    assert parse_model_data_url("https://a.b.s3.amazonaws.com/k") == S3Location("a.b", "k")
    assert parse_model_data_url("https://a.s3.s3.us-east-1.amazonaws.com/k") == S3Location(
        "a.s3", "k"
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/models/", "/srv/models"),
        ("file:///srv/m%20x", "/srv/m x"),
        ("file:////srv", "/srv"),
    ],
)
def test_a_folder(url: str, path: str) -> None:
    """A folder of the platform's own machine."""
    assert parse_model_data_url(url) == FileLocation(PurePosixPath(path))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "models/",
        "/srv/models",
        "ftp://bucket/x",
        "s3:/bucket/x",
        "s3://",
        "s3:///key",
        "s3://../x",
        "s3://a..b/x",
        "s3://bucket/\0",
        "s3://bucket/a\nb",
        f"s3://bucket/{'k' * 1025}",
        "http://bucket.s3.amazonaws.com/x",
        "https://example.com/bucket/x",
        "https://s3.amazonaws.com.evil.com/bucket/x",
        "https://s3.amazonaws.com/",
        "https://user@s3.amazonaws.com/bucket/x",
        "https://s3.amazonaws.com:8443/bucket/x",
        "https://bucket.s3.amazonaws.com/x?versionId=1",
        "https://[::1/x",
        "file://srv/models",
        "file:///srv/../etc",
        "file:///srv/%2e%2e/etc",
        "file:///srv/%00",
    ],
)
def test_what_is_no_place(url: str) -> None:
    """The error names the URL, or the part of it, that is wrong."""
    with pytest.raises(BadLocation) as caught:
        parse_model_data_url(url)
    assert caught.value.code == "ValidationException"
    assert caught.value.message


@pytest.mark.parametrize(
    ("location", "target", "place"),
    [
        (S3Location("b", "p/"), "m.tar.gz", S3Location("b", "p/m.tar.gz")),
        (S3Location("b", "p"), "m.tar.gz", S3Location("b", "p/m.tar.gz")),
        (S3Location("b", ""), "sub/m.tar.gz", S3Location("b", "sub/m.tar.gz")),
        (
            FileLocation(PurePosixPath("/srv")),
            "sub/m",
            FileLocation(PurePosixPath("/srv/sub/m")),
        ),
        (S3Location("b", "p/"), "..m..tar", S3Location("b", "p/..m..tar")),
    ],
)
def test_a_target_model_lies_below(location: Location, target: str, place: Location) -> None:
    """One slash between prefix and name, whether or not the prefix ends in one."""
    assert join(location, target) == place


@pytest.mark.parametrize(
    "target",
    ["", "/m", "m/", "a//b", "../m", "a/../../m", "a/..", ".", "./m", "a\\b", "a\0b", "a\nb"],
)
@pytest.mark.parametrize("location", [S3Location("b", "p/"), FileLocation(PurePosixPath("/srv"))])
def test_no_target_model_leads_out(location: Location, target: str) -> None:
    """Neither upwards, nor to the root, nor to the prefix itself, nor through odd characters."""
    with pytest.raises(BadLocation, match="target model"):
        join(location, target)


def test_a_key_has_a_limit() -> None:
    """S3's keys are at most 1,024 bytes long."""
    with pytest.raises(BadLocation, match="1024 bytes"):
        join(S3Location("b", "p" * 1000), "m" * 24)
