// Plays a game whose drawing is GAME: time, controls, what agents want, where the reward came from.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const states = GAME.states(data);
const last = data.ticks;
const probabilities = data.probabilities ? unpack(data.probabilities, Uint8Array) : null;
const values = data.values ? unpack(data.values, Int16Array) : null;
const eventsAt = new Map();
for (const event of data.events) {
  if (!eventsAt.has(event[0])) eventsAt.set(event[0], []);
  eventsAt.get(event[0]).push(event);
}
const landmarks = [...new Set(data.events.filter((e) => !GAME.minor.includes(e[2])).map((e) => e[0]))]
  .sort((a, b) => a - b);
const accrued = accrue();
const AGENT = data.agentName;
let tick = 0, playing = false, chosen = 0, timer = 0;

// ---- helpers, used by the game's drawing as well

function unpack(text, Kind) {
  const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(raw.buffer);
}
function line(pen, x0, y0, x1, y1) {
  pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke();
}
function disc(pen, x, y, r, fill) {
  pen.fillStyle = fill; pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fill();
}
function rounded(pen, x, y, width, height, radius) {
  pen.beginPath(); pen.roundRect(x, y, width, height, radius);
}
function shade(colour, factor) {
  const parts = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  const mixed = parts.map((p) => Math.round(factor < 1 ? p * factor : 255 - (255 - p) / factor));
  return `rgb(${mixed.join(",")})`;
}
function look() {
  const style = getComputedStyle(document.documentElement);
  const names = ["sky", "wall", "walledge", "gone", "ink", "soft", "line", "accent", "card"];
  return Object.fromEntries(names.map((n) => [n, style.getPropertyValue(`--${n}`).trim()]));
}
/** The mark of a seat, beside its colour. */
function drawMark(pen, kind, x, y, r) {
  pen.beginPath();
  if (kind === "disc") pen.arc(x, y, r, 0, 7);
  else if (kind === "triangle") {
    pen.moveTo(x, y - r); pen.lineTo(x + r, y + r * 0.8); pen.lineTo(x - r, y + r * 0.8);
  } else if (kind === "square") pen.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
  else if (kind === "diamond") {
    pen.moveTo(x, y - r * 1.1); pen.lineTo(x + r, y); pen.lineTo(x, y + r * 1.1); pen.lineTo(x - r, y);
  } else if (kind === "plus") {
    pen.rect(x - r, y - r / 3, 2 * r, 2 * r / 3); pen.rect(x - r / 3, y - r, 2 * r / 3, 2 * r);
  } else if (kind === "star") {
    for (let k = 0; k < 10; k++) {
      const radius = r * (k % 2 ? 0.5 : 1.15), turn = Math.PI * k / 5 - Math.PI / 2;
      pen.lineTo(x + radius * Math.cos(turn), y + radius * Math.sin(turn));
    }
  } else if (kind === "bar") pen.rect(x - r * 1.1, y - r * 0.4, r * 2.2, r * 0.8);
  else {
    const w = r * 0.3;
    for (const s of [1, -1]) {
      pen.moveTo(x - r - w * s * 0, y - r * s - w); pen.lineTo(x + r, y + r * s - w);
      pen.lineTo(x + r, y + r * s + w); pen.lineTo(x - r, y - r * s + w); pen.closePath();
    }
  }
  pen.fill();
}
/** A canvas of so many pixels on the screen, sharp on any of them. Returns its pen. */
function sized(canvas, aspect) {
  const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)) || 1;
  const height = Math.round(width * aspect);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  return canvas.getContext("2d");
}
function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// ---- rewards

/** After each tick, each agent's weighted total of each term, not shared yet. */
function accrue() {
  const zero = () => data.termNames.map(() => new Array(data.agents).fill(0));
  const totals = [zero()];
  let next = 0;
  for (let t = 1; t <= last; t++) {
    const now = totals[t - 1].map((row) => row.slice());
    for (; next < data.terms.length && data.terms[next][0] === t; next++) {
      const [, who, term, count] = data.terms[next];
      now[term][who] += count * data.weights[data.termNames[term]];
    }
    totals.push(now);
  }
  return totals;
}
/** What each agent has been paid up to a tick, with the team's share. */
function paid(t) {
  const own = new Array(data.agents).fill(0);
  for (const row of accrued[t]) row.forEach((amount, who) => { own[who] += amount; });
  const mean = own.reduce((a, b) => a + b, 0) / data.agents;
  return own.map((amount) => (1 - data.teamShare) * amount + data.teamShare * mean);
}

