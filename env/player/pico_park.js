// Draws Pico Park. A state is a frame with everything filled in; see env/player/pico_park.py.

const VIEW = { rows: 14, columns: 25, above: 7, aside: 12 };
const WALL = 9;
const PLAYING = 0, OUT = 1, DEAD = 2;

const GAME = {
  /** Every frame whole, from the changes that the data holds. */
  states(data) {
    const states = [];
    let tiles = data.tiles.map((row) => Array.from(row, Number));
    let frame = {};
    data.frames.forEach((changes, tick) => {
      if (changes.x) {
        tiles = tiles.map((row) => row.slice());
        for (const [row, column, tile] of changes.x) tiles[row][column] = tile;
      }
      frame = { ...frame, ...changes };
      states.push({
        tick, tiles, left: frame.l, bullets: frame.b, key: frame.k, holder: frame.h,
        doorOpen: !!frame.o, door: data.door,
        cats: frame.c.map(([row, column, status, cooldown]) => ({ row, column, status, cooldown })),
      });
    });
    return states;
  },

  /** The level; a long one is shown around the screen. Returns [width, height] of its drawing. */
  size(data) {
    const columns = Math.min(data.length, 72);
    return { columns, rows: data.height };
  },

  draw(pen, data, state, look, chosen) {
    const { columns, rows } = GAME.size(data);
    const tile = pen.canvas.width / columns;
    const first = Math.max(0, Math.min(data.length - columns,
      Math.round(state.left + data.screenWidth / 2 - columns / 2)));
    pen.fillStyle = look.sky;
    pen.fillRect(0, 0, pen.canvas.width, rows * tile);
    const x = (column) => (column - first) * tile, y = (row) => row * tile;
    for (let row = 0; row < rows; row++)
      for (let column = first; column < first + columns; column++)
        drawTile(pen, state.tiles[row][column], x(column), y(row), tile, data, look);
    drawDoor(pen, x(state.door[1]), y(state.door[0]), tile, state.doorOpen);
    if (state.key) drawKey(pen, x(state.key[1]), y(state.key[0]), tile);
    for (const [row, column, owner] of state.bullets)
      drawBullet(pen, x(column), y(row), tile, data.colours[owner]);
    state.cats.forEach((cat, seat) => {
      if (cat.status === PLAYING) {
        if (seat === chosen) drawRing(pen, x(cat.column), y(cat.row), tile, look);
        drawCat(pen, x(cat.column), y(cat.row), tile, seat, data, state.holder === seat);
      } else if (cat.status === DEAD) drawDeath(pen, x(cat.column), y(cat.row), tile, seat, data);
    });
    pen.fillStyle = look.gone;
    pen.fillRect(0, 0, x(state.left), rows * tile);
    const right = x(Math.min(data.length, state.left + data.screenWidth));
    pen.globalAlpha = 0.3;
    pen.fillRect(right, 0, pen.canvas.width - right, rows * tile);
    pen.globalAlpha = 1;
    pen.strokeStyle = "#eb5e5e";
    pen.lineWidth = Math.max(2, tile / 9);
    line(pen, x(state.left), 0, x(state.left), rows * tile);
  },

  /** What a cat sees: for each cell of its window the five channels, as the game writes them. */
  window(data, state, seat) {
    const me = state.cats[seat];
    const cells = [];
    const at = new Map();
    const put = (row, column, channel, value) => {
      const key = row * 4096 + column;
      if (!at.has(key)) at.set(key, [0, 0, 0, 0, 0]);
      at.get(key)[channel] = value;
    };
    put(state.door[0], state.door[1], 4, state.doorOpen ? 4 : 3);
    if (state.key) put(state.key[0], state.key[1], 4, 2);
    for (const [row, column] of state.bullets) put(row, column, 4, 1);
    state.cats.forEach((cat, other) => {
      if (other === seat || cat.status !== PLAYING) return;
      const relative = (other - seat + data.agents) % data.agents;
      put(cat.row, cat.column, 3, relative + (state.holder === other ? 8 : 0));
    });
    for (let i = 0; i < VIEW.rows; i++) {
      const line = [];
      for (let j = 0; j < VIEW.columns; j++) {
        const row = me.row - VIEW.above + i, column = me.column - VIEW.aside + j;
        const inside = row >= 0 && row < data.height && column >= 0 && column < data.length;
        if (me.status !== PLAYING) { line.push([0, 0, 0, 0, 0]); continue; }
        if (!inside || column < state.left) { line.push([1, 0, 0, 0, 0]); continue; }
        const cell = (at.get(row * 4096 + column) || [0, 0, 0, 0, 0]).slice();
        const tile = state.tiles[row][column];
        if (tile === WALL) cell[0] = 1;
        else if (tile === seat + 1) cell[1] = 1;
        else if (tile > 0) cell[2] = (tile - 1 - seat + data.agents) % data.agents;
        line.push(cell);
      }
      cells.push(line);
    }
    return cells;
  },

  channels: ["solid", "own block", "other blocks", "other cats", "things"],

  viewShape: VIEW,

  /** The window as the cat's picture: its own colour and its relative ones given back. */
  drawWindow(pen, data, state, seat, look) {
    const cells = GAME.window(data, state, seat);
    const tile = pen.canvas.width / VIEW.columns;
    pen.fillStyle = look.sky;
    pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
    if (state.cats[seat].status !== PLAYING) return;
    const owner = (relative) => (seat + relative) % data.agents;
    cells.forEach((line, i) => line.forEach((cell, j) => {
      const x = j * tile, y = i * tile;
      const kind = cell[0] ? WALL : cell[1] ? seat + 1 : cell[2] ? owner(cell[2]) + 1 : 0;
      drawTile(pen, kind, x, y, tile, data, look);
      if (cell[4] === 3 || cell[4] === 4) drawDoor(pen, x, y, tile, cell[4] === 4);
      if (cell[4] === 2) drawKey(pen, x, y, tile);
      if (cell[3]) drawCat(pen, x, y, tile, owner(cell[3] % 8), data, cell[3] > 8);
      if (cell[4] === 1) drawBullet(pen, x, y, tile, look.ink);
    }));
    const x = VIEW.aside * tile, y = VIEW.above * tile;
    drawRing(pen, x, y, tile, look);
    drawCat(pen, x, y, tile, seat, data, state.holder === seat);
  },

  /** Each channel apart, as numbers have it: darker is a larger one. */
  drawChannels(pen, data, state, seat, look) {
    const cells = GAME.window(data, state, seat);
    const top = [1, 1, 7, 15, 4];
    const tile = pen.canvas.width / (2 * VIEW.columns + 2);
    pen.fillStyle = look.card;
    pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
    pen.font = `${Math.round(tile * 2)}px system-ui, sans-serif`;
    GAME.channels.forEach((name, channel) => {
      const left = (channel % 2) * (VIEW.columns + 2) * tile;
      const above = (Math.floor(channel / 2) * (VIEW.rows + 3) + 2.4) * tile;
      pen.fillStyle = look.ink;
      pen.fillText(name, left, above - tile * 0.6);
      pen.fillStyle = look.sky;
      pen.fillRect(left, above, VIEW.columns * tile, VIEW.rows * tile);
      cells.forEach((line, i) => line.forEach((cell, j) => {
        if (!cell[channel]) return;
        pen.globalAlpha = 0.35 + 0.65 * (cell[channel] / top[channel]);
        pen.fillStyle = look.accent;
        pen.fillRect(left + j * tile, above + i * tile, tile + 0.5, tile + 0.5);
        pen.globalAlpha = 1;
      }));
    });
  },

  channelRows: 3 * (VIEW.rows + 3),

  /** The state as the game prints itself. */
  text(data, state) {
    const rows = state.tiles.map((row) => row.map((t) => ".abcdefgh#"[t]));
    if (state.key) rows[state.key[0]][state.key[1]] = "K";
    rows[state.door[0]][state.door[1]] = state.doorOpen ? "O" : "D";
    for (const [row, column] of state.bullets) rows[row][column] = "-";
    state.cats.forEach((cat, seat) => {
      if (cat.status === PLAYING) rows[cat.row][cat.column] = String(seat);
    });
    return rows.map((row) => row.join("")).join("\n") + "\n";
  },

  /** What an agent looks like, beside its name. */
  face(pen, size, data, state, seat) {
    drawCat(pen, 0, 0, size, seat, data, state.holder === seat);
  },

  waits(state, seat) { return state.cats[seat].status !== PLAYING; },

  viewText(data, seat) {
    return `What cat ${seat} sees: ${VIEW.columns} columns by ${VIEW.rows} rows around it.`;
  },

  /** How it ended: [a word, whether that is good, the rest]. */
  ending(data) {
    const won = data.record.outcome === "victory";
    return [won ? "won" : "lost", won, won ? "" : `: ${String(data.record.cause).replace("_", " ")}`];
  },

  /** Events that are too many to jump to. */
  minor: ["shoot"],

  /** How a cat is, in a word. */
  status(state, seat) {
    const cat = state.cats[seat];
    if (cat.status === OUT) return "out";
    if (cat.status === DEAD) return "dead";
    return state.holder === seat ? "has the key" : cat.cooldown ? "reloads" : "";
  },

  /** The events of a tick as sentences. */
  sentences(data, events) {
    const names = (what) => events.filter((one) => one[2] === what).map((one) => `cat ${one[1]}`);
    const said = [];
    const killers = names("friendly_kill");
    for (const who of names("shot"))
      said.push(`${who} was shot` + (killers.length ? ` by ${killers.join(" and ")}` : ""));
    for (const who of names("crushed")) said.push(`${who} was crushed by the screen's edge`);
    for (const who of names("key")) said.push(`${who} took the key`);
    for (const who of names("unlock")) said.push(`${who} opened the door`);
    for (const who of names("exit")) said.push(`${who} is out`);
    return said;
  },

  /** Marks on the timeline: [shape, colour]. */
  marks: {
    shoot: ["tick", null], key: ["key", "#d9a514"], unlock: ["key", "#d9a514"],
    exit: ["up", "#2f9e63"], crushed: ["cross", "#d6453c"], shot: ["cross", "#d6453c"],
    friendly_kill: ["burst", "#d6453c"],
  },
};

