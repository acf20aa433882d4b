// The Tools page: searching as one types, rows that come when they are wanted, selections that live updates
// and filters leave alone. The gateway renders; here is decided what of it is shown and what is ticked.

import { say } from "./app.js";

const OPENED = 300; // so few finds are all laid open
const BATCH = 250; // tools whose rows are fetched at once
const filter = document.getElementById("tools-filter");
const list = document.getElementById("tools");
const bar = document.getElementById("tools-picked");
const number = new Intl.NumberFormat("en");
const picked = new Map(); // tools that are selected, by key, and their tokens
// What groups were before a search opened them, and which tool was ticked last.
const reader = { opened: new Map(), last: null, bringing: false, renewing: false, news: 0 };
const brought = new Map(); // by server the digest for which rows came last
const empty = new Set(); // servers that had no tools yet
let texts = new WeakMap();
let loading = Promise.resolve();

// What scripts have decided of an element is in attributes that no update takes away.
htmx.config.morphIgnore = [...htmx.config.morphIgnore, "data-own-"];

const groups = () => [...list.querySelectorAll(".group")];
const rowsOf = (group) => group.querySelector(".rows");
const toolsOf = (group) => [...rowsOf(group).children].filter((row) => row.matches(".tool"));
const headOf = (group) => group.querySelector(".head");
const isOut = (element) => element.hasAttribute("data-own-out");
const isOld = (group) => rowsOf(group).dataset.digest !== headOf(group).dataset.digest;
const isAway = (group) => rowsOf(group).hasAttribute("data-away");
const boxOf = (row) => row.querySelector('input[name="tool"]');
const pickable = (group) => toolsOf(group).filter((row) => !isOut(row)).map(boxOf).filter(Boolean);

function asked() {
  const fields = new FormData(filter);
  const given = (name) => String(fields.get(name) ?? "");
  return {
    words: given("search").toLowerCase().split(/\s+/).filter(Boolean),
    server: given("server"),
    says: given("says"),
    enabled: given("enabled"),
  };
}

const isNarrow = (wanted) => Boolean(wanted.words.length || wanted.server || wanted.says || wanted.enabled);

function textOf(row) {
  let text = texts.get(row);
  if (text === undefined) {
    text = `${row.querySelector(".what").textContent} ${row.dataset.more ?? ""}`.toLowerCase();
    texts.set(row, text);
  }
  return text;
}

function matches(row, wanted) {
  return (!wanted.says || row.dataset.says === wanted.says)
    && (!wanted.enabled || ("off" in row.dataset) === (wanted.enabled === "off"))
    && wanted.words.every((word) => textOf(row).includes(word));
}

/** Shows what is wanted, of the rows that are here. */
function show() {
  const wanted = asked();
  const narrow = isNarrow(wanted);
  const found = new Map();
  let count = 0;
  let all = 0;
  for (const group of groups()) {
    const tools = Number(headOf(group).dataset.tools);
    const isHere = !wanted.server || group.dataset.server === wanted.server;
    let hits = 0;
    if (!narrow) {
      hits = tools;
    }
    for (const row of toolsOf(group)) {
      const hit = !narrow || (isHere && matches(row, wanted));
      row.toggleAttribute("data-own-out", !hit);
      hits += narrow && hit ? 1 : 0;
    }
    // Of rows that are on their way it is not known yet.
    const pending = narrow && isHere && isAway(group);
    group.toggleAttribute("data-own-out", narrow && !hits && !pending);
    found.set(group, hits);
    count += hits;
    all += tools;
  }
  for (const [group, hits] of found) {
    const details = group.querySelector("details");
    if (narrow && hits && count <= OPENED) {
      if (!reader.opened.has(group.dataset.server)) {
        reader.opened.set(group.dataset.server, details.open);
      }
      details.open = true;
    } else if (!narrow && reader.opened.has(group.dataset.server)) {
      details.open = reader.opened.get(group.dataset.server);
      reader.opened.delete(group.dataset.server);
    }
  }
  const isSure = !groups().some((group) => !isOut(group) && isAway(group));
  document.getElementById("tools-none").hidden = !narrow || count > 0 || !isSure;
  write(document.getElementById("tools-shown"),
    narrow ? `${number.format(count)} of ${number.format(all)} tools match` : "");
  tally();
}

