"use strict";
// Everything can be read without this: it only adds a filter, and opens all folds for paper.
const folds = () => [...document.querySelectorAll("details")];
const offerFilter = () => {
  const rows = [...document.querySelectorAll("[data-row]")];
  const box = document.querySelector(".filter");
  const input = document.querySelector("#filter");
  const count = document.querySelector("#count");
  if (!box || !input || !count) return;
  box.hidden = false;
  const texts = rows.map((row) => {
    const names = row.closest("details")?.querySelector("[data-names]"); // the nodes that share the fold
    return `${row.textContent} ${names ? names.textContent : ""}`.toLowerCase();
  });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, at) => {
      row.hidden = !words.every((word) => texts[at].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    for (const fold of folds()) {
      const inside = [...fold.querySelectorAll("[data-row]")];
      fold.hidden = inside.length > 0 && inside.every((row) => row.hidden);
      if (words.length && !fold.hidden) fold.open = true;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
};
offerFilter();
addEventListener("beforeprint", () => folds().forEach((fold) => { fold.open = true; }));
