// A tool's page: the form and the JSON beside it, the call, and the call to take elsewhere.

import { say } from "./app.js";
import { Form } from "./form.js";
import { mistake } from "./mistakes.js";
import { asCommand, asCurl, asRequest, toolPath } from "./quoting.js";
import { Running } from "./running.js";

const facts = JSON.parse(document.getElementById("facts").textContent);
const at = (id) => document.getElementById(id);
const chooser = document.querySelector(".chooser");
const [toForm, toRaw] = chooser.querySelectorAll("button");
const text = at("raw-text");
const go = at("go");
const stop = at("stop");

let form = null;
let isRaw = false;
let isSure = false;

const pretty = (value) => JSON.stringify(value, null, 2);

/** The JSON as it is written, if it is an object; else null, and what is wrong stands below it. */
function written() {
  const problem = at("raw-problem");
  let said = "";
  let value = null;
  try {
    value = JSON.parse(text.value);
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      said = "The arguments must be a JSON object: { … }";
      value = null;
    }
  } catch {
    said = `This is no JSON from ${place()} on.`;
  }
  problem.textContent = said;
  if (said) {
    text.setAttribute("aria-invalid", "true");
  } else {
    text.removeAttribute("aria-invalid");
  }
  return value;
}

/** Line and column of the first mistake. */
function place() {
  const before = text.value.slice(0, Math.max(mistake(text.value), 0)).split("\n");
  return `line ${before.length}, column ${before.at(-1).length + 1}`;
}

function why(words) {
  at("why").textContent = words;
  at("why").hidden = !words;
}

function choose(raw) {
  isRaw = raw;
  at("form").hidden = raw;
  at("raw").hidden = !raw;
  toForm.setAttribute("aria-pressed", String(!raw));
  toRaw.setAttribute("aria-pressed", String(raw));
  unsure();
  tell();
}

toRaw.addEventListener("click", () => {
  if (!isRaw) {
    text.value = pretty(form.value);
    written();
    choose(true);
    text.focus();
  }
});
toForm.addEventListener("click", () => {
  if (!isRaw) {
    return;
  }
  const value = written();
  if (value === null) {
    text.focus();
  } else if (form.show(value)) {
    why("");
    choose(false);
  } else {
    why("The form cannot hold all of this; it stays JSON.");
  }
});
at("raw-format").addEventListener("click", () => {
  const value = written();
  if (value !== null) {
    text.value = pretty(value);
    tell();
  }
});
text.addEventListener("input", () => {
  if (text.getAttribute("aria-invalid")) {
    written();
  }
  unsure();
  tell();
});

/** The arguments as JSON text, as they go to the tool; null if there are none that can. */
function ready() {
  if (!isRaw) {
    return JSON.stringify(form.value);
  }
  return written() === null ? null : text.value.trim();
}

/** Writes the call for other places to take it to. */
function tell() {
  if (!at("as").open) {
    return;
  }
  const body = ready();
  const base = location.origin;
  at("as-curl").textContent = body === null ? "" : asCurl(facts, body, base);
  at("as-cli").textContent = body === null ? "" : asCommand(facts, body, base);
  at("as-mcp").textContent = body === null ? "" : asRequest(facts, isRaw ? body : pretty(form.value));
}
at("as").addEventListener("toggle", tell);

const running = new Running(at("progress"), at("outcome"), (isRunning) => {
  go.disabled = isRunning || !facts.mayCall;
  stop.hidden = !isRunning;
  stop.disabled = false;
  if (!isRunning && !at("outcome").hidden) {
    at("outcome").scrollIntoView({ block: "nearest" });
  }
});

function unsure() {
  isSure = false;
  go.querySelector("span").textContent = "Run";
  delete go.dataset.variant;
}

async function run() {
  if (running.isRunning || !facts.mayCall) {
    return;
  }
  if (!isRaw && form.isWrong(at("form"))) {
    say("Some of the arguments are not as they have to be", "bad");
    return;
  }
  const body = ready();
  if (body === null) {
    text.focus();
    return;
  }
  if (facts.isDestructive && !isSure) {
    isSure = true;
    go.dataset.variant = "destructive";
    go.querySelector("span").textContent = "Run it, it may destroy something";
    return;
  }
  unsure();
  await running.run(toolPath(facts.server, facts.tool), { body });
}

go.addEventListener("click", run);
stop.addEventListener("click", () => {
  stop.disabled = true;
  running.cancel();
});
at("run").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    document.activeElement?.blur(); // what is being written counts
    run();
  }
});

at("form").replaceChildren(); // what stands there for who has no scripts
if (facts.form.schema) {
  form = new Form(at("form"), facts.form, () => {
    unsure();
    tell();
  });
  if (!Object.keys(facts.form.schema.properties ?? {}).length) {
    why("It takes no arguments.");
  }
  if (!facts.mayCall) {
    form.disable();
  }
  chooser.hidden = false;
} else {
  why(facts.form.why);
  text.value = "{}";
}
text.readOnly = !facts.mayCall;
at("does").hidden = false;
at("as").hidden = false;
choose(!form);
