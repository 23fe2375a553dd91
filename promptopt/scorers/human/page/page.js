"use strict";
// What comes from the server is data: it reaches the page as text and as addresses of pictures, never as markup.

const POLL = 2000; // ms between two looks; the server takes a duel back after 30 s without one
const IDLE = 300000; // ms without a key or a touch after which this page stops looking, so that its duel goes to others
const RETRY = 1000; // ms before something that did not reach the server is sent again

const at = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search).get("as");
let name = (asked || sessionStorage.getItem("name") || "").trim().slice(0, 40);
let state = null; // what the server said last
let busy = false; // something is on its way
let sent = 0; // counts what was sent, so that an old look does not overwrite a new answer
let active = Date.now();
let timer = 0;

// ── Talking to the server ─────────────────────────────────────────────────────────────────────────────────────────

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name, ...body }),
  });
  if (response.status === 403) throw new Error("forbidden");
  if (response.status === 409) throw new Error("taken");
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

async function persist(path, body) {
  // Until the server has it. It may be sent twice; the server counts it once.
  for (;;) {
    try {
      return await post(path, body);
    } catch (error) {
      if (error.message === "forbidden") return lockedOut();
      if (error.message === "taken") return taken();
      lost();
      await wait(RETRY);
    }
  }
}

async function look() {
  clearTimeout(timer);
  if (name && !busy && Date.now() - active < IDLE) {
    const before = sent;
    try {
      const news = await post("look", {});
      if (before === sent && !busy) show(news);
    } catch (error) {
      if (error.message === "forbidden") return lockedOut();
      if (error.message === "taken") return taken();
      if (!busy) lost();
    }
  }
  if (!state || !state.over) timer = setTimeout(look, state && state.duel ? POLL : POLL / 2);
}

async function act(path, body, said) {
  if (busy) return;
  busy = true;
  sent += 1;
  enable(false);
  const news = await persist(path, body);
  busy = false;
  if (!news) return;
  enable(true);
  show(news, news.kept === false ? "That duel is not asked any more; your answer was not needed." : said);
}

function choose(choice) {
  if (!state || !state.duel || busy) return;
  const said = { left: "Left", right: "Right", tie: "Tie", unknown: "Skipped" }[choice];
  act("answer", { duel: state.duel.key, again: state.duel.again, ticket: state.duel.ticket, choice }, `${said}: kept.`);
}

function undo() {
  if (state && state.undo !== null && !state.over) act("undo", { duel: state.undo }, "Undo: this was your last duel.");
}

// ── Showing ───────────────────────────────────────────────────────────────────────────────────────────────────────

function say(text) {
  if (at("status").textContent !== text) at("status").textContent = text;
}

function lost() {
  say("No connection to promptopt. What was kept is safe; trying again …");
}

function lockedOut() {
  clearTimeout(timer);
  say("This page has no access any more. Open the link that promptopt printed last.");
  at("duel").hidden = at("tools").hidden = at("join").hidden = true;
}

function taken() {
  clearTimeout(timer);
  say(`${name} is somebody else's name. Choose another, or open your own link.`);
  name = "";
  state = null;
  sessionStorage.removeItem("name");
  enable(true);
  at("duel").hidden = at("tools").hidden = true;
  at("join").hidden = false;
  at("name").focus();
}

function enable(yes) {
  for (const button of document.querySelectorAll("#answers button, #undo")) {
    button.setAttribute("aria-disabled", String(!yes));
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function part({ title, text, picture }, alone) {
  const made = element("div", "part");
  if (!alone) made.append(element("strong", "", title));
  if (picture === undefined) {
    made.append(element("p", "text", text));
    return made;
  }
  const image = element("img");
  image.alt = title;
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 128));
  image.src = picture;
  made.append(image);
  return made;
}

function side(heading, parts, level) {
  const made = element("section", "side");
  const title = element(level, "", heading);
  made.setAttribute("aria-label", heading);
  made.append(title, ...parts.map((one) => part(one, parts.length === 1)));
  return made;
}

function row(one, number, several) {
  const made = element("div", "row");
  if (several) made.append(element("h3", "", `Example ${number + 1}`));
  if (one.given.length) {
    const given = element("div", "given");
    given.append(...one.given.map((field) => part(field, false)));
    made.append(given);
  }
  const sides = element("div", "sides");
  const level = several ? "h4" : "h3";
  sides.append(side("Left", one.left, level), side("Right", one.right, level));
  made.append(sides);
  return made;
}

function show(news, said) {
  const old = state;
  state = news;
  const duel = news.duel;
  const another = duel && !(old && old.duel && old.duel.key === duel.key && old.duel.again === duel.again);
  at("question").textContent = news.question;
  at("context").textContent = news.context;
  at("context").hidden = !news.context;
  at("join").hidden = true;
  at("who").hidden = false;
  at("who").textContent = `${name}, ${news.mine} answered`;
  at("duel").hidden = !duel;
  at("tools").hidden = news.over;
  at("undo").hidden = news.undo === null;
  standing(news);
  if (news.over) {
    say("This run is over. Thank you!");
  } else if (!duel) {
    say(`${said ? `${said} ` : ""}The next duel is being prepared …`);
  } else if (another) {
    at("title").textContent = `Duel ${duel.key + 1}${duel.again ? ", again" : ""}`;
    at("rows").replaceChildren(...duel.rows.map((one, i) => row(one, i, duel.rows.length > 1)));
    say(`${said ? `${said} ` : ""}Duel ${duel.key + 1} is here.`);
    at("title").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  } else if (at("status").textContent.startsWith("No connection")) {
    say("Connected again.");
  }
}

function standing(news) {
  document.querySelector("aside").hidden = false;
  at("count").textContent = `${news.answered} answered${news.budget === null ? "" : ` of ${news.budget}`}`;
  at("bar").hidden = news.budget === null;
  at("bar").max = news.budget || 1;
  at("bar").value = Math.min(news.answered, news.budget || 1);
  const kappa = news.kappa === null ? "" : `, kappa ${news.kappa.toFixed(2)}`;
  at("agreement").textContent = news.doubled
    ? `${Math.round(news.agreed * news.doubled)} of ${news.doubled} second opinions agree${kappa}`
    : "no second opinions yet";
  at("annotators").textContent = String(news.annotators);
}

// ── Keys, buttons, coming and going ───────────────────────────────────────────────────────────────────────────────

const KEYS = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", t: "tie", s: "unknown" };

document.addEventListener("keydown", (event) => {
  active = Date.now();
  const typing = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || typing || !at("keys").checked) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in KEYS) choose(KEYS[key]);
  else if (key === "u") undo();
  else return;
  event.preventDefault();
});
document.addEventListener("pointerdown", () => { active = Date.now(); });
document.addEventListener("pointermove", () => { active = Date.now(); });

for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => choose(button.dataset.choice));
}
at("undo").addEventListener("click", undo);

function join() {
  sessionStorage.setItem("name", name);
  look();
}

at("join").addEventListener("submit", (event) => {
  event.preventDefault();
  name = at("name").value.trim();
  if (name) join();
});

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") {
    active = Date.now();
    look();
  }
});
window.addEventListener("pagehide", () => {
  if (name) navigator.sendBeacon("leave", new Blob([JSON.stringify({ name })], { type: "application/json" }));
});

if (name) {
  join();
} else {
  at("join").hidden = false;
  at("name").focus();
}
