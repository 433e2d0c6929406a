"use strict";
// Everything can be read without this: it only adds a filter, and opens all folds for paper.
const rows = [...document.querySelectorAll("[data-row]")];
const folds = [...document.querySelectorAll("details")];
const box = document.querySelector(".filter");
const input = document.querySelector("#filter");
const count = document.querySelector("#count");
if (box && input && count) {
  box.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    for (const fold of folds) {
      const inside = [...fold.querySelectorAll("[data-row]")];
      fold.hidden = inside.length > 0 && inside.every((row) => row.hidden);
      if (words.length && !fold.hidden) fold.open = true;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}
addEventListener("beforeprint", () => folds.forEach((fold) => { fold.open = true; }));
