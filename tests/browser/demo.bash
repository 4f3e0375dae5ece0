# A demo for the browser to look at, in states that are worth seeing.

demo_start() { # folder [listen]
  DEMO=$1
  export XDG_CONFIG_HOME=$DEMO.settings
  : >"$DEMO.out"
  "$program" demo --data-dir "$DEMO" --listen "${2:-127.0.0.1:0}" >"$DEMO.out" 2>"$DEMO.err" &
  DEMO_PID=$!
  local end=$((SECONDS + 300))
  until grep -q '^Settled in' "$DEMO.out"; do
    if ! kill -0 "$DEMO_PID" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
      echo "the demo does not settle:" >&2
      cat "$DEMO.out" "$DEMO.err" >&2
      return 1
    fi
    sleep 0.2
  done
  SERVER=$(sed -n 's/^The dashboard *//p' "$DEMO.out")
}

demo_end() {
  [ -n "${DEMO_PID:-}" ] || return 0
  kill "$DEMO_PID" 2>/dev/null || true
  wait "$DEMO_PID" 2>/dev/null || true
  DEMO_PID=
}

# Writes a file of a working clone, commits and pushes it.
demo_push() { # repository file message, the content on standard input
  cat >"$DEMO/work/$1/$2"
  git -C "$DEMO/work/$1" commit --quiet --all --message "$3"
  git -C "$DEMO/work/$1" push --quiet
}

# Waits until a service is as an expression over its record `it` says.
demo_until() { # environment service expression
  browser_until "fetch('$SERVER/api/v1/status').then(r => r.json()).then(s => s.services.some(it =>
    it.environment === '$1' && it.service === '$2' && ($3)))" "$2 in $1: $3"
}

# A release that waits, a pull request, a build that fails, a service that crashes, and drift that is healed.
demo_states() {
  local web=$DEMO/work/web
  sed 's/It runs\./It runs, and it is new./' "$web/index.html" >"$DEMO.page"
  demo_push web index.html 'A new headline for the front page' <"$DEMO.page"
  git -C "$web" switch --quiet --create try
  sed -i 's/it is new/it is tried/' "$web/index.html"
  git -C "$web" commit --quiet --all --message 'Try another headline'
  git -C "$web" push --quiet origin HEAD:refs/pull/1/head
  git -C "$web" switch --quiet main
  demo_push api main.rs 'Answer faster' <<<'fn main() { let oops: u32 = "not a number"; }'
  demo_until staging api 'it.problem'
  demo_until pr-web-1 web 'it.state === "live"'
  scale staging worker
  demo_until staging worker 'it.state === "live"'
  browser_until "fetch('$SERVER/projects/shop').then(r => r.text()).then(t => t.includes('Drift healed'))" 'drift is healed'
  demo_push worker worker.sh 'Use the new queue' <<'END'
#!/bin/sh
echo "worker started"
echo "the queue at $API_URL does not answer" >&2
exit 1
END
  # before it was live or after, as the moment of the first crash falls
  demo_until staging worker 'it.problem || it.state === "degraded"'
}

# Changes the count of a Deployment by hand, as somebody with kubectl would.
scale() { # environment service
  local config=$DEMO/kubeconfig server token
  server=$(sed -n 's/^ *server: *//p' "$config")
  token=$(sed -n 's/^ *token: *//p' "$config")
  sed -n 's/^ *certificate-authority-data: *//p' "$config" | base64 --decode >"$DEMO.ca"
  curl --silent --fail --show-error --output /dev/null --cacert "$DEMO.ca" --request PATCH \
    --header "Authorization: Bearer $token" --header 'Content-Type: application/merge-patch+json' \
    --data '{"spec":{"replicas":3}}' "$server/apis/apps/v1/namespaces/shop-$1/deployments/$2"
}
