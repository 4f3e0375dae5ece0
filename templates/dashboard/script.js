// What a page cannot do by itself: ask for news, do what a button says, and follow a log. Without this file every
// page says the same, as of when it was loaded. Text comes in as text nodes only.
"use strict";

// Every few seconds the page is fetched again, and what differs in its marked regions is put in place. What is
// there stays while the server is away, with the time it is from.
function refresh() {
  const pause = Number(document.body.dataset.refresh) * 1000;
  const connection = document.getElementById("connection");
  const words = document.getElementById("connection-text");
  const shown = new Map();
  const focusable = "a, button, input, summary, [tabindex]";
  let seen = new Date();
  let timer = 0;

  function show(reached) {
    if (reached) seen = new Date();
    const from = seen.toLocaleTimeString();
    const text = reached ? "Up to date" : `Server not reached · as of ${from}`;
    connection.classList.toggle("on", reached);
    connection.classList.toggle("off", !reached);
    if (words.textContent !== text) words.textContent = text;
  }

  function put(region, fresh) {
    const open = Array.from(region.querySelectorAll("details"), (details) => details.open);
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && Array.from(region.querySelectorAll(focusable)).indexOf(focused);
    const tails = Array.from(region.querySelectorAll(".tail"), atBottom);
    region.replaceChildren(...Array.from(document.importNode(fresh, true).childNodes));
    region.querySelectorAll("details").forEach((details, at) => (details.open = Boolean(open[at])));
    region.querySelectorAll(".tail").forEach((tail, at) => {
      if (tails[at] !== false) tail.scrollTop = tail.scrollHeight;
    });
    dress(region);
    if (focused) {
      const all = Array.from(region.querySelectorAll(focusable));
      const same = all.find((one) => one.href && one.href === focused.href) || all[place];
      if (same) same.focus({ preventScroll: true });
    }
  }

  function ask() {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(ask, pause);
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
      timer = setTimeout(ask, pause);
    };
    request.send();
  }

  for (const region of document.querySelectorAll("[data-live]")) shown.set(region.id, region.innerHTML);
  dress(document);
  for (const tail of document.querySelectorAll(".tail")) tail.scrollTop = tail.scrollHeight;
  show(true);
  timer = setTimeout(ask, pause);
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  return ask;
}

function atBottom(list) {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 24;
}

// Buttons need this script, so they are hidden until it is there.
function dress(part) {
  for (const actions of part.querySelectorAll("[data-actions]")) actions.hidden = false;
}

