"""SECURITY-MODEL.md promises nothing that no test names."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MODEL = TESTS.parents[2] / "SECURITY-MODEL.md"


def test_every_defence_of_the_model_is_named_by_a_test() -> None:
    promised = set(re.findall(r"\bS\d\d\b", MODEL.read_text(encoding="utf-8")))
    assert len(promised) > 20
    others = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    text = "\n".join(path.read_text(encoding="utf-8") for path in others)
    named = {found.upper() for found in re.findall(r"(?<![A-Za-z0-9])[Ss]\d\d(?!\d)", text)}
    assert promised - named == set()