// ---- building the page once

function build() {
  $("title").textContent = data.title;
  const [word, good, rest] = GAME.ending(data);
  const facts = [element("b", word, good ? "won" : "lost")];
  facts.push(document.createTextNode(`${rest} after ${last} ticks`));
  for (const [key, value] of Object.entries(data.source))
    facts.push(document.createTextNode(` · ${key} ${value}`));
  $("facts").append(...facts);
  $("scrub").max = last;
  for (let who = 0; who < data.agents; who++) $("agents").append(card(who));
  buildLedger();
  $("speed").value = data.ticksPerSecond;
  $("channels").parentElement.hidden = !GAME.channels.length;
  $("view").hidden = false;
}

function card(who) {
  const made = element("button", undefined, "agent");
  made.id = `agent${who}`;
  made.type = "button";
  made.title = `show what ${AGENT} ${who} sees (${who + 1})`;
  const name = element("div", undefined, "name");
  name.append(element("canvas"), element("span", `${AGENT} ${who}`), element("span", "", "state"));
  const bars = element("div", undefined, "bars");
  for (const action of data.actionNames)
    bars.append(element("span", action), element("i"), element("span", "", "share"));
  made.append(name, bars);
  if (values) {
    const value = element("div", undefined, "value");
    value.append(element("span", "expects"), element("canvas"));
    made.append(value);
  }
  made.addEventListener("click", () => choose(who));
  return made;
}

function usedTerms() {
  const used = new Set(data.terms.filter((one) => data.weights[data.termNames[one[2]]])
    .map((one) => one[2]));
  return data.termNames.map((_, i) => i).filter((i) => used.has(i));
}

function buildLedger() {
  const head = element("thead"), row = element("tr");
  row.append(element("th", "term"), element("th", "weight"));
  for (let who = 0; who < data.agents; who++) row.append(element("th", `${AGENT} ${who}`));
  row.append(element("th", "mean"));
  head.append(row);
  const body = element("tbody");
  for (const term of usedTerms()) {
    const name = data.termNames[term];
    const line = element("tr");
    line.dataset.term = term;
    line.append(element("td", name), element("td", String(+data.weights[name].toPrecision(4))));
    for (let i = 0; i <= data.agents; i++) line.append(element("td"));
    body.append(line);
  }
  const sum = element("tr", undefined, "sum");
  sum.append(element("td", "paid, with the team's share"), element("td"));
  for (let i = 0; i <= data.agents; i++) sum.append(element("td"));
  body.append(sum);
  $("ledger").append(head, body);
  $("ledgernote").textContent =
    `Up to this tick, weighted. Of what each ${AGENT} earns itself, ` +
    `${+(100 * data.teamShare).toFixed(1)} % is averaged over all.`;
}

// ---- showing a tick

function show() {
  const state = states[tick], colours = look();
  const { columns, rows } = GAME.size(data);
  GAME.draw(sized($("level"), rows / columns), data, state, colours, chosen);
  $("scrub").value = tick;
  $("clock").textContent = `tick ${tick} of ${last}`;
  const said = GAME.sentences(data, eventsAt.get(tick) || []);
  if (said.length) $("caption").textContent = `tick ${tick}: ${said.join("; ")}.`;
  else if (tick === 0) $("caption").textContent = "";
  else $("caption").textContent = before();
  $("play").textContent = playing ? "pause" : "play";
  showTimeline(colours);
  showAgents(state, colours);
  showView(state, colours);
  showLedger();
}

/** The last thing that was told before this tick. */
function before() {
  for (let t = tick; t > 0; t--) {
    const said = GAME.sentences(data, eventsAt.get(t) || []);
    if (said.length) return `tick ${t}: ${said.join("; ")}.`;
  }
  return "";
}

