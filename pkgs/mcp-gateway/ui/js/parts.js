// Small things that modules of pages make elements with. Text goes in as text only.

import { safe } from "./visible.js";

const SVG = "http://www.w3.org/2000/svg";
const sprite = () => document.querySelector("svg.icon use")?.getAttribute("href")?.split("#")[0] ?? "";

/** An element with a class, and text or other elements in it. Text must be ours, or made visible before. */
export function make(name, classes = "", ...inside) {
  const element = document.createElement(name);
  if (classes) {
    element.className = classes;
  }
  element.append(...inside);
  return element;
}

/** One of `icons.txt`. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${sprite()}#${name}`);
  svg.append(use);
  return svg;
}

/** A button with words, and a picture before them. */
export function button(words, picture, press, variant = "outline", size = "sm") {
  const made = make("button", "btn", ...(picture ? [icon(picture)] : []), words);
  made.type = "button";
  made.dataset.variant = variant;
  made.dataset.size = size;
  made.addEventListener("click", press);
  return made;
}

/** A line in a tone, as `.notice` of the templates. */
export function notice(tone, ...inside) {
  const made = make("div", "notice", icon(tone === "bad" ? "circle-alert" : "info"), make("div", "", ...inside));
  if (tone) {
    made.dataset.tone = tone;
  }
  return made;
}

/** A text of a server, on one line. */
export function shown(text) {
  return safe(String(text), false);
}

/** Bytes, in the unit that needs the fewest digits, as `size` of render.py. */
export function bytes(count) {
  let left = count;
  for (const unit of ["B", "kB", "MB"]) {
    if (left < 1000) {
      return unit === "B" || left >= 100 ? `${left.toFixed(0)} ${unit}` : `${left.toFixed(1)} ${unit}`;
    }
    left /= 1000;
  }
  return `${left.toFixed(1)} GB`;
}

/** How long something took, as `took` of render.py. */
export function took(milliseconds) {
  if (milliseconds < 1000) {
    return `${milliseconds.toFixed(milliseconds >= 10 ? 0 : 1)} ms`;
  }
  return milliseconds < 60_000
    ? `${(milliseconds / 1000).toFixed(1)} s`
    : `${Math.floor(milliseconds / 60_000)} min ${Math.round((milliseconds % 60_000) / 1000)} s`;
}
