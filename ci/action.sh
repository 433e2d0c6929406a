#!/usr/bin/env bash
# What action.yml runs: `action.sh plan`, `apply` or `drift`. Everything comes by the environment, so that no input is ever part of a script.
#   GPUREC_ACTION_PLAN     file of the plan               GPUREC_ACTION_DIGEST   digest that apply accepts
#   GPUREC_ACTION_COMMENT  true: keep a comment           GPUREC_ACTION_OPTIONS  further options, one a line
#   GITHUB_OUTPUT, GITHUB_STEP_SUMMARY  files that the runner made
set -euo pipefail
export NO_COLOR=1 TERM=dumb # a runner's log may be a terminal, but none that moves its cursor

options=()
while IFS= read -r line; do
    [[ -z $line ]] || options+=("$line")
done <<<"${GPUREC_ACTION_OPTIONS:-}"
plan=${GPUREC_ACTION_PLAN:-gpurec-plan.json}
comment=${GPUREC_ACTION_COMMENT:-true}

output() { printf '%s=%s\n' "$1" "$2" >>"${GITHUB_OUTPUT:-/dev/null}"; }

run() { # runs gpurec, keeps its status in $status
    status=0
    gpurec "$@" || status=$?
}

plan() {
    run plan --out "$plan" --detailed-exitcode "${options[@]}"
    local planned=$status
    output exit-status "$planned"
    case $planned in
    0 | 2 | 3 | 4 | 7) ;;
    *) # there is no plan: the comment says why, and annotations where
        run validate --format github "${scope[@]}" 2>/dev/null
        if [[ $comment == true ]]; then run comment "${options[@]}"; fi
        exit "$planned"
        ;;
    esac
    gpurec show "$plan" --format markdown --max-bytes 1000000 "${scope[@]}" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
    run validate --plan "$plan" --format github "${scope[@]}" # annotations, beside the lines that ask for what has no place
    output digest "$(read_plan digest)"
    output changes "$(read_plan changes)"
    if [[ $comment == true ]]; then
        run comment "$plan" "${scope[@]}"
        [[ $status == 0 || $status == 7 ]] || exit "$status"
    fi
    [[ $planned != 7 ]] || exit 7
}

read_plan() { # `digest`, or whether there are `changes`; the value is checked, since it becomes an output
    python3 - "$plan" "$1" <<'PYTHON'
import json, re, sys
with open(sys.argv[1], encoding="utf-8") as file:
    plan = json.load(file)
digest = plan["digest"]
assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest), "the plan has no digest"
print({"digest": digest, "changes": "true" if plan["steps"] else "false"}[sys.argv[2]])
PYTHON
}

apply() {
    if [[ -z ${GPUREC_ACTION_DIGEST:-} ]]; then
        echo "::error title=gpurec::apply needs the digest that was approved; give it the output digest of the plan" >&2
        exit 1
    fi
    local told
    told=$(mktemp)
    status=0
    gpurec apply "$plan" --expect-digest "$GPUREC_ACTION_DIGEST" "${options[@]}" 2>&1 | tee "$told" || status=$?
    output exit-status "$status"
    { # the log is indented, so that no word of it is markdown; a summary holds 1 MiB
        printf '### gpurec apply: %s\n\n' "$([[ $status == 0 ]] && echo "done" || echo "exit status $status")"
        printf 'Approved: plan `%s`.\n\n' "$(tr -cd 'a-z0-9:' <<<"$GPUREC_ACTION_DIGEST")"
        tail -c 500000 "$told" | sed 's/^/    /'
    } >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
    rm -f "$told"
    exit "$status"
}

drift() {
    run drift --format markdown "${options[@]}" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
    local found=$status
    output exit-status "$found"
    output changes "$([[ $found == 2 ]] && echo true || echo false)"
    if [[ $comment == true ]]; then # where the fleet cannot be compared the issue says why
        run comment --drift "${options[@]}"
        [[ $status == 0 ]] || exit "$status"
    fi
    [[ $found == 0 || $found == 2 || $found == 4 ]] || exit "$found"
}

# `show` and `comment FILE` take only what says where the workspace is
scope=()
for option in "${options[@]}"; do
    case $option in
    --directory=* | --fleet=* | --state=* | --inventory=* | --desired=*) scope+=("$option") ;;
    esac
done

case ${1:-} in
plan | apply | drift) "$1" ;;
*)
    echo "usage: action.sh plan|apply|drift" >&2
    exit 1
    ;;
esac
