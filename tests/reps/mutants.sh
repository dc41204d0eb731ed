#!/bin/sh
# Shows that `tests/reps.rs` notices when the connector decides conflicts wrongly: three times one line
# is changed in a copy of the sources, and the test has to fail with that build of the connector.
#
#   sh tests/reps/mutants.sh [1|2|3]
#   PROFILE=dev sh tests/reps/mutants.sh       (built faster, runs slower)
#
# Nothing else may build into the target directory meanwhile.
set -eu
cd "$(git rev-parse --show-toplevel)"
profile=${PROFILE:-release}
folder=$profile
[ "$profile" != dev ] || folder=debug
copy=$(mktemp -d)
trap 'git worktree remove --force "$copy/tree" >/dev/null 2>&1; rm -rf "$copy"' EXIT
git worktree add --detach "$copy/tree" HEAD >/dev/null

mutate() { # number, name, what stands in planning/conflict.rs, what is put in its place
    [ -z "${only:-}" ] || [ "$only" = "$1" ] || return 0
    file="$copy/tree/src/planning/conflict.rs"
    git -C "$copy/tree" checkout --quiet .
    grep -qF "$3" "$file" || { echo "mutant $1 does not apply"; exit 1; }
    perl -0pi -e 'BEGIN { ($a, $b) = splice @ARGV, 0, 2 } s/\Q$a\E/$b/' "$3" "$4" "$file"
    git -C "$copy/tree" --no-pager diff --stat
    (cd "$copy/tree" && cargo build --profile "$profile" --quiet --bin syncline)
    target=$(cd "$copy/tree" && cargo metadata --format-version 1 --no-deps |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    cp "$target/$folder/syncline" "$copy/syncline"
    if SYNCLINE_TEST_BINARY="$copy/syncline" cargo test --profile "$profile" --test reps >"$copy/log" 2>&1; then
        echo "mutant $1 ($2) was NOT noticed"
        exit 1
    fi
    echo "mutant $1 ($2) was noticed:"
    grep -m1 'violations' "$copy/log" || { tail -30 "$copy/log"; exit 1; }
    grep -m2 -E '"(edit|change) lost' "$copy/log"
}

only=${1:-}
mutate 1 "it forgets what it wrote" \
    'Base::Wrote(ours) => q.theirs == ours,' 'Base::Wrote(_) => false,'
mutate 2 "it compares no times" \
    'at.0.saturating_add(q.lead) >= edited.0.saturating_add(SECOND)' 'at <= Timestamp(i64::MAX) || edited.0 > SECOND'
mutate 3 "it takes its own writes for edits" \
    'Edit::Ours(_) => true,' 'Edit::Ours(_) => false,'
