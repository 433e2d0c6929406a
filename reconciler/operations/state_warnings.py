"""Warns when the state is missing or will not outlive the CI job: CI wipes checkouts, and hosted runners keep no disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.operations.proposal import Proposal
from reconciler.operations.reporter import Reporter, StateWarning

CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BUILD_SOURCESDIRECTORY", "BITBUCKET_CLONE_DIR", "CIRCLE_WORKING_DIRECTORY")
"""Where GitHub Actions, GitLab, Azure Pipelines, Bitbucket and CircleCI say that the checkout of a job is."""


def warn_of_state(seen: Proposal, report: Reporter, environment: Mapping[str, str] = os.environ) -> None:
    """Reports how many residents are not ours for want of a state, and that a state in a checkout is wiped."""
    if seen.applied.lineage is None and (sentence := strangers_sentence(seen)):
        report(StateWarning(sentence))
    if seen.state.file is not None and (checkout := checkout_of(seen.state.file, environment)) is not None:
        report(
            StateWarning(
                f"the state {seen.state} lies in the checkout of this CI job ({checkout}), which the next job wipes; name a path outside "
                "it with --state or GPUREC_STATE, on a runner that keeps its disk"
            )
        )


def strangers_sentence(seen: Proposal) -> str:
    """Of the residents that the desired state does not name where there is no state; empty where there are none."""
    count = len(seen.plan.unmanaged)
    if not count:
        return ""
    residents = "1 resident is" if count == 1 else f"{count:,} residents are"
    return (
        f"no apply has written a state at {seen.state} yet, and {residents} not in the desired state: not ours, so policy.unmanaged alone "
        "says what becomes of them. If a state was lost, bring it back (gpurec state restore FILE, or --state PATH) before anything is "
        "applied; if not, gpurec import writes them as desired state"
    )


def checkout_of(state: Path, environment: Mapping[str, str]) -> str | None:
    """The variable that names the checkout of the CI job in which the state lies; None elsewhere."""
    where = state.absolute().resolve()
    for name in CHECKOUTS:
        folder = Path(environment.get(name, "")).expanduser()  # CircleCI writes `~/project`
        if folder.is_absolute() and where.is_relative_to(folder.resolve()):
            return name
    return None