function drawTile(pen, tile, x, y, size, data, look) {
  if (!tile) return;
  if (tile === WALL) {
    pen.fillStyle = look.wall;
    pen.fillRect(x, y, size + 0.5, size + 0.5);
    pen.fillStyle = look.walledge;
    const edge = Math.max(1, size / 12);
    pen.fillRect(x, y + size - edge, size, edge);
    pen.fillRect(x + size - edge, y, edge, size);
    return;
  }
  const colour = data.colours[tile - 1];
  pen.fillStyle = shade(colour, 0.55);
  pen.fillRect(x, y, size, size);
  pen.fillStyle = shade(colour, 0.8);
  const rim = size / 12;
  rounded(pen, x + rim, y + rim, size - 2 * rim, size - 2 * rim, size / 8);
  pen.fill();
  pen.fillStyle = shade(colour, 1.6);
  drawMark(pen, data.marks[tile - 1], x + size / 2, y + size / 2, size * 0.23);
}

function drawCat(pen, x, y, size, seat, data, hasKey) {
  const colour = data.colours[seat];
  pen.save();
  pen.translate(x, y);
  pen.scale(size, size);
  pen.lineWidth = 0.045;
  pen.strokeStyle = shade(colour, 0.45);
  pen.fillStyle = colour;
  for (const ear of [[0.17, 0.34, 0.19, 0.04, 0.41, 0.24], [0.59, 0.24, 0.81, 0.04, 0.83, 0.34]]) {
    pen.beginPath();
    pen.moveTo(ear[0], ear[1]); pen.lineTo(ear[2], ear[3]); pen.lineTo(ear[4], ear[5]);
    pen.closePath(); pen.fill(); pen.stroke();
  }
  rounded(pen, 0.1, 0.2, 0.8, 0.76, 0.3);
  pen.fill(); pen.stroke();
  for (const eye of [0.34, 0.66]) {
    disc(pen, eye, 0.42, 0.08, "#12151c");
    disc(pen, eye + 0.02, 0.39, 0.03, "#ffffff");
  }
  pen.fillStyle = "#12151c";
  drawMark(pen, data.marks[seat], 0.5, 0.72, 0.15);
  if (hasKey) {
    pen.strokeStyle = "#ffd75e";
    pen.lineWidth = 0.07;
    pen.beginPath(); pen.arc(0.45, 0.09, 0.08, 0, 7); pen.stroke();
    line(pen, 0.54, 0.09, 0.86, 0.09); line(pen, 0.8, 0.09, 0.8, 0.2);
  }
  pen.restore();
}

