// Points into pixels, on the processor: there may be no graphics card, and none is used.
// One decision: the buffer holds which point is seen at each pixel. The colour follows from it, and so does what
// the pointer is over: finding a point is reading the pixels around.

const NOBODY = -1;
const LEVELS = 16; // of opacity, by how many points lie on a pixel
const LARGEST = 13; // pixels across a point
// Points of a frame up to which each is a disc with a soft edge, and up to which it has four pixels; above, one.
const DISCS = 30_000;
const SQUARES = 300_000;
const BUDGET = 1_200_000; // pixels of all discs of a frame

export class Painter {
  constructor() {
    this.resize(1, 1);
  }

  /** Sizes in pixels of the screen. */
  resize(width, height) {
    this.width = width;
    this.height = height;
    this.seen = new Int32Array(width * height);
    this.counts = new Uint8Array(width * height);
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  /** Draw a frame into `image`.
   *  @param points {x, y, count}
   *  @param view {x, y, scale}, the scale in pixels of the screen
   *  @param look {codes, mask, colours, ground, dim, size}: a code a point, 1 for each point that is shown (null: all),
   *    [red, green, blue] of each code, of the ground and of points that are not shown, and a factor of size.
   *  @returns how many points lie inside. */
  paint(points, view, look) {
    this.seen.fill(NOBODY);
    this.counts.fill(0);
    this.pixels.fill(packed(look.ground));
    const place = { scale: view.scale, right: this.width / 2 - view.x * view.scale, down: this.height / 2 + view.y * view.scale };
    const inside = this.count(points, place);
    if (inside <= DISCS) this.discs(points, place, look, this.diameter(inside, look.size, view.ratio ?? 1));
    else {
      this.project(points, place, look.mask, inside > SQUARES / look.size ** 2 ? 1 : 2);
      this.dense(look);
    }
    return inside;
  }

  /** How many points lie inside. */
  count({ x, y, count }, { scale, right, down }) {
    const { width, height } = this;
    let inside = 0;
    for (let k = 0; k < count; k += 1) {
      const px = x[k] * scale + right;
      const py = down - y[k] * scale;
      if (px >= 0 && py >= 0 && px < width && py < height) inside += 1;
    }
    return inside;
  }

  /** Note for each pixel which point is seen there, and how many there are. A point has `side` pixels across. */
  project({ x, y, count }, { scale, right, down }, mask, side) {
    const { seen, counts } = this;
    const [width, wide, high] = [this.width, this.width - side + 1, this.height - side + 1];
    // Points that are left out first: the others lie over them.
    for (let turn = mask ? 0 : 1; turn < 2; turn += 1) {
      for (let k = 0; k < count; k += 1) {
        if (mask && mask[k] !== turn) continue;
        const px = x[k] * scale + right;
        const py = down - y[k] * scale;
        if (!(px >= 0 && py >= 0 && px < wide && py < high)) continue;
        const pixel = (py | 0) * width + (px | 0);
        seen[pixel] = k;
        if (turn && counts[pixel] < 255) counts[pixel] += 1;
        if (side === 1) continue;
        seen[pixel + 1] = seen[pixel + width] = seen[pixel + width + 1] = k;
        if (!turn) continue;
        if (counts[pixel + 1] < 255) counts[pixel + 1] += 1;
        if (counts[pixel + width] < 255) counts[pixel + width] += 1;
        if (counts[pixel + width + 1] < 255) counts[pixel + width + 1] += 1;
      }
    }
  }

  /** Pixels across a disc: the fewer there are, the larger. */
  diameter(inside, size, ratio) {
    const wanted = 0.48 * Math.sqrt((this.width * this.height) / Math.max(inside, 1));
    const across = Math.min(Math.max(wanted, 2.4), LARGEST) * size * Math.sqrt(ratio);
    return Math.min(across, 3 * LARGEST, Math.sqrt(BUDGET / Math.max(inside, 1)));
  }

  /** Colour the pixels of points; the more points on one, the stronger its colour. */
  dense({ codes, colours, ground, dim }) {
    const { seen, counts, pixels } = this;
    let [most, filled] = [0, 0];
    for (let pixel = 0; pixel < counts.length; pixel += 1) {
      most += counts[pixel];
      if (counts[pixel]) filled += 1;
    }
    const typical = Math.max(1, (2 * most) / Math.max(filled, 1));
    const level = Uint8Array.from({ length: 256 }, (_, count) => Math.min(LEVELS - 1, Math.round(((LEVELS - 1) * Math.log1p(count)) / Math.log1p(typical))));
    const table = new Uint32Array(LEVELS * 256);
    for (let step = 0; step < LEVELS; step += 1) {
      const opacity = 0.3 + (0.7 * step) / (LEVELS - 1);
      for (let code = 0; code < 256; code += 1) table[step * 256 + code] = packed(mixed(ground, colours[code], opacity));
    }
    const left = packed(dim);
    for (let pixel = 0; pixel < pixels.length; pixel += 1) {
      const point = seen[pixel];
      if (point === NOBODY) continue;
      const count = counts[pixel];
      pixels[pixel] = count ? table[level[count] * 256 + codes[point]] : left;
    }
  }

  /** Discs with soft edges, which overlap a little transparently. */
  discs({ x, y, count }, { scale, right, down }, { codes, mask, colours, dim }, across) {
    const { width, height, seen, pixels } = this;
    const { dx, dy, cover, reach } = discOf(across);
    for (let turn = mask ? 0 : 1; turn < 2; turn += 1) {
      for (let k = 0; k < count; k += 1) {
        if (mask && mask[k] !== turn) continue;
        const [fx, fy] = [x[k] * scale + right, down - y[k] * scale];
        if (!(fx > -reach && fy > -reach && fx < width + reach && fy < height + reach)) continue;
        const [px, py] = [Math.floor(fx), Math.floor(fy)];
        const [red, green, blue] = turn ? colours[codes[k]] : dim;
        for (let at = 0; at < dx.length; at += 1) {
          const qx = px + dx[at];
          const qy = py + dy[at];
          if (qx < 0 || qy < 0 || qx >= width || qy >= height) continue;
          const pixel = qy * width + qx;
          const share = cover[at]; // of 256
          const old = pixels[pixel];
          const r = old & 255;
          const g = (old >> 8) & 255;
          const b = (old >> 16) & 255;
          pixels[pixel] = 0xff000000 | ((b + (((blue - b) * share) >> 8)) << 16) | ((g + (((green - g) * share) >> 8)) << 8) | (r + (((red - r) * share) >> 8));
          if (share > 100) seen[pixel] = k;
        }
      }
    }
  }

  /** The point at a pixel, else the nearest within a reach; null if there is none. */
  at(px, py, reach) {
    const { width, height, seen } = this;
    let [best, nearest] = [null, reach * reach + 1];
    for (let qy = Math.max(0, Math.round(py - reach)); qy <= Math.min(height - 1, py + reach); qy += 1) {
      for (let qx = Math.max(0, Math.round(px - reach)); qx <= Math.min(width - 1, px + reach); qx += 1) {
        const point = seen[qy * width + qx];
        const distance = (qx - px) ** 2 + (qy - py) ** 2;
        if (point !== NOBODY && distance < nearest) [best, nearest] = [point, distance];
      }
    }
    return best;
  }
}

/** Pixels of a disc around its centre, each with the share that it covers. */
function discOf(across) {
  const radius = across / 2;
  const reach = Math.ceil(radius);
  const disc = { dx: [], dy: [], cover: [], reach };
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) {
      const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
      if (cover > 0.05) disc.dx.push(dx), disc.dy.push(dy), disc.cover.push(Math.round(cover * 218));
    }
  }
  return disc;
}

const mixed = (from, to, share) => from.map((value, k) => value + (to[k] - value) * share);

/** [red, green, blue] as the four bytes of a pixel, on any machine that browsers run on: all are little-endian. */
const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
