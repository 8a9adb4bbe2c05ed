"""How rules are written down and applied.

A rule is a function of a package that yields a piece of evidence for each breach, and raises `Skip` where it cannot be
applied. Numbers are those of Apple's HLS authoring specification for Apple devices (general requirements); `H.n` are
demands of HLS itself (RFC 8216 and its second edition), `D.n` of DASH (ISO/IEC 23009-1) over the same files. Severities
are the key words that those texts use; where one depends on what a package does not tell, the rule's docstring says.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from transcoding.checker.model import Package, Rendition

MUST: Literal["MUST"] = "MUST"
SHOULD: Literal["SHOULD"] = "SHOULD"
Severity = Literal["MUST", "SHOULD"]
State = Literal["pass", "fail", "skipped"]
_MOST_EVIDENCE = 10


class Skip(Exception):  # noqa: N818 - no error: the rule does not apply, and says why
    pass


@dataclass(frozen=True)
class Evidence:
    """Which file, what was found there, what the rule wants."""

    file: str
    found: str
    wanted: str


@dataclass(frozen=True)
class Finding:
    """The verdict of one rule. `reason`: why it was skipped. `breaches`: how many, evidence for ten at most."""

    rule: str
    title: str
    severity: Severity
    state: State
    evidence: tuple[Evidence, ...] = ()
    breaches: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """All findings over one package, in the order of the rules' numbers."""

    location: str
    findings: tuple[Finding, ...]

    @property
    def musts_broken(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.state == "fail" and finding.severity == MUST)

    def count(self, state: State, severity: Severity | None = None) -> int:
        return sum(f.state == state and severity in (None, f.severity) for f in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "location": self.location,
            "rules": len(self.findings),
            "passed": self.count("pass"),
            "musts_broken": self.count("fail", MUST),
            "shoulds_broken": self.count("fail", SHOULD),
            "skipped": self.count("skipped"),
            "findings": [asdict(finding) for finding in self.findings],
        }


Check = Callable[[Package], Iterator[Evidence]]


@dataclass(frozen=True)
class Rule:
    number: str
    severity: Severity
    title: str
    check: Check

    def apply(self, package: Package) -> Finding:
        found: list[Evidence] = []
        breaches = 0
        try:
            for evidence in self.check(package):
                breaches += 1
                if breaches <= _MOST_EVIDENCE:
                    found.append(evidence)
        except Skip as why:
            if not found:
                return Finding(self.number, self.title, self.severity, "skipped", reason=str(why))
        state: State = "fail" if found else "pass"
        return Finding(self.number, self.title, self.severity, state, tuple(found), breaches)


RULES: dict[str, Rule] = {}


def rule(number: str, severity: Severity, title: str) -> Callable[[Check], Check]:
    """Register a function as the rule of this number."""

    def register(check: Check) -> Check:
        if number in RULES:
            raise ValueError(f"two rules are numbered {number}")
        RULES[number] = Rule(number, severity, title, check)
        return check

    return register


def in_order() -> list[Rule]:
    """All rules: H first, then Apple's numbers, then D."""

    def place(number: str) -> tuple[int, int, int, str]:
        family, _, rest = number.partition(".")
        digits = "".join(c for c in rest if c.isdigit())
        rank = {"H": -1, "D": 1000}.get(family)
        return (rank if rank is not None else int(family), int(digits), 0, rest)

    return [RULES[number] for number in sorted(RULES, key=place)]


def need(renditions: list[Rendition], what: str) -> list[Rendition]:
    """These renditions, or skip: there is none."""
    if not renditions:
        raise Skip(f"no {what}")
    return renditions


def measured(renditions: list[Rendition], what: str) -> list[Rendition]:
    """Those whose samples could be read, or skip with the reason why none could."""
    readable = [rendition for rendition in need(renditions, what) if rendition.measured]
    if not readable:
        segments = [segment for rendition in renditions for segment in rendition.segments]
        if any(segment.sealed for segment in segments):
            raise Skip("encrypted, and no key was given")
        if any(segment.container == "ts" for segment in segments):
            raise Skip("samples of MPEG transport streams are not parsed")
        raise Skip(f"no segment of the {what} could be read")
    return readable


def need_master(package: Package) -> None:
    if package.master is None:
        raise Skip("no multivariant playlist")


def ms(seconds: Any) -> str:
    return f"{float(seconds):.3f} s"
