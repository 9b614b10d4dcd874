// The strip at the top: one column for each seq, one row for each lane. A mark appears when the
// lane was given the event, so a lane that is off shows a gap that later fills.

const SHAPES = { ws: square, sse: disc, poll: triangle };
const SWEEP_MS_PER_MARK = 7;
const SWEEP_MAX_MS = 900;
const POP_MS = 260;

export class Timeline {
  /**
   * `rows` are lane ids from top to bottom, `range` the element that names the seqs shown; `onMove`
   * is called while marks of a replay still sweep in.
   */
  constructor(canvas, range, rows, ledger, onMove) {
    this.canvas = canvas;
    this.range = range;
    this.rows = rows;
    this.ledger = ledger;
    this.onMove = onMove;
    this.sweepEnd = Object.fromEntries(rows.map((row) => [row, 0]));
    this.pending = false;
    const colourScheme = matchMedia('(prefers-color-scheme: dark)');
    this.calm = matchMedia('(prefers-reduced-motion: reduce)');
    colourScheme.addEventListener('change', () => this.readColours());
    new ResizeObserver(() => this.invalidate()).observe(canvas);
    this.readColours();
  }

  /** When a mark that arrives now is to be shown: at once, but a replay sweeps in, mark after mark. */
  showAt(row, replayed) {
    const now = performance.now();
    if (!replayed || this.calm.matches) return Math.max(now, this.sweepEnd[row]);
    const at = Math.min(Math.max(now, this.sweepEnd[row] + SWEEP_MS_PER_MARK), now + SWEEP_MAX_MS);
    this.sweepEnd[row] = at;
    return at;
  }

  /** How many events the lane has received that its row does not show yet. */
  sweeping(row) {
    const now = performance.now();
    if (this.sweepEnd[row] <= now) return 0;
    return this.ledger.entries.filter(({ delivered }) => delivered[row]?.shownAt > now).length;
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.colours = { ws: colour('--ws'), sse: colour('--sse'), poll: colour('--poll'), empty: colour('--mark-empty') };
    this.invalidate();
  }

  invalidate() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame((now) => {
      this.pending = false;
      if (!this.draw(now)) return;
      this.invalidate();
      this.onMove();
    });
  }

  /** Draws the newest seqs that fit; true while something still moves. */
  draw(now) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width === 0) return false;
    const scale = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    const context = this.canvas.getContext('2d');
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const pitch = width < 500 ? 8 : 11;
    const rowHeight = height / this.rows.length;
    const columns = Math.floor(width / pitch);
    const shown = this.ledger.entries.slice(-columns);
    const size = pitch - 3;
    let moving = false;
    for (let column = 0; column < columns; column++) {
      const x = width - (columns - column) * pitch + pitch / 2;
      const entry = shown[column - (columns - shown.length)];
      this.rows.forEach((row, index) => {
        const y = (index + 0.5) * rowHeight;
        const delivered = entry?.delivered[row];
        const age = delivered ? now - delivered.shownAt : -1;
        if (delivered && age < POP_MS) moving = true;
        if (!delivered || age < 0) {
          context.fillStyle = this.colours.empty;
          disc(context, x, y, entry ? 3 : 2);
          return;
        }
        const pop = this.calm.matches ? 0 : Math.max(0, 1 - age / POP_MS);
        context.fillStyle = this.colours[delivered.transport];
        SHAPES[delivered.transport](context, x, y - pop * rowHeight * 0.18, size * (1 + pop * 0.45));
      });
    }
    const range = shown.length === 0 ? 'no events yet' : `seq ${shown[0].seq} to ${shown[shown.length - 1].seq}`;
    if (this.range.textContent !== range) this.range.textContent = range;
    return moving;
  }
}

function square(context, x, y, size) {
  context.beginPath();
  context.roundRect(x - size / 2, y - size / 2, size, size, size * 0.18);
  context.fill();
}

function disc(context, x, y, size) {
  context.beginPath();
  context.arc(x, y, size / 2, 0, 2 * Math.PI);
  context.fill();
}

function triangle(context, x, y, size) {
  const half = size * 0.58;
  context.beginPath();
  context.moveTo(x, y - half);
  context.lineTo(x + half, y + half * 0.8);
  context.lineTo(x - half, y + half * 0.8);
  context.closePath();
  context.fill();
}
