"use strict";

const KEPT = 500;
const by = (id) => document.getElementById(id);
let since = 0;
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
  made.className = request.status === null ? "" : request.status < 400 ? "good" : "bad";
}

function show(request) {
  const table = by("requests");
  const row = table.insertRow(0);
  cell(row, request.sequence);
  cell(row, request.time.slice(11, 23));
  cell(row, request.connection);
  const what = cell(row, "", "request");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${request.method} ${request.target}${request.grant ? ` (${request.grant})` : ""}`;
  const head = document.createElement("pre");
  head.textContent = `${request.head.trimEnd()}\n\nbody sha256 ${request.body_sha256}`;
  details.append(summary, head);
  what.append(details);
  cell(row, request.token ?? "");
  cell(row, request.body_length || "");
  cell(row, "");
  status(row, request);
  if (request.status === null) pending.set(request.sequence, row);
  while (table.rows.length > KEPT) table.deleteRow(-1);
}

async function json(path, options) {
  const answer = await fetch(path, options);
  const text = await answer.text();
  const value = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(value?.error ?? answer.statusText);
  return value;
}

async function faults() {
  const list = await json("/__sim/faults");
  by("faults").replaceChildren(
    ...list.map((fault) => {
      const item = document.createElement("li");
      const parts = Object.entries(fault).filter(([name, value]) => value !== null && name !== "id" && name !== "fault");
      item.textContent = `${fault.fault} ${parts.map(([name, value]) => `${name}: ${value}`).join(", ")} `;
      const remove = document.createElement("button");
      remove.textContent = "Remove";
      remove.addEventListener("click", () => act("DELETE", `/__sim/faults/${fault.id}`));
      item.append(remove);
      return item;
    }),
  );
}

async function act(method, path, body) {
  try {
    const said = await json(path, { method, body });
    by("said").textContent = said ? JSON.stringify(said) : "done";
    if (path === "/__sim/reset") {
      forget();
    }
    await faults();
  } catch (error) {
    by("said").textContent = error.message;
  }
}

function forget() {
  since = 0;
  pending.clear();
  by("requests").replaceChildren();
}

async function settle() {
  if (pending.size === 0) return;
  const first = Math.min(...pending.keys()) - 1;
  for (const request of await json(`/__sim/requests?since=${first}`)) {
    const row = pending.get(request.sequence);
    if (row && request.status !== null) {
      status(row, request);
      pending.delete(request.sequence);
    }
  }
}

async function watch() {
  for (;;) {
    try {
      const wait = pending.size > 0 ? 1 : 20;
      const asked = since;
      const requests = await json(`/__sim/requests?since=${asked}&wait=${wait}`);
      by("state").textContent = "live";
      if (asked !== since) continue;
      for (const request of requests) {
        // Somebody has reset it.
        if (request.sequence <= since) forget();
        show(request);
        since = request.sequence;
      }
      await settle();
      await faults();
    } catch (error) {
      by("state").textContent = `not connected: ${error.message}`;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

for (const button of document.querySelectorAll("button[data-fault]")) {
  button.addEventListener("click", () => act("POST", "/__sim/faults", button.dataset.fault));
}
by("inject").addEventListener("click", () => act("POST", "/__sim/faults", by("own").value));
by("clear").addEventListener("click", () => act("DELETE", "/__sim/faults"));
by("reset").addEventListener("click", () => act("POST", "/__sim/reset"));
watch();
