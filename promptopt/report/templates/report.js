"use strict";

// Copying: the clipboard where the browser allows it; the text is selected in any case.
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    const said = button.parentElement.querySelector(".copied");
    getSelection().selectAllChildren(source);
    const exact = source.dataset.exact ? JSON.parse(source.dataset.exact) : source.textContent;
    said.textContent = (await copied(exact)) ? "Copied." : "Selected: press Ctrl+C or ⌘C to copy.";
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

// Tables that are wider or longer than their frame: what is out of sight is said below them.
for (const frame of document.querySelectorAll(".scroll")) {
  const hint = document.createElement("p");
  hint.className = "more";
  hint.hidden = true;
  frame.after(hint);
  const beyond = (all, edge, side) => [...all].filter((one) => one.getBoundingClientRect()[side] > edge + 1).length;
  const say = () => {
    const box = frame.getBoundingClientRect();
    const table = frame.querySelector("table");
    const columns = beyond(table.tHead.rows[0].cells, box.left + frame.clientLeft + frame.clientWidth, "right");
    const rows = beyond(table.tBodies[0].rows, box.top + frame.clientTop + frame.clientHeight, "bottom");
    const counted = (n, what) => (n ? `${n} more ${what}${n === 1 ? "" : "s"}` : "");
    const parts = [counted(columns, "column"), counted(rows, "row")].filter(Boolean);
    hint.textContent = `${columns ? "→" : "↓"} ${parts.join(" and ")}: scroll inside the table.`;
    hint.hidden = !parts.length;
  };
  frame.addEventListener("scroll", say, { passive: true });
  new ResizeObserver(say).observe(frame);
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
