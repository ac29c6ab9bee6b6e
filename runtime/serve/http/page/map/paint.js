// Points into pixels, on the processor: there may be no graphics card, and none is used.
// One decision: the buffer holds which point is seen at each pixel. The colour follows from it, and so does what
// the pointer is over: finding a point is reading the pixels around.

const NOBODY = -1;
const LEVELS = 16; // of opacity, by how many points lie on a pixel
const LARGEST = 13; // pixels across a point
const CROWD = 250_000; // points of a frame from which each is one pixel
const BUDGET = 4_000_000; // pixels of all discs of a frame

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
    const inside = this.project(points, view, look.mask);
    const across = this.diameter(inside, look.size, view.ratio ?? 1);
    if (across < 1.9) this.dense(look);
    else this.discs(points, view, look, across);
    return inside;
  }

  /** Note for each pixel which point is seen there, and how many there are. */
  project({ x, y, count }, view, mask) {
    const { width, height, seen, counts } = this;
    const { scale } = view;
    const [right, down] = [width / 2 - view.x * scale, height / 2 + view.y * scale];
    let inside = 0;
    // Points that are left out first: the others lie over them.
    for (let turn = mask ? 0 : 1; turn < 2; turn += 1) {
      for (let k = 0; k < count; k += 1) {
        if (mask && mask[k] !== turn) continue;
        const px = Math.floor(x[k] * scale + right);
        const py = Math.floor(down - y[k] * scale);
        if (px < 0 || py < 0 || px >= width || py >= height) continue;
        inside += 1;
        const pixel = py * width + px;
        seen[pixel] = k;
        if (turn && counts[pixel] < 255) counts[pixel] += 1;
      }
    }
    return inside;
  }

  /** Pixels across a point: the fewer there are, the larger. */
  diameter(inside, size, ratio) {
    const wanted = 0.48 * Math.sqrt((this.width * this.height) / Math.max(inside, 1)) * size;
    const least = inside > CROWD ? 1 : 2.2;
    const across = Math.min(Math.max(wanted, least * size), LARGEST * Math.max(size, 1));
    return Math.min(across * Math.sqrt(ratio), Math.sqrt(BUDGET / Math.max(inside, 1)));
  }

  /** One pixel a point; the more points on it, the stronger its colour. */
  dense({ codes, colours, ground, dim }) {
    const { seen, counts, pixels } = this;
    let [most, filled] = [0, 0];
    for (const count of counts) if (count) [most, filled] = [most + count, filled + 1];
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
  discs({ x, y, count }, view, { codes, mask, colours, dim }, across) {
    const { width, height, seen } = this;
    const { data } = this.image;
    const { scale } = view;
    const [right, down] = [width / 2 - view.x * scale, height / 2 + view.y * scale];
    const disc = discOf(across);
    seen.fill(NOBODY);
    for (let turn = mask ? 0 : 1; turn < 2; turn += 1) {
      for (let k = 0; k < count; k += 1) {
        if (mask && mask[k] !== turn) continue;
        const px = Math.floor(x[k] * scale + right);
        const py = Math.floor(down - y[k] * scale);
        if (px < -disc.reach || py < -disc.reach || px >= width + disc.reach || py >= height + disc.reach) continue;
        const [red, green, blue] = turn ? colours[codes[k]] : dim;
        for (let at = 0; at < disc.dx.length; at += 1) {
          const qx = px + disc.dx[at];
          const qy = py + disc.dy[at];
          if (qx < 0 || qy < 0 || qx >= width || qy >= height) continue;
          const pixel = qy * width + qx;
          const cover = disc.cover[at];
          const byte = pixel * 4;
          data[byte] += (red - data[byte]) * cover;
          data[byte + 1] += (green - data[byte + 1]) * cover;
          data[byte + 2] += (blue - data[byte + 2]) * cover;
          if (cover > 0.4) seen[pixel] = k;
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
      if (cover > 0.05) disc.dx.push(dx), disc.dy.push(dy), disc.cover.push(cover * 0.85);
    }
  }
  return disc;
}

const mixed = (from, to, share) => from.map((value, k) => value + (to[k] - value) * share);

/** [red, green, blue] as the four bytes of a pixel, on any machine that browsers run on: all are little-endian. */
const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