function write(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Ticks what is selected, and says how much that is. */
function tally() {
  let tokens = 0;
  for (const cost of picked.values()) {
    tokens += cost;
  }
  const shown = { some: false, all: true, none: true };
  for (const group of groups()) {
    const box = group.querySelector('[data-pick="group"]');
    const boxes = pickable(group);
    const ticked = boxes.filter((one) => picked.has(one.value)).length;
    if (box) {
      box.checked = boxes.length > 0 && ticked === boxes.length;
      box.indeterminate = ticked > 0 && ticked < boxes.length;
    }
    if (!isOut(group) && (boxes.length || isAway(group))) {
      shown.none = false;
      shown.some ||= ticked > 0;
      shown.all &&= boxes.length > 0 && ticked === boxes.length;
    }
  }
  const every = list.querySelector('[data-pick="shown"]');
  if (every) {
    every.checked = shown.all && !shown.none;
    every.indeterminate = shown.some && !every.checked;
  }
  if (bar) {
    const what = picked.size === 1 ? "tool" : "tools";
    bar.toggleAttribute("data-empty", !picked.size);
    write(bar.querySelector("[data-say]"), picked.size
      ? `${number.format(picked.size)} ${what} selected, ≈ ${number.format(tokens)} tokens (estimate)` : "");
  }
}

function pick(box, wanted) {
  box.checked = wanted;
  if (wanted) {
    picked.set(box.value, Number(box.closest(".tool").dataset.tokens));
  } else {
    picked.delete(box.value);
  }
}

// Asking the gateway

async function ask(address, options = {}) {
  let answer;
  let text;
  try {
    answer = await fetch(address, { ...options, headers: { "HX-Request": "true", ...options.headers } });
    text = await answer.text();
  } catch {
    say("The gateway could not be reached", "bad");
    return false;
  }
  await htmx.swap({ text, sourceElement: list, target: list, swap: "none" });
  return answer.ok;
}

/** Brings the rows of these groups, one batch after the other; what is on its way already is waited for. */
function bring(wanted) {
  loading = loading.then(async () => {
    reader.bringing = true;
    let batch = [];
    let size = 0;
    const flush = async () => {
      const query = new URLSearchParams(batch.map((group) => ["server", group.dataset.server]));
      const digests = batch.map((group) => [group.dataset.server, headOf(group).dataset.digest]);
      batch = [];
      size = 0;
      const came = await ask(`/ui/tools/rows?${query}`);
      for (const [server, digest] of came ? digests : []) {
        brought.set(server, digest);
      }
      return came;
    };
    try {
      for (const group of wanted.filter((one) => one.isConnected && isOld(one))) {
        batch.push(group);
        size += Number(headOf(group).dataset.tools);
        if ((size >= BATCH || batch.length >= 50) && !(await flush())) {
          return;
        }
      }
      if (batch.length) {
        await flush();
      }
    } finally {
      reader.bringing = false;
      settle();
    }
  });
  return loading;
}

async function turn(keys, word) {
  const body = new URLSearchParams(keys.map((key) => ["tool", key]));
  body.set("enabled", word);
  return ask("/ui/tools/switch", { method: "POST", body });
}

/** After something new came in: ticks and filters hold, and old rows are asked for again. */
function settle() {
  texts = new WeakMap();
  const here = new Set();
  const whole = new Set();
  for (const group of groups()) {
    if (!isOld(group)) {
      whole.add(group.dataset.server);
    }
    for (const row of toolsOf(group)) {
      const box = boxOf(row);
      if (box) {
        here.add(box.value);
        box.checked = picked.has(box.value);
        if (box.checked) {
          picked.set(box.value, Number(row.dataset.tokens));
        }
      }
    }
  }
  greet();
  const all = new Set(groups().map((group) => group.dataset.server));
  for (const key of [...picked.keys()]) {
    const server = key.slice(0, key.indexOf("/"));
    if (!here.has(key) && (whole.has(server) || !all.has(server))) {
      picked.delete(key);
    }
  }
  show();
  // Not twice for the same news: a server that is gone has no rows to send.
  const isNews = (group) => brought.get(group.dataset.server) !== headOf(group).dataset.digest;
  const old = groups().filter((group) => isOld(group) && !isAway(group) && isNews(group));
  if (old.length) {
    bring(old);
  }
}

/** Where all is laid open, so are the tools of a server that has come to have some. */
function greet() {
  const all = groups();
  const count = all.reduce((sum, group) => sum + Number(headOf(group).dataset.tools), 0);
  for (const group of all) {
    if (headOf(group).dataset.tools === "0") {
      empty.add(group.dataset.server);
    } else if (empty.delete(group.dataset.server) && count <= OPENED) {
      group.querySelector("details").open = true;
    }
  }
}

/** Servers have come or gone, which is rare: the list as a new page would have it, opened as it was. */
async function renew() {
  reader.renewing = true;
  let page;
  let news;
  try {
    do { // what was told meanwhile may be of a server that is not on the page yet
      news = reader.news;
      page = new DOMParser().parseFromString(await (await fetch("/ui/tools")).text(), "text/html");
    } while (news !== reader.news);
  } catch {
    return; // the live stream tells all again once it is back
  } finally {
    reader.renewing = false;
  }
  const fresh = page.getElementById("tools-groups");
  const choice = page.querySelector('#tools-filter [name="server"]');
  if (!fresh || !choice) {
    return;
  }
  const open = new Map(groups().map((group) => [group.dataset.server, group.querySelector("details").open]));
  const { server } = filter.elements;
  const chosen = server.value;
  server.replaceChildren(...choice.options);
  server.value = chosen;
  if (server.selectedIndex < 0) {
    server.value = "";
  }
  document.getElementById("tools-groups").replaceWith(document.adoptNode(fresh));
  for (const group of groups()) {
    const details = group.querySelector("details");
    details.open = open.get(group.dataset.server) ?? details.open;
  }
  reader.opened.clear();
  brought.clear();
  settle();
}

document.addEventListener("htmx:after:swap", () => {
  reader.news += 1;
  const { servers } = document.getElementById("tools-servers").dataset;
  const shown = groups().map((group) => group.dataset.server).join(" ");
  if (reader.renewing) {
    return;
  }
  if (servers !== shown) {
    renew();
  } else if (!reader.bringing) {
    settle();
  }
});

// What the reader does

/** Rows that a search has to look through; asked for as soon as somebody seems to begin one. */
function bringAll() {
  const missing = groups().filter((group) => isOld(group));
  return missing.length ? bring(missing) : Promise.resolve();
}

function address() {
  const fields = [...new FormData(filter)].filter(([, value]) => value);
  return fields.length ? `/ui/tools?${new URLSearchParams(fields)}` : "/ui/tools";
}

filter.addEventListener("focusin", bringAll);
filter.addEventListener("input", (event) => {
  show();
  bringAll();
  if (event.target.name === "search") {
    history.replaceState(null, "", address());
  } else {
    history.pushState(null, "", address());
  }
});
filter.addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", () => {
  const given = new URLSearchParams(location.search);
  for (const field of filter.elements) {
    if (field.name) {
      field.value = given.get(field.name) ?? "";
    }
  }
  show();
  bringAll();
});

