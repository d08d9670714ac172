// One cursor over all charts: the nearest point of every curve, its value in the legend; tables sorted by a column. Text only by
// textContent.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const charts = [...document.querySelectorAll("figure.chart")].flatMap((figure) => {
  const script = figure.querySelector("script");
  const svg = figure.querySelector("svg");
  if (!script || !svg) return [];
  const values = [...figure.querySelectorAll(".key b")];
  const at = figure.querySelector(".at");
  return [{ ...JSON.parse(script.textContent), svg, at, values, last: values.map((b) => b.textContent), rest: at.textContent,
    cursor: svg.querySelector(".cursor") }];
});

const nearest = (xs, x) => {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle; else high = middle;
  }
  return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
};
const across = (c, v) => c.x[2] + ((v - c.x[0]) / (c.x[1] - c.x[0])) * (c.x[3] - c.x[2]);
const up = (c, v) => {
  const [low, high, start, end, log] = c.y;
  const share = log ? (Math.log(Math.max(v, low)) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (v - low) / (high - low);
  return start + Math.min(Math.max(share, 0), 1) * (end - start);
};
const show = (c, v) => {
  if (c.share) return (100 * v).toFixed(v > 0.999 && v < 1 ? 2 : 1) + "%";
  const size = Math.abs(v);
  if (size && (size < 1e-4 || size >= 1e9)) return v.toExponential(2) + c.unit;
  const digits = size ? Math.min(Math.max(3 - Math.floor(Math.log10(size)), 0), 7) : 0;
  return v.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits }) + c.unit;
};
const make = (name, attributes) => {
  const node = document.createElementNS(SVG, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  return node;
};

const clear = () => {
  for (const c of charts) {
    c.cursor.replaceChildren();
    c.at.textContent = c.rest;
    c.values.forEach((b, i) => { b.textContent = c.last[i]; });
  }
};
const point = (x) => {
  for (const c of charts) {
    const line = across(c, x).toFixed(1);
    const nodes = [make("path", { class: "hair", d: `M${line} ${c.y[3]}V${c.y[2]}` })];
    c.series.forEach((s, i) => {
      const k = nearest(s.x, x);
      c.values[i].textContent = show(c, s.y[k]);
      nodes.push(make("circle", { class: "fill" + s.c, cx: across(c, s.x[k]), cy: up(c, s.y[k]), r: 3.5 }));
    });
    c.cursor.replaceChildren(...nodes);
    c.at.textContent = "near step " + Math.round(x).toLocaleString("en");
  }
};

let held = null;
for (const c of charts) {
  const [low, high, start, end] = c.x;
  const move = (event) => {
    const box = c.svg.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / box.width) * c.svg.viewBox.baseVal.width;
    if (pixel < start - 6 || pixel > end + 6) { clear(); return; }
    held = low + (Math.min(Math.max((pixel - start) / (end - start), 0), 1)) * (high - low);
    point(held);
  };
  c.svg.addEventListener("pointermove", move);
  c.svg.addEventListener("pointerdown", move);
  c.svg.addEventListener("pointerleave", clear);
  c.svg.addEventListener("blur", clear);
  c.svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const stride = Math.max((high - low) / 100, 1);
    held = Math.min(Math.max((held ?? high) + way * stride, low), high);
    point(held);
  });
}

const worth = (cell) => {
  const number = parseFloat(cell.textContent.replace(/,/g, ""));
  return cell.classList.contains("n") ? (Number.isNaN(number) ? -Infinity : number) : cell.textContent.toLowerCase();
};
for (const table of document.querySelectorAll("table.sort")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [worth(row.cells[i]), row]);
      const collate = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
      rows.sort((a, b) => down * collate(a[0], b[0]));
      body.append(...rows.map((pair) => pair[1]));
    });
  });
}
