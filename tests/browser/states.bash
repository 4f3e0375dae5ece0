# States of a demo that are worth seeing.

# Waits until a service is as an expression over its record `it` says.
demo_until() { # environment service expression
  browser_until "fetch('$SERVER/api/v1/status').then(r => r.json()).then(s => s.services.some(it =>
    it.environment === '$1' && it.service === '$2' && ($3)))" "$2 in $1: $3"
}

# A release that waits, a pull request, and drift that is healed.
demo_moves() {
  local web=$DEMO/work/web
  sed 's/It runs\./It runs, and it is new./' "$web/index.html" >"$DEMO.page"
  demo_push web index.html 'A new headline for the front page' <"$DEMO.page"
  git -C "$web" switch --quiet --create try
  sed -i 's/it is new/it is tried/' "$web/index.html"
  git -C "$web" commit --quiet --all --message 'Try another headline'
  git -C "$web" push --quiet origin HEAD:refs/pull/1/head
  git -C "$web" switch --quiet main
  demo_until pr-web-1 web 'it.state === "live"'
  scale staging worker
  demo_until staging worker 'it.state === "live"'
  browser_until "fetch('$SERVER/projects/shop').then(r => r.text()).then(t => t.includes('Drift healed'))" 'drift is healed'
}

# A build that fails, and a service that crashes.
demo_breaks() {
  demo_push api main.rs 'Answer faster' <<<'fn main() { let oops: u32 = "not a number"; }'
  demo_until staging api 'it.problem'
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