function drawDeath(pen, x, y, size, seat, data) {
  pen.strokeStyle = "#eb5e5e";
  pen.lineWidth = size / 8;
  line(pen, x + 0.16 * size, y + 0.16 * size, x + 0.84 * size, y + 0.84 * size);
  line(pen, x + 0.16 * size, y + 0.84 * size, x + 0.84 * size, y + 0.16 * size);
  disc(pen, x + size / 2, y + size / 2, size * 0.2, shade(data.colours[seat], 0.8));
  pen.fillStyle = "#12151c";
  drawMark(pen, data.marks[seat], x + size / 2, y + size / 2, size * 0.12);
}

function drawKey(pen, x, y, size) {
  pen.strokeStyle = "#e0ab1f";
  pen.lineWidth = size / 9;
  pen.beginPath(); pen.arc(x + 0.28 * size, y + 0.5 * size, 0.16 * size, 0, 7); pen.stroke();
  line(pen, x + 0.46 * size, y + 0.5 * size, x + 0.94 * size, y + 0.5 * size);
  for (const tooth of [0.74, 0.88])
    line(pen, x + tooth * size, y + 0.5 * size, x + tooth * size, y + 0.7 * size);
}

function drawDoor(pen, x, y, size, isOpen) {
  pen.fillStyle = isOpen ? "#e9f5d0" : "#9a6b43";
  pen.strokeStyle = "#5a3d24";
  pen.lineWidth = size / 12;
  rounded(pen, x + 0.12 * size, y + 0.04 * size, 0.76 * size, 0.94 * size, size * 0.25);
  pen.fill(); pen.stroke();
  if (!isOpen) disc(pen, x + 0.69 * size, y + 0.57 * size, size * 0.07, "#ffd75e");
}

function drawBullet(pen, x, y, size, colour) {
  pen.fillStyle = colour;
  pen.strokeStyle = "#ffffff";
  pen.lineWidth = Math.max(1, size / 24);
  rounded(pen, x + 0.2 * size, y + 0.38 * size, 0.6 * size, 0.24 * size, size * 0.12);
  pen.fill(); pen.stroke();
}

function drawRing(pen, x, y, size, look) {
  pen.strokeStyle = look.accent;
  pen.lineWidth = Math.max(2, size / 9);
  rounded(pen, x - size * 0.12, y - size * 0.12, size * 1.24, size * 1.24, size * 0.3);
  pen.stroke();
}
