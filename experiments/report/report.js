// Plays the page's games in an overlay, and builds the table of variants.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// ---- games

/** The text that was packed by zlib and written in base64. */
async function unpacked(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}
function escaped(text) {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
let wanted = null;

/** Each game gets a frame of its own, which is gone once the overlay is closed. */
async function watch(index) {
  const game = data.games[index];
  wanted = game;
  $("where").textContent = `clowder watch ${game.path}`;
  $("stage").replaceChildren();
  if (!$("player").open) $("player").showModal();
  const [template, played] = await Promise.all([unpacked(data.player), unpacked(game.packed)]);
  if (wanted !== game) return;
  const frame = element("iframe");
  frame.id = "frame";
  frame.title = game.title;
  frame.setAttribute("sandbox", "allow-scripts");
  frame.addEventListener("load", () => frame.focus());
  const payload = played.replace(/</g, "\\u003c");
  frame.srcdoc = template.replace("@DATA@", () => payload)
    .replace("@TITLE@", () => escaped(game.title));
  $("stage").replaceChildren(frame);
}
function closePlayer() {
  $("player").close();
}
$("close").onclick = closePlayer;
$("player").addEventListener("close", () => {
  if (!$("player").open) {
    wanted = null;
    $("stage").replaceChildren();
  }
});
$("player").addEventListener("click", (event) => {
  if (event.target === $("player")) closePlayer();
});
window.addEventListener("message", (event) => {
  const frame = $("frame");
  if (frame && event.source === frame.contentWindow && event.data === "close") closePlayer();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-game]");
  if (button) watch(Number(button.dataset.game));
  const link = event.target.closest("nav a");
  if (link) {
    event.preventDefault();
    $(link.hash.slice(1)).scrollIntoView();
  }
});

// ---- the table of variants

const FIRST_ROWS = 50;

function strip([value, low, high], points) {
  const made = element("span", undefined, "strip");
  const at = (one) => `${(100 * Math.min(1, Math.max(0, one))).toFixed(1)}%`;
  const put = (tag, left) => {
    const mark = element(tag);
    mark.style.left = at(left);
    made.append(mark);
    return mark;
  };
  for (const one of points) put("u", one);
  if (low !== null && high !== null)
    put("i", low).style.width = at(Math.min(1, high) - Math.max(0, low));
  put("b", value);
  return made;
}
function watchButton(index, words) {
  const made = element("button", `\u25b8 ${words}`, "watch");
  made.type = "button";
  made.title = data.games[index].title;
  made.dataset.game = index;
  return made;
}
function rankingRow(row) {
  const made = element("tr");
  const name = element("td", undefined, "text"), games = element("td", undefined, "text");
  name.append(element("span", row.name, "name clamped"));
  name.title = row.name;
  name.firstChild.tabIndex = 0;
  if (row.mark) name.append(" ", element("i", `(${row.mark})`));
  if (row.failure !== null) games.append(watchButton(row.failure, "lost"), " ");
  if (row.victory !== null) games.append(watchButton(row.victory, "won"));
  made.append(element("td", String(row.rank), "text"), name, games);
  const rate = element("td", undefined, "text");
  rate.append(strip(row.win, row.seeds));
  made.append(rate);
  for (const [, text] of row.cells) made.append(element("td", text));
  made.append(element("td", row.hacked, row.hacked === "yes" ? "flag" : "flag was"));
  return made;
}
function buildRanking({ heads, rows }) {
  const place = $("variants");
  const table = element("table", undefined, "sorted"), head = element("tr"), body = element("tbody");
  const more = element("button", `show all ${rows.length} variants`);
  let count = FIRST_ROWS, sorted = rows;
  const value = (row, column) => column === 0 ? row.rank : column === 1 ? row.name
    : column === 3 ? row.win[0] : row.cells[column - 4] ? row.cells[column - 4][0] : row.hacked;
  const show = () => {
    body.replaceChildren(...sorted.slice(0, count).map(rankingRow));
    more.hidden = count >= rows.length;
  };
  heads.forEach(([title, note], column) => {
    const cell = element("th", title, column < 4 ? "text" : "");
    cell.title = note;
    if (note) {
      cell.tabIndex = 0;
      cell.onclick = () => {
        const falls = column > 1 ? "descending" : "ascending";
        const now = cell.getAttribute("aria-sort");
        const order = now === falls ? (falls === "ascending" ? "descending" : "ascending") : falls;
        for (const one of head.children) one.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        sorted = rows.slice().sort((a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
        });
        show();
      };
      cell.onkeydown = (event) => { if (event.key === "Enter") cell.click(); };
    }
    head.append(cell);
  });
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  more.type = "button";
  more.onclick = () => { count = rows.length; show(); };
  const scroll = element("div", undefined, "scroll");
  scroll.append(table);
  place.append(scroll, more);
  show();
}
if (data.ranking) buildRanking(data.ranking);

/** For tests and the curious. */
window.report = { watch, close: closePlayer, data };
