// Regions of the plane that a person draws: which points lie inside.

const BANDS = 256;

/** The points of a line drawn by hand, those left out that add less than a distance. */
export function thinned(line, distance) {
  const kept = [];
  for (const [x, y] of line) {
    const last = kept[kept.length - 1];
    if (!last || Math.hypot(x - last[0], y - last[1]) >= distance) kept.push([x, y]);
  }
  return kept;
}

/** The corners of a rectangle between two points. */
export const rectangle = ([x, y], [u, v]) => [[x, y], [u, y], [u, v], [x, v]];

/** Numbers of the points inside a polygon, by the even-odd rule.
 *  @param points {x, y, count}
 *  @param polygon corners [x, y] in the same plane */
export function inside({ x, y, count }, polygon) {
  const found = [];
  if (polygon.length < 3) return found;
  const [xs, ys] = [polygon.map(([px]) => px), polygon.map(([, py]) => py)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  // Sides by the bands of height that they cross: a point is compared with those of its band only.
  const band = (py) => Math.min(BANDS - 1, Math.max(0, Math.floor(((py - low) / (high - low)) * BANDS))) || 0;
  const sides = Array.from({ length: BANDS }, () => []);
  for (let a = 0, b = xs.length - 1; a < xs.length; b = a, a += 1) {
    for (let k = band(Math.min(ys[a], ys[b])); k <= band(Math.max(ys[a], ys[b])); k += 1) sides[k].push([a, b]);
  }
  for (let k = 0; k < count; k += 1) {
    const px = x[k];
    const py = y[k];
    if (px < left || px > right || py < low || py > high) continue;
    let odd = false;
    for (const [a, b] of sides[band(py)]) {
      if (ys[a] > py !== ys[b] > py && px < ((xs[b] - xs[a]) * (py - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
    }
    if (odd) found.push(k);
  }
  return found;
}

/** The nearest point in a direction: -1, 0 or 1 to the right and up. Null if there is none.
 *  Points off the direction count as farther, so that walking goes straight on; those nearer than `least` are passed. */
export function nextPoint({ x, y, count }, from, [right, up], { mask, least = 0 } = {}) {
  let [best, nearest] = [null, Infinity];
  for (let k = 0; k < count; k += 1) {
    if (k === from || (mask && !mask[k])) continue;
    const [dx, dy] = [x[k] - x[from], y[k] - y[from]];
    const along = dx * right + dy * up;
    if (along <= least) continue;
    const off = Math.abs(dx * up) + Math.abs(dy * right);
    const distance = along + 2.5 * off;
    if (off <= 2 * along && distance < nearest) [best, nearest] = [k, distance];
  }
  return best;
}

/** The point nearest to a place; null without points. */
export function nearestPoint({ x, y, count }, px, py, mask) {
  let [best, nearest] = [null, Infinity];
  for (let k = 0; k < count; k += 1) {
    if (mask && !mask[k]) continue;
    const distance = (x[k] - px) ** 2 + (y[k] - py) ** 2;
    if (distance < nearest) [best, nearest] = [k, distance];
  }
  return best;
}
