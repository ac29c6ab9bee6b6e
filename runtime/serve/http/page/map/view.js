// Which part of the plane is seen: its centre, and pixels a unit. Both directions have the same scale, as
// distances in both mean the same.

export class View {
  constructor() {
    Object.assign(this, { x: 0, y: 0, scale: 1, width: 1, height: 1, whole: 1 });
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  /** See all of a region. */
  fit({ left, right, low, high }, margin = 0.06) {
    this.x = (left + right) / 2;
    this.y = (low + high) / 2;
    const across = Math.max(right - left, 1e-9);
    const up = Math.max(high - low, 1e-9);
    this.scale = Math.min(this.width / across, this.height / up) * (1 - 2 * margin);
    this.whole = this.scale;
  }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toPlane(px, py);
    this.scale = Math.min(Math.max(this.scale * factor, this.whole / 4), this.whole * 20_000);
    const [nx, ny] = this.toPlane(px, py);
    this.x += x - nx;
    this.y += y - ny;
  }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y += dy / this.scale;
  }

  toPixels(x, y) {
    return [(x - this.x) * this.scale + this.width / 2, (this.y - y) * this.scale + this.height / 2];
  }

  toPlane(px, py) {
    return [(px - this.width / 2) / this.scale + this.x, this.y - (py - this.height / 2) / this.scale];
  }

  /** Move so that a point is well inside. Returns whether it moved. */
  reveal(x, y) {
    const [px, py] = this.toPixels(x, y);
    const edge = 24;
    const inside = px > edge && py > edge && px < this.width - edge && py < this.height - edge;
    if (!inside) Object.assign(this, { x, y });
    return !inside;
  }
}
