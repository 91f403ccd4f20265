"use strict";

const KEPT = 500;
const by = (id) => document.getElementById(id);
let since = 0;
let listed = "";
let asking = 0;
// How many milliseconds the simulator's clock is ahead of this machine's; null while unknown.
let ahead = null;
const pending = new Map();

function cell(row, text, name) {
  const made = row.insertCell();
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function status(row, request) {
  const made = row.cells[6];
  made.textContent = request.status === null ? "…" : String(request.status);
  const judged = request.status < 400 ? "good" : "bad";
  made.className = `status ${request.status === null ? "" : judged}`;
  const response = request.response;
  row.cells[7].textContent = response ? `${type(response)}, ${response.length} bytes` : "";
  const shown = row.querySelector("pre.response");
  shown.hidden = !response;
  if (response) {
    const size = `${request.status} ${type(response)}, ${response.length} bytes`;
    shown.textContent = `${size}\n\n${response.beginning ?? "(not shown)"}`;
  }
}

function type(response) {
  return response.content_type?.split(";")[0] ?? "no type";
}

function show(request) {
  const table = by("requests");
  if (since === 0) table.replaceChildren();
  const row = table.insertRow(0);
  cell(row, request.sequence, "sequence");
  cell(row, request.time.slice(11, 23), "time");
  cell(row, request.connection, "connection");
  const what = cell(row, "", "request");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${request.method} ${request.target}${request.grant ? ` (${request.grant})` : ""}`;
  const head = document.createElement("pre");
  head.textContent = `${request.head.trimEnd()}\n\nbody sha256 ${request.body_sha256}`;
  const response = Object.assign(document.createElement("pre"), { className: "response" });
  details.append(summary, head, response);
  what.append(details);
  cell(row, request.token ?? "", "token");
  cell(row, request.body_length || "", "length");
  cell(row, "");
  cell(row, "", "type");
  status(row, request);
  if (request.status === null) pending.set(request.sequence, row);
  while (table.rows.length > KEPT) table.deleteRow(-1);
}

async function json(path, options) {
  const response = await fetch(path, options);
  const text = await response.text();
  const value = text ? JSON.parse(text) : null;
  if (!response.ok) throw new Error(value?.error ?? response.statusText);
  return value;
}

async function faults() {
  const mine = ++asking;
  const list = await json("/__sim/faults");
  // Drops this response if a later request was sent meanwhile.
  if (mine !== asking) return;
  // Keeps an unchanged list, so that its buttons keep the keyboard focus.
  const now = JSON.stringify(list);
  if (now === listed) return;
  listed = now;
  by("faults").replaceChildren(
    ...list.map((fault) => {
      const item = document.createElement("li");
      const words = document.createElement("span");
      words.textContent = describe(fault);
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = fault.kind === "setting" ? "Revert" : "Remove";
      remove.setAttribute("aria-label", `${remove.textContent}: ${words.textContent}`);
      remove.addEventListener("click", () => act("DELETE", `/__sim/faults/${fault.id}`));
      item.append(words, remove);
      return item;
    }),
  );
  if (list.length === 0) by("faults").append(Object.assign(document.createElement("li"), { textContent: "none" }));
}

// Only a scenario changes these values, and it also clears the requests.
async function start() {
  const { quota, clock } = await json("/__sim/start");
  const words = [];
  if (quota !== null) words.push(`quota ${quota}`);
  if (clock !== null) words.push(`clock ${clock}`);
  by("start").textContent = words.length ? `Set at the start: ${words.join(", ")}` : "";
}

async function clock() {
  ahead = Date.parse((await json("/__sim/clock")).now) - Date.now();
  tick();
}

function tick() {
  const time = ahead === null ? "" : new Date(Date.now() + ahead).toISOString();
  by("clock").textContent = time && `simulator's time: ${time.slice(0, 10)} ${time.slice(11, 19)} UTC`;
}

const UNITS = {
  bytes: "bytes",
  bytes_per_second: "bytes/s",
  millis: "ms",
  per_minute: "per minute",
  requests: "requests",
  seconds: "s",
};

// Describes a fault, its requests and how long it lasts: "status 500, endpoint api, once".
function describe(fault) {
  const on = ["path", "endpoint", "method", "grant"].filter((name) => fault[name]).map((name) => `${name} ${fault[name]}`);
  if (fault.fault.startsWith("clock_")) return `clock ${span(fault.with.seconds)}`;
  const given = Object.entries(fault.with).map(([name, value]) => [value, UNITS[name]].filter(Boolean).join(" "));
  const words = [[fault.fault, ...given].join(" "), ...on];
  if (fault.probability < 1) words.push(`with probability ${fault.probability}`);
  if (fault.passing > 0) words.push(`after ${fault.passing} more requests`);
  if (fault.remaining !== null) words.push(fault.remaining === 1 ? "once" : `${fault.remaining} times`);
  if (fault.until) words.push(`until ${fault.until.slice(11, 19)}`);
  return words.join(", ");
}

// Describes how far the clock was moved: 86400 seconds are "1 d ahead".
function span(seconds) {
  const parts = [];
  let left = Math.abs(seconds);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    const whole = Math.floor(left / length);
    if (whole) parts.push(`${whole} ${unit}`);
    left -= whole * length;
  }
  if (left || parts.length === 0) parts.push(`${Number(left.toFixed(3))} s`);
  return `${parts.join(" ")} ${seconds < 0 ? "back" : "ahead"}`;
}

