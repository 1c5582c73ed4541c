// Draws Pong. A state is where ball and paddles are and the score; see env/player/pong.py.

const COURT = { width: 800, height: 400, face: 370, back: 380, radius: 10 };

const GAME = {
  /** Every state, from the numbers that the data holds. */
  states(data) {
    const places = unpack(data.places, Int16Array);
    const states = [];
    for (let t = 0; t <= data.ticks; t++) {
      const [x, y, left, right, won, lost] = places.subarray(6 * t, 6 * t + 6);
      const u = 1 / data.stepsAUnit;
      states.push({ tick: t, x: x * u, y: y * u, paddles: [left * u, right * u], score: [won, lost] });
    }
    return states;
  },

  /** The court in squares of 16 units. */
  size() { return { columns: COURT.width / 16, rows: COURT.height / 16 }; },

  draw(pen, data, state, look, chosen) {
    drawCourt(pen, data, state, look, { flip: 1, hidden: -1 });
    const scale = pen.canvas.width / COURT.width;
    pen.fillStyle = look.soft;
    pen.font = `600 ${Math.round(34 * scale)}px system-ui, sans-serif`;
    pen.textAlign = "center";
    state.score.forEach((points, seat) =>
      pen.fillText(points, (COURT.width / 2 + (seat ? 60 : -60)) * scale, 46 * scale));
    const side = chosen ? 1 : -1;
    pen.strokeStyle = look.accent;
    pen.lineWidth = Math.max(2, 2 * scale);
    const half = data.lengths[chosen] / 2 + 5;
    rounded(pen, (COURT.width / 2 + side * 375 - 10) * scale,
      (COURT.height / 2 - state.paddles[chosen] - half) * scale, 20 * scale, 2 * half * scale, 8 * scale);
    pen.stroke();
  },

  channels: [],

  viewShape: { rows: 25, columns: 50 },

  /** The numbers that a seat is told of this moment, itself on the left. */
  window(data, state, seat) {
    const flip = seat ? -1 : 1, other = 1 - seat;
    return {
      x: flip * state.x, y: state.y, own: state.paddles[seat],
      other: data.seesOpponent[seat] ? state.paddles[other] : null,
    };
  },

  /** The court as the seat has it. */
  drawWindow(pen, data, state, seat, look) {
    drawCourt(pen, data, state, look, {
      flip: seat ? -1 : 1, hidden: data.seesOpponent[seat] ? -1 : 1 - seat,
    });
  },

  viewText(data, seat) {
    const hidden = data.seesOpponent[seat] ? "" : "; the other paddle is hidden from it";
    return `What the ${SEATS[seat]} seat sees: itself on the left${hidden}.`;
  },

  /** The state as the game prints itself. */
  text(data, state) {
    const rows = Array.from({ length: 20 }, (_, i) => {
      const y = 200 - (i + 0.5) * 20, row = new Array(80).fill(".");
      [2, 77].forEach((column, seat) => {
        if (Math.abs(y - state.paddles[seat]) <= data.lengths[seat] / 2) row[column] = "|";
      });
      return row;
    });
    const within = (value, most) => Math.max(0, Math.min(most, Math.trunc(value)));
    rows[within((200 - state.y) / 20, 19)][within((state.x + 400) / 10, 79)] = "o";
    const [left, right] = state.score;
    return `${String(left).padStart(7)} : ${String(right).padEnd(5)}\n` +
      rows.map((row) => row.join("")).join("\n") + "\n";
  },

  face(pen, size, data, state, seat) {
    disc(pen, size / 2, size / 2, size * 0.44, data.colours[seat]);
    pen.fillStyle = "#12151c";
    drawMark(pen, data.marks[seat], size / 2, size / 2, size * 0.24);
  },

  waits() { return false; },

  status(state, seat) { return `${SEATS[seat]}, ${state.score[seat]}`; },

  ending(data) {
    const { score_left: left, score_right: right, outcome } = data.record;
    const winner = outcome === "draw" ? "a draw" : outcome === "left_wins" ? "left wins" : "right wins";
    const why = data.record.cause === "time" ? ", cut off" : "";
    return [winner, outcome !== "draw", ` ${left} : ${right}${why}`];
  },

  minor: ["hit"],

  /** The events of a tick as sentences. */
  sentences(data, events) {
    return events.filter((one) => one[2] !== "hit").map(([t, seat, what]) =>
      what === "replayed" ? "the rally is played again"
        : `${SEATS[seat]} scores, ${states[t].score.join(" : ")}`);
  },

  /** Marks on the timeline: [shape, colour]. */
  marks: { hit: ["tick", null], point_won: ["up", "#2f9e63"], replayed: ["cross", "#8b93a3"] },
};

const SEATS = ["left", "right"];

/** The court; flip -1 has the right seat on the left, `hidden` a paddle that isn't shown. */
function drawCourt(pen, data, state, look, { flip, hidden }) {
  const scale = pen.canvas.width / COURT.width;
  const x = (value) => (COURT.width / 2 + flip * value) * scale;
  const y = (value) => (COURT.height / 2 - value) * scale;
  pen.fillStyle = look.sky;
  pen.fillRect(0, 0, pen.canvas.width, COURT.height * scale);
  pen.strokeStyle = look.line;
  pen.lineWidth = Math.max(1, 2 * scale);
  pen.setLineDash([10 * scale, 10 * scale]);
  line(pen, x(0), 0, x(0), COURT.height * scale);
  pen.setLineDash([]);
  [-1, 1].forEach((side, seat) => {
    if (seat === hidden) return;
    const middle = x(side * (COURT.face + COURT.back) / 2), half = data.lengths[seat] / 2;
    pen.fillStyle = data.colours[seat];
    rounded(pen, middle - 5 * scale, y(state.paddles[seat] + half), 10 * scale, 2 * half * scale, 2 * scale);
    pen.fill();
  });
  disc(pen, x(state.x), y(state.y), COURT.radius * scale, look.ink);
}
