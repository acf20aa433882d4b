// Results of calls as people can read them, by kind. All of it is hostile: text is written as text, pictures
// and sounds are data of the page, and an address becomes a link only if it is https.

import { bytes, button, make, notice, shown } from "./parts.js";
import { safe } from "./visible.js";

const PICTURES = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]);
const SOUND = /^audio\/[a-z0-9][a-z0-9.+-]*$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const OPEN_LEVELS = 8; // that a chain of single members opens by itself
const ARTIFACT = /^\/api\/artifacts\/[A-Za-z0-9_-]+$/;
const MEDIA_CHARS = 14_000_000; // 10 MiB of a picture or sound
const TEXT_CHARS = 200_000; // more than that at once makes a page slow
const TREE_ITEMS = 100; // of one object or list, before "and more"

/** Writes the result of a tool, of reading a resource or of getting a prompt. `text`: as it was sent. */
export function renderResult(container, result, text = JSON.stringify(result)) {
  const nice = make("div", "kinds");
  const isObject = result !== null && typeof result === "object" && !Array.isArray(result);
  if (!isObject) {
    nice.append(tree(result));
  } else {
    if (result.isError === true) {
      nice.append(notice("bad", "The tool reports failure."));
    }
    const artifact = result._meta?.["mcp-gateway/artifact"];
    if (artifact && typeof artifact.url === "string" && ARTIFACT.test(artifact.url)) {
      nice.append(whole(artifact));
    }
    for (const item of list(result.content)) {
      nice.append(block(item));
    }
    for (const item of list(result.contents)) {
      nice.append(resource(item));
    }
    for (const item of list(result.messages)) {
      nice.append(message(item));
    }
    if (typeof result.description === "string" && Array.isArray(result.messages)) {
      nice.prepend(make("p", "quiet", safe(result.description)));
    }
    if (result.structuredContent !== undefined) {
      nice.append(titled("Structured", tree(result.structuredContent)));
    }
    if (!nice.childElementCount) {
      nice.append(known(result) ? make("p", "quiet", "The answer is empty.") : tree(result));
    }
  }
  container.replaceChildren(nice, raw(text));
}

/** Writes what was said in a call, which may be a result, any other JSON, or no JSON at all. */
export function renderPayloadText(container, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    container.replaceChildren(long(text));
    return;
  }
  const isResult = value !== null && typeof value === "object" && !Array.isArray(value) && known(value);
  if (isResult) {
    renderResult(container, value, text);
  } else {
    container.replaceChildren(tree(value), raw(text));
  }
}

