// The Activity page: holds the list still for who reads further down, reads times in the reader's zone, and
// draws the chart.

import { tellTimes } from "./app.js";
import { draw } from "./chart.js";

// What is newer is put above what is read only for who looks at the top of the page.
const TOP_PX = 120;

const newer = document.querySelector("[data-newer]");
const live = document.querySelector("[data-live]");
let heldAt = null; // how many had come when the list was last what it should be
let catchingUp = false;

const come = () => Number(document.getElementById("news")?.dataset.count ?? 0);

/** Whether something would move under the reader's eyes or fingers. */
function isReading() {
  const list = document.getElementById("calls");
  const selection = getSelection();
  const hasSelected = selection && !selection.isCollapsed && list.contains(selection.anchorNode);
  return scrollY > TOP_PX || hasSelected || list.contains(document.activeElement);
}

const movesList = ({ target, swapSpec }) =>
  target?.id === "calls" || (swapSpec.style === "delete" && target?.closest("#calls"));

function tell() {
  const count = heldAt === null ? 0 : come() - heldAt;
  newer.hidden = count <= 0;
  const text = count <= 0 ? "" : count === 1 ? "1 new call" : `${count.toLocaleString("en")} new calls`;
  const words = newer.querySelector("[role=status]");
  if (words.textContent !== text) {
    words.textContent = text;
  }
}

/** Replaces the list by what is, and follows it again. */
async function catchUp() {
  if (heldAt === null || catchingUp) {
    return;
  }
  catchingUp = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.getElementById("calls").replaceChildren(...page.getElementById("calls").childNodes);
      heldAt = null;
      tellTimes();
    }
  } catch {
    // It is tried again; until then the page says that it has lost the gateway.
  } finally {
    catchingUp = false;
    tell();
  }
}

if (live && newer) {
  document.addEventListener("htmx:before:swap", ({ detail: { tasks } }) => {
    const moving = tasks.filter(movesList);
    if (!moving.length) {
      return;
    }
    if (heldAt === null && !isReading()) {
      // What was fetched in between is there already.
      for (const { fragment } of moving.filter(({ swapSpec }) => swapSpec.style === "afterbegin")) {
        for (const row of fragment.querySelectorAll("tr[id]")) {
          document.getElementById(row.id)?.remove();
        }
      }
      return;
    }
    heldAt ??= come();
    for (const task of moving) {
      tasks.splice(tasks.indexOf(task), 1);
    }
  });
  document.addEventListener("htmx:after:swap", tell);
  // Whoever tells begins to count anew.
  live.addEventListener("htmx:sse:after:connection", () => {
    if (heldAt !== null) {
      heldAt -= come();
    }
  });
  newer.addEventListener("click", (event) => {
    event.preventDefault();
    getSelection().removeAllRanges();
    scrollTo({ top: 0, behavior: "instant" });
    catchUp();
  });
  addEventListener("scroll", () => !isReading() && catchUp(), { passive: true });
  document.addEventListener("focusout", () => setTimeout(() => !isReading() && catchUp()));
}

// Fields for times hold the reader's own time and send UTC; without scripts they say that they are in UTC.
const pad = (number) => String(number).padStart(2, "0");
const form = document.querySelector("[data-filters]");
for (const field of form?.querySelectorAll("[data-moment]") ?? []) {
  if (field.value) {
    const at = new Date(`${field.value}Z`);
    field.value =
      `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}T${pad(at.getHours())}:${pad(at.getMinutes())}`;
  }
  field.addEventListener("input", () => form.querySelector("[name=last]")?.remove());
}
for (const zone of form?.querySelectorAll("[data-zone]") ?? []) {
  zone.textContent = "";
}
form?.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) {
    if (!value) {
      formData.delete(name);
    } else if (form.elements[name]?.matches?.("[data-moment]")) {
      formData.set(name, `${new Date(value).toISOString().slice(0, 16)}Z`);
    }
  }
});

// A list that drops down is left like a menu.
document.addEventListener("click", (event) => {
  for (const list of document.querySelectorAll("details.export[open]")) {
    list.open = list.contains(event.target) && !event.target.closest("a");
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const list of document.querySelectorAll("details.export[open]")) {
      list.open = false;
      list.querySelector("summary").focus();
    }
  }
});

const chart = document.querySelector("[data-chart]");
if (chart) {
  draw(chart);
}
