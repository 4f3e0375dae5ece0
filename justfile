# Everything that is run here has a name.

# The gate, exactly as CI runs it
check:
    bash .ci/run

# The tests that need only Rust and git
test:
    cargo test

# kill -9 at random moments of a random series of pushes and webhooks; the same seed draws the same series
chaos KILLS="200" SEED=`date +%j%H%M`:
    BRANCHLINE_TEST_KILLS={{KILLS}} BRANCHLINE_TEST_SEED={{SEED}} cargo test --test it chaos -- --nocapture

# The sample on this machine
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# The pages in a real browser; their pictures go to FOLDER
pages FOLDER="target/pages":
    cargo build
    bash tests/browser/run {{FOLDER}}

# The pictures of docs/pages, small; a commit that changes a page changes them too. Needs pngquant
pictures FOLDER="target/pages": (pages FOLDER)
    #!/usr/bin/env bash
    set -euo pipefail
    for picture in {projects,project,service,deployment}-{light,dark,phone} cover-{light,dark}; do
      pngquant --force --quality 55-85 --output "docs/pages/$picture.png" "{{FOLDER}}/$picture.png"
    done

# The benchmarks; each figure names the server that it ran on
bench:
    cargo bench

# The schemas of the config format, from the types
schema:
    cargo run -- schema --write schema/v1

# The cluster suite against the API server of KUBECONFIG: it must be yours
cluster:
    BRANCHLINE_TEST_REQUIRE=kubernetes cargo test cluster

# `serve` on the node of KUBECONFIG, which must be yours and pull from TESTBED_REGISTRY
node:
    BRANCHLINE_TEST_REQUIRE=kubernetes,node,http-backend cargo test --test it cluster_node

# The image, with the engine of DOCKER_HOST (its build reaches the crates as this machine does), held against what it
# promises
image TAG="branchline:dev":
    docker build --network host --tag {{TAG}} --build-arg REVISION="$(git rev-parse HEAD)" --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" .
    bash tests/image/run {{TAG}}
