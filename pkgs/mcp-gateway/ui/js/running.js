// A call while it runs, and how it ended: progress, log, the time it takes, the result or the problem.

import { call, cancel } from "./calling.js";
import { icon, make, notice, shown, took } from "./parts.js";
import { renderResult, tree } from "./result.js";
import { safe } from "./visible.js";

const LOG_LINES = 500;

/**
 * Runs one call and shows it in `progress` and `outcome`; one at a time. `changed(isRunning)` is told.
 */
export class Running {
  #changed;
  #outcome;
  #progress;
  #abort = null;
  #id = "";
  #isTakenBack = false;

  constructor(progress, outcome, changed = () => {}) {
    this.#progress = progress;
    this.#outcome = outcome;
    this.#changed = changed;
  }

  get isRunning() {
    return this.#abort !== null;
  }

  async run(path, options) {
    const abort = new AbortController();
    this.#abort = abort;
    this.#id = "";
    this.#isTakenBack = false;
    const began = performance.now();
    const bar = make("progress");
    bar.setAttribute("aria-label", "Progress");
    const elapsed = make("span", "num quiet", "0.0 s");
    const words = make("span", "words", "Running");
    words.setAttribute("role", "status");
    const log = make("ol", "lines");
    log.setAttribute("aria-label", "Messages of the server");
    const logged = make("details", "as", make("summary", "", "Messages of the server"), log);
    logged.open = true;
    logged.hidden = true;
    this.#progress.replaceChildren(bar, make("div", "flex items-baseline justify-between gap-3", words, elapsed), logged);
    this.#progress.hidden = false;
    this.#outcome.hidden = true;
    const clock = setInterval(() => {
      elapsed.textContent = took(performance.now() - began);
    }, 100);
    this.#changed(true);
    const on = {
      begin: (id) => {
        this.#id = id;
      },
      progress: (note) => {
        if (Number.isFinite(note.total) && note.total > 0 && Number.isFinite(note.progress)) {
          bar.max = note.total;
          bar.value = Math.min(note.progress, note.total);
        }
        const amount = Number.isFinite(note.total) ? `${note.progress} of ${note.total}` : `${note.progress ?? ""}`;
        words.textContent = typeof note.message === "string" ? `${shown(note.message)} (${amount})` : amount;
      },
      log: (note) => {
        logged.hidden = false;
        const text = typeof note.data === "string" ? note.data : JSON.stringify(note.data ?? note);
        const level = make("span", "level", shown(note.level ?? "log"));
        level.dataset.level = shown(note.level ?? "");
        log.append(make("li", "", level, make("span", "", safe(text))));
        if (log.childElementCount > LOG_LINES) {
          log.firstElementChild.remove();
        }
        log.scrollTop = log.scrollHeight;
      },
    };
    const ending = await call(path, { ...options, signal: abort.signal, on });
    clearInterval(clock);
    if (this.#abort !== abort) {
      return; // another one has begun
    }
    this.#abort = null;
    bar.remove();
    this.#progress.hidden = logged.hidden;
    words.parentElement.remove();
    this.#show(ending, performance.now() - began);
    this.#changed(false);
  }

  /** Takes the call back: the gateway is told, then nobody waits any more. */
  async cancel() {
    const abort = this.#abort;
    this.#isTakenBack = abort !== null;
    if (abort && this.#id) {
      await cancel(this.#id);
    }
    // The gateway ends the stream with what became of the call; who is slow about it is left.
    setTimeout(() => abort?.abort(), this.#id ? 3000 : 0);
  }

  /** Forgets what is shown. */
  clear() {
    this.#abort?.abort();
    this.#abort = null;
    this.#progress.hidden = true;
    this.#outcome.hidden = true;
  }

  #show(ending, milliseconds) {
    const outcome = this.#outcome;
    const isOver = this.#isTakenBack && ending.result === undefined;
    const failed = ending.result === undefined || ending.result?.isError === true;
    const [tone, picture, words] = isOver
      ? ["none", "ban", "Cancelled"]
      : failed ? ["bad", "circle-alert", "Did not work"] : ["good", "circle-check", "Done"];
    const head = make("div", "ended", icon(picture), make("span", "", words), make("span", "num quiet", took(milliseconds)));
    head.dataset.tone = tone;
    head.setAttribute("role", "status");
    const body = make("div", "flex flex-col gap-3");
    if (ending.result !== undefined) {
      renderResult(body, ending.result, ending.text);
    } else if (isOver) {
      body.append(make("p", "quiet", "What it had done by then is done."));
    } else if (ending.problem) {
      body.append(...problem(ending.problem));
    } else {
      body.append(notice("bad", ending.gone));
    }
    if (this.#id) {
      const link = make("a", "", "In the activity");
      link.href = `/ui/activity/${encodeURIComponent(this.#id)}`;
      body.append(make("p", "quiet", link));
    }
    outcome.replaceChildren(head, body);
    outcome.hidden = false;
  }
}

/** A problem of the gateway's table: what, its kind, when to try again, what was asked for. */
function problem(details) {
  const said = typeof details.detail === "string" ? details.detail : "Something went wrong.";
  const inside = [make("p", "", safe(said))];
  const facts = make("p", "flex flex-wrap gap-1.5 pt-1");
  if (typeof details.code === "string") {
    facts.append(make("span", "tag", shown(details.code)));
  }
  if (Number.isFinite(details.retryAfter)) {
    const left = make("span");
    left.dataset.left = String(details.retryAfter);
    left.textContent = `${details.retryAfter} s`;
    facts.append(make("span", "tag num", "Try again in ", left));
  } else if (details.retryable === true) {
    facts.append(make("span", "tag", "may be tried again"));
  }
  inside.push(facts);
  const parts = [notice("bad", ...inside)];
  if (details.inputRequests !== undefined) {
    parts.push(make("section", "kind", make("h4", "", "What it asks for"), tree(details.inputRequests)));
  }
  if (details.rpcError !== undefined) {
    parts.push(make("section", "kind", make("h4", "", "What the server said"), tree(details.rpcError)));
  }
  return parts;
}