/** What each tool is being switched to; a click meanwhile changes that, and is not lost. */
const wanted = new Map();

async function flip(button) {
  const at = button.value.indexOf(" ");
  const tool = button.value.slice(at + 1);
  const isUnderWay = wanted.has(tool);
  const word = isUnderWay ? (wanted.get(tool) === "on" ? "off" : "on") : button.value.slice(0, at);
  wanted.set(tool, word);
  button.setAttribute("aria-checked", String(word === "on"));
  if (isUnderWay) {
    return;
  }
  button.setAttribute("data-own-busy", "");
  let said;
  let wentWell;
  do {
    said = wanted.get(tool);
    wentWell = await turn([tool], said);
  } while (wentWell && wanted.get(tool) !== said);
  wanted.delete(tool);
  if (!wentWell) {
    button.setAttribute("aria-checked", String(said !== "on"));
  }
  button.removeAttribute("data-own-busy");
}

// `toggle` does not bubble.
list.addEventListener("toggle", (event) => {
  const group = event.target.closest(".group");
  if (group && event.target.open && isAway(group)) {
    bring([group]);
  }
}, true);

list.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.name === "only") {
    event.preventDefault();
    await flip(button);
    return;
  }
  if (button?.dataset.pick === "none") {
    picked.clear();
    settle();
    list.querySelector(".checkbox")?.focus();
    return;
  }
  const box = event.target.closest('input[type="checkbox"]');
  if (!box) {
    return;
  }
  const wanted = box.checked;
  if (box.dataset.pick) {
    const group = box.closest(".group");
    const meant = () => (group ? [group] : groups().filter((one) => !isOut(one)));
    if (meant().some(isAway)) {
      await bring(meant().filter(isAway));
    }
    for (const one of meant().flatMap(pickable)) {
      pick(one, wanted);
    }
    reader.last = null;
  } else {
    const boxes = groups().filter((one) => !isOut(one) && one.querySelector("details").open).flatMap(pickable);
    const from = boxes.findIndex((one) => one.value === reader.last);
    const to = boxes.indexOf(box);
    const range = event.shiftKey && from >= 0 ? boxes.slice(Math.min(from, to), Math.max(from, to) + 1) : [box];
    for (const one of range) {
      pick(one, wanted);
    }
    reader.last = box.value;
  }
  tally();
});

list.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  if (button?.name !== "enabled" || !picked.size || bar.hasAttribute("data-own-busy")) {
    return;
  }
  bar.setAttribute("data-own-busy", "");
  await turn([...picked.keys()], button.value);
  bar.removeAttribute("data-own-busy");
});

for (const box of list.querySelectorAll('input[name="tool"]:checked')) {
  pick(box, true); // as the browser has kept it
}
greet();
show();
list.setAttribute("data-own-ready", "");
