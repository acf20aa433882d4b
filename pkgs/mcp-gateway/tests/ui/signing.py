"""The secrets by which a person administers, as tests of the pages type them."""

from argon2 import PasswordHasher

from tests.harness import Gateway

PASSWORD = "correct horse battery staple"


def code_of(gateway: Gateway) -> str:
    """The one-time code that works now."""
    return (gateway.state_dir / "one-time-code").read_text().strip()


def with_password() -> dict[str, object]:
    """The gateway's part of a configuration that asks everybody who they are."""
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    return {"auth": {"password": {"hash": hashed}}}