function known(value) {
  return ["content", "contents", "messages", "structuredContent"].some((name) => name in value);
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

/** One block of content. */
function block(item) {
  if (item !== null && typeof item === "object") {
    const { type } = item;
    if (type === "text" && typeof item.text === "string") {
      return textual(item.text);
    }
    if (type === "image" && typeof item.data === "string") {
      return media(item.data, item.mimeType, "Picture from the server");
    }
    if (type === "audio" && typeof item.data === "string") {
      return media(item.data, item.mimeType, "Sound from the server");
    }
    if (type === "resource_link" && typeof item.uri === "string") {
      const named = [item.title ?? item.name, item.description].filter((one) => typeof one === "string");
      return titled(
        "Link to a resource",
        ...named.map((words) => make("p", "", safe(words))),
        address(item.uri),
        facts(item),
      );
    }
    if (type === "resource" && item.resource !== null && typeof item.resource === "object") {
      return resource(item.resource);
    }
  }
  return titled("Something that this page does not know", tree(item));
}

/** A resource with its content. */
function resource(item) {
  if (item === null || typeof item !== "object") {
    return titled("Something that this page does not know", tree(item));
  }
  const head = typeof item.uri === "string" ? [address(item.uri)] : [];
  if (typeof item.text === "string") {
    return titled("Resource", ...head, facts(item), textual(item.text));
  }
  if (typeof item.blob === "string") {
    return titled("Resource", ...head, facts(item), media(item.blob, item.mimeType, "Picture of the resource"));
  }
  return titled("Resource", tree(item));
}

/** A message of a prompt. */
function message(item) {
  if (item === null || typeof item !== "object") {
    return titled("Something that this page does not know", tree(item));
  }
  const blocks = Array.isArray(item.content) ? item.content : [item.content];
  return titled(`From the ${shown(item.role ?? "somebody")}`, ...blocks.map(block));
}

function titled(words, ...inside) {
  return make("section", "kind", make("h4", "", words), ...inside);
}

function facts(item) {
  const made = make("p", "flex flex-wrap gap-1.5");
  if (typeof item.mimeType === "string") {
    made.append(make("span", "tag", shown(item.mimeType)));
  }
  if (typeof item.size === "number") {
    made.append(make("span", "tag num", bytes(item.size)));
  }
  return made;
}

/** An address as text; as a link too where that leads to a page over https. */
function address(uri) {
  const text = make("code", "", shown(uri));
  const url = URL.parse ? URL.parse(uri) : null;
  if (url?.protocol !== "https:") {
    return make("p", "", text);
  }
  const link = make("a", "", "Open");
  link.href = url.href;
  link.rel = "noopener noreferrer";
  link.target = "_blank";
  return make("p", "flex flex-wrap items-baseline gap-2", text, link);
}

/** Text; what is JSON is drawn as such, and can be seen as it came. */
function textual(text) {
  const start = text.trimStart()[0];
  if (start !== "{" && start !== "[") {
    return long(text);
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return long(text);
  }
  const views = [tree(value), long(text)];
  views[1].hidden = true;
  const toggle = button("As text", "", () => {
    for (const view of views) {
      view.hidden = !view.hidden;
    }
    toggle.textContent = views[0].hidden ? "As JSON" : "As text";
  }, "ghost", "xs");
  return make("div", "textual", make("div", "flex justify-end", toggle), ...views);
}

/** Text of any length, the first part of it at first. */
function long(text) {
  const pre = make("pre", "raw");
  pre.tabIndex = 0;
  pre.textContent = safe(text.slice(0, TEXT_CHARS));
  if (text.length <= TEXT_CHARS) {
    return pre;
  }
  const more = button(`Show all ${text.length.toLocaleString()} characters`, "chevron-down", () => {
    pre.textContent = safe(text);
    more.remove();
  });
  return make("div", "flex flex-col items-start gap-2", pre, more);
}

/** A picture or a sound, if it is of a kind that cannot act; anything else is a file to keep. */
function media(data, mime, alternative) {
  const kind = typeof mime === "string" ? mime.toLowerCase().trim() : "";
  const encoded = data.replace(/\s+/g, "");
  // Of four characters each, without the padding if need be; `atob` takes nothing else.
  if (!BASE64.test(encoded) || encoded.replace(/=+$/, "").length % 4 === 1 || (encoded.endsWith("=") && encoded.length % 4)) {
    return titled("Data that cannot be read", long(data));
  }
  const size = bytes(Math.floor((encoded.length * 3) / 4));
  const keep = file(encoded, kind, size);
  if (encoded.length <= MEDIA_CHARS && PICTURES.has(kind)) {
    const picture = make("img", "picture");
    picture.alt = alternative;
    picture.addEventListener("error", () => picture.replaceWith(make("p", "quiet", "This is no picture.")));
    picture.src = `data:${kind};base64,${encoded}`;
    return make("figure", "flex flex-col items-start gap-2", picture, keep);
  }
  if (encoded.length <= MEDIA_CHARS && SOUND.test(kind)) {
    const sound = make("audio", "w-full max-w-md");
    sound.controls = true;
    sound.src = `data:${kind};base64,${encoded}`;
    return make("figure", "flex flex-col items-start gap-2", sound, keep);
  }
  return make("p", "flex flex-wrap items-center gap-2", make("span", "tag", shown(kind || "data")), keep);
}

const ENDINGS = new Map(Object.entries({ "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp",
  "image/gif": ".gif", "application/pdf": ".pdf", "text/plain": ".txt", "application/gzip": ".gz",
  "application/zip": ".zip" }));

/** A button that saves; as bytes of no kind, so that no browser opens it as a page. */
function file(encoded, kind, size) {
  return button(`Download (${size})`, "download", () => {
    const content = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
    const link = make("a");
    link.href = url;
    link.download = `result${ENDINGS.get(kind) ?? ".bin"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });
}

/** Where all of a result is of which the gateway sent a part. */
function whole(artifact) {
  const link = make("a", "", "Download all of it");
  link.href = artifact.url;
  link.setAttribute("download", "result.json");
  const size = typeof artifact.size === "number" ? ` (${bytes(artifact.size)})` : "";
  return notice("", `This is the first part of a result that was too large to hand over${size}. `, link);
}

function raw(text) {
  const details = make("details", "as", make("summary", "quiet", "Raw JSON"));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) {
      details.append(long(text.length <= TEXT_CHARS ? indented(text) : text));
    }
  });
  return details;
}

/** JSON with line breaks and indents, and else as it was written: scripts do not hold every number that it does. */
function indented(text) {
  let depth = 0;
  return text.replace(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|\s+/g, (token) => {
    if ("{[".includes(token)) {
      depth += 1;
      return `${token}\n${"  ".repeat(Math.min(depth, 40))}`;
    }
    if ("}]".includes(token)) {
      depth -= 1;
      return `\n${"  ".repeat(Math.min(Math.max(depth, 0), 40))}${token}`;
    }
    if (token === ",") {
      return `,\n${"  ".repeat(Math.min(depth, 40))}`;
    }
    return token === ":" ? ": " : token.trim();
  });
}

/** JSON to open and close; what is closed is not made yet, so depth and breadth cost nothing. */
export function tree(value) {
  const root = make("div", "tree");
  root.append(isBranch(value) ? branch("", value, OPEN_LEVELS) : leaf("", value));
  return root;
}

function isBranch(value) {
  return value !== null && typeof value === "object" && Object.keys(value).length > 0;
}

function branch(name, value, levels) {
  const entries = Object.entries(value);
  const words = Array.isArray(value) ? `${entries.length} items` : `${entries.length} members`;
  const summary = make("summary", "", ...label(name), make("span", "quiet", entries.length === 1 ? words.slice(0, -1) : words));
  const details = make("details", "", summary);
  const fill = (from) => {
    const inside = make("ul");
    for (const [key, child] of entries.slice(from, from + TREE_ITEMS)) {
      const own = Array.isArray(value) ? `${Number(key) + 1}` : key;
      inside.append(make("li", "", isBranch(child) ? branch(own, child, entries.length === 1 ? levels - 1 : 0) : leaf(own, child)));
    }
    details.append(inside);
    if (from + TREE_ITEMS < entries.length) {
      const more = button(`And ${entries.length - from - TREE_ITEMS} more`, "", () => {
        more.remove();
        fill(from + TREE_ITEMS);
      }, "ghost", "xs");
      details.append(more);
    }
  };
  if (levels > 0) {
    details.open = true;
    fill(0);
  } else {
    details.addEventListener("toggle", () => details.childElementCount === 1 && fill(0));
  }
  return details;
}

function leaf(name, value) {
  const kind = value === null ? "null" : typeof value;
  const text = kind === "string" ? value : JSON.stringify(value);
  const content = make("span", `value of-${kind}`);
  content.textContent = safe(text.slice(0, TEXT_CHARS)) + (text.length > TEXT_CHARS ? "…" : "");
  if (kind === "string" && !text) {
    content.textContent = "empty text";
    content.classList.add("quiet");
  }
  return make("div", "leaf", ...label(name), content);
}

function label(name) {
  return name === "" ? [] : [make("span", "key", shown(name))];
}
