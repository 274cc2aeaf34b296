"""Failures in the shipped suites are told as in any test."""

import pytest

SUITES = (
    "documents_journal",
    "documents_drawn",
    "documents_queries",
    "documents_crashes",
    "objects_blobs",
    "objects_garbage",
    "objects_names",
)

pytest.register_assert_rewrite(*(f"tensorfleet.testing.{suite}" for suite in SUITES))
