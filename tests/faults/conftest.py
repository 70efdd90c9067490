"""Faults that take longer than the tests of every day: `make test-faults`."""

from tests.mlops.conftest import demo, empty_database, project

__all__ = ["demo", "empty_database", "project"]
