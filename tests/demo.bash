# A demo that a script looks at. `program` is the program.

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
