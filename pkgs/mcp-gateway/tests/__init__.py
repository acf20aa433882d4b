"""Tests of the gateway; a package so that `tests.harness` has one name for pytest and mypy alike."""
