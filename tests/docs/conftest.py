"""Copies of the project for the tests of pages."""

import pytest
from checkouts import Checkout, new_checkout


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    """A copy for one test."""
    return new_checkout(tmp_path)


@pytest.fixture(scope="module")
def shared_checkout(tmp_path_factory) -> Checkout:
    """A copy for tests that leave nothing behind."""
    return new_checkout(tmp_path_factory.mktemp("checkout"))
