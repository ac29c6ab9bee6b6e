// Names of groups on the map, each at the middle of its cells.
// One decision: the middle is the median in both directions, moved to the nearest cell of the group, so that the
// name of a group in two parts stands on one of them.

const SAMPLE = 600; // cells of a group that are looked at
const LABELS = 40;

/** Where each group's name stands: {code, name, rare, row, x, y}, the largest group first.
 *  @param data a Dataset
 *  @param column the column whose groups are named */
export function labelPlaces(data, column) {
  const groups = data.grouping(column);
  const places = [];
  for (const { code, name, count } of groups.list.slice(0, LABELS)) {
    if (name === null) continue;
    const rows = groups.rows(code);
    const step = Math.max(1, Math.floor(rows.length / SAMPLE));
    const sample = [];
    for (let k = 0; k < rows.length; k += step) if (Number.isFinite(data.x[rows[k]]) && Number.isFinite(data.y[rows[k]])) sample.push(rows[k]);
    if (!sample.length) continue;
    const [mx, my] = [middle(sample, data.x), middle(sample, data.y)];
    const away = (row) => (data.x[row] - mx) ** 2 + (data.y[row] - my) ** 2;
    const row = sample.reduce((best, other) => (away(other) < away(best) ? other : best));
    places.push({ code, name, rare: count * 500 < data.cells, row, x: data.x[row], y: data.y[row] });
  }
  return places;
}

/** Write the names that have room, the largest groups first. Returns the boxes that were written. */
export function writeLabels(context, places, view, { ink, ground, strong }) {
  const taken = [];
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const place of places) {
    const [px, py] = view.toPixels(place.x, place.y);
    const chosen = place.code === strong;
    if (place.rare && !chosen) continue;
    context.font = `${chosen ? 700 : 600} 12px system-ui, sans-serif`;
    const words = place.name.length > 34 ? `${place.name.slice(0, 32)}…` : place.name;
    const half = context.measureText(words).width / 2;
    if (px < 8 || py < 8 || px > view.width - 8 || py > view.height - 8) continue;
    const x = Math.min(Math.max(px, half + 6), view.width - half - 6);
    const box = { code: place.code, left: x - half - 3, right: x + half + 3, top: py - 9, bottom: py + 9 };
    if (taken.some((other) => box.left < other.right && box.right > other.left && box.top < other.bottom && box.bottom > other.top)) continue;
    taken.push(box);
    context.globalAlpha = strong === null || strong === undefined || chosen ? 1 : 0.45;
    context.lineWidth = 4;
    context.strokeStyle = ground;
    context.strokeText(words, x, py);
    context.fillStyle = ink;
    context.fillText(words, x, py);
    context.globalAlpha = 1;
  }
  return taken;
}

function middle(rows, values) {
  const sorted = Float32Array.from(rows, (row) => values[row]).sort();
  return sorted[sorted.length >> 1];
}
