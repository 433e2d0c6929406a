"""docs/conformance.md is of today's rules, all green, and the writer of it tells what is not."""

from __future__ import annotations

from pathlib import Path

from conformance_report import GREEN, NOT_RUN, RED, all_green, report, report_of_another, results
from rules import REAL, RULES, SIMULATED
from subject import ENGINES

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_conformance_document_has_every_rule_of_today_and_is_green() -> None:
    assert DOCUMENT.read_text() == report(all_green()), "run make conformance"


def test_conformance_report_tells_what_failed_and_what_did_not_run() -> None:
    first, second = RULES[0].name, RULES[1].name
    text = report({(first, "ollama", REAL): RED, (second, "ollama", REAL): GREEN})
    rows = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")}
    assert rows[first.replace("_", " ")][:2] == [NOT_RUN, RED]
    assert rows[second.replace("_", " ")][:2] == [NOT_RUN, GREEN]
    assert "1 of " in text


def test_conformance_of_another_ollama_is_a_page_of_its_own_with_the_tests_beside_the_rules(tmp_path: Path) -> None:
    rule = RULES[0].name
    cases = [
        f'<testcase><properties><property name="conformance" value="{rule} ollama real"/></properties></testcase>',
        "<testcase/>",
        "<testcase><failure/></testcase>",
    ]
    (tmp_path / "x.xml").write_text(f"<r>{''.join(cases)}</r>")
    text = report_of_another(tmp_path / "x.xml", "0.33.0", "b10488")
    assert text.startswith("# Conformance of Ollama 0.33.0\n")
    assert "1 of 2 tests hold" in text
    assert "llama.cpp that it names (b10488)" in text
    assert "| rule | Ollama, real 0.33.0 |" in text
    assert f"| {rule.replace('_', ' ')} | {GREEN} |" in text


def test_conformance_results_are_read_from_what_pytest_wrote(tmp_path: Path) -> None:
    def case(rule: str, inside: str) -> str:
        return f'<testcase><properties><property name="conformance" value="{rule} ollama real"/></properties>{inside}</testcase>'

    (tmp_path / "x.xml").write_text(f"<r>{case('a', '')}{case('b', '<failure/>')}{case('c', '<skipped/>')}<testcase/></r>")
    assert results(tmp_path / "x.xml") == {("a", "ollama", "real"): GREEN, ("b", "ollama", "real"): RED, ("c", "ollama", "real"): RED}


def test_conformance_rules_each_have_an_engine_and_a_reason_where_they_have_none() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert any(rule.why_not(engine, SIMULATED) is None or rule.why_not(engine, REAL) is None for engine in ENGINES), rule.name
        for engine in ENGINES:
            assert rule.why_not(engine, SIMULATED) != "", rule.name
