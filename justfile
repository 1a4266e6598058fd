# Short names for the commands. Each is plain cargo: without `just`, type what it runs.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# What there is.
_list:
    @just --list --unsorted --justfile {{ justfile() }}

# Every model, every interleaving: `just verify votes`, `just verify --list`.
verify *ARGS:
    cargo verify "$@"

# A service of one's own around a node, checked as a user would: `just service withdraw --show`.
service *ARGS:
    cd verify/examples/service && cargo interleave "$@"

# Whole clusters with all their threads, under schedules drawn at random: `just schedules --runs 10000 --nodes 7`.
schedules *ARGS:
    cargo schedules "$@"

# Each model, exploration and range of seeds as a case for cargo-nextest, so that machines share them: `just cases --partition hash:1/4`.
cases *ARGS:
    cargo cases "$@"

# Random schedules likewise, which are another build: `just schedules-cases --run-ignored all`.
schedules-cases *ARGS:
    cargo schedules-cases "$@"

# Plant every known bug in a copy of the source: `just bugs K2 --show`.
bugs *ARGS:
    cargo verify --bugs "$@"

# All tests.
test *ARGS:
    cargo test --workspace "$@"

# Five processes whose leader is killed again and again: `just demo --rounds 20`.
demo *ARGS:
    cargo demo "$@"

# What elections and commits cost: `just bench "3 nodes/UDP"`.
bench *ARGS:
    cargo bench -- "$@"

# Biglock beside raft-rs and openraft, which are compiled for it alone: `just peers --quick`.
peers *ARGS:
    cd benches/peers && cargo bench -- "$@"

# Simulate clusters with fresh seeds, over all cores, for so many minutes; print the seed of the first failure.
soak MINUTES="60" *ARGS:
    cargo run --release -p biglock-verify --example soak -- --minutes {{ quote(MINUTES) }} "${@:2}"

# The specification in TLA+ by TLC, for small sizes: `just tlc Restart`. It needs Java and tla2tools.jar, and says so; nothing else does.
tlc *CONFIGS:
    verify/spec/check "$@"

# The shipped build's tests under ThreadSanitizer: `just tsan node`. It needs the standard library's source (`rustup component add rust-src`), and says so.
tsan *TESTS:
    verify/tsan/check "$@"

# The report in a browser, wide and narrow, and on paper: `just look`, `just look target/report`. It needs Chromium and pdftotext, and says so; nothing else does.
look *DIR:
    verify/look/check "$@"

# Change the core in each of some 1,900 ways, one at a time, and fail if its own tests miss one for no good reason: `just mutants core/src/rules/log.rs`.
# All of it takes hours. It needs cargo-mutants and cargo-nextest, and says so; nothing else does.
mutants *FILES:
    verify/mutants/check "$@"

# Does it compile, in every part and with every feature?
check:
    cargo check --workspace --all-targets --all-features

# Formatting and lints, of the shipped build and of the checked one.
lint:
    .ci/run lint

# The documentation, in the browser.
doc:
    cargo doc --workspace --no-deps --features biglock/redb --open

# All that must hold before a change goes in.
ci:
    .ci/run

# Run the tests whose name contains FILTER N times each, over all cores; stop at the first failure and show its output.
many N FILTER:
    #!/usr/bin/env bash
    set -euo pipefail
    runs={{ quote(N) }} filter={{ quote(FILTER) }}
    outputs=$(mktemp -d)
    trap 'rm -rf "$outputs"' EXIT

    # Cargo tells where each test program is and to which package it belongs; tests run in their package's folder.
    cargo test --workspace --tests --no-run --message-format json-render-diagnostics |
        sed -n 's/.*"manifest_path":"\([^"]*\)\/Cargo\.toml".*"profile":{[^}]*"test":true[^}]*}.*"executable":"\([^"]*\)".*/\1 \2/p' |
        while read -r folder program; do
            "$program" --list --format terse "$filter" 2>/dev/null | sed -n 's/: test$//p' |
                while read -r name; do printf '%s\t%s\t%s\n' "$folder" "$program" "$name"; done
        done >"$outputs/tests"
    tests=$(wc -l <"$outputs/tests")
    if [ "$tests" -eq 0 ]; then
        echo "no test has \"$filter\" in its name" >&2
        exit 1
    fi
    echo "$runs times each:"
    cut -f 3 "$outputs/tests" | sed 's/^/  /'

    one() { # run folder program name
        output=$outputs/$BASHPID
        if (cd "$2" && "$3" --exact "$4") >"$output" 2>&1; then
            rm "$output"
            return
        fi
        # Others may fail at the same time; the first is shown. 255 makes xargs start no more.
        if mkdir "$outputs/failed" 2>/dev/null; then
            printf '\n%s failed, run %s:\n\n' "$4" "$1"
            cat "$output"
        fi
        exit 255
    }
    export -f one
    export outputs
    cores=$(getconf _NPROCESSORS_ONLN)
    start=$SECONDS
    for ((run = 1; run <= runs; run++)); do
        while IFS=$'\t' read -r folder program name; do
            printf '%s\0%s\0%s\0%s\0' "$run" "$folder" "$program" "$name"
        done <"$outputs/tests"
    done | xargs -0 -n 4 -P "$cores" bash -c 'one "$@"' one 2>"$outputs/xargs" || exit 1
    echo "all passed, $((runs * tests)) runs in $((SECONDS - start)) s"
