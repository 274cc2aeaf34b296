"""Failures in the shipped suites are told as in any test."""

import pytest

pytest.register_assert_rewrite("tensorfleet.testing.documents", "tensorfleet.testing.objects")
