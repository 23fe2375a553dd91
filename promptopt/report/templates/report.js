"use strict";

// Copying: the clipboard where the browser allows it; the text is selected in any case.
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    const said = button.parentElement.querySelector(".copied");
    getSelection().selectAllChildren(source);
    said.textContent = (await copied(source.textContent)) ? "Copied." : "Selected: press Ctrl+C or ⌘C to copy.";
  });
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    try { return document.execCommand("copy"); } catch { return false; }
  }
}

// Sorting: a button in every column heading; again for the other direction; what has no value stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const was = head.getAttribute("aria-sort");
      const way = was ? (was === "ascending" ? -1 : 1) : numeric ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      table.tBodies[0].append(...rows.slice().sort(order(column, numeric, way)));
    });
  });
}

function order(column, numeric, way) {
  return (a, b) => {
    if (!numeric) return way * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return way * (x - y);
  };
}

// On paper everything is open.
const shut = [];
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open])")) { one.open = true; shut.push(one); }
});
addEventListener("afterprint", () => { while (shut.length) shut.pop().open = false; });