function showTimeline(colours) {
  const canvas = $("timeline");
  const height = 20 * data.agents + 8;
  const pen = sized(canvas, height / Math.max(1, canvas.clientWidth));
  const ratio = canvas.width / Math.max(1, canvas.clientWidth);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const width = canvas.clientWidth, left = 34, span = width - left - 10;
  const x = (t) => left + (t / Math.max(1, last)) * span;
  pen.clearRect(0, 0, width, height);
  for (let who = 0; who < data.agents; who++) {
    const y = 4 + 20 * who + 10;
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    line(pen, left, y, width - 10, y);
    disc(pen, 16, y, 8, data.colours[who]);
    pen.fillStyle = "#12151c";
    drawMark(pen, data.marks[who], 16, y, 4.5);
  }
  for (const [t, who, what] of data.events) {
    const [shape, colour] = GAME.marks[what] || ["tick", null];
    drawEvent(pen, shape, x(t), 4 + 20 * who + 10, colour || data.colours[who], colours);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colours.accent;
  pen.fillRect(x(tick) - 1, 0, 2, height);
  pen.setTransform(1, 0, 0, 1, 0, 0);
}

function drawEvent(pen, shape, x, y, colour, colours) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 2;
  if (shape === "tick") line(pen, x, y - 4, x, y + 4);
  else if (shape === "cross") { line(pen, x - 5, y - 5, x + 5, y + 5); line(pen, x - 5, y + 5, x + 5, y - 5); }
  else if (shape === "up") {
    pen.beginPath(); pen.moveTo(x, y - 7); pen.lineTo(x + 6, y + 4); pen.lineTo(x - 6, y + 4); pen.fill();
  } else if (shape === "key") {
    pen.beginPath(); pen.moveTo(x, y - 6); pen.lineTo(x + 6, y); pen.lineTo(x, y + 6); pen.lineTo(x - 6, y);
    pen.fill(); pen.strokeStyle = colours.ink; pen.lineWidth = 1; pen.stroke();
  } else {
    for (let k = 0; k < 4; k++) {
      const turn = Math.PI * k / 4;
      line(pen, x - 7 * Math.cos(turn), y - 7 * Math.sin(turn), x + 7 * Math.cos(turn), y + 7 * Math.sin(turn));
    }
  }
}

/** What an agent does in the tick that comes next, or did in the last. */
function deciding() { return Math.min(tick, last - 1); }

function showAgents(state, colours) {
  const t = deciding(), count = data.actionNames.length;
  for (let who = 0; who < data.agents; who++) {
    const made = $(`agent${who}`);
    made.setAttribute("aria-pressed", String(who === chosen));
    made.querySelector(".state").textContent = GAME.status(state, who);
    const face = made.querySelector(".name canvas");
    face.width = face.height = 52;
    GAME.face(face.getContext("2d"), 52, data, state, who);
    const bars = made.querySelector(".bars").children;
    const action = Number(data.actions[t][who]);
    const waits = GAME.waits(state, who);
    for (let k = 0; k < count; k++) {
      const share = waits ? 0 : probabilities
        ? probabilities[(t * data.agents + who) * count + k] / 255 : Number(k === action);
      bars[3 * k].classList.toggle("taken", !waits && k === action);
      bars[3 * k + 1].style.width = `${Math.round(100 * share)}%`;
      bars[3 * k + 2].textContent = probabilities && !waits ? share.toFixed(2) : "";
    }
    if (values) showValue(made.querySelector(".value"), who, t, colours);
  }
}

function showValue(box, who, t, colours) {
  const at = (i) => values[i * data.agents + who] / 32767 * data.valueScale;
  box.firstChild.textContent = `expects ${at(t).toFixed(2)}`;
  const canvas = box.querySelector("canvas");
  const pen = sized(canvas, 30 / Math.max(1, canvas.clientWidth));
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const x = (i) => (i / Math.max(1, last - 1)) * width;
  const y = (v) => height / 2 - (v / data.valueScale) * (height / 2 - 2);
  pen.strokeStyle = colours.line;
  line(pen, 0, y(0), width, y(0));
  pen.strokeStyle = colours.soft;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (let i = 0; i < last; i++) pen.lineTo(x(i), y(at(i)));
  pen.stroke();
  pen.fillStyle = colours.accent;
  pen.fillRect(x(t) - 1, 0, 2, height);
}

