// What every page has: times that move, buttons that copy, notices that go. Finds its work by data attributes,
// also in what htmx has put in since.

import "./pwa.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

const date = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});

/** A length of time with its two largest units, as `span` of render.py writes it. */
export function span(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  for (let at = 0; at < units.length; at += 1) {
    const [unit, length] = units[at];
    if (left >= length) {
      const next = units[at + 1];
      const rest = next ? Math.floor((left % length) / next[1]) : 0;
      const whole = Math.floor(left / length);
      return rest ? `${whole} ${unit} ${rest} ${next[0]}` : `${whole} ${unit}`;
    }
  }
  return "0 s";
}

// By how much the gateway's clock is behind this machine's; the page says when it was made.
export const behind = Date.now() / 1000 - Number(document.documentElement.dataset.now);

/** Writes times in the reader's zone, and what is left or has passed, once a second. */
export function tellTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-at]")) {
    const at = new Date((Number(time.dataset.at) + behind) * 1000);
    const isNear = Math.abs(Date.now() - at) < 72_000_000 && !("whole" in time.dataset);
    const isOfYear = at.getFullYear() === new Date().getFullYear();
    const text = isNear ? clock.format(at) : (isOfYear ? day : date).format(at);
    if (time.textContent !== text) {
      time.textContent = text;
      time.title = at.toString();
    }
  }
  const now = Date.now() / 1000 - behind;
  for (const [attribute, sign] of [["until", -1], ["since", 1]]) {
    for (const element of root.querySelectorAll(`[data-${attribute}]`)) {
      const text = span(sign * (now - Number(element.dataset[attribute])));
      if (element.textContent !== text) {
        element.textContent = text;
      }
    }
  }
}

/** Says something over the page, as `_said.html` does. */
export function say(text, tone = "good") {
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.dataset.tone = tone;
  const words = document.createElement("div");
  words.textContent = text;
  notice.append(words);
  document.getElementById("said").replaceChildren(notice);
}

async function copy(button) {
  const source = button.dataset.copy
    ? document.getElementById(button.dataset.copy)
    : button.closest("[data-copied]").querySelector("pre, code");
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    // Without https there is no clipboard; the selected text can be copied by hand.
    getSelection().selectAllChildren(source);
    say("Selected; copy it with Ctrl+C", "uneasy");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-dismiss], [data-copy], [data-copied] button");
  if (!button) {
    return;
  }
  if ("dismiss" in button.dataset) {
    button.closest(".notice").remove();
  } else {
    copy(button);
  }
});

// A menu is left by choosing, by clicking elsewhere and by Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) {
      menu.open = false;
    }
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

const RETRY_MS = 3000;

// Who shows what is, says when that may not be so any more.
const live = document.querySelector("[data-live]");
if (live) {
  const lost = document.getElementById("lost");
  const tell = (words) => {
    if (lost.textContent !== words) {
      lost.textContent = words;
    }
  };
  /** Whether it is worth to try again. */
  const lose = (status) => {
    const isOver = [401, 403].includes(status);
    tell(isOver ? "Nothing new comes in: you are not signed in any more. Reload the page to sign in." :
      "Nothing new comes in: the gateway cannot be reached. It is tried again.");
    return !isOver;
  };
  live.addEventListener("htmx:sse:error", (event) => lose(event.detail.status));
  // A stream that never began is not begun again by the extension.
  const failed = (event) => {
    event.stopPropagation();
    if (lose(event.detail.ctx?.response?.status)) {
      const again = () => globalThis.htmx.ajax("GET", live.getAttribute("hx-sse:connect"), { source: live });
      setTimeout(again, RETRY_MS);
    }
  };
  live.addEventListener("htmx:response:error", failed);
  live.addEventListener("htmx:error", failed);
  live.addEventListener("htmx:sse:after:connection", () => tell(""));
}
document.addEventListener("htmx:error", () => say("The gateway could not be reached", "bad"));

tellTimes();
setInterval(tellTimes, 1000);
document.addEventListener("htmx:after:swap", () => tellTimes());
