// The page of a call: what the server answered by its kind, and buttons that need a script.

import { renderPayloadText } from "./result.js";

/** Draws the answer as it came; the page has it as text, with what is invisible written out. */
async function renderAnswer(place) {
  const answer = await fetch(place.dataset.answer).catch(() => null);
  const { response } = answer?.ok ? await answer.json() : {};
  if (response && !response.truncated && place.isConnected) {
    renderPayloadText(place, response.text);
    place.hidden = false;
    // Still there for the button that copies.
    place.nextElementSibling.hidden = true;
  }
}

function show() {
  for (const button of document.querySelectorAll("[data-scripted]")) {
    button.hidden = false;
  }
  for (const place of document.querySelectorAll("[data-answer]:empty")) {
    renderAnswer(place);
  }
}

show();
document.addEventListener("htmx:after:swap", show);