function showView(state, colours) {
  const apart = $("channels").checked;
  const { rows, columns } = GAME.viewShape;
  const aspect = apart ? GAME.channelRows / (2 * columns + 2) : rows / columns;
  const pen = sized($("window"), aspect);
  (apart ? GAME.drawChannels : GAME.drawWindow)(pen, data, state, chosen, colours);
  $("viewtext").textContent = GAME.waits(state, chosen)
    ? `The ${AGENT} ${chosen} waits and sees nothing.`
    : GAME.viewText(data, chosen);
}

function showLedger() {
  const rows = $("ledger").tBodies[0].rows;
  const write = (cell, amount) => {
    cell.textContent = amount.toFixed(3);
    cell.classList.toggle("minus", amount < -1e-9);
  };
  for (const row of rows) {
    const isSum = row.classList.contains("sum");
    const amounts = isSum ? paid(tick) : accrued[tick][row.dataset.term];
    const earlier = tick && !isSum ? accrued[tick - 1][row.dataset.term] : amounts;
    amounts.forEach((amount, who) => {
      write(row.cells[2 + who], amount);
      row.cells[2 + who].classList.toggle("now", Math.abs(amount - earlier[who]) > 1e-9);
    });
    write(row.cells[2 + data.agents], amounts.reduce((a, b) => a + b, 0) / data.agents);
  }
}

// ---- time and controls

function seek(to) {
  tick = Math.max(0, Math.min(last, Math.round(to)));
  if (tick === last) stop();
  show();
}
function stop() { playing = false; clearTimeout(timer); }
function toggle() {
  if (playing) { stop(); show(); return; }
  if (tick === last) tick = 0;
  playing = true;
  advance();
}
function advance() {
  if (!playing) return;
  seek(tick + 1);
  if (playing) timer = setTimeout(advance, 1000 / Number($("speed").value));
}
function jump(direction) {
  const found = direction > 0 ? landmarks.find((t) => t > tick) : landmarks.filter((t) => t < tick).pop();
  stop();
  seek(found === undefined ? (direction > 0 ? last : 0) : found);
}
function faster(by) {
  const choice = $("speed");
  choice.selectedIndex = Math.max(0, Math.min(choice.options.length - 1, choice.selectedIndex + by));
}
function choose(who) {
  if (who < data.agents) { chosen = who; show(); }
}
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  show();
}
function flipTheme() {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

const stepBy = (by) => () => { stop(); seek(tick + by); };
$("first").onclick = () => { stop(); seek(0); };
$("last").onclick = () => { stop(); seek(last); };
$("back").onclick = stepBy(-1);
$("forward").onclick = stepBy(1);
$("play").onclick = toggle;
$("previous").onclick = () => jump(-1);
$("next").onclick = () => jump(1);
$("theme").onclick = flipTheme;
$("scrub").oninput = (event) => { stop(); seek(Number(event.target.value)); };
$("channels").onchange = show;
$("timeline").onpointerdown = (down) => {
  const move = (event) => {
    const box = $("timeline").getBoundingClientRect();
    stop();
    seek(((event.clientX - box.left - 34) / (box.width - 44)) * last);
  };
  move(down);
  const end = () => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inField = ["SELECT", "INPUT"].includes(event.target.tagName);
  const step = event.shiftKey ? 10 : 1;
  const keys = {
    " ": toggle, ArrowLeft: stepBy(-step), ArrowRight: stepBy(step),
    Home: () => { stop(); seek(0); }, End: () => { stop(); seek(last); },
    n: () => jump(1), p: () => jump(-1), "+": () => faster(1), "=": () => faster(1), "-": () => faster(-1),
    // Inside a page that shows several games: that page closes this one.
    Escape: () => window.parent.postMessage("close", "*"),
    t: flipTheme, c: () => { $("channels").checked = !$("channels").checked; show(); },
  };
  for (let who = 0; who < data.agents; who++) keys[String(who + 1)] = () => choose(who);
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (inField && event.target.id !== "scrub")) return;
  event.preventDefault();
  act();
});
window.addEventListener("resize", show);

build();
document.documentElement.dataset.theme =
  window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
show();

/** For tests and the curious: what is shown, and a way to go there. */
window.player = { seek, state: () => GAME.text(data, states[tick]), tick: () => tick, paid: () => paid(tick),
  sees: (who) => GAME.window(data, states[tick], who), choose, setTheme };
