"use strict";

const text = (cell) => cell.textContent.trim();

/* A cell's number; its text where it has none; null where it is empty, which is always last. */
function key(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  return text(cell) || null;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column) {
  const headers = [...table.tHead.rows[0].cells];
  const descending = headers[column].getAttribute("aria-sort") === "ascending";
  headers.forEach((header, index) => {
    header.setAttribute("aria-sort", index !== column ? "none" : descending ? "descending" : "ascending");
  });
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return descending ? compare(b, a) : compare(a, b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, column));
    header.append(button);
    header.setAttribute("aria-sort", "none");
  });
}

const search = document.querySelector(".filter");
const found = search.querySelector("[role=status]");
const rows = [...document.querySelectorAll("table.sortable > tbody > tr, [data-find]")].filter(
  (row) => !row.parentElement.closest("[data-find]"),
);

function filter(wanted) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const named = row.querySelector("summary, h3");
    const content = (row.matches("tr") || !named ? row : named).textContent.toLowerCase();
    row.hidden = !words.every((word) => content.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  found.textContent = words.length ? `${shown} of ${rows.length}` : "";
}

search.hidden = false;
search.querySelector("input").addEventListener("input", (event) => filter(event.target.value));
