# A headless Chromium that a script drives: the DevTools protocol over two pipes, in bash alone.
#
#   browser_start; browser_open URL; browser_eval 'document.title'; browser_picture FILE; browser_end
#
# What the page complains about is gathered in the array BROWSER_COMPLAINTS.
# https://chromedevtools.github.io/devtools-protocol/

BROWSER_COMPLAINTS=()
BROWSER_PATIENCE=240

browser_program() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome chromium-headless-shell; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  return 1
}

browser_start() {
  BROWSER_FOLDER=$(mktemp -d)
  mkfifo "$BROWSER_FOLDER/in" "$BROWSER_FOLDER/out"
  "$(browser_program)" --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars --mute-audio \
    --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage \
    --no-proxy-server --user-data-dir="$BROWSER_FOLDER/profile" --remote-debugging-pipe about:blank \
    3<"$BROWSER_FOLDER/in" 4>"$BROWSER_FOLDER/out" >/dev/null 2>"$BROWSER_FOLDER/err" &
  BROWSER_PID=$!
  exec {BROWSER_TO}>"$BROWSER_FOLDER/in" {BROWSER_FROM}<"$BROWSER_FOLDER/out"
  BROWSER_NUMBER=0 BROWSER_SESSION=
  browser_call Target.createTarget '{"url":"about:blank"}'
  local target=${BROWSER_ANSWER#*\"targetId\":\"}
  browser_call Target.attachToTarget "{\"targetId\":\"${target%%\"*}\",\"flatten\":true}"
  BROWSER_SESSION=${BROWSER_ANSWER#*\"sessionId\":\"}
  BROWSER_SESSION=${BROWSER_SESSION%%\"*}
  local domain
  for domain in Page Runtime Log Network; do browser_call "$domain.enable" '{}'; done
}

browser_end() {
  [ -n "${BROWSER_PID:-}" ] || return 0
  kill "$BROWSER_PID" 2>/dev/null || true
  wait "$BROWSER_PID" 2>/dev/null || true
  BROWSER_PID=
  # its helpers may still write for a moment after it has ended
  local tries=50
  until rm -rf "$BROWSER_FOLDER" 2>/dev/null || [ $((tries -= 1)) -eq 0 ]; do sleep 0.1; done
}

# Calls a method and waits for its answer, which is put into BROWSER_ANSWER.
browser_call() { # method parameters
  local session= message
  BROWSER_NUMBER=$((BROWSER_NUMBER + 1))
  [ -z "$BROWSER_SESSION" ] || session=",\"sessionId\":\"$BROWSER_SESSION\""
  printf '{"id":%d,"method":"%s","params":%s%s}\0' "$BROWSER_NUMBER" "$1" "$2" "$session" >&"$BROWSER_TO"
  while IFS= read -r -d '' -t "$BROWSER_PATIENCE" message <&"$BROWSER_FROM"; do
    case $message in
      "{\"id\":$BROWSER_NUMBER,\"error\""*)
        echo "the browser refuses $1: $message" >&2
        return 1
        ;;
      "{\"id\":$BROWSER_NUMBER,"*)
        BROWSER_ANSWER=$message
        return
        ;;
      *) browser_hear "$message" ;;
    esac
  done
  echo "the browser does not answer $1" >&2
  sed 's/^/  /' "$BROWSER_FOLDER/err" >&2
  return 1
}

# Exceptions, errors on the console, violations of the content security policy, answers that failed.
browser_hear() {
  case $1 in
    *'"method":"Runtime.exceptionThrown"'* | \
      *'"method":"Runtime.consoleAPICalled"'*'"type":"error"'* | \
      *'"method":"Log.entryAdded"'*'"level":"error"'* | \
      *'"method":"Log.entryAdded"'*'"source":"security"'*)
      BROWSER_COMPLAINTS+=("${1:0:1500}")
      ;;
  esac
}

# Goes to an address and waits until the page and its files are there.
browser_open() { # address
  browser_call Page.navigate "{\"url\":$(browser_quote "$1")}"
  browser_until 'document.readyState === "complete" && location.protocol === "http:"' "$1 is loaded"
}

# Evaluates an expression into BROWSER_VALUE: a text as it is, everything else as JSON.
browser_eval() { # expression
  local wrapped="Promise.resolve($1).then(v => typeof v === 'string' ? v : JSON.stringify(v) ?? '')"
  browser_call Runtime.evaluate \
    "{\"returnByValue\":true,\"awaitPromise\":true,\"expression\":$(browser_quote "$wrapped")}" || return 1
  if [[ $BROWSER_ANSWER == *'"exceptionDetails"'* ]]; then
    echo "the browser cannot evaluate $1: $BROWSER_ANSWER" >&2
    return 1
  fi
  BROWSER_VALUE=${BROWSER_ANSWER#*\"type\":\"string\",\"value\":\"}
  printf -v BROWSER_VALUE '%b' "${BROWSER_VALUE%\"\}\},\"sessionId\"*}"
}

# Waits until an expression is true. A page that is being left answers nothing, and is asked again.
browser_until() { # expression what
  local end=$((SECONDS + BROWSER_PATIENCE))
  until browser_eval "$1" 2>"$BROWSER_FOLDER/said" && [ "$BROWSER_VALUE" = true ]; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "not in time: ${2:-$1} (it is $BROWSER_VALUE)" >&2
      cat "$BROWSER_FOLDER/said" >&2
      return 1
    fi
    sleep 0.1
  done
}

# The size of the window, and whether it is a phone's.
browser_size() { # width height mobile
  browser_call Emulation.setDeviceMetricsOverride \
    "{\"width\":$1,\"height\":$2,\"deviceScaleFactor\":${4:-1},\"mobile\":$3}"
}

browser_scheme() { # light or dark
  browser_call Emulation.setEmulatedMedia \
    "{\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"$1\"},{\"name\":\"prefers-reduced-motion\",\"value\":\"reduce\"}]}"
}

browser_scripts() { # on or off
  local off=false
  [ "$1" = on ] || off=true
  browser_call Emulation.setScriptExecutionDisabled "{\"value\":$off}"
}

# A picture of the window, or of the whole page.
browser_picture() { # file [whole]
  local beyond=false
  [ -z "${2:-}" ] || beyond=true
  browser_call Page.captureScreenshot "{\"format\":\"png\",\"captureBeyondViewport\":$beyond}"
  local data=${BROWSER_ANSWER#*\"data\":\"}
  printf '%s' "${data%%\"*}" | base64 --decode >"$1"
}

browser_quote() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  printf '"%s"' "${text//$'\t'/\\t}"
}
