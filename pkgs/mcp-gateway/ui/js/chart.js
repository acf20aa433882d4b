// Calls and errors as bars, latency as lines, over time. The numbers come from /api/stats, and are on the page as
// words and as a table, too.

import { behind } from "./app.js";

const AGAIN_MS = 5000;
const HEIGHT_PX = 120;

const count = new Intl.NumberFormat("en");

/** Milliseconds as `took` of render.py writes them. */
export function took(ms) {
  if (ms === null) {
    return "";
  }
  if (ms < 1000) {
    return ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`;
  }
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${(ms / 60000).toFixed(0)} min`;
}

/** Draws a section made by `_chart.html`, and again as time passes and when light turns dark. */
export function draw(section) {
  const place = section.querySelector(".plot");
  const { query, spanS } = JSON.parse(section.dataset.chart);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let plot = null;
  let stats = null;

  const colour = (name) => getComputedStyle(section.querySelector(`.legend [data-of=${name}]`), "::before").color;

  function paint() {
    const ink = getComputedStyle(section.querySelector(".legend")).color;
    const line = getComputedStyle(section).borderTopColor;
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: ink, font, ticks: { show: false }, grid: { stroke: line, width: 1 } };
    const bars = (of, size) => ({
      scale: "n",
      fill: colour(of),
      width: 0,
      paths: uPlot.paths.bars({ size: [size, 40], align: 1 }),
      points: { show: false },
    });
    const lines = (of, dash) => ({
      scale: "ms",
      stroke: colour(of),
      width: 1.5,
      dash,
      spanGaps: true,
      points: { show: true, size: 4, fill: colour(of) },
    });
    plot?.destroy();
    plot = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT_PX,
        legend: { show: false },
        cursor: { show: false },
        padding: [8, 0, 0, 0],
        scales: {
          x: { range: () => [stats.since, stats.until] },
          n: { range: (_plot, _least, most) => [0, Math.max(4, Math.ceil((most ?? 0) * 1.1))] },
          // From a tenth of a millisecond to minutes: each power of ten is as high as the next.
          ms: { distr: 3, range: (_plot, least, most) => powers(least ?? 1, most ?? 1000) },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 26, values: clockOf(stats.until - stats.since) },
          {
            ...axis,
            scale: "n",
            size: 44,
            incrs: [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4, 5, 6].map((power) => step * 10 ** power)).sort((a, b) => a - b),
            values: (_plot, ticks) => ticks.map((tick) => count.format(tick)),
          },
          {
            ...axis,
            scale: "ms",
            side: 1,
            size: 56,
            grid: { show: false },
            values: (_plot, ticks) => ticks.map((tick) => (isPower(tick) ? took(tick) : "")),
          },
        ],
        series: [{}, bars("calls", 0.85), bars("errors", 0.85), lines("half"), lines("most", [4, 3])],
      },
      columns(),
      place,
    );
  }

  const columns = () => [
    stats.buckets.map(({ at }) => at),
    stats.buckets.map(({ calls }) => calls),
    stats.buckets.map(({ errors }) => errors),
    stats.buckets.map(({ p50Ms }) => p50Ms),
    stats.buckets.map(({ p95Ms }) => p95Ms),
  ];

  async function renew() {
    const asked = new URLSearchParams(query);
    if (spanS) {
      asked.set("since", (Date.now() / 1000 - behind - spanS).toFixed(0));
    }
    const answer = await fetch(`/api/stats?${asked}`).catch(() => null);
    if (answer?.ok) {
      const isFirst = stats === null;
      stats = await answer.json();
      if (isFirst) {
        paint();
      } else {
        plot.setData(columns());
      }
      tell(section, stats);
    }
  }

  dark.addEventListener("change", () => stats && paint());
  new ResizeObserver(() => plot?.setSize({ width: place.clientWidth, height: HEIGHT_PX })).observe(place);
  renew();
  setInterval(() => {
    if (!document.hidden && (spanS || stats === null || stats.truncated)) {
      renew();
    }
  }, AGAIN_MS);
}

const isPower = (number) => Math.abs(Math.log10(number) - Math.round(Math.log10(number))) < 1e-9;

/** The powers of ten around a range. */
function powers(least, most) {
  const low = Math.floor(Math.log10(least));
  return [10 ** low, 10 ** Math.max(low + 1, Math.ceil(Math.log10(most)))];
}

/** How moments are written along an axis that is so many seconds long. */
function clockOf(lengthS) {
  const form = new Intl.DateTimeFormat(
    undefined,
    lengthS > 100000 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" },
  );
  return (_plot, ticks) => {
    let before = "";
    return ticks.map((tick) => {
      const text = form.format(tick * 1000);
      const isNew = text !== before;
      before = text;
      return isNew ? text : "";
    });
  };
}

/** The same in words and as a table. */
function tell(section, { totals, buckets }) {
  const bold = (text) => {
    const element = document.createElement("b");
    element.textContent = text;
    return element;
  };
  const parts = [
    bold(count.format(totals.calls)),
    totals.calls === 1 ? " call, " : " calls, ",
    bold(count.format(totals.errors)),
    totals.errors === 1 ? " error" : " errors",
  ];
  if (totals.p50Ms !== null) {
    parts.push(", half within ", bold(took(totals.p50Ms)), ", 19 of 20 within ", bold(took(totals.p95Ms)));
  }
  section.querySelector("[data-totals]").replaceChildren(...parts);
  const numbers = section.querySelector(".numbers");
  if (!numbers.open) {
    numbers.addEventListener("toggle", () => fill(numbers, buckets), { once: true });
    return;
  }
  fill(numbers, buckets);
}

function fill(numbers, buckets) {
  const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });
  const rows = buckets
    .filter(({ calls }) => calls)
    .map(({ at, calls, errors, p50Ms, p95Ms }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = moment.format(at * 1000);
      const cells = [count.format(calls), count.format(errors), took(p50Ms), took(p95Ms)].map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        return cell;
      });
      row.append(head, ...cells);
      return row;
    });
  numbers.querySelector("tbody").replaceChildren(...rows);
}