async function act(method, path, body) {
  try {
    const said = await json(path, { method, body });
    by("said").textContent = Array.isArray(said) ? `done: ${said.map((fault) => fault.fault).join(", ")}` : "done";
    by("said").className = "";
    if (path === "/__sim/reset") {
      forget();
    }
    await faults();
    await clock();
  } catch (error) {
    by("said").textContent = error.message;
    by("said").className = "bad";
  }
}

function forget() {
  since = 0;
  pending.clear();
  const row = document.createElement("tr");
  row.insertCell().textContent = "No requests yet.";
  row.cells[0].colSpan = 8;
  by("requests").replaceChildren(row);
}

async function settle() {
  if (pending.size === 0) return;
  const first = Math.min(...pending.keys()) - 1;
  for (const request of await json(`/__sim/requests?responses=true&since=${first}`)) {
    const row = pending.get(request.sequence);
    if (row && request.status !== null) {
      status(row, request);
      pending.delete(request.sequence);
    }
  }
}

async function watch() {
  let connected = false;
  for (;;) {
    try {
      // The first request does not wait: its response shows that the simulator is running.
      const changes = pending.size > 0 || /"until":"/.test(listed);
      // Waits only briefly: faults and settings can change without a new request.
      const wait = !connected ? 0 : changes ? 1 : 2;
      const asked = since;
      const requests = await json(`/__sim/requests?responses=true&since=${asked}&wait=${wait}`);
      if (!connected) await start();
      by("state").textContent = "live";
      connected = true;
      if (asked !== since) continue;
      for (const request of requests) {
        // A lower sequence number means that the simulator was reset.
        if (request.sequence <= since) {
          forget();
          await start();
        }
        show(request);
        since = request.sequence;
      }
      await settle();
      await faults();
      await clock();
    } catch (error) {
      by("state").textContent = `not connected: ${error.message}`;
      connected = false;
      ahead = null;
      tick();
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

for (const button of document.querySelectorAll("button[data-fault]")) {
  button.addEventListener("click", () => act("POST", "/__sim/faults", button.dataset.fault));
}
by("inject").addEventListener("click", () => act("POST", "/__sim/faults", by("own").value));
by("call").addEventListener("submit", (event) => {
  event.preventDefault();
  act("POST", "/__sim/calls", JSON.stringify({ to: by("to").value, from: by("from").value }));
});
by("clear").addEventListener("click", () => act("DELETE", "/__sim/faults"));
by("reset").addEventListener("click", () => act("POST", "/__sim/reset"));
forget();
setInterval(tick, 1000);
watch();