// A button posts its body to its route, with the server's token, after a person has said yes.
function act(news) {
  const dialog = document.getElementById("act");
  const [title, what, problem, go] = ["title", "what", "problem", "go"].map((of) => document.getElementById(`act-${of}`));
  const ask = document.getElementById("act-ask");
  const token = document.getElementById("act-token");
  const toast = document.getElementById("toast");
  let wanted = null;

  function say(text) {
    toast.textContent = text;
    toast.hidden = false;
    setTimeout(() => (toast.hidden = true), 8000);
  }

  function complain(text) {
    problem.textContent = text;
    problem.hidden = !text;
  }

  async function send() {
    complain("");
    const known = sessionStorage.getItem("token") || token.value.trim();
    go.disabled = true;
    try {
      const answer = await fetch(wanted.path, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${known}` },
        body: wanted.body,
      });
      const value = await answer.json().catch(() => ({}));
      if (answer.ok) {
        sessionStorage.setItem("token", known);
        dialog.close();
        const commit = value.revision && value.path;
        say(commit ? `Committed ${value.revision.slice(0, 7)} in ${value.path}.` : "It is being looked at.");
        news();
        return;
      }
      if (answer.status === 401) {
        sessionStorage.removeItem("token");
        ask.hidden = false;
        token.focus();
        complain("This is not the server's token.");
      } else {
        complain([value.detail || `The server answers ${answer.status}.`, value.hint].filter(Boolean).join(" "));
      }
    } catch {
      complain("The server is not reached.");
    } finally {
      go.disabled = false;
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-path]");
    if (!button) return;
    wanted = { path: button.dataset.path, body: button.dataset.body };
    title.textContent = `${button.textContent}?`;
    what.textContent = button.dataset.what;
    go.textContent = button.textContent;
    complain("");
    token.value = "";
    ask.hidden = Boolean(sessionStorage.getItem("token"));
    dialog.showModal();
    if (ask.hidden) go.focus();
  });
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  document.getElementById("act-no").addEventListener("click", () => dialog.close());
}

// The log of a deployment. The offset of the line that is next is all that is remembered, so that a new
// connection goes on exactly where the last one ended.
function follow(list) {
  const most = 20000;
  const batch = 500;
  const state = document.getElementById("log-state");
  const words = document.getElementById("log-state-text");
  const waiting = document.getElementById("log-waiting");
  const button = document.getElementById("log-follow");
  const search = document.getElementById("log-search");
  const found = document.getElementById("log-found");
  const wrap = document.getElementById("log-wrap");
  const earlier = document.getElementById("log-earlier");
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

  function count() {
    const lines = wanted ? Array.from(list.children).filter(matches).length : 0;
    found.textContent = wanted ? `${lines} ${lines === 1 ? "line" : "lines"}` : "";
  }

  function span(text, name) {
    const made = document.createElement("span");
    made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  function add(line) {
    if (line.offset < next) return;
    next = line.offset + 1;
    const item = document.createElement("li");
    item.dataset.offset = line.offset;
    if (line.stream === "stderr") item.className = "err";
    const text = span("", "text");
    if (line.spans) text.append(...line.spans.map(([part, name]) => span(part, name)));
    else text.textContent = line.text;
    item.append(span(`[${line.time}]`, "time"), " ", text);
    return item;
  }

  function take(message) {
    if (message.type === "lines") {
      list.append(...message.lines.map(add).filter(Boolean));
      // a page that has followed a million lines stays as quick as one that has not
      while (list.childElementCount > most) list.firstElementChild.remove();
      offer();
      waiting.hidden = list.childElementCount > 0;
      if (wanted) count();
      if (atEnd) down();
    } else if (message.type === "state") {
      live(true, message.ended ? "Live · complete" : "Live");
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

  // the lines before the first one are on a page of their own
  function offer() {
    const first = list.firstElementChild ? Number(list.firstElementChild.dataset.offset) : 0;
    earlier.hidden = first === 0;
    earlier.querySelector("a").search = `?from=${Math.max(0, first - batch)}&to=${first}`;
  }

  function before(link) {
    const request = new XMLHttpRequest();
    request.open("GET", link.href);
    request.responseType = "document";
    request.onload = () => {
      const page = request.response;
      if (request.status !== 200 || !page) return;
      const height = list.scrollHeight;
      list.prepend(...Array.from(page.getElementById("log").children, (item) => document.importNode(item, true)));
      list.scrollTop += list.scrollHeight - height;
      Array.from(list.children).forEach(matches);
      count();
      offer();
    };
    request.send();
  }

  list.addEventListener("scroll", () => {
    atEnd = atBottom(list);
    button.hidden = atEnd;
  });
  button.addEventListener("click", () => {
    down();
    list.focus();
  });
  earlier.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    before(link);
  });
  offer();
  search.hidden = false;
  search.querySelector("input").addEventListener("input", (event) => {
    wanted = event.target.value.trim().toLowerCase();
    Array.from(list.children).forEach(matches);
    count();
    if (!wanted && atEnd) down();
  });
  wrap.hidden = false;
  const box = wrap.querySelector("input");
  const wrapped = () => {
    list.classList.toggle("long", !box.checked);
    if (atEnd) down();
  };
  box.addEventListener("change", wrapped);
  wrapped();
  down();
  connect();
}

act(refresh());
const log = document.getElementById("log");
if (log) follow(log);
