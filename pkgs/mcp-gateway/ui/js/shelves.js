// The Resources and Prompts pages: searching as one types, reading and getting in a window over the page.

import { make, shown } from "./parts.js";
import { Running } from "./running.js";

const at = (id) => document.getElementById(id);
const reader = at("reader");
const form = at("reader-form");
const running = new Running(at("reader-progress"), at("reader-outcome"));
const search = document.querySelector("[data-filters]");

/** Shows the things that have all the words; groups without any are gone with them. */
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const group of document.querySelectorAll("#things > section")) {
    let any = false;
    for (const thing of group.querySelectorAll("ul[role=list] > li")) {
      const text = thing.textContent.toLowerCase();
      thing.hidden = !words.every((word) => text.includes(word));
      any ||= !thing.hidden;
    }
    group.hidden = !any;
  }
}
search.addEventListener("input", filter);
document.addEventListener("htmx:after:swap", filter);

/** A URI of a template (RFC 6570; of its modifiers none but the operators). */
function expanded(template, values) {
  return template.replace(/\{([+#./;?&]?)([^{}]+)\}/g, (_, operator, list) => {
    const said = list.split(",").map((name) => name.trim().replace(/(\*|:\d+)$/, ""));
    const given = said.filter((name) => values.get(name));
    const keep = operator === "+" || operator === "#";
    const encode = (text) => (keep ? encodeURI(text) : encodeURIComponent(text));
    const named = [";", "?", "&"].includes(operator);
    const parts = given.map((name) => (named ? `${name}=${encode(values.get(name))}` : encode(values.get(name))));
    const [lead, between] = { "": ["", ","], "+": ["", ","], "#": ["#", ","], ".": [".", "."], "/": ["/", "/"],
      ";": [";", ";"], "?": ["?", "&"], "&": ["&", "&"] }[operator];
    return parts.length ? lead + parts.join(between) : "";
  });
}

function read(server, uri) {
  running.run(`/api/resources/${encodeURIComponent(server)}?uri=${encodeURIComponent(uri)}`, { method: "GET" });
}

function get(server, prompt, values) {
  const given = [...values].filter(([, value]) => value !== "");
  const path = `/api/prompts/${encodeURIComponent(server)}/${encodeURIComponent(prompt)}`;
  running.run(path, { body: JSON.stringify(Object.fromEntries(given)) });
}

/** Fields for what has to be known before; `use` gets what was written, by name. */
function ask(fields, words, use) {
  const inputs = fields.map((one, number) => {
    const input = make("textarea", "textarea");
    input.rows = 1;
    input.id = `reader-${number}`;
    input.required = one.required;
    const label = make("label", "label", shown(one.name), ...(one.required ? [make("span", "tag", "required")] : []));
    label.htmlFor = input.id;
    const hint = make("p", "field-hint", shown(one.about || one.title || ""));
    hint.id = `${input.id}-hint`;
    input.setAttribute("aria-describedby", hint.id);
    return [input, make("div", "field", label, input, hint)];
  });
  const send = make("button", "btn", words);
  form.replaceChildren(...inputs.map(([, field]) => field), make("div", "", send));
  form.hidden = false;
  inputs[0][0].focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    use(new Map(inputs.map(([input], number) => [fields[number].name, input.value])));
  };
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (!opener) {
    return;
  }
  const what = JSON.parse(decodeURIComponent(opener.dataset.open));
  running.clear();
  form.hidden = true;
  at("reader-title").textContent = shown(what.uri ?? what.template ?? what.prompt);
  reader.showModal();
  if (what.template !== undefined) {
    const fields = what.variables.map((name) => ({ name, required: false }));
    ask(fields, "Read", (values) => read(what.server, expanded(what.template, values)));
  } else if (what.uri !== undefined) {
    read(what.server, what.uri);
  } else if (what.arguments.length) {
    ask(what.arguments, "Get", (values) => get(what.server, what.prompt, values));
  } else {
    get(what.server, what.prompt, new Map());
  }
});
at("reader-close").addEventListener("click", () => reader.close());
reader.addEventListener("click", (event) => event.target === reader && reader.close());
reader.addEventListener("close", () => {
  running.cancel();
  running.clear();
});
