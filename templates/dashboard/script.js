// What a page cannot do by itself: ask for news, and follow a log. Without this file every page says the same,
// as of when it was loaded. Text comes in as text nodes only.
"use strict";

// Every few seconds the page is fetched again, and what differs in its marked regions is put in place. What is
// there stays while the server is away, with the time it is from.
function refresh() {
  const pause = Number(document.body.dataset.refresh) * 1000;
  const connection = document.getElementById("connection");
  const words = document.getElementById("connection-text");
  const shown = new Map();
  let seen = new Date();

  function show(reached) {
    if (reached) seen = new Date();
    const from = seen.toLocaleTimeString();
    const text = reached ? "Up to date" : `Server not reached · as of ${from}`;
    connection.classList.toggle("on", reached);
    connection.classList.toggle("off", !reached);
    if (words.textContent !== text) words.textContent = text;
  }

  function put(region, fresh) {
    const open = new Set(Array.from(region.querySelectorAll("details[open]"), (details) => details.id));
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && Array.from(region.querySelectorAll("a, summary, [tabindex]")).indexOf(focused);
    region.replaceChildren(...Array.from(document.importNode(fresh, true).childNodes));
    for (const details of region.querySelectorAll("details")) {
      if (open.has(details.id)) details.open = true;
    }
    if (focused) {
      const all = Array.from(region.querySelectorAll("a, summary, [tabindex]"));
      const same = all.find((one) => one.href && one.href === focused.href) || all[place];
      if (same) same.focus({ preventScroll: true });
    }
  }

  function ask() {
    if (document.hidden) {
      setTimeout(ask, pause);
      return;
    }
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 10000;
    request.onloadend = () => {
      const fresh = request.response;
      show(request.status > 0 && request.status < 500);
      if (request.status === 200 && fresh) {
        for (const region of document.querySelectorAll("[data-live]")) {
          const news = fresh.getElementById(region.id);
          if (news && shown.get(region.id) !== news.innerHTML) {
            shown.set(region.id, news.innerHTML);
            put(region, news);
          }
        }
        document.title = fresh.title;
      }
      setTimeout(ask, pause);
    };
    request.send();
  }

  for (const region of document.querySelectorAll("[data-live]")) shown.set(region.id, region.innerHTML);
  show(true);
  setTimeout(ask, pause);
}

// The log of a deployment. The offset of the line that is next is all that is remembered, so that a new
// connection goes on exactly where the last one ended.
function follow(list) {
  const state = document.getElementById("log-state");
  const words = document.getElementById("log-state-text");
  const waiting = document.getElementById("log-waiting");
  const button = document.getElementById("log-follow");
  const search = document.getElementById("log-search");
  const found = document.getElementById("log-found");
  const deployment = list.dataset.deployment;
  let next = Number(list.dataset.next);
  let atEnd = true;
  let wait = 500;
  let wanted = "";

  function live(on, text) {
    state.hidden = false;
    state.classList.toggle("on", on);
    state.classList.toggle("off", !on);
    words.textContent = text;
  }

  function down() {
    list.scrollTop = list.scrollHeight;
  }

  function matches(item) {
    const fits = !wanted || item.textContent.toLowerCase().includes(wanted);
    item.hidden = !fits;
    return fits;
  }

  function add(line) {
    if (line.offset < next) return;
    next = line.offset + 1;
    const item = document.createElement("li");
    if (line.stream === "stderr") item.className = "err";
    const time = document.createElement("span");
    time.className = "time";
    time.textContent = `[${line.time}]`;
    const text = document.createElement("span");
    text.className = "text";
    text.textContent = line.text;
    item.append(time, " ", text);
    matches(item);
    return item;
  }

  function take(message) {
    if (message.type === "lines") {
      const items = message.lines.map(add).filter(Boolean);
      list.append(...items);
      waiting.hidden = list.childElementCount > 0;
      if (atEnd) down();
    } else if (message.type === "state") {
      live(true, "Live");
      if (message.ended) waiting.textContent = "This deployment wrote no log.";
    } else if (message.type === "behind") {
      live(true, "Live · catching up");
    } else if (message.type === "error") {
      live(false, message.detail);
    }
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/deployments/logs/live`);
    socket.onopen = () => {
      wait = 500;
      live(true, "Live");
      socket.send(JSON.stringify({ type: "subscribe-deployment", deployment, from: next }));
    };
    socket.onmessage = (event) => take(JSON.parse(event.data));
    socket.onclose = () => {
      live(false, "Disconnected");
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 10000);
    };
  }

  list.addEventListener("scroll", () => {
    atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    button.hidden = atEnd;
  });
  button.addEventListener("click", () => {
    down();
    list.focus();
  });
  search.hidden = false;
  search.querySelector("input").addEventListener("input", (event) => {
    wanted = event.target.value.trim().toLowerCase();
    const count = Array.from(list.children).filter(matches).length;
    found.textContent = wanted ? `${count} ${count === 1 ? "line" : "lines"}` : "";
    if (!wanted && atEnd) down();
  });
  down();
  connect();
}

refresh();
const log = document.getElementById("log");
if (log) follow(log);
